"""What one network is worth on a board: accuracy of its integers, the planner's estimates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur import flow
from secateur.report.figures import estimate_energy, estimate_latency
from secateur.targets import boards

from .quality import TAU, quality
from .samples import Samples
from .space import Settings, Value
from .training import BATCH, CALIBRATION, RATE, Augment, retrain, unpacked

if TYPE_CHECKING:
    from secateur.flow import CompiledModel

Figures = dict[str, "float | None"]


def compiled(model: Any, x: np.ndarray, board: str, settings: Mapping[str, Value],
             name: str = "explored") -> CompiledModel:  # fmt: skip
    """`model` as integers, calibrated with the first rows of x, planned for `board`."""
    optimize: Any = settings.get("optimize", "balanced")
    return flow.convert(model, x[:CALIBRATION], name=name, optimize=optimize, board=board)


def figures(made: CompiledModel, board: str) -> Figures:
    """Bytes, and what an inference takes by the planner's estimates for the board."""
    b, plan = boards.load(board), made.plan
    latency = estimate_latency(round(plan.instructions), plan.cycles, "estimated", b.clock_hz)
    energy = estimate_energy(latency, b.power.active_ma, b.power.voltage, b.power.source)
    return {
        "flash": float(plan.flash),
        "ram": float(plan.arena),
        "latency": latency.ms,
        "energy": energy.uj,
        "instructions": float(round(plan.instructions)),
        "stored": float(made.size.stored),
        "float32": float(made.size.float32),
    }


def accuracy(made: CompiledModel, part: Samples) -> float:
    """Percent of right answers of the integer model."""
    return 100.0 * part.task.accuracy(made.predict(part.x))


@dataclass(frozen=True)
class Training:
    """One training: of which trial, under which settings, how long."""

    number: int
    settings: Settings
    rung: int
    epochs: float
    seed: int


@dataclass
class Objective:
    """Trains and judges one `Training`; sent to other processes once.

    models: `.keras` bytes by the name of the start. soft: the float network's answers to the
    training rows, float32 [n, classes].
    """

    models: dict[str, bytes]
    train: Samples
    validation: Samples
    board: str
    float_accuracy: float
    float32: float
    soft: np.ndarray | None = None
    augment: Augment | None = None
    rate: float = RATE
    batch: int = BATCH
    tau: float = TAU
    _open: dict[str, Any] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def start(self, settings: Mapping[str, Value]) -> Any:
        """The network that the settings start from."""
        name = str(settings.get("start", "model"))
        if name not in self._open:
            self._open[name] = unpacked(self.models[name])
        return self._open[name]

    def trained(self, task: Training) -> Any:
        """The Keras model of a task."""
        return retrain(
            self.start(task.settings), task.settings, (self.train.x, self.train.y),
            epochs=task.epochs, seed=task.seed, rate=self.rate, batch=self.batch,
            augment=self.augment, soft=self.soft,
        )  # fmt: skip

    def judged(self, model: Any, settings: Mapping[str, Value]) -> Figures:
        """Accuracy on validation rows (percent, integers) and the planner's figures."""
        made = compiled(model, self.train.x, self.board, settings)
        out = figures(made, self.board)
        right = accuracy(made, self.validation)
        lost = self.float_accuracy - right
        stored = out["stored"] or 1.0
        return {
            "accuracy": right,
            "lost": lost,
            **out,
            "quality": quality(self.float32, stored, lost, self.tau),
        }

    def __call__(self, task: Training) -> Figures:
        """The figures of a task."""
        return self.judged(self.trained(task), task.settings)
