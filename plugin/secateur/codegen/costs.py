"""What a layer costs on a core: the work its kernel counts, times the price of each unit.

Prices are in costs.json: core -> family -> unit -> [instructions, cycles], and behind them those of
code compiled for size, where they are known; a core's row (secateur.cores) says whose prices it
takes. They are fitted to layers counted
in the simulator by `python -m benchmarks.cost_model --fit`; docs/cost-model.md says how far off
they are. Those of Cortex-M55 are counted in QEMU (`python -m benchmarks.helium --fit`),
and stand for cycles, too, of which there is no estimate for that core.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from .. import cores
from ..lowering.qgraph import QOp
from .kernels import AnyKernel, Layer

#: The core whose prices stand in, with a kernel's factor, where a core has none.
REFERENCE = cores.DEFAULT

#: Cycles per instruction where nothing is fitted.
CYCLES_PER_INSTRUCTION = 1.35

#: How many times slower code is that is compiled for size, where nobody has counted: inner loops
#: that are written out in assembler are not.
SLOWER = {"plain": 1.12, "dsp": 1.12, "helium": 1.05}

Prices = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]


@dataclass(frozen=True)
class Cost:
    """Of one inference, estimated."""

    instructions: float
    cycles: float


NO_COST = Cost(0.0, 0.0)


@cache
def prices() -> Prices:
    """The table in costs.json."""
    text = (resources.files("secateur.codegen") / "costs.json").read_text(encoding="utf-8")
    table: Prices = json.loads(text)
    return table


def price_key(family: str, unit: str) -> tuple[str, str]:
    """(family, unit) under which costs.json has the price of a kernel's unit."""
    other, _, name = unit.rpartition(".")
    return other or family, name


def price_in(
    price: Sequence[float], small: bool, isa: str, usual: Sequence[float] | None = None
) -> tuple[float, float]:
    """Instructions and cycles of a unit as it is compiled; where those of code for size are not
    known, more by as much as is `usual`."""
    if not small:
        return price[0], price[1]
    if len(price) == 4:
        return price[2], price[3]
    if usual is not None and len(usual) == 4 and usual[0] and usual[1]:
        return price[0] * usual[2] / usual[0], price[1] * usual[3] / usual[1]
    return SLOWER[isa] * price[0], SLOWER[isa] * price[1]


def price_of(
    work: Mapping[str, float], family: str, core: str, small: bool = False,
    plain_factor: float = 1.0, decoded_small: bool | None = None,
) -> Cost:  # fmt: skip
    """Estimated cost of `work` on `core`, compiled for size if `small`; other families' units (a
    decoder's) if `decoded_small`, where that differs."""
    elsewhere = small if decoded_small is None else decoded_small
    row = cores.get(core)
    table, reference = prices().get(row.priced_as, {}), prices().get(REFERENCE, {})
    factor = plain_factor if row.isa == "plain" else 1.0
    instructions = cycles = 0.0
    for unit, amount in work.items():
        other, name = price_key(family, unit)
        price, usual = (t.get(other, {}).get(name) for t in (table, reference))
        if price is None:
            price = [factor * p for p in usual or (1.0, CYCLES_PER_INSTRUCTION)]
        a, b = price_in(price, small if other == family else elsewhere, row.isa, usual)
        instructions += amount * a
        cycles += amount * b
    return Cost(instructions, cycles)


def cost(kernel: AnyKernel, layer: Layer[QOp], core: str) -> Cost:
    """Estimated cost of `layer` executed by `kernel` on `core`."""
    work = work_of(kernel, layer, core)
    # a compiler leaves assembler as it is; only written for size it is another
    own = layer.small or (layer.compact and cores.get(core).isa not in kernel.assembler)
    return price_of(work, kernel.name, core, own, kernel.plain_factor, layer.compact)


def work_of(kernel: AnyKernel, layer: Layer[QOp], core: str) -> dict[str, float]:
    """What `kernel` does on `core`."""
    isa = cores.get(core).isa
    if isa == "plain":
        return kernel.work(layer)
    return kernel.vector_work(layer) if isa == "helium" else kernel.dsp_work(layer)
