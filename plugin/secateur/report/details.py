"""What pictures need beyond schema 1: weights' histograms, the arena over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from secateur.files import held, lock_of

from ..coding.base import columns_of_causes
from .figures import Report


@dataclass(frozen=True)
class Histogram:
    """How often each stored weight value occurs in a layer; zeros are counted apart."""

    layer: str
    values: tuple[int, ...]  #: the distinct non-zero int8 values, ascending
    counts: tuple[int, ...]
    zeros: int

    @property
    def levels(self) -> int:
        """Distinct values, zero included: the size of the codebook."""
        return len(self.values) + (self.zeros > 0)


@dataclass(frozen=True)
class ArenaBlock:
    """A piece of the arena: bytes from `offset`, live from step `first` to step `last`."""

    name: str
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Details:
    """Everything a report can show that is not a figure. `steps` names the arena's time axis."""

    histograms: tuple[Histogram, ...] = ()
    blocks: tuple[ArenaBlock, ...] = ()
    steps: tuple[str, ...] = ()
    arena: int = 0
    #: (instructions, estimated cycles) of each operator in one inference; empty if not profiled
    costs: dict[str, tuple[int, float]] = field(default_factory=dict)
    #: share of the energy estimate of each operator, and by cause (targets/estimates/energy.py)
    shares: dict[str, float] = field(default_factory=dict)
    causes: dict[str, float] = field(default_factory=dict)
    #: stored bytes by what they are (coding.base.causes): values, positions, tables ...
    stored: dict[str, float] = field(default_factory=dict)


def histogram(layer: str, weight: np.ndarray) -> Histogram:
    """The histogram of an int8 weight of any shape."""
    values, counts = np.unique(weight, return_counts=True)
    kept = values != 0
    return Histogram(
        layer,
        tuple(int(v) for v in values[kept]),
        tuple(int(c) for c in counts[kept]),
        int(counts[~kept].sum()),
    )


def of(compiled: Any, board: str | None = None, folder: Path | None = None) -> Details:
    """From a CompiledModel; with a board and a folder to build in, also instructions by layer.

    Those come from the simulator, on zeros; where it has no model of the core they stay away.
    """
    from secateur.targets import boards
    from secateur.targets.runners.profile import profile
    from secateur.targets.runners.sim import Sim

    if board is not None:
        compiled = compiled.planned_for(boards.load(board))
    memory = compiled.plan.memory
    details = replace(
        collect(compiled.qgraph, memory.blocks, memory.arena), stored=_stored(compiled)
    )
    if board is None or folder is None:
        return details
    b, sim = boards.load(board), Sim()
    if not sim.supports(b) or sim.available() is not None:
        return details
    size = compiled.inputs.bytes
    with held(lock_of(folder), folder):
        library = compiled.save(folder / "library")
        run = profile(library, b, folder / "profile", np.zeros((1, size), np.int8))
    costs: dict[str, tuple[int, float]] = {}
    shares: dict[str, float] = {}
    for step in run.steps:
        n, cycles = costs.get(step.layer, (0, 0.0))
        costs[step.layer] = (n + step.instructions, cycles + step.cycles)
        shares[step.layer] = shares.get(step.layer, 0.0) + sum(step.energy.values())
    return replace(details, costs=costs, shares=shares, causes=run.causes)


def _stored(compiled: Any) -> dict[str, float]:
    bits = [compiled.plan.library.bits_of(op.name) for op in compiled.qgraph]
    return {
        column: sum(layer.get(cause, 0) for layer in bits for cause in causes) / 8
        for column, causes in columns_of_causes().items()
    }


def with_causes(report: Report, details: Details) -> Report:
    """`report` with its energy told by cause, in microjoules; as it is where that is not known."""
    uj = report.energy.uj
    if uj is None or not details.causes:
        return report
    causes = {name: uj * share for name, share in details.causes.items()}
    return replace(report, energy=replace(report.energy, causes=causes))


def collect(qgraph: Any, memory_blocks: Sequence[Any] = (), arena: int = 0) -> Details:
    """From an integer graph and its memory plan's blocks."""
    return Details(
        tuple(histogram(op.name, op.weight) for op in qgraph if hasattr(op, "weight")),
        tuple(
            ArenaBlock(" = ".join(b.names), b.offset, b.size, b.first, b.last)
            for b in memory_blocks
        ),
        ("input", *(op.name for op in qgraph), "output"),
        arena,
    )
