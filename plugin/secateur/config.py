"""`secateur.toml`: models, boards, budgets; and the committed baseline beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import reading
from .errors import FileError, SecateurError
from .files import looks_like, write
from .flow.arguments import CalibrationMethod, Optimize, WeightsIn, check_encodings
from .flow.interface import InputType, OutputType
from .report.budget import FIGURES, limit_of
from .report.figures import Report
from .report.units import parse

BASELINE_SCHEMA = 1
#: Whether a file is a baseline, which another one may replace.
OURS = looks_like(rb'\{\s*"runs": \{')
Limit = str | float | int | bool


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlanOptions(_Table):
    """[model.plan]: hard budgets, kept by the planner's estimates; and other options of convert."""

    flash: str | float | None = None
    ram: str | float | None = None
    latency: str | float | None = None
    encodings: dict[str, str] | str | None = None
    calibration_method: CalibrationMethod | None = None
    portable: bool | None = None
    weights: WeightsIn | None = None
    activations: dict[str, str] | str | None = None
    input_dtype: InputType | None = None
    output_dtype: OutputType | None = None
    input_scale: float | None = None
    input_zero_point: int | None = None
    logits: bool | None = None


class Model(_Table):
    """One [[model]]. Paths are relative to the file."""

    path: Path
    calibration: Path
    name: str | None = None
    inputs: Path | None = None
    boards: list[str] = Field(default=["mps2_an386"], min_length=1)
    emulator: str | None = None
    optimize: Optimize = "balanced"
    plan: PlanOptions = PlanOptions()
    budgets: dict[str, Limit] = {}
    tolerance: dict[str, Limit] = {}


class Config(_Table):
    """The whole file. `folder` is where it lies."""

    model: list[Model] = Field(min_length=1)
    baseline: Path = Path("secateur-baseline.json")
    folder: Path = Field(default=Path(), exclude=True)

    def resolve(self, path: Path) -> Path:
        """A path of the file."""
        return path if path.is_absolute() else self.folder / path


def load(path: Path) -> Config:
    """Read and check a budget file. Raises SecateurError naming the key."""
    if not path.exists():
        raise SecateurError(f"{path} does not exist: write a budget file, see docs/ci.md.")
    data = reading.toml_file(path)
    try:
        config = Config.model_validate({**data, "folder": path.resolve().parent})
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SecateurError(f"{path}, {where}: {first['msg']}; see docs/ci.md.") from e
    for i, model in enumerate(config.model):
        where = f"{path}, model {model.name or i + 1}"
        try:
            for figure, unit in (("flash", "bytes"), ("ram", "bytes"), ("latency", "ms")):
                if (limit := getattr(model.plan, figure)) is not None:
                    parse(limit, unit)
            check_encodings(model.plan.encodings)
            for figure, value in model.budgets.items():
                limit_of(figure, value)
            for figure, value in model.tolerance.items():
                if figure not in FIGURES:
                    limit_of(figure, value)
                parse(value, "fraction")
        except SecateurError as e:
            raise SecateurError(f"{where}: {e}") from e
    return config


def key(report: Report) -> str:
    """What a run is called in the baseline."""
    return f"{report.model}@{report.board}"


def load_baseline(path: Path) -> dict[str, dict[str, float]]:
    """Figures by run; empty if there is no baseline yet."""
    if not path.exists():
        return {}
    try:
        data: Any = reading.json_file(path)
        if data["schema"] != BASELINE_SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        return {
            str(run): {str(k): float(v) for k, v in figures.items()}
            for run, figures in data["runs"].items()
        }
    except (FileError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise SecateurError(
            f"baseline {path} cannot be read ({e}): write it again with `secateur baseline update`."
        ) from e


def save_baseline(path: Path, runs: dict[str, dict[str, float]]) -> Path:
    """Write a baseline, sorted, so that its differences read well."""
    document = {"schema": BASELINE_SCHEMA, "runs": runs}
    return write(path, json.dumps(document, indent=2, sort_keys=True) + "\n", OURS)
