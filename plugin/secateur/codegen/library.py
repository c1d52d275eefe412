"""Writes a compiled model as a C library: header, layers, constants, PlatformIO manifest."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from .. import names
from ..coding.checksum import crc32
from ..errors import ModelError
from ..lowering.qgraph import QGraph, QOp
from ..version import __version__
from .chain import Chain
from .chain_code import code, place
from .emit import ISAS, CArray, CFunction, Constant, Emission, port_header, render
from .kernels import Layer, get
from .kernels.small import input_function, output_function
from .memory import MemoryPlan
from .tables import bits_of

#: Names of a library beside its arrays, behind its own name.
_PARTS = ("run", "run_in", "arena", "check_weights")


@dataclass
class Library:
    """Generated text by path relative to the library's folder, and the arrays behind it."""

    name: str
    files: dict[str, str]
    arrays: dict[str, list[CArray]]  #: op name -> its constant arrays
    constants: dict[str, list[Constant]]  #: op name -> its decoder's descriptors

    def bytes_of(self, op: str) -> int:
        """Bytes of constants stored for one operator."""
        constants = self.constants.get(op, [])
        return sum(a.size for a in self.arrays.get(op, [])) + sum(c.size for c in constants)

    def bits_of(self, op: str) -> dict[str, int]:
        """The same in bits, by cause (`coding.base.causes`); the sum is 8 * `bytes_of`.

        A table that layers share is counted at the first of them.
        """
        return bits_of(tuple(self.arrays.get(op, [])), tuple(self.constants.get(op, [])))

    @property
    def constant_bytes(self) -> int:
        """Bytes of all constants."""
        return sum(self.bytes_of(k) for k in self.arrays)

    def save(self, folder: Path) -> Path:
        """Write the library to `folder`, replacing an earlier one whole; nothing half-written.

        Raises ModelError if the folder cannot be written.
        """
        return write_folder(Path(folder), self.files)


def write_folder(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Make `folder` hold exactly `files` (content by relative path), in one step.

    Replaces what an earlier call wrote; raises ModelError rather than replace anything else.
    """
    tops = {path.split("/")[0] for path in files}
    try:
        if folder.is_dir() and not (folder / "secateur.json").is_file():
            foreign = sorted(p.name for p in folder.iterdir() if p.name not in tops)
            if foreign:
                raise ModelError(
                    f"{folder} holds {foreign[0]!r}, which no earlier conversion wrote; choose a "
                    "new or empty folder"
                )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".secateur-") as tmp:
            stage = Path(tmp) / "library"
            for path, content in files.items():
                target = stage / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content if isinstance(content, bytes) else content.encode())
            if folder.exists():
                folder.rename(Path(tmp) / "old")
            stage.rename(folder)
    except OSError as e:
        raise ModelError(
            f"cannot write the library to {folder} ({e.strerror}); choose a writable folder"
        ) from e
    return folder


class _Functions:
    """Static functions of the library: the same text once, the same name never twice."""

    def __init__(self, taken: Iterable[str] = (), isas: Sequence[str] = tuple(ISAS)) -> None:
        self.isas = isas
        self.by_name: dict[str, str] = {}
        self._taken = frozenset(taken)  #: names of other things

    def add(self, e: Emission) -> tuple[str, str]:
        """Take in an emission's functions; returns its setup and call with the names they got."""
        renames: dict[str, str] = {}
        for f in e.functions:
            text = _rename(f.code(self.isas), renames)
            name, n = f.name, 2
            while True:
                candidate = _rename(text, {f.name: name}) if name != f.name else text
                if name not in self._taken and self.by_name.get(name, candidate) == candidate:
                    break
                name, n = f"{f.name}_{n}", n + 1
            self.by_name[name] = candidate
            if name != f.name:
                renames[f.name] = name
        return _rename(e.setup, renames), _rename(e.call, renames)


def _rename(text: str, renames: dict[str, str]) -> str:
    for old, new in renames.items():
        text = re.sub(rf"\b{re.escape(old)}\b", new, text)
    return text


def write(
    graph: QGraph, layers: dict[str, Layer[QOp]], kernels: dict[str, str], memory: MemoryPlan,
    comments: dict[str, str], small: bool = False, chains: Sequence[Chain] = (),
) -> Library:  # fmt: skip
    """Generate the library of `graph`.

    layers, kernels, comments: by operator name; `comments` become the line above each call.
    Layers of `chains` are those of their links.
    small: compile for size (the inner loops are written out in assembler and do not change).
    """
    name = names.model(graph.name)
    at = {t: f"arena + {o}" if o else "arena" for t, o in memory.tensors.items()}
    fixed = _constant_tensors(graph, name)
    at |= {t: a.name for t, a in fixed.items()}
    for c in chains:
        placed = place(c, at, memory.scratch[c.name])
        layers = {**layers, **{layer.op.name: layer for layer in placed}}
    chain_of = {link.name: c for c in chains for link in c.links}
    emissions: dict[str, Emission] = {}
    arrays: dict[str, list[CArray]] = {}
    constants: dict[str, list[Constant]] = {}
    macros: dict[str, int] = {}
    headers: list[str] = []
    read, done = input_function(graph), output_function(graph)
    for op in graph:
        layer, kernel, chain = layers[op.name], get(kernels[op.name]), chain_of.get(op.name)
        if chain is None:
            scratch = memory.scratch.get(op.name, 0)
            layer.inputs = [at[t] for t in op.inputs]
            layer.output = at[op.output]
            layer.kept = f"arena + {scratch}"
            layer.scratch = f"arena + {scratch + kernel.kept(layer)}"
        table = kernel.table(layer)
        e = emissions[op.name] = kernel.emit(layer, table)
        tensors = [fixed[t] for t in op.inputs if t in fixed]
        arrays[op.name] = _new([*table.arrays, *tensors], arrays)
        constants[op.name] = list(table.constants)
        for constant in table.constants:
            for macro, value in constant.macros.items():
                macros[macro] = max(value, macros.get(macro, 0))
        headers += [h for h in e.headers if h not in headers]
    every = [a for group in arrays.values() for a in group]
    taken = [f"{name}_{part}" for part in _PARTS] + [a.name for a in every]
    functions = _Functions([*taken, *(f"{layer.prefix}_stream" for layer in layers.values())])
    call = _call(functions, read, f"input, {at[graph.input]}")
    steps = [f"/* input: int8 (H, W, C) to planes */\n{call}"]
    for op in graph:
        layer, chain = layers[op.name], chain_of.get(op.name)
        comment = f"/* {comments.get(op.name, layer.c_name)} */\n"
        if chain is None:
            setup, call = functions.add(emissions[op.name])
            steps.append(comment + (f"{setup}\n{call}" if setup else call))
        elif op.output == chain.output:
            steps.append(code(chain, emissions, functions.add, comments))
    steps.append("/* output */\n" + _call(functions, done, f"{at[graph.output]}, output"))
    context = {
        "name": name,
        "upper": name.upper(),
        "version": __version__,
        "functions": list(functions.by_name.values()),
        "arrays": every,
        "steps": steps,
        "input": _end(graph, graph.input),
        "output": _end(graph, graph.output),
        "arena": max(memory.arena, 4),
        "headers": headers,
        "small": small,
        "macros": macros,
        "constants": [c.text for group in constants.values() for c in group],
        "weight_bytes": sum(a.size for a in every),
        "crc": crc32(a.content for a in every),
    }
    files = {
        f"src/{name}.h": render("model.h.j2", **context),
        f"src/{name}.c": render("model.c.j2", **context),
        f"src/{name}_weights.h": render("weights.h.j2", **context),
        f"src/{name}_weights.c": render("weights.c.j2", **context),
        "src/secateur_port.h": port_header(),
        "library.json": render("library.json.j2", **context),
    }
    for h in coding_headers([*headers, "sc_crc32.h"]):
        files[f"src/{h}"] = _coding_header(h)
    for path, text in files.items():
        if wrong := re.search(r"[^ -~\n\t]", text):
            raise ValueError(f"{path} would hold {wrong[0]!r}; please report it")
    return Library(name, files, arrays, constants)


def _constant_tensors(graph: QGraph, name: str) -> dict[str, CArray]:
    """Tensors that lie in flash, by name."""
    out = {}
    for i, (t, values) in enumerate(graph.constants.items()):
        kind = {"uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t"}[graph.tensors[t].dtype]
        bits = {"value": 8 * values.nbytes}
        out[t] = CArray(f"{name}_constant{i}", kind, values, "a constant tensor", bits)
    return out


def _new(arrays: Sequence[CArray], there: Mapping[str, list[CArray]]) -> list[CArray]:
    """`arrays` without those that an earlier layer brought: tables are shared by name."""
    known = {a.name: a for group in there.values() for a in group}
    for a in arrays:
        if a.name in known and a.content != known[a.name].content:
            raise ValueError(f"two arrays are called {a.name}")
    return [a for a in arrays if a.name not in known]


def _coding_header(name: str) -> str:
    return (resources.files("secateur.coding") / "c" / name).read_text()


def coding_headers(headers: list[str]) -> list[str]:
    """`headers` and every header of coding/c they include, each once."""
    todo, found = list(headers), []
    while todo:
        name = todo.pop(0)
        if name not in found:
            found.append(name)
            todo += re.findall(r'#include "(sc_\w+\.h)"', _coding_header(name))
    return found


def _call(functions: _Functions, f: CFunction, args: str) -> str:
    return functions.add(Emission(f"{f.name}({args});", [f]))[1]


def _end(graph: QGraph, tensor: str) -> dict[str, object]:
    t = graph.tensors[tensor]
    return {
        "size": t.size,
        "shape": "x".join(str(s) for s in graph.interface_shape(tensor)),
        "scale": repr(float(t.scale)),
        "zero_point": t.zero_point - 128,
    }
