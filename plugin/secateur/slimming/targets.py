"""What a slimming aims at: shares of the network's own costs, or the planner's for a board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.errors import DataError
from secateur.report.units import parse, show

from .constants import folds
from .network import Network
from .surgery import rebuild

#: targets in the network's own costs: attribute of `Costs`
OWN = ("parameters", "flops", "memory")
#: targets the planner estimates for a board, with their units
PLANNED = {"flash": "bytes", "ram": "bytes", "latency": "ms", "energy": "uj"}
#: random inputs that calibrate where none are given
_RANDOM = 8


@dataclass
class Goal:
    """One figure and its limit. `figure` of a choice must come to `limit` or below."""

    kind: str
    limit: float
    board: str | None = None
    calibration: Any = None  #: as `convert` takes it
    note: str = ""

    def figure(self, network: Network, kept: np.ndarray) -> float:
        """The figure of the network with the units `kept`."""
        if self.kind in OWN:
            return float(getattr(network.costs(kept), self.kind))
        return self._planned(rebuild(network, kept, folds(network, kept)))

    def show(self, value: float) -> str:
        """A figure of this kind for people."""
        if self.kind in PLANNED:
            return show(value, PLANNED[self.kind])
        return f"{value:,.0f}"

    def _planned(self, model: Any) -> float:
        from secateur import flow
        from secateur.report.figures import estimate_energy, estimate_latency
        from secateur.targets import boards

        if self.calibration is None:
            rng = np.random.default_rng(0)
            drawn = [
                rng.normal(size=(_RANDOM, *(n or 1 for n in t.shape[1:]))).astype(np.float32)
                for t in model.inputs
            ]
            self.calibration = drawn if len(drawn) > 1 else drawn[0]
            self.note = (
                f"{self.kind} was planned with random calibration inputs; give calibration=... "
                "for the ranges of real ones"
            )
        plan = flow.convert(model, self.calibration, board=self.board).plan
        if self.kind == "flash":
            return plan.flash
        if self.kind == "ram":
            return plan.arena
        assert self.board is not None
        b = boards.load(self.board)
        latency = estimate_latency(
            round(plan.instructions), plan.cycles, "estimated", b.clock_hz
        )  # fmt: skip
        if self.kind == "latency":
            return latency.ms or 0.0
        uj = estimate_energy(latency, b.power.active_ma, b.power.voltage, b.power.source).uj
        if uj is None:
            raise DataError(f"board '{self.board}' states no current, so no energy is estimated")
        return uj


def target(
    network: Network,
    given: Mapping[str, Any],
    board: str | None = None,
    calibration: Any = None,
) -> Goal | None:
    """The one target in `given` (kind -> value or None); None if all are None.

    Own costs: a float up to 1 is the share that is left, an int an absolute number. What is planned
    is a quantity ("32 kB", "20 ms", "300 uJ"). Raises DataError.
    """
    asked = {k: v for k, v in given.items() if v is not None}
    if len(asked) > 1:
        raise DataError(f"{' and '.join(asked)} are {len(asked)} targets; give one")
    if not asked:
        return None
    kind, value = next(iter(asked.items()))
    if kind in PLANNED:
        limit = parse(value, PLANNED[kind])
        if kind in ("latency", "energy") and board is None:
            raise DataError(f"{kind}={value!r} depends on the board; give board=...")
        if limit <= 0:
            raise DataError(f"{kind}={value!r} leaves nothing; give more than 0")
        return Goal(kind, limit, board, calibration)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise DataError(f"{kind}={value!r} is no target; give a share of 1 or a whole number")
    if isinstance(value, float) and value > 1:
        raise DataError(f"{kind}={value!r} is no share; give at most 1.0, or a whole number")
    if isinstance(value, int) and value > 1:
        return Goal(kind, float(value))
    return Goal(kind, value * float(getattr(network.costs(network.all()), kind)))
