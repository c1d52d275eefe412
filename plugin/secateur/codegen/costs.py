"""What a layer costs on a core: the work its kernel counts, times the price of each unit.

Prices are in costs.json: core -> family -> unit -> [instructions, cycles]; a core's row
(secateur.cores) says whose prices it takes. They are fitted to layers counted
in the simulator by `python -m benchmarks.cost_model --fit`; docs/cost-model.md says how far off
they are. Those of Cortex-M55 are counted in QEMU (`python -m benchmarks.helium --fit`),
and stand for cycles, too, of which there is no estimate for that core.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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

Prices = Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]


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


def price_of(work: Mapping[str, float], family: str, core: str, plain_factor: float = 1.0) -> Cost:
    """Estimated cost of `work` on `core`."""
    row = cores.get(core)
    table, reference = prices().get(row.priced_as, {}), prices().get(REFERENCE, {})
    factor = plain_factor if row.isa == "plain" else 1.0
    instructions = cycles = 0.0
    for unit, amount in work.items():
        other, name = price_key(family, unit)
        price = table.get(other, {}).get(name)
        if price is None:
            a, b = reference.get(other, {}).get(name, (1.0, CYCLES_PER_INSTRUCTION))
            price = (factor * a, factor * b)
        instructions += amount * price[0]
        cycles += amount * price[1]
    return Cost(instructions, cycles)


def cost(kernel: AnyKernel, layer: Layer[QOp], core: str) -> Cost:
    """Estimated cost of `layer` executed by `kernel` on `core`."""
    return price_of(work_of(kernel, layer, core), kernel.name, core, kernel.plain_factor)


def work_of(kernel: AnyKernel, layer: Layer[QOp], core: str) -> dict[str, float]:
    """What `kernel` does on `core`."""
    isa = cores.get(core).isa
    if isa == "plain":
        return kernel.work(layer)
    return kernel.vector_work(layer) if isa == "helium" else kernel.dsp_work(layer)
