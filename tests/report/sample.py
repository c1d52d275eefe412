"""A report and details like a small network's, made of thin air."""

from __future__ import annotations

import numpy as np

from secateur.report import (
    Accuracy,
    Energy,
    Flash,
    Latency,
    LayerFigures,
    Outputs,
    Ram,
    Report,
    Size,
)
from secateur.report.details import ArenaBlock, Details, histogram


def report(**changes: object) -> Report:
    """A report; keyword arguments replace its fields."""
    fields = {
        "model": "toy",
        "board": "mps2_an386",
        "emulator": "qemu",
        "accuracy": Accuracy(0.91, 0.905, 0.905),
        "outputs": Outputs(200, 200),
        "size": Size(8800, 2200, 760),
        "flash": Flash(31000, 8000, 4000, 19000),
        "ram": Ram(2000, 300, 100),
        "latency": Latency(90_000, 100_000.0, 4.0, "estimated"),
        "energy": Energy(120.5, "estimated", "datasheet"),
        "layers": (
            LayerFigures("stem", "conv", "sparse", 360, 200, 310, 260.0, 45_000, 25_000),
            LayerFigures("<conv & 1>", "conv", "ternary", 1640, 410, 350, 300, 205_000, 51_000),
            LayerFigures("pool", "pool", "", 0, 0, 0, 0.0, 0, 0),
            LayerFigures("dense", "dense", "dense", 100, 99, 100, 80.0, 100, 99),
        ),
    }
    return Report(**{**fields, **changes})  # type: ignore[arg-type]


def details() -> Details:
    """Histograms of three layers and an arena of four blocks."""
    rng = np.random.default_rng(0)
    stem = np.clip(rng.normal(0, 40, 360), -127, 127).astype(np.int8)
    stem[np.abs(stem) < 22] = 0
    return Details(
        (
            histogram("stem", stem),
            histogram("<conv & 1>", rng.choice([-1, 0, 0, 0, 1], 1640).astype(np.int8)),
            histogram("dense", (16 * rng.integers(-4, 5, 100)).astype(np.int8)),
        ),
        (
            ArenaBlock("input", 0, 500, 0, 1),
            ArenaBlock("stem = conv", 500, 1000, 1, 3),
            ArenaBlock("scratch:conv", 1500, 500, 2, 2),
            ArenaBlock("pool", 0, 100, 3, 5),
        ),
        ("input", "stem", "conv", "pool", "dense", "output"),
        2000,
        {"stem": (40_000, 50_000.0), "<conv & 1>": (45_000, 45_000.0), "pool": (5_000, 5_000.0)},
        {"stem": 0.5, "<conv & 1>": 0.45, "pool": 0.05},
        {"core": 0.7, "fetch": 0.3},
    )
