"""What the cycle rules give for short kernels, and for what is known of silicon.

    python -m benchmarks.silicon [--out benchmarks/results/silicon.json]

Prints a table of kernels written here (chains, loads and stores, branches, literals, DSP, UMAAL,
VFP) with the cycles each core's rules give, the energy of the keyword spotter on nucleo_l4r5zi as a
sum, and what others published that can be computed here (benchmarks.cycles.measured). Nothing here
has been timed by us on hardware: somebody with a board can time the kernels and compare.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cycles import measured

from secateur.targets import boards
from secateur.targets.estimates.blocks import Instruction
from secateur.targets.estimates.cycles import block_cycles, taken_cycles

RESULTS = Path("benchmarks/results/silicon.json")

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
_THUMB2 = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
_DSP = ("cortex-m4", "cortex-m7", "cortex-m33")


@dataclass(frozen=True)
class Kernel:
    """Instructions in a row, each of `size` bytes; with `branch` the last one goes to `target`."""

    what: str
    code: Sequence[str]
    cores: Sequence[str] = CORES
    size: int = 2
    start: int = 0
    branch: bool = False
    target: int = 0
    target_size: int = 2

    def cycles(self, core: str) -> float:
        """By the core's rules."""
        found = [
            Instruction(self.start + self.size * i, self.size, *line.split(" ", 1))
            for i, line in enumerate(self.code)
        ]
        total = block_cycles(found, core)
        if self.branch:
            to = Instruction(self.target, self.target_size, "adds", "r0, r0, r1")
            total += taken_cycles(found[-1], to, core)
        return total


KERNELS = (
    Kernel("16 additions, each of the one before", ["adds r0, r0, r1"] * 16),
    Kernel("16 additions, independent", [f"adds r{i % 6}, r6, r7" for i in range(16)]),
    Kernel("8 products, each of the one before", ["muls r0, r1, r0"] * 8),
    Kernel("8 loads, independent", [f"ldr r{i % 6}, [r7, #{4 * i}]" for i in range(8)]),
    Kernel("8 loads, each the address of the next", ["ldr r0, [r0]"] * 8),
    Kernel("8 stores", [f"str r{i % 6}, [r7, #{4 * i}]" for i in range(8)]),
    Kernel("8 times a load behind a store", ["str r0, [r6]", "ldr r1, [r7]"] * 8),
    Kernel("8 times a load, an addition of it", ["ldr r0, [r7]", "adds r1, r1, r0"] * 8),
    Kernel("8 times an address, a load there", ["adds r6, r6, r5", "ldr r0, [r6]"] * 8),
    Kernel("8 stores to a base and a register", ["str r0, [r6, r7]"] * 8),
    Kernel("4 literals", [f"ldr r{i}, [pc, #{4 * i}]" for i in range(4)]),
    Kernel("8 loads that step their base", ["ldr r0, [r7], #4"] * 8, _THUMB2, 4),
    Kernel("8 wide instructions on words", ["add r0, r1, r2"] * 8, _THUMB2, 4),
    Kernel("8 wide instructions across words", ["add r0, r1, r2"] * 8, _THUMB2, 4, 2),
    Kernel("decrement and branch", ["subs r0, r0, #1", "bne #0"], branch=True),
    Kernel("branch to a wide instruction on a word", ["b #8"], _THUMB2, branch=True, target=8,
           target_size=4),
    Kernel("branch to a wide instruction across words", ["b #10"], _THUMB2, branch=True, target=10,
           target_size=4),
    Kernel("call", ["bl #64"], size=4, branch=True, target=64),
    Kernel("return", ["bx lr"], branch=True, target=64),
    Kernel("8 dual products in a chain", ["smlad r0, r1, r2, r0"] * 8, _DSP, 4),
    Kernel("8 dual products, 4 sums", [f"smlad r{i % 4}, r5, r6, r{i % 4}" for i in range(8)],
           _DSP, 4),
    Kernel("8 UMAAL in a chain", ["umaal r0, r1, r2, r3"] * 8, _DSP, 4),
    Kernel("8 bytes extended and added", ["uxtab16 r0, r0, r1"] * 8, _DSP, 4),
    Kernel("8 VFMA in a chain", ["vfma.f32 s0, s1, s2"] * 8, ("cortex-m4",), 4),
    Kernel("4 VLDR, 4 VSTR", [*["vldr s0, [r0]"] * 4, *["vstr s0, [r0]"] * 4], ("cortex-m4",), 4),
)  # fmt: skip

#: MLPerf Tiny v1.2, closed, keyword spotting on this board: power of published results, milliwatts.
PUBLISHED_MW = (33.0, 42.1)


def kernels() -> list[dict[str, Any]]:
    """A row for each kernel: cycles by core."""
    return [
        {"what": k.what, "instructions": len(k.code), "cycles": {c: k.cycles(c) for c in k.cores}}
        for k in KERNELS
    ]


def energy(cycles: float) -> dict[str, float]:
    """The keyword spotter (dense int8) on nucleo_l4r5zi: the sum, and by published power."""
    board = boards.load("nucleo_l4r5zi")
    assert board.power.active_ma is not None
    assert board.power.voltage is not None
    ms = 1e3 * cycles / board.clock_hz
    mw = board.power.active_ma * board.power.voltage
    low, high = (ms * p for p in PUBLISHED_MW)
    return {
        "cycles": cycles, "clock_mhz": board.clock_hz / 1e6, "ms": round(ms, 2),
        "milliampere": board.power.active_ma, "volt": board.power.voltage, "mw": round(mw, 2),
        "uj": round(ms * mw, 1), "published_low_uj": round(low, 1),
        "published_high_uj": round(high, 1),
        "off_middle": round(ms * mw / ((low + high) / 2) - 1, 4),
    }  # fmt: skip


def page(found: dict[str, Any]) -> str:
    """Markdown of what `main` writes."""
    lines = [
        "| kernel | instructions | " + " | ".join(CORES) + " |",
        "|---" * (2 + len(CORES)) + "|",
    ]
    for row in found["kernels"]:
        cells = (f"{row['cycles'][c]:g}" if c in row["cycles"] else "" for c in CORES)
        lines.append(f"| {row['what']} | {row['instructions']} | {' | '.join(cells)} |")
    e = found["energy"]
    return "\n".join([
        *lines, "",
        f"The keyword spotter, dense int8, on `nucleo_l4r5zi`: {e['cycles']:,.0f} cycles, flash's "
        f"waits included, / {e['clock_mhz']:g} MHz = {e['ms']:g} ms; x {e['milliampere']:g} mA x "
        f"{e['volt']:g} V = {e['mw']:g} mW gives {e['uj']:,.0f} uJ. By the power of results that "
        f"MLPerf Tiny published for this board ({PUBLISHED_MW[0]:g} to {PUBLISHED_MW[1]:g} mW) it "
        "is "
        f"{e['published_low_uj']:,.0f} to {e['published_high_uj']:,.0f} uJ: ours is "
        f"{e['off_middle']:+.1%} off the middle.",
    ])  # fmt: skip


def kws_cycles() -> float:
    """Estimated cycles of the bundled keyword spotter, dense int8, on nucleo_l4r5zi."""
    import tempfile

    import numpy as np

    import secateur
    from secateur import data, targets
    from secateur.targets.runners.sim import cycles_of

    train, _ = data.load("kws_train")
    compiled = secateur.convert(
        data.KWS_MODEL, train[:256], name="kws", board="nucleo_l4r5zi", encodings="dense"
    )
    x = np.asarray(compiled.quantize(train[:1]))
    with tempfile.TemporaryDirectory() as folder:
        library = compiled.save(Path(folder) / "library")
        image = targets.build(library, "nucleo_l4r5zi", Path(folder) / "firmware")
        found = cycles_of(image, x.reshape(1, -1), None)
    assert found is not None
    return round(found.cycles)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found = {"kernels": kernels(), "energy": energy(kws_cycles())}
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(page(found), measured(), sep="\n\n")


if __name__ == "__main__":
    main()
