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
libraries (benchmarks/code_rest.py); start-up code is what an image has beside library and harness.
`--new` compiles those functions alone that have no entry, `--rest` none.

Without it, libraries of networks that belong to neither are linked, as the firmware is, but for
harness and start-up code; what lies in flash beside the arrays is code. Printed is how far the
estimates are off. `python -m benchmarks.code_networks` says so of the benchmarks' networks.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import code_rest, linking, promises
from benchmarks.code_rest import PULL, TARGETS, Sample
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from secateur import cores
from secateur.codegen.code_size import (
    MODES,
    compiled_texts,
    counted,
    key_of,
    library_bytes,
    stem_of,
)
from secateur.codegen.emit import ISAS, CFunction, Emission
from secateur.codegen.ends import copy_function, ends
from secateur.codegen.kernels import Layer
from secateur.codegen.library import Functions, decoder_header
from secateur.codegen.plan import Candidate, Plan, candidates, make_plan
from secateur.codegen.port import port
from secateur.coding import sources
from secateur.lowering.qgraph import QGraph
from secateur.targets import tools

SIZES = Path("plugin/secateur/codegen/code_sizes.json")

#: How layers may be written (`Layer.weight`).
WAYS = (0.0, 0.5, 1.0)

#: Functions compiled of those that share a key, and candidates compiled together.
ALIKE, TOGETHER = 1, 150

#: Nothing becomes part of its caller that is not meant to, as every function is called by nobody.
APART = ("-fno-ipa-icf", "-fno-inline-functions-called-once", "-fno-inline-small-functions",
         "-fno-ipa-sra", "-fno-ipa-cp", "-fkeep-static-functions", "-Wno-unused-function",
         "--param", "large-unit-insns=100000000")  # fmt: skip


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


def corpus(lessons: Collection[str] | None = None) -> list[QGraph]:
    """What functions are learned from: all lessons and random networks, or some lessons."""
    from benchmarks.lessons import graphs

    named = None if lessons is None else tuple(lessons)
    return [
        *(g for g, _, _ in graphs(named)),
        *(c.graph for c in (code_rest.networks(100, 1) if lessons is None else ())),
    ]


#: What the C of a library defines for its decoders, and takes in of them.
_MACRO = re.compile(r"^#define (SC_\w+) (\d+)$", re.M)
_HEADER = re.compile(r'^#include "(sc_\w+\.h)"$', re.M)


def _units(plan: Plan) -> Iterator[Unit]:
    """What the library of a plan consists of."""
    text = "\n".join(t for name, t in plan.library.files.items() if name.endswith(".c"))
    macros = tuple((m[1], int(m[2])) for m in _MACRO.finditer(text))
    headers = [h for h in dict.fromkeys(_HEADER.findall(text)) if sources.known(h)]
    for its in plan.library.functions:
        yield Unit(tuple(its), tuple(headers), macros)


def chained(lessons: Collection[str] | None = None) -> list[Unit]:
    """What kernels write for layers that run as chains."""
    from benchmarks import lessons as taught

    out = []
    for way in WAYS:
        for _, plan, _ in taught.chained(cores.DEFAULT, None, lessons, way):
            out += _units(plan)
    return out


def planned(targets: Sequence[str]) -> list[Unit]:
    """What plans of the networks that are benchmarks here consist of."""
    small = ((make(name).graph, None) for name, make in promises.NETWORKS.items())
    out: dict[str, Unit] = {}
    for graph, force in chain(small, code_rest.larger()):
        for core in targets:
            for optimize in ("balanced", "flash", "latency"):
                for unit in _units(make_plan(graph, force, optimize, core=core)):
                    code = "\n".join(f.code(tuple(ISAS)) for f in unit.functions)
                    out.setdefault(code, unit)
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
        linking.link(core, [thing], program, "-Wl,--unresolved-symbols=ignore-all",
              "-Wl,--no-gc-sections", "-Wl,-e0")  # fmt: skip
        found = linking.symbols(program)
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


def fit_rest(targets: Sequence[str], table: dict[str, Any]) -> None:
    """Fit what is no function by itself to linked libraries, and write it."""
    save(table)  # what functions are alone is read from there
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        found = pool.map(code_rest.rest_of, targets, repeat(table), repeat(code_rest.larger()))
        for core, its in zip(targets, found, strict=True):
            row = table["cores"][core]
            row["startup"] = its["startup"]
            for mode in MODES:
                row[mode] |= its[mode]
            print(core, {mode: its[mode]["steps"] for mode in MODES}, flush=True)
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
                    "linked": old.get("linked", {}),
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
    return library_bytes(s.library, s.core) / s.linked.code - 1


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
        judged = code_rest.samples(core, code_rest.libraries(args.count, core, 2))
        e = np.array([error(s) for s in judged])
        print(
            f"| {core} | {np.abs(e).mean():.1%} | {e[np.abs(e).argmax()]:+.1%} | "
            f"{(np.abs(e) <= 0.08).sum()} of {len(e)} |", flush=True,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
