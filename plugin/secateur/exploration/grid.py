"""The full grid of pruning levels x quantization levels: `combinations`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import DataError
from secateur.files import looks_like, write

from . import page
from .api import explore
from .points import MAPPED, Point
from .quality import formula
from .space import METHODS, Space, roles_of

#: Shares of zeros, and methods of few levels, of the grid.
ZEROS = (0.0, 0.5, 0.7, 0.8, 0.9)
LEVELS = ("int8", "uniform", "power_of_two", "cluster", "ternary")
#: Whether a file is a combinations.json, which another one may replace.
OURS = looks_like(rb'\{\s*"combinations": \d+,')


@dataclass(frozen=True)
class Combinations:
    """Every combination's point; `print(c.table("quality"))`."""

    model: str
    board: str
    zeros: tuple[float, ...]
    methods: tuple[str, ...]
    points: tuple[Point, ...]
    baseline: Mapping[str, float | None]
    tau: float
    folder: Path

    def cell(self, zeros: float, method: str) -> Point | None:
        """The point of one combination; None if its training failed."""
        for p in self.points:
            roles = [k.partition(".")[0] for k in p.settings if k.endswith(".method")]
            if all(
                p.settings[f"{r}.method"] == method and p.settings[f"{r}.zeros"] == zeros
                for r in roles
            ):
                return p
        return None

    @property
    def best(self) -> Point:
        """The combination of the highest quality."""
        return max(self.points, key=lambda p: p.figures["quality"] or 0.0)

    def values(self, figure: str) -> list[list[float | None]]:
        """A figure by method (rows) and share of zeros (columns)."""
        out = []
        for method in self.methods:
            cells = [self.cell(z, method) for z in self.zeros]
            out.append([None if c is None else c.figures[figure] for c in cells])
        return out

    def table(self, figure: str = "quality") -> str:
        """A figure as a Markdown table."""
        if figure not in MAPPED:
            raise DataError(f"figure {figure!r} is none of {', '.join(MAPPED)}")
        return table(figure, self.zeros, self.methods, self.values(figure))

    def to_dict(self) -> dict[str, Any]:
        """Plain values: `combinations.json`."""
        return {
            "combinations": 1, "model": self.model, "board": self.board,
            "formula": formula(self.tau), "baseline": dict(self.baseline),
            "zeros": list(self.zeros), "methods": list(self.methods),
            **{figure: self.values(figure) for figure in MAPPED},
        }  # fmt: skip

    def report(self) -> Path:
        """Writes heat maps as `combinations.html`; its path."""
        return page.save_combinations(self)


def table(
    figure: str, zeros: Sequence[float], methods: Sequence[str],
    values: Sequence[Sequence[float | None]],
) -> str:  # fmt: skip
    """A figure of `MAPPED` by method (rows) and share of zeros (columns) as a Markdown table."""
    title, form = MAPPED[figure]
    lines = [
        f"| {title} | " + " | ".join(f"{z:.0%} zeros" for z in zeros) + " |",
        "|---" * (len(zeros) + 1) + "|",
    ]
    for method, row in zip(methods, values, strict=True):
        cells = ["-" if v is None else form.format(v) for v in row]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def combinations(
    model: Any,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    *,
    zeros: Sequence[float] = ZEROS,
    methods: Sequence[str] = LEVELS,
    epochs: float = 2.0,
    out: str | Path = "build/combinations",
    **options: Any,
) -> Combinations:
    """Every share of zeros with every method, the same for all layers, each trained and judged.

    The experiment of Ishtiaq et al., "Model Compression", arXiv 2105.10059: levels of pruning x
    levels of quantization, ranked by one number (`quality`; its formula here is ours).

    Args:
        model, train, validation: as for `explore`.
        zeros: shares, 0 <= z < 1. methods: of `Space.methods`.
        epochs: of every training.
        options: of `explore`: board, jobs, ray, seed, tau and so on.

    Returns:
        Every point; `combinations.json` and `combinations.html` are in `out`. The same call goes on
        where it stopped.

    Raises as `explore`.
    """
    from .training import opened

    shares = [round(float(z), 6) for z in zeros]
    if not shares or not all(0 <= z < 1 for z in shares) or len(set(shares)) < len(shares):
        raise DataError(f"zeros {list(zeros)} are not shares; give some with 0 <= z < 1, each once")
    if not methods or any(m not in METHODS for m in methods):
        raise DataError(f"methods {list(methods)} are not all of {', '.join(METHODS)}")
    source = opened(model)
    roles = tuple(roles_of(source))
    space = Space(
        roles, methods=tuple(methods), zeros=(0.0, 0.99, 0.01), keep=(1.0, 1.0, 1.0),
        distil=(0.5,), optimize=("balanced",),
    )  # fmt: skip
    grid = []
    for method in methods:
        for share in shares:
            one = space.plain()
            for role in roles:
                one[f"{role}.method"], one[f"{role}.zeros"] = method, share
            grid.append(one)
    unknown = [s for s in shares if s not in space.choices[f"{roles[0]}.zeros"]]
    if unknown:
        raise DataError(f"zeros {unknown} are finer than hundredths; round them")
    found = explore(
        source, train, validation, space=space, grid=grid, epochs=epochs, out=out,
        **{"time_limit": None, "points": 1, **options},
    )  # fmt: skip
    made = Combinations(
        found.model, found.board, tuple(shares), tuple(methods), found.points, found.baseline,
        found.tau, Path(out),
    )  # fmt: skip
    write(Path(out) / "combinations.json", json.dumps(made.to_dict(), indent=1) + "\n", OURS)
    made.report()
    return made
