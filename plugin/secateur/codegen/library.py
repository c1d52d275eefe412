"""Writes a compiled model as a C library: header, layers, constants, PlatformIO manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from .. import names
from ..coding import sources
from ..coding.checksum import crc32
from ..files import write_tree
from ..lowering.qgraph import QGraph, QOp, QSums
from ..version import __version__
from .arena import ArenaMap
from .chain import Chain
from .chain_code import code, place
from .descriptor import header
from .emit import CTYPES, FUNCTION, ISAS, CArray, CFunction, Constant, Emission, is_long, render
from .ends import End, Ends, copy_function, ends
from .kernels import AnyKernel, Layer, get
from .loop_code import LoopCode, TimedCode, stream_code
from .memory import MemoryPlan
from .port import Runtime, port
from .tables import bits_of
from .tidy import tidy, wrapped

#: Where the weights may be defined: in a file of their own, or with the layers, file-local.
WeightsIn = Literal["separate", "static"]
WEIGHTS_IN = get_args(WeightsIn)

#: A program around the library, empty unless NAME_EXAMPLE is defined.
EXAMPLE = "examples/main.c"

#: Names of a library beside its arrays, behind its own name.
_PARTS = (
    "run", "run_in", "run_bytes_in", "inputs", "outputs", "arena", "check_weights", "run_float",
    "quantize", "dequantize", "argmax",
    "step", "step_in", "step_bytes_in", "reset", "reset_in", "hop", "hop_in",
)  # fmt: skip


@dataclass(frozen=True)
class Form:
    """What a library is like, whatever it computes."""

    weights: str = WEIGHTS_IN[0]  #: where the constants are defined
    #: the instruction sets whose code it holds, the richest first
    isas: tuple[str, ...] = tuple(ISAS)


@dataclass
class Library:
    """Generated text by path relative to the library's folder, and the arrays behind it."""

    name: str
    files: dict[str, str]
    arrays: dict[str, list[CArray]]  #: op name -> its constant arrays
    constants: dict[str, list[Constant]]  #: op name -> its decoder's descriptors
    isas: tuple[str, ...] = tuple(ISAS)  #: instruction sets whose code it holds
    #: its static functions as kernels wrote them, those of one layer together
    functions: list[tuple[CFunction, ...]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)  #: C of what its run function does, in order
    small: bool = False  #: compiled for size

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
    def tables(self) -> int:
        """How many arrays it has."""
        return sum(map(len, self.arrays.values()))

    @property
    def wide(self) -> bool:
        """Whether the check of the constants keeps their sizes as words."""
        return is_wide(a for group in self.arrays.values() for a in group)

    @property
    def constant_bytes(self) -> int:
        """Bytes of all constants."""
        return sum(self.bytes_of(k) for k in self.arrays)

    def save(self, folder: Path) -> Path:
        """Write the library to `folder`, replacing an earlier one whole; nothing half-written.

        Raises FileError if the folder cannot be written or holds anything else.
        """
        return write_tree(folder, self.files)


def is_wide(arrays: Iterable[CArray]) -> bool:
    """Whether the bytes of one of them are no uint16_t."""
    return any(a.size >= 1 << 16 for a in arrays)


class Functions:
    """Static functions of the library: the same text once, the same name never twice."""

    def __init__(self, taken: Iterable[str] = (), isas: Sequence[str] = tuple(ISAS)) -> None:
        self.isas = isas
        self.by_name: dict[str, str] = {}
        self.added: list[tuple[CFunction, ...]] = []  #: as they came
        self._taken = frozenset(taken)  #: names of other things

    def add(self, e: Emission) -> tuple[str, str]:
        """Take in an emission's functions; returns its setup and call with the names they got."""
        renames: dict[str, str] = {}
        self.added.append(tuple(e.functions))
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


def _in_section(text: str, prefix: str) -> str:
    """The C of static functions and tables, each where PREFIX_CODE_SECTION and PREFIX_CONST_SECTION
    put it; those that stay functions say so."""

    def section(m: re.Match[str]) -> str:
        alone = "SC_APART " if is_long(m) else ""
        return f"{prefix}_CODE_SECTION\n{alone}{m[0]}"

    text = FUNCTION.sub(section, text)
    return re.sub(r"\b(?=static const \w+ \w+\[)", f"{prefix}_CONST_SECTION ", text)


def decoder_header(name: str) -> Runtime:
    """A header of coding/c whose functions and tables go where the library that includes it wants
    its own."""
    text = re.sub(r"\bstatic inline\b", "SC_FUNCTION", header(name))
    text = re.sub(r"\bstatic (?=__attribute__)", "SC_CODE_SECTION static ", text)
    return Runtime(name, _in_section(text, "SC"))


def _place(layer: Layer[QOp], kernel: AnyKernel, arena: ArenaMap) -> None:
    """Set the C expressions of the operands of a layer that runs alone."""
    op = layer.op
    layer.inputs = [arena.expression(t) for t in op.inputs]
    layer.output = arena.at(op.output).expression
    if isinstance(op, QSums):
        layer.output = f"(int16_t *)(void *)({layer.output})"
    layer.in_place = arena.same(op.inputs[0], op.output)
    layer.joined = frozenset(
        i for i, byte in kernel.joins(layer).items() if arena.part_of(op.inputs[i], op.output, byte)
    )
    layer.kept = layer.scratch = "arena"
    kept = kernel.kept(layer)
    if kept:
        what = f"unpacked weights of {layer.c_name}"
        layer.kept = arena.part(op.name, "KEPT", op.name, 0, kept, what).expression
    if rest := kernel.scratch(layer) - kept:
        what = f"scratch of {layer.c_name}"
        layer.scratch = arena.part(op.name, "SCRATCH", op.name, kept, rest, what).expression


def _memory_note(op: QOp, chain: Chain | None, arena: ArenaMap) -> str:
    """What a reader should know about where a layer, or the chain that it ends, works."""
    if chain is not None and op.output != chain.output:
        return ""
    notes = []
    if over := arena.over(op.output):
        notes.append(f"in place: the output is written over {over.macro}")
    scratch = arena.scratch(op.name)
    if scratch:
        notes.append(f"{scratch:,} bytes of scratch".replace(",", " "))
    return "; ".join(notes)


def write(
    graph: QGraph, layers: dict[str, Layer[QOp]], kernels: dict[str, str], memory: MemoryPlan,
    comments: dict[str, str], small: bool = False, chains: Sequence[Chain] = (),
    form: Form | None = None,
) -> Library:  # fmt: skip
    """Generate the library of `graph`.

    layers, kernels, comments: by operator name; `comments` become the line above each call.
    Layers of `chains` are those of their links.
    small: compile for size (the inner loops are written out in assembler and do not change).
    form: where constants are defined and whose code it holds; None: for every core.
    """
    form = form or Form()
    name = names.model(graph.name)
    fixed = _constant_tensors(graph, name)
    arena = ArenaMap(graph, memory, name.upper(), {t: a.name for t, a in fixed.items()})
    for c in chains:
        placed = place(c, arena)
        layers = {**layers, **{layer.op.name: layer for layer in placed}}
    chain_of = {link.name: c for c in chains for link in c.links}
    emissions: dict[str, Emission] = {}
    arrays: dict[str, list[CArray]] = {}
    constants: dict[str, list[Constant]] = {}
    macros: dict[str, int] = {}
    headers: list[str] = []
    inputs, outputs = ends(graph, graph.inputs, "input"), ends(graph, graph.outputs, "output")
    for op in graph:
        layer, kernel, chain = layers[op.name], get(kernels[op.name]), chain_of.get(op.name)
        if chain is None:
            _place(layer, kernel, arena)
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
    streams = (f"{layer.prefix}_stream" for layer in layers.values())
    functions = Functions([*taken, *streams], form.isas)
    steps = []
    for end in inputs.ends:
        from_caller = end.c_name if len(inputs.ends) == 1 else f"inputs->{end.c_name}"
        at = _typed(arena.at(end.tensor).expression, graph, end)
        call = _call(functions, copy_function(graph, end, False), f"{from_caller}, {at}")
        steps.append(f"/* {end.c_name}: {end.dtype} (H, W, C) to planes */\n{call}")
    loops, timed = LoopCode(graph, arena, layers), TimedCode(graph, steps)
    for op in graph:
        layer, chain = layers[op.name], chain_of.get(op.name)
        comment = f"/* {comments.get(op.name, layer.c_name)} */\n"
        note = _memory_note(op, chain, arena)
        if note:
            comment = f"/* {note} */\n{comment}"
        if chain is None:
            setup, call = functions.add(emissions[op.name])
            text = comment + (f"{setup}\n{call}" if setup else call)
            for whole in loops.add(op, text):
                timed.add(op, whole)
        elif op.output == chain.output:
            text = code(chain, emissions, functions.add, comments)
            timed.end()  # what comes before the chain
            steps.append(f"/* {note} */\n{text}" if note else text)
    timed.end()
    for end in outputs.ends:
        to_caller = end.c_name if len(outputs.ends) == 1 else f"outputs->{end.c_name}"
        at = _typed(arena.expression(end.tensor), graph, end)
        call = _call(functions, copy_function(graph, end, True), f"{at}, {to_caller}")
        steps.append(f"/* {end.c_name} */\n{call}")
    # what kernels return where weights do not decode is the caller's status here
    steps = [s.replace("return -1;", f"return {name.upper()}_ERROR_WEIGHTS;") for s in steps]
    runtime_port, parts = port(form.isas)
    runtime = [runtime_port, *map(decoder_header, sources.needed([*headers, "sc_crc32.h"]))]
    context = {
        "name": name,
        "upper": name.upper(),
        "version": __version__,
        "functions": [_in_section(f, name.upper()) for f in functions.by_name.values()],
        "steps_of": [(i + 1, layers[op.name].c_name) for i, op in enumerate(graph)],
        "arrays": every,
        "steps": steps,
        "arguments": ", ".join(_arguments(name, inputs, outputs)),
        "passed": ", ".join(a.rpartition("*")[2] for a in _arguments(name, inputs, outputs)),
        "inputs": inputs,
        "outputs": outputs,
        "arena": max(memory.arena, 4),
        "stream": stream_code(graph, arena, memory),
        "entry": "run" if graph.step_due is None else "step",
        "places": arena.places,
        "weights": form.weights,
        "runtime": runtime,
        "headers": headers,
        "small": small,
        "macros": macros,
        "constants": [c.text for group in constants.values() for c in group],
        "wide": is_wide(every),
        "weight_bytes": sum(a.size for a in every),
        "crc": crc32(a.content for a in every),
    }
    files = {
        f"src/{name}.h": render("model.h.j2", **context),
        f"src/{name}.c": tidy(render("model.c.j2", **context)),
        "library.json": render("library.json.j2", **context),
    }
    real = _real(graph, inputs, outputs)
    if real:
        files[f"src/{name}_real.h"] = render("real.h.j2", **context, **real)
    files[EXAMPLE] = render(
        "example.c.j2", **context, real=bool(real), input=inputs.ends[0], output=outputs.ends[0]
    )
    if form.weights == "separate":
        files[f"src/{name}_weights.h"] = render("weights.h.j2", **context)
        files[f"src/{name}_weights.c"] = render("weights.c.j2", **context)
    for h in runtime:
        files[f"src/{h.name}"] = h.stamped
    files |= {f"src/{part}": text for part, text in parts.items()}
    files = {p: wrapped(t) if p.endswith((".c", ".h")) else t for p, t in files.items()}
    for path, text in files.items():
        if wrong := re.search(r"[^ -~\n\t]", text):
            raise ValueError(f"{path} would hold {wrong[0]!r}; please report it")
    return Library(name, files, arrays, constants, form.isas, functions.added, steps, small)


def _real(graph: QGraph, inputs: Ends, outputs: Ends) -> dict[str, Any]:
    """What NAME_real.h needs; nothing where an end is not one tensor of codes (or real outputs)."""
    if len(inputs.ends) != 1 or len(outputs.ends) != 1:
        return {}
    first, last = inputs.ends[0], outputs.ends[0]
    codes = ("int8", "uint8", "int16")
    if first.dtype not in codes or last.dtype not in (*codes, "float32"):
        return {}
    t = graph.tensors[first.tensor]
    shift = 128 if first.dtype == "int8" else 0
    return {
        "input": first, "output": last, "low": t.bottom - shift, "high": t.top - shift,
        "factors": [repr(float(f)) for f in graph.factors.get(first.tensor, ())],
        "scale": repr(float(t.scale)),
    }  # fmt: skip


def _constant_tensors(graph: QGraph, name: str) -> dict[str, CArray]:
    """Tensors that lie in flash, by name."""
    out = {}
    for i, (t, values) in enumerate(graph.constants.items()):
        kind = CTYPES[graph.tensors[t].dtype]
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


def _call(functions: Functions, f: CFunction, args: str) -> str:
    return functions.add(Emission(f"{f.name}({args});", [f]))[1]


def _arguments(name: str, inputs: Ends, outputs: Ends) -> list[str]:
    """Parameters of NAME_run: pointers, or structs of them where there are several."""
    first, last = inputs.ends[0], outputs.ends[0]
    return [
        f"const {first.ctype} *input" if len(inputs.ends) == 1 else f"const {name}_inputs *inputs",
        f"{last.ctype} *output" if len(outputs.ends) == 1 else f"const {name}_outputs *outputs",
    ]


def _typed(place: str, graph: QGraph, end: End) -> str:
    """A pointer into the arena as the tensor's own type."""
    kind = CTYPES[graph.tensors[end.tensor].dtype]
    return place if kind == "uint8_t" else f"({kind} *)(void *)({place})"
