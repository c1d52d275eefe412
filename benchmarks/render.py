"""Write the figures of README and docs from committed results, and code from the files it is in.

    python -m benchmarks.render            # rewrite the pages that differ
    python -m benchmarks.render --check    # 1 if any does (a test runs this)

In Markdown, what stands between two comments is written by this script:

    <!-- figures: NAME --> ... <!-- end -->         a function of BLOCKS
    <!-- file: PATH --> ... <!-- end -->            a file of this repository, as code
    <!-- = TABLE KEY ... FIELD -->1,234<!-- / -->   one figure inside a sentence

Results are benchmarks/results/*.json. bench.json and helium.json are what `benchmarks.bench` and
`benchmarks.helium` write with `--out`, lists of {network, encoding, target, instructions, cycles,
flash, arena, identical, total}; null is what a run did not say. peers.json is what others' runtimes
took on the same emulated boards (TFLite Micro + CMSIS-NN, GCC 12.2, November 2026), demo.json the
figures of `make demo-full`'s report.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NETWORKS = {
    "kws": "KWS DS-CNN", "resnet8": "ResNet-8", "vww": "MobileNetV1-0.25, 96x96x3",
    "ad": "autoencoder 640-128-8-640", "sww": "wake word, 30 frames x 40",
}  # fmt: skip
VECTORS = ("kws", "resnet8")  #: those that were counted with Helium, too
STREAMS = {
    "spotter": "keyword spotter, 49 frames", "wake_word": "wake word, 500 frames",
    "tcn": "TCN, 500 frames", "lstm": "two LSTMs of 32 units, 500 frames",
    "gru": "two GRUs of 32 units, 500 frames",
}  # fmt: skip
CORES = {
    "cortex-m4": "Cortex-M4", "cortex-m0plus": "Cortex-M0+", "rv32imac": "RV32IMAC",
    "cortex-m7": "Cortex-M7", "cortex-m33": "Cortex-M33", "cortex-m55": "Cortex-M55",
    "host": "the host",
}  # fmt: skip
#: Those of bench.json, as the gallery lists them.
BENCHED = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imac")
WEIGHTS = {
    "dense int8": "dense int8",
    "clustered 4 bit": "clustered, 4 bits",
    "sparse int8 80 %": "sparse int8, 80 % zeros",
    "ternary 80 %": "ternary, 80 % zeros",
    "ternary 80 %, depthwise int8": "ternary, 80 % zeros; depthwise layers int8",
}


def results(name: str) -> Any:
    """A committed result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def one(table: str, **key: str) -> dict[str, Any]:
    """The one row of a result file with these values. Raises KeyError."""
    rows = [r for r in results(table) if all(r.get(k) == v for k, v in key.items())]
    if len(rows) != 1:
        raise KeyError(f"{table}.json has {len(rows)} rows with {key}")
    return dict(rows[0])


def bench() -> str:
    """README's comparison on a Cortex-M4."""
    peers = {n: one("peers", network=n, target="cortex-m4") for n in NETWORKS}
    listed = ", ".join(f"{p['instructions']:,}" for p in peers.values())
    lines = [
        "Against TFLite Micro + CMSIS-NN (GCC 12.2, counted the same way on an emulated Cortex-M4:",
        f'{listed} instructions), one-shot weights, `optimize="balanced"`, from `make bench`:',
        "",
        "| network | weights | instructions | flash, bytes | arena, bytes |",
        "|---|---|---|---|---|",
    ]
    for network, title in NETWORKS.items():
        for weights, words in WEIGHTS.items():
            rows = [r for r in results("bench") if r["target"] == "cortex-m4"
                    and (r["network"], r["encoding"]) == (network, weights)]  # fmt: skip
            for r in rows:
                ratio = peers[network]["instructions"] / r["instructions"]
                lines.append(
                    f"| {title} | {words} | {r['instructions']:,} (1/{ratio:.1f}) "
                    f"| {r['flash']:,} | {r['arena']:,} |"
                )
                title = ""
    return "\n".join(lines).replace("|  |", "| |")


def vectors() -> str:
    """README's sentence on Helium."""
    rows = {
        w: " and ".join(
            f"{one('helium', network=n, encoding=w)['instructions']:,}" for n in VECTORS
        )
        for w in ("dense int8", "ternary 80 %")
    }
    peers = [one("peers", network=n, target="cortex-m55") for n in VECTORS]
    millions = " and ".join(f"{p['macs'] * p['instructions_per_mac'] / 1e6:.2f}" for p in peers)
    return (
        f"On an emulated Cortex-M55 (Helium, planned for latency) dense int8 takes "
        f"{rows['dense int8']}\ninstructions, ternary {rows['ternary 80 %']}; the peer about "
        f"{millions} million\n([all of it](docs/helium.md))."
    )


def helium(rows: list[dict[str, Any]] | None = None) -> str:
    """The table of docs/helium.md, which `benchmarks.helium` prints of its own rows."""
    peers = {
        r["network"]: (r["macs"], r["instructions_per_mac"])
        for r in results("peers")
        if r["target"] == "cortex-m55"
    }
    lines = [
        "| network | weights | instructions | per dense MAC | the peer, int8 | flash | arena "
        "| identical |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results("helium") if rows is None else rows:
        each = peer = ""
        if r["network"] in peers:
            macs, theirs = peers[r["network"]]
            each = f"{r['instructions'] / macs:.2f}"
            peer = f"{theirs:.2f} ({theirs * macs / r['instructions']:.1f} x)"
        lines.append(
            f"| {r['network']} | {r['encoding']} | {r['instructions']:,} | {each} | {peer} "
            f"| {r['flash']:,} | {r['arena']:,} | {r['identical']}/{r['total']} |"
        )
    return "\n".join(lines)


def demo() -> str:
    """README's table of `make demo-full`."""
    d = results("demo")
    return "\n".join([
        "| | |",
        "|---|---|",
        f"| accuracy on the 1,038 evaluation clips | {d['float_accuracy']:.2%} before, in float; "
        f"{d['device_accuracy']:.2%} compressed, in integers |".replace("%", " %"),
        f"| weights | {d['float32']:,} bytes in float32, {d['stored']:,} stored "
        f"({d['float32'] / d['stored']:.1f}x) |",
        f"| flash of model and code | {d['model'] + d['runtime']:,} bytes "
        f"({d['model']:,} + {d['runtime']:,}) |",
        f"| RAM | {d['ram']:,} bytes (arena {d['arena']:,}) |",
        f"| instructions per inference, counted | {d['instructions']:,} for {d['macs']:,} MACs |",
        f"| outputs identical to the reference | {d['identical']} of {d['total']} |",
    ])  # fmt: skip


def layers() -> str:
    """docs/operators.md: layers of Keras that are read."""
    return _listed(_registered()["layers"])


def operations() -> str:
    """docs/operators.md: functions of keras.ops that are read."""
    return _listed(_registered()["operations"])


def operators() -> str:
    """docs/operators.md: operators of the float graph, and which have an integer form."""
    lines = ["| operator | what it computes | in integers |", "|---|---|---|"]
    for name, doc, lowered in _registered()["operators"]:
        first = " ".join(doc.split("\n\n")[0].split()).replace("|", "\\|")
        lines.append(f"| `{name}` | {first} | {'yes' if lowered else 'no'} |")
    return "\n".join(lines)


@cache
def _registered() -> dict[str, Any]:
    """The registries of a fresh process: tests put in layers of their own."""
    program = """
import json
from secateur.frontend.layers.base import supported, supported_operations
from secateur.frontend.ops import OPS
from secateur.lowering.registry import lowered_ops
ops = [(n, OPS[n].doc, n in lowered_ops()) for n in sorted(OPS)]
print(json.dumps({"layers": supported(), "operations": supported_operations(), "operators": ops}))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def _listed(words: list[str]) -> str:
    """Words in lines of up to 100 columns."""
    return textwrap.fill(", ".join(f"`{w}`" for w in words), 100, break_on_hyphens=False)


def integer_accuracy() -> str:
    """docs/integer-accuracy.md: the table of `benchmarks.integer_accuracy`."""
    from benchmarks.integer_accuracy import HEAD, table_row

    return "\n".join([*HEAD, *map(table_row, results("integer_accuracy"))])


def silicon() -> str:
    """The cycle model's kernels and the sum of an energy."""
    from benchmarks.silicon import page

    return page(results("silicon"))


def accelerators() -> str:
    """What holds lines of flash, and how long the boards' flash waits, with their sources."""
    from secateur.cores.flash import ACCELERATORS, Accelerator, Cache
    from secateur.targets import boards

    def shape(cache: Cache) -> str:
        sets = f"{cache.sets} sets of {cache.ways}" if cache.sets > 1 else f"{cache.ways}"
        goes = ", any order" if cache.order == "any" else ""
        return f"{cache.size:,} bytes, {sets} lines of {cache.line}{goes}"

    def cells(row: Accelerator) -> tuple[str, str]:
        code = shape(row.code) + (", the next read ahead" if row.prefetch else "")
        return code, "the same lines" if row.shared else shape(row.data) if row.data else "wait"

    lines = ["| accelerator | code | constants | source |", "|---|---|---|---|"]
    for name, row in ACCELERATORS.items():
        for reading in row.readings:
            lines.append(f"| `{name}` | {' | '.join(cells(reading))} | {reading.source} |")
    lines += ["", "| board | accelerator | wait states | because |", "|---|---|---|---|"]
    for board in boards.all():
        if board.wait_states == 0 or board.hosted:
            continue
        named = "" if board.accelerator is None else f"`{board.accelerator}`"
        states = "not known" if board.wait_states is None else board.wait_states
        lines.append(f"| `{board.id}` | {named} | {states} | {board.wait_states_source} |")
    return "\n".join(lines)


#: The rules' places in a table, in words.
_RULES = {
    "other": "what is not named below", "costs": "", "refill": "more for a taken branch",
    "refill_indirect": "more for one through a register", "refills": "more for a taken",
    "multiple": "more than n for n registers", "pipelined": "a load behind a load",
    "address": "more if the address was computed just before",
    "register_offset": "more for a store to a base and a register",
    "literal": "more for a load relative to the program counter",
    "base_update": "more for a load that updates the base the last one updated",
    "wide_run": "more for three 4-byte instructions in a row across words",
    "double": "more for a register of two words", "load_use": "more if used next",
    "unaligned_target": "more for a branch to a 4-byte instruction across words",
    "predicts_last": "more where a predicted loop begins and ends",
    "latency": "result of", "units": "a unit is kept by", "each": "a register of several moved",
    "pair": "`ldrd`, `strd`", "shifted": "result of a shifted operand", "early": "first ALU's",
}  # fmt: skip
_PROPERTIES = {
    "width": "two instructions in a cycle", "blocking": "which wait for one another",
    "apart": "which do not go together", "stores_at_once": "a store takes what its cycle computes",
}  # fmt: skip


def rules() -> str:
    """Every rule of every core, with its source."""
    from secateur import cores
    from secateur.cores.timing import Rule

    def number(rule: Rule) -> str:
        return f"{rule:g} ({rule.low:g} to {rule.high:g})" if rule.ranged else f"{rule:g}"

    out = []
    for name in cores.names():
        table = cores.get(name).cycles
        if table is None:
            continue
        found: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for place, rule in table.rules():
            head, *rest = place.removeprefix("pipeline.").split(".")
            what = rest.pop(0) if rest and head != "shifted" else ""
            reader = "" if rest == ["ALU"] else " ".join(rest)
            words = f"{_RULES[head]} {what}".strip()
            found.setdefault((words, rule.source), []).append((reader, number(rule)))
        lines = [f"**{name}**", "", "| rule | cycles | source |", "|---|---|---|"]
        merged: dict[tuple[str, str], list[str]] = {}
        for (words, source), values in found.items():
            usual = values[0][1]
            text = "; ".join([usual, *(f"{r} {n}" for r, n in values[1:] if n != usual)])
            merged.setdefault((text, source), []).append(words)
        for (text, source), several in merged.items():
            lines.append(f"| {', '.join(several)} | {text} | {source} |")
        if table.pipeline is not None:
            because = table.pipeline.because
            lines += [f"| {_PROPERTIES[k]} | | {source} |" for k, source in because.items()]
        out.append("\n".join(lines))
    return "\n\n".join(out)


def errors() -> str:
    """How far estimates of whole programs may be off, by core, and what was compared."""
    from secateur import cores

    lines = ["| core | taken | because |", "|---|---|---|"]
    for name in cores.names():
        table = cores.get(name).cycles
        if table is not None:
            known = "unknown" if table.error is None else f"{table.error:.1%}"
            said = table.error_source or "nothing measured to compare with"
            lines.append(f"| {name} | {known} | {said} |")
    return "\n".join(lines)


def estimate_cost() -> str:
    """What an estimate of cycles costs, beside the simulation without."""
    from benchmarks.estimate_cost import page

    return page(results("estimate_cost"))


def promises() -> str:
    """By core: on how many networks every `optimize` keeps its promise, and how far estimates were
    off."""
    rows = results("promises")
    lines = [
        "| core | networks | every promise kept, by cycles | by instructions | image, estimated "
        "| instructions, estimated |",
        "|---|---|---|---|---|---|",
    ]
    for core in dict.fromkeys(r["core"] for r in rows):
        mine = [r for r in rows if r["core"] == core]
        networks = {r["network"] for r in mine}
        kept = [
            len(networks - {r["network"] for r in mine if not r[k]})
            for k in ("kept", "kept_counted")
        ]
        off = [
            sum(abs(r[f"estimated_{what}"] / r[what] - 1) for r in mine) / len(mine)
            for what in ("flash", "instructions")
        ]
        lines.append(
            f"| {core} | {len(networks)} | {kept[0]} | {kept[1]} | "
            + " | ".join(f"{x:.1%} off in the mean" for x in off)
            + " |"
        )
    return "\n".join(lines)


def explored() -> str:
    """docs/explore.md: ten minutes of `explore` beside one guess."""
    lines = [
        "| task | network | accuracy | flash, bytes | instructions |",
        "|---|---|---|---|---|",
    ]
    counts = []
    for r in results("explore_small"):
        rows = [("`Ternarize(0.8)` on every layer", r["guess"])]
        rows += [(f"found, {i}", p) for i, p in enumerate(r["front"], 1)]
        for name, p in rows:
            lines.append(
                f"| {r['task']} | {name} | {p['accuracy']:.2f} % | {p['flash']:,} "
                f"| {p['instructions']:,} |"
            )
        counts.append(
            f"{r['task']}: {r['trials']} trials in {r['limit']} by {r['jobs']} "
            f"process{'es' if r['jobs'] > 1 else ''}, float {r['float_accuracy']:.1f} % "
            f"on the validation rows; {r['beating']} of {len(r['front'])} points made ready are at "
            "least as accurate, as small and as fast as the guess, and better in one"
        )
    return "\n".join([*lines, "", _filled("; ".join(counts) + ".")])


def combinations() -> str:
    """docs/combinations.md: both grids."""
    from secateur.exploration.grid import table
    from secateur.exploration.points import MAPPED

    titles = {"lenet5": "LeNet-5 on MNIST", "kws": "DS-CNN on keyword spotting"}
    lines: list[str] = []
    for task, r in results("combinations").items():
        whole = r["baseline"]
        text = (
            f"{r['rows']:,} training rows, {r['epochs']:g} "
            f"epoch{'s' if r['epochs'] != 1 else ''} a combination; accuracy is the "
            f"integer network's on {r['held_out']:,} validation rows (the float network's is "
            f"{whole['float_accuracy']:.1f} %, as int8 {whole['accuracy']:.1f} % in "
            f"{whole['stored']:,.0f} bytes). No test set was looked at."
        )
        lines += [f"## {titles[task]}", "", _filled(text), ""]
        for figure in MAPPED:
            lines += [table(figure, r["zeros"], r["methods"], r[figure]), ""]
    return "\n".join(lines[:-1])


def storage() -> str:
    """What keeping trials costs."""
    lines = [
        "| search | trials | ms a trial, processor | ms a trial, wall | journal, bytes | most "
        "memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, r in results("explore_storage").items():
        memory = ", ".join(f"{kib / 1024:.0f} at {n:,}" for n, kib in r["most_memory_kib"][::2])
        each = r["ms_a_trial"]
        lines.append(
            f"| {name} | {r['trials']:,} | {each['cpu']:.0f} | {each['wall']:.0f} "
            f"| {r['journal_bytes']:,} | {memory} |"
        )
    return "\n".join(lines)


def streaming() -> str:
    """docs/streaming.md: what a step costs beside a window."""
    found, lines = results("streaming"), [
        "| network | core | instructions, all due | windows' share | on average | arena |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for network, title in STREAMS.items():
        for core, words in CORES.items():
            r = found.get(f"{network}/{core}")
            if r is None or "step" not in r:
                continue
            share, mean = (r["window"] / r[k] for k in ("step", "mean_step"))
            part = r["arena"] / r["window_arena"]
            lines.append(
                f"| {title} | {words} | {r['step']:,.0f} | 1/{share:.1f} | 1/{mean:.1f} | "
                f"{r['arena']:,} of {r['window_arena']:,} bytes ({part:.1%}) |"
            )
    same = [k for k, r in found.items() if "frames" in r and r["same"] and r["frames"] >= 500]
    by_network: dict[str, list[str]] = {}
    for key in same:
        network, core = key.split("/")
        by_network.setdefault(network, []).append(core)
    where = "; ".join(
        f"{STREAMS[n]} on {', '.join(CORES[c] for c in CORES if c in by_network[n])}"
        for n in STREAMS if n in by_network
    )  # fmt: skip
    return "\n".join([*lines, "", _filled(f"The same bytes over 500 frames: {where}.")])


def gates() -> str:
    """docs/recurrent.md: a turn of an LSTM by kind of weights."""
    found, kinds = results("streaming"), {
        "gates": "int8", "gates_zeros": "80 % zeros anywhere",
        "gates_blocks": "80 % zeros in blocks of 2 by 4",
    }  # fmt: skip
    macs = 4 * 64 * (32 + 64)
    lines = ["| weights | core | instructions of a turn | per dense MAC |", "|---|---|---:|---:|"]
    lines += [
        f"| {title} | {words} | {r['mean_step']:,.0f} | {r['mean_step'] / macs:.2f} |"
        for kind, title in kinds.items()
        for core, words in CORES.items()
        if "mean_step" in (r := found.get(f"{kind}/{core}", {}))
    ]
    return "\n".join(lines)


def features() -> str:
    """docs/streaming.md: a frame of MFCCs on every core."""
    found = results("streaming")
    rows = [(CORES[c], found[f"features/{c}"]) for c in CORES if f"features/{c}" in found]
    costs = ", ".join(f"{r['frame']:,} on {words}" for words, r in rows)
    first = rows[0][1]
    return _filled(
        f"Instructions of a frame of 30 ms: {costs}. Its tables take {first['tables']:,} bytes of "
        f"flash, what is kept and scratch {first['state']:,} bytes of RAM."
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, 110, break_on_hyphens=False)


def recurrent() -> str:
    """docs/recurrent.md: trained networks in float and in integers."""
    found = results("recurrent")
    lines = [
        "| HAPT, users held out | float, % | int8 activations, % | zeros of the recurrent kernel |"
        " LiteRT's int8 answers alike |",
        "|---|---|---|---|---|",
    ]
    for key, r in found.items():
        if not key.startswith("hapt"):
            continue
        alike = f"{r['agreement']:.1f} %" if "agreement" in r else ""
        name = key.removeprefix("hapt ").replace("lstm", "LSTM").replace("gru", "GRU")
        lines.append(
            f"| {name} | {r['float']:.2f} | {r['integer']:.2f} | {r['zeros']:.0f} % | {alike} |"
        )
    lines += [
        "", "| text, LSTM of 64 units | bits per character, float | with int8 activations |",
        "|---|---|---|",
    ]  # fmt: skip
    for key, r in found.items():
        if key.startswith("text"):
            name = key.removeprefix("text lstm 64 ")
            lines.append(f"| {name} | {r['float']:.3f} | {r['integer']:.3f} |")
    return "\n".join(lines)


def network(name: str) -> str:
    """A page of the gallery: every core and encoding of bench.json, and the peer's."""
    rows = [r for r in results("bench") if r["network"] == name]
    lines = [
        "| core | weights | instructions | cycles, estimated | flash, bytes | arena, bytes "
        "| identical |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for target in BENCHED:
        core = CORES[target]
        for r in (r for r in rows if r["target"] == target):
            lines.append(
                f"| {core} | {WEIGHTS[r['encoding']]} | {r['instructions']:,} | {r['cycles']:,} "
                f"| {r['flash']:,} | {r['arena']:,} | {r['identical']} of {r['total']} |"
            )
    for p in results("peers"):
        if p["network"] == name and "instructions" in p:
            lines.append(
                f"| {CORES[p['target']]} | *TFLite Micro + CMSIS-NN, int8* "
                f"| {p['instructions']:,} | | {p['flash']:,} | {p['arena']:,} | |"
            )
    return "\n".join(lines)


def network_hapt() -> str:
    """The gallery's recogniser of activities: what `benchmarks.slim` measured, by method."""
    rows = [r for r in results("slim")["rows"] if r["task"] == "hapt"]
    lines = [
        "| network | operations left | accuracy | flash, bytes | RAM, bytes | instructions "
        "| identical |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *(
        f"| {r['method']} | {100 * r['left']:.0f} % | {r['accuracy']:.1f} % | {r['flash']:,} "
        f"| {r['ram']:,} | {r['instructions']:,} | {r['identical']} of {r['total']} |"
        for r in rows
    )])  # fmt: skip


def code_networks() -> str:
    """How far estimates of code are from linked images, by core."""
    from benchmarks.code_networks import page, read

    return page(read(RESULTS / "code_networks.json"))


def rebuilt() -> str:
    """Balanced plans that execute more than those of the planner before, and what fits there."""
    from benchmarks.rebuilt import page

    return page(results("rebuilt"))


BLOCKS: dict[str, Callable[[], str]] = {
    "bench": bench, "vectors": vectors, "helium": helium, "demo": demo,
    "integer_accuracy": integer_accuracy, "layers": layers, "operations": operations,
    "operators": operators,
    "silicon": silicon, "accelerators": accelerators, "rules": rules, "errors": errors,
    "estimate_cost": estimate_cost, "code_networks": code_networks,
    "rebuilt": rebuilt,
    "promises": promises, "storage": storage,
    "combinations": combinations, "explored": explored,
    "streaming": streaming, "features": features,
    "recurrent": recurrent, "gates": gates,
    "network-hapt": network_hapt,
}  # fmt: skip
#: Networks of bench.json that have a place in the gallery.
GALLERY = ("kws", "vww", "ad", "sww", "resnet8", "mobilenetv2", "lenet5", "lenet300")
BLOCKS.update({f"network-{name}": partial(network, name) for name in GALLERY})

_LANGUAGES = {".py": "python", ".json": "json", ".c": "c", ".h": "c"}


def file(path: str) -> str:
    """A file of the repository as a block of code, without the line that the test suite adds."""
    where = ROOT / path
    text = where.read_text(encoding="utf-8").rstrip()
    return f"```{_LANGUAGES[where.suffix]}\n{text}\n```"


def figure(words: str) -> str:
    """`bench kws "ternary 80 %" cortex-m4 instructions`: one number, with thousands' commas."""
    table, network, encoding, target, field = shlex.split(words)
    return f"{one(table, network=network, encoding=encoding, target=target)[field]:,}"


_BLOCK = re.compile(r"(<!-- (figures|file): (\S+) -->\n).*?(?<=\n)(<!-- end -->)", re.S)
_FIGURE = re.compile(r"(<!-- = (.*?) -->).*?(<!-- / -->)", re.S)


def rendered(text: str) -> str:
    """A page with everything between its markers written anew. Raises KeyError."""

    def block(m: re.Match[str]) -> str:
        return f"{m[1]}{BLOCKS[m[3]]() if m[2] == 'figures' else file(m[3])}\n{m[4]}"

    text = _BLOCK.sub(block, text)
    return _FIGURE.sub(lambda m: f"{m[1]}{figure(m[2])}{m[3]}", text)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if a page differs")
    check = parser.parse_args().check
    different = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = rendered(text)
        if new != text:
            different.append(page.relative_to(ROOT))
            if not check:
                page.write_text(new, encoding="utf-8")
    for page in different:
        print(f"{page}: {'differs from benchmarks/results' if check else 'rendered'}")
    return int(check and bool(different))


if __name__ == "__main__":
    raise SystemExit(main())
