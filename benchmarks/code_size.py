"""What code becomes in bytes on every core: measured, kept for the planner, and checked.

    python -m benchmarks.code_size [--targets cortex-m4]
    python -m benchmarks.code_size --fit [--targets ...]
    python -m benchmarks.code_size --new [--targets ...] [--lessons image,separable | --plans]
    python -m benchmarks.code_size --rest [--targets ...]

`--fit` writes codegen/code_sizes.json: every function that kernels write for the lessons of the
cost model (over their inputs and in chains, too), for random networks and in plans of the networks
that are benchmarks here (of all their candidates it would take hours) is compiled for each core,
both ways, and its bytes are read from the object; those of what it calls and a program has once,
from the linked program. Functions that differ in numbers only share an entry. What calls the
functions, and what they save or cost as parts of the whole, has prices that are fitted to linked
libraries of the random networks; start-up code is what an image has beside library and harness.
`--new` compiles those functions alone that have no entry, `--rest` none.

Without it, libraries of networks that belong to neither are linked, as the firmware is, but for
harness and start-up code; what lies in flash beside the arrays is code. Printed is how far the
estimates are off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.promises import BOARDS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection
from tests.codegen.qgraphs import KINDS, Chain

from secateur import coding, cores
from secateur.codegen.code_size import (
    MODES,
    compiled_texts,
    counted,
    key_of,
    library_bytes,
    sizes_of,
    stem_of,
    step_counts,
)
from secateur.codegen.emit import ISAS, CFunction, Emission
from secateur.codegen.ends import copy_function, ends
from secateur.codegen.kernels import Layer
from secateur.codegen.library import Functions, Library, decoder_header
from secateur.codegen.plan import Candidate, candidates, make_plan
from secateur.codegen.port import port
from secateur.coding import sources
from secateur.errors import ModelError
from secateur.lowering.qgraph import QGraph
from secateur.targets import boards, tools
from secateur.targets.builders import gcc

#: Core -> board whose start-up code is measured.
TARGETS = {**BOARDS, "cortex-m3": "mps2_an385"}
SIZES = Path("plugin/secateur/codegen/code_sizes.json")

#: How layers may be written (`Layer.weight`).
WAYS = (0.0, 0.5, 1.0)

#: Functions compiled of those that share a key, and candidates compiled together.
ALIKE, TOGETHER = 1, 150

#: Larger networks of whose plans functions are measured.
PLANNED = ("kws", "resnet8", "lenet5", "lenet300", "ad", "sww")

#: Libraries that tell what calls cost.
LINKED = 80

#: How much a price's distance from what is usual weighs against a relative error.
PULL = 0.02

#: Nothing becomes part of its caller that is not meant to, as every function is called by nobody.
APART = ("-fno-ipa-icf", "-fno-inline-functions-called-once", "-fno-inline-small-functions",
         "-fno-ipa-sra", "-fno-ipa-cp", "-fkeep-static-functions", "-Wno-unused-function",
         "--param", "large-unit-insns=100000000")  # fmt: skip

_SCRIPT = """SECTIONS {
  .text 0x10000 : { *(.text .text.*) *(.rodata .rodata.* .srodata .srodata.*) }
  .ARM.exidx : { *(.ARM.exidx*) }
  .data 0x20000000 : { *(.data .data.* .sdata .sdata.* .bss .bss.* COMMON) }
}
"""


@dataclass(frozen=True)
class Sample:
    """A library on a core."""

    library: Library
    core: str
    linked: int  #: bytes of code


@dataclass(frozen=True)
class Unit:
    """What a kernel emits for a layer."""

    functions: tuple[CFunction, ...]
    headers: tuple[str, ...] = ()
    macros: tuple[tuple[str, int], ...] = ()
    declarations: tuple[tuple[str, str], ...] = ()  #: of arrays that they name


@dataclass
class Measured:
    """A function in an object: its bytes, and what else it calls."""

    bytes: int
    uses: tuple[str, ...]


def linked_code(library: Library, core: str) -> int:
    """Bytes in flash of the library linked alone, its arrays and descriptors excluded."""
    row, name = cores.get(core), library.name
    with tempfile.TemporaryDirectory() as tmp:
        home = library.save(Path(tmp) / "library") / "src"
        program = Path(tmp) / "program.elf"
        _link(core, [*sorted(home.glob("*.c"))], program, f"-D{name.upper()}_NO_STATIC_ARENA",
              "-Wl,--gc-sections", f"-Wl,-u,{name}_run_in")  # fmt: skip
        sizes = subprocess.run(
            [row.architecture.prefix + "size", "-A", str(program)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    total = next(int(s.split()[1]) for s in sizes.splitlines() if s.startswith(".text"))
    return total - library.constant_bytes


def _link(core: str, files: Sequence[Path], program: Path, *more: str) -> None:
    row, script = cores.get(core), program.with_suffix(".ld")
    script.write_text(_SCRIPT)
    command = [
        row.compiler, *row.machine, *tools.flags().COMPILE, "-g0", *row.architecture.link,
        "-nostartfiles", f"-T{script}", "-Wl,--no-warn-rwx-segments", *more,
        *map(str, files), "-o", str(program),
    ]  # fmt: skip
    tools.run(command, f"linking for {core}")


def networks(count: int, seed: int = 0) -> Iterator[Chain]:
    """Random networks of one to eight layers."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        kinds = rng.choice(KINDS, 2)
        kind = lambda: str(rng.choice(kinds))  # noqa: B023, E731
        image = rng.random() < 0.7
        shape = tuple(map(int, rng.integers((1, 5, 5), (9, 14, 14)))) if image else (
            int(rng.integers(1, 90)),)  # fmt: skip
        c = Chain(f"net{i}", shape, int(rng.integers(1 << 30)), int(rng.choice([0, 3, 128])))
        for _ in range(int(rng.integers(0, 6)) if image else 0):
            _, h, w = c.top.shape
            what, co = rng.random(), int(rng.integers(2, 25))
            if what < 0.35:
                c.conv(co, (1, 1), kind())
            elif what < 0.6 and min(h, w) >= 3:
                s = int(rng.choice([1, 1, 2]))
                c.conv(co, (3, 3), kind(), (s, s), (1, 1, 1, 1) if rng.random() < 0.7 else (0,) * 4)
            elif what < 0.85 and min(h, w) >= 3:
                s = int(rng.choice([1, 1, 2]))
                c.conv(0, (3, 3), kind(), (s, s), (1, 1, 1, 1), depthwise=True)
            elif what < 0.92:
                c.conv(c.top.shape[0], (1, 1), kind(), residual=c.top.name)
            elif min(h, w) >= 4:
                c.max_pool((2, 2), (2, 2), (0, 0, 0, 0))
        for _ in range(int(rng.integers(0, 4)) or int(not c.graph.ops)):
            c.dense(int(rng.integers(2, 65)), kind())
        if c.graph.ops:
            yield c


def libraries(count: int, core: str, seed: int) -> Iterator[Library]:
    """Libraries for a core, of random networks."""
    rng = np.random.default_rng(seed)
    encodings = [e.name for e in coding.all_encodings()]
    for i, c in enumerate(networks(count, seed)):
        # every other one is as the planner wants it
        encoding = encodings[i // 2 % len(encodings)] if i % 2 else None
        optimize = str(rng.choice(["latency", "flash", "balanced", "flash"]))
        try:
            yield make_plan(c.graph, encoding, optimize, core=core, portable=False).library
        except ModelError:
            continue


def samples(core: str, count: int, seed: int) -> list[Sample]:
    """Libraries of a core, linked."""
    jobs = list(libraries(count, core, seed))
    with ThreadPoolExecutor(2) as pool:
        linked = list(pool.map(lambda library: linked_code(library, core), jobs))
    return [Sample(*pair) for pair in zip(jobs, [core] * len(jobs), linked, strict=True)]


def corpus(lessons: Collection[str] | None = None) -> list[QGraph]:
    """What functions are learned from: all lessons and random networks, or some lessons."""
    from benchmarks.lessons import graphs

    named = None if lessons is None else tuple(lessons)
    return [
        *(g for g, _, _ in graphs(named)),
        *(c.graph for c in (networks(100, 1) if lessons is None else ())),
    ]


def chained(lessons: Collection[str] | None = None) -> list[Unit]:
    """What kernels write for layers that run as chains."""
    from benchmarks import lessons as taught

    out = []
    for way in WAYS:
        for _, plan, _ in taught.chained(cores.DEFAULT, None, lessons, way):
            out += [Unit(tuple(its)) for its in plan.library.functions]
    return out


def planned(targets: Sequence[str]) -> list[Unit]:
    """What plans of the networks that are benchmarks here consist of, but for the two MobileNets:
    to plan those for every core takes longer than all others."""
    from benchmarks import promises
    from benchmarks.networks import converted

    def graphs() -> Iterator[tuple[QGraph, Mapping[str, str] | str | None]]:
        for name, make in promises.NETWORKS.items():
            yield make(name).graph, None
        for _, _, encoding, compiled in converted(PLANNED):
            yield compiled.qgraph, encoding.force

    out: dict[str, Unit] = {}
    for graph, force in graphs():
        for core in targets:
            for optimize in ("balanced", "flash", "latency"):
                for its in make_plan(graph, force, optimize, core=core).library.functions:
                    out.setdefault("\n".join(f.code(tuple(ISAS)) for f in its), Unit(its))
        print(f"{graph.name}: {len(out)} units so far", flush=True)
    return list(out.values())


def _ways(c: Candidate) -> Iterator[Layer[Any]]:
    """The layer of a candidate as it may be written: for time or size, over its input or not."""
    for way in WAYS:
        for in_place in {False, 0 in c.kernel.overwrites(c.layer)}:
            yield replace(c.layer, weight=way, in_place=in_place)


def units(graphs: Sequence[QGraph]) -> list[Unit]:
    """What kernels write for the layers of `graphs`, in every way there is."""
    out: dict[tuple[CFunction, ...], Unit] = {}
    known: dict[tuple[str, ...], CFunction] = {}

    def same(f: CFunction) -> CFunction:
        return known.setdefault((f.name, f.text, *f.forms, *f.forms.values()), f)

    for g in graphs:
        for op in g:
            for c in candidates(op, g):
                for layer in _ways(c):
                    layer.inputs = ["arena + 4"] * len(op.inputs)
                    layer.output = layer.kept = layer.scratch = "arena + 8"
                    table = c.kernel.table(layer)
                    e = c.kernel.emit(layer, table)
                    macros = {m: v for c_ in table.constants for m, v in c_.macros.items()}
                    text = "\n".join(f.code(tuple(ISAS)) for f in e.functions)
                    arrays = ((a.name, a.declaration()) for a in table.arrays if a.name in text)
                    u = Unit(
                        tuple(map(same, e.functions)), tuple(e.headers), tuple(macros.items()),
                        tuple(arrays),
                    )  # fmt: skip
                    out.setdefault(tuple(map(id, u.functions)), u)
        for tensors, kind in ((g.inputs, "input"), (g.outputs, "output")):
            for end in ends(g, tensors, kind).ends:
                f = same(copy_function(g, end, kind == "output"))
                out.setdefault((id(f),), Unit((f,)))  # type: ignore[arg-type]
    return [u for u in out.values() if u.functions]


def chosen(every: Sequence[Unit], isa: str, known: Collection[str] = ()) -> list[Unit]:
    """Of units those that have a function of whose kind there are not ALIKE yet, and which is not
    `known` by its key."""
    seen: dict[str, set[str]] = defaultdict(set)
    out = []
    for u in every:
        texts = compiled_texts(u.functions, isa).values()
        new = [
            t for t in texts
            if (k := key_of(t)) not in known and len(seen[k]) < ALIKE and t not in seen[k]
        ]  # fmt: skip
        for t in new:
            seen[key_of(t)].add(t)
        if new:
            out.append(u)
    return out


def compiled(group: Sequence[Unit], core: str, small: bool) -> tuple[dict[str, Measured], Any]:
    """Functions of units by text, and helpers by name with what they call."""
    row, isa = cores.get(core), cores.get(core).isa
    functions = Functions((), (isa,))
    texts: dict[str, str] = {}
    for u in group:
        its = compiled_texts(u.functions, isa)
        called = functions.add(Emission(" ".join(its), list(u.functions)))[1]
        texts |= zip(called.split(), its.values(), strict=True)
    heads = list(dict.fromkeys(h for u in group for h in u.headers))
    macros: dict[str, int] = {}
    for u in group:
        for m, v in u.macros:
            macros[m] = max(v, macros.get(m, 0))
    body = ["#include <stdint.h>", "#include <string.h>", "#define SC_CODE_SECTION",
            "#define SC_CONST_SECTION", '#pragma GCC optimize("Os")' if small else "",
            '#include "sc_port.h"',
            *(f"#define {m} {v}" for m, v in macros.items()), *(f'#include "{h}"' for h in heads),
            *{a: d for u in reversed(group) for a, d in u.declarations}.values(),
            *functions.by_name.values()]  # fmt: skip
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        runtime, parts = port((isa,))
        for r in (runtime, *map(decoder_header, sources.needed(heads))):
            (folder / r.name).write_text(r.stamped)
        for name, text in parts.items():
            (folder / name).write_text(text)
        source, thing = folder / "all.c", folder / "all.o"
        source.write_text("\n".join(body) + "\n")
        tools.run([row.compiler, *row.machine, *tools.flags().COMPILE, "-g0", "-Wno-error", *APART,
                   "-c", str(source), "-o", str(thing)], f"compiling for {core}")  # fmt: skip
        calls, tables = _calls(thing)
        program = folder / "all.elf"
        _link(core, [thing], program, "-Wl,--unresolved-symbols=ignore-all",
              "-Wl,--no-gc-sections", "-Wl,-e0")  # fmt: skip
        found = _symbols(program)
    own = {n: found[n] + sum(tables.get(t, 0) for t in calls[n]) for n in found}
    helpers = {
        n: Measured(size, _rest(calls[n], texts, tables)) for n, size in own.items()
        if n not in texts
    }  # fmt: skip
    measured = {
        t: Measured(own[n], _rest(calls[n], texts, tables)) for n, t in texts.items() if n in own
    }
    return measured, helpers


def _rest(called: set[str], texts: Mapping[str, str], tables: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(c for c in called if c not in texts and c not in tables))


def _calls(thing: Path) -> tuple[dict[str, set[str]], dict[str, int]]:
    """By function what it refers to, and tables by name with bytes, of an object."""
    calls: dict[str, set[str]] = defaultdict(set)
    tables: dict[str, int] = {}
    with thing.open("rb") as file:
        elf = ELFFile(file)
        names = [s.name for s in elf.iter_sections()]
        for s in elf.iter_sections():
            if s.name.startswith(".rodata."):
                tables[s.name] = s["sh_size"]
            if not isinstance(s, RelocationSection) or ".text." not in s.name:
                continue
            function = s.name.split(".text.", 1)[1]
            symbols = elf.get_section(s["sh_link"])
            for r in s.iter_relocations():
                symbol = symbols.get_symbol(r["r_info_sym"])
                place = symbol["st_shndx"]
                name = names[place] if isinstance(place, int) else symbol.name
                if name.startswith(".text."):
                    name = name[6:]
                if name and name != function:
                    calls[function].add(name)
    return calls, tables


def _symbols(program: Path) -> dict[str, int]:
    """Bytes of the functions of a linked program, by name."""
    with program.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {
            s.name: s["st_size"] for s in table.iter_symbols()
            if s["st_info"]["type"] == "STT_FUNC" and s["st_size"]
        }  # fmt: skip


def measure(
    every: Sequence[Unit], core: str, small: bool, known: Collection[str]
) -> tuple[dict[str, Measured], Any]:
    """Functions by text, helpers by name, of one core and one way to compile; those that are not
    `known` by their key."""
    picked = chosen(every, cores.get(core).isa, known)
    groups = [picked[i : i + TOGETHER] for i in range(0, len(picked), TOGETHER)]
    functions: dict[str, Measured] = {}
    helpers: dict[str, Measured] = {}
    with ThreadPoolExecutor(2) as pool:
        for its, more in pool.map(lambda g: compiled(g, core, small), groups):
            functions |= its
            helpers |= more
    return functions, helpers


def solve(rows: Sequence[Mapping[str, float]], y: np.ndarray, spread: Callable[[str], float],
          usual: Callable[[str], float], weight: np.ndarray) -> dict[str, float]:  # fmt: skip
    """Prices of least squared weighted error, drawn a little to what is usual."""
    keys = sorted({k for r in rows for k in r})
    a = np.array([[r.get(k, 0.0) for k in keys] for r in rows])
    before = np.array([usual(k) for k in keys])
    left = np.concatenate([a * weight[:, None], np.diag([PULL / spread(k) for k in keys])])
    right = np.concatenate([(y - a @ before) * weight, np.zeros(len(keys))])
    x = before + np.linalg.lstsq(left, right, rcond=None)[0]
    return {k: round(float(v), 2) for k, v in zip(keys, x, strict=True)}


def fit_text(functions: Mapping[str, Measured]) -> tuple[dict[str, float], dict[str, float]]:
    """Prices of what stands in texts, and by stem what they miss."""
    texts = list(functions)
    rows = [counted(t) for t in texts]
    y = np.array([functions[t].bytes for t in texts], float)
    prices = solve(rows, y, lambda k: 40.0, lambda k: 1.0 if k == "table" else 4.0, 1 / (y + 20))
    priced = [max(2.0, sum(n * prices[k] for k, n in r.items())) for r in rows]
    ratios: dict[str, list[float]] = defaultdict(list)
    for t, p in zip(texts, priced, strict=True):
        ratios[stem_of(t)].append(functions[t].bytes / p)
    return prices, {s: round(float(np.clip(np.mean(r), 0.3, 3.0)), 2) for s, r in ratios.items()}


def texts_of(library: Library, core: str) -> list[str]:
    """Functions that a library has on a core."""
    isa = cores.get(core).isa
    return list(
        dict.fromkeys(t for f in library.functions for t in compiled_texts(f, isa).values())
    )


def fit_steps(found: Sequence[Sample], small: bool) -> dict[str, float]:
    """Prices of what calls functions, and of what those save or cost as parts of the whole: what
    linked libraries have beside functions that stand alone."""
    rows, rest, total = [], [], []
    for s in found:
        sizes, texts = sizes_of(s.core, small), texts_of(s.library, s.core)
        own = sum(map(sizes.apart, texts))
        used: dict[str, float] = {}
        for t in texts:
            used |= sizes.used(t)
        arrays = sum(map(len, s.library.arrays.values()))
        counts = step_counts(s.library.steps, arrays)
        helpers = sum(used.values())
        joined: Counter[str] = Counter()
        for t in texts:
            joined.update(sizes.joined(t))
        rows.append({**counts, **joined, "helpers": helpers})
        rest.append(s.linked - own - helpers)
        total.append(s.linked + s.library.constant_bytes / 4)
    usual = {"library": 250.0, "arrays": 10.0, "functions": -10.0, "bytes": 0.0, "apart": 4.0,
             "helpers": 0.0}  # fmt: skip
    spread = {"library": 100.0, "functions": 20.0, "bytes": 0.1, "helpers": 0.1}
    return solve(rows, np.array(rest), lambda k: spread.get(k, 6.0), lambda k: usual.get(k, 4.0),
                 1 / np.array(total))  # fmt: skip


def startup(core: str) -> int:
    """Bytes of an image that are neither the library's nor the harness'."""
    library = next(libraries(1, core, 1))
    with tempfile.TemporaryDirectory() as tmp:
        folder = library.save(Path(tmp) / "library")
        sizes = gcc.build(folder, boards.load(TARGETS[core]), Path(tmp) / "build").sizes
    return sizes.total - sizes.harness - library.constant_bytes - linked_code(library, core)


def fit_rest(targets: Sequence[str], table: dict[str, Any]) -> None:
    """Fit what is no function by itself to linked libraries, and write it."""
    for core in targets:
        table["cores"][core]["startup"] = startup(core)
        save(table)
        found = samples(core, LINKED, 1)
        for small, mode in enumerate(MODES):
            its = [s for s in found if s.library.small == bool(small)]
            table["cores"][core][mode]["steps"] = fit_steps(its, bool(small))
    save(table)


def known() -> dict[str, Any]:
    """code_sizes.json."""
    table: dict[str, Any] = {"keys": {}, "uses": {}, "cores": {}}
    if SIZES.is_file():
        table |= json.loads(SIZES.read_text(encoding="utf-8"))
    return table


def _columns(table: dict[str, Any], isa: str, keys: list[str]) -> None:
    """Put what is known of functions in the order of `keys`; None where one is not known."""
    before = table["keys"].get(isa, [])
    table["keys"][isa] = keys
    for core in (c for c in table["cores"] if cores.get(c).isa == isa):
        for mode in MODES:
            its = table["cores"][core][mode]
            there = dict(zip(before, its["functions"], strict=True))
            its["functions"] = [there.get(k) for k in keys]


def fit(
    targets: Sequence[str], new: bool, lessons: Collection[str] | None = None, plans: bool = False
) -> None:
    """Write code_sizes.json anew for `targets`; what it says of other cores stays. `new`: compile
    those functions alone of which nothing is known yet, and leave the prices of texts; `lessons`:
    of these alone, and leave the prices of calls, too; `plans`: of the benchmarks' networks alone.
    """
    table = known()
    every = [] if plans else [*units(corpus(lessons)), *chained(lessons)]
    every += [] if lessons else planned(targets)
    print(f"{len(every)} units", flush=True)
    for isa in dict.fromkeys(cores.get(c).isa for c in targets):
        mine = [c for c in targets if cores.get(c).isa == isa]
        keys = sorted({
            key_of(t) for u in every for t in compiled_texts(u.functions, isa).values()
        } | set(table["keys"].get(isa, ()) if new else ()))  # fmt: skip
        _columns(table, isa, keys)
        before = table["uses"].get(isa, {})
        uses = {
            m: defaultdict(set, {k: set(v.split()) for k, v in before.get(m, {}).items()})
            for m in MODES
        }
        for core in mine:
            its = table["cores"].setdefault(core, {})
            for small, mode in enumerate(MODES):
                old = its.get(mode, {}) if new else {}
                sizes = old.get("functions", [None] * len(keys))
                there = {k: n for k, n in zip(keys, sizes, strict=True) if n is not None}
                functions, helpers = measure(every, core, bool(small), there)
                by_key: dict[str, list[int]] = defaultdict(list)
                for t, m in functions.items():
                    by_key[key_of(t)].append(m.bytes)
                    for name in (key_of(t), stem_of(t)):
                        uses[mode][name] |= set(m.uses)
                there |= {k: round(float(np.mean(n))) for k, n in by_key.items()}
                wanted = {n for m in functions.values() for n in m.uses}
                while more := {u for n in wanted if n in helpers for u in helpers[n].uses} - wanted:
                    wanted |= more
                helpers = {n: helpers[n] for n in sorted(wanted & set(helpers))}
                called = {n: " ".join(m.uses) for n, m in helpers.items() if m.uses}
                prices, stems = (old["prices"], old["stems"]) if old else fit_text(functions)
                its[mode] = {
                    "functions": [there.get(k) for k in keys],
                    "helpers": old.get("helpers", {}) | {n: m.bytes for n, m in helpers.items()},
                    "called": old.get("called", {}) | called,
                    "stems": stems, "prices": prices, "steps": old.get("steps", {}),
                }  # fmt: skip
                print(core, mode, len(functions), "functions", len(helpers), "helpers", flush=True)
        table["uses"][isa] = {
            m: {k: " ".join(sorted(v)) for k, v in sorted(uses[m].items()) if v} for m in MODES
        }
        if lessons is None:
            fit_rest(mine, table)
        else:
            save(table)


def save(table: dict[str, Any]) -> None:
    """Write code_sizes.json, a line for each part, and forget what was read of it."""
    from secateur.codegen import code_size

    def flat(x: Any, depth: int) -> str:
        if depth and isinstance(x, dict):
            inside = ",\n".join(f"{json.dumps(k)}: {flat(v, depth - 1)}" for k, v in x.items())
            return "{\n" + inside + "\n}"
        return json.dumps(x, separators=(",", ":"))

    SIZES.write_text(flat(table, 3) + "\n", encoding="utf-8")
    for cached in (
        code_size._table, code_size.sizes_of, code_size.pieces, code_size.startup_bytes,
    ):  # fmt: skip
        cached.cache_clear()


def error(s: Sample) -> float:
    """Relative error of an estimate of code."""
    lib = s.library
    arrays = sum(map(len, lib.arrays.values()))
    return library_bytes(lib.functions, lib.steps, arrays, s.core, lib.small) / s.linked - 1


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--new", action="store_true", help="measure functions that are not known")
    parser.add_argument("--lessons", help="with --new: functions of these lessons alone")
    parser.add_argument("--plans", action="store_true", help="with --new: functions of the plans "
                        "of benchmarks alone")  # fmt: skip
    parser.add_argument("--rest", action="store_true", help="fit to linked libraries alone")
    parser.add_argument("--count", type=int, default=40)
    args = parser.parse_args()
    targets = args.targets.split(",")
    if args.fit or args.new:
        fit(targets, args.new, args.lessons.split(",") if args.lessons else None, args.plans)
    elif args.rest:
        fit_rest(targets, known())
    print("| core | mean error of code | largest | within 8 % |\n|---|---|---|---|")
    for core in targets:
        e = np.array([error(s) for s in samples(core, args.count, 2)])
        print(
            f"| {core} | {np.abs(e).mean():.1%} | {e[np.abs(e).argmax()]:+.1%} | "
            f"{(np.abs(e) <= 0.08).sum()} of {len(e)} |", flush=True,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
