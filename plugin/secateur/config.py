"""`secateur.toml`: models, boards, budgets; and the committed baseline beside it."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import reading
from .errors import FileError, SecateurError
from .files import looks_like, write
from .flow.arguments import CalibrationMethod, Optimize, WeightsIn, check_encodings
from .flow.interface import InputType, OutputType
from .report.budget import FIGURES, limit_of
from .report.changes import LayerState
from .report.figures import Report
from .report.units import parse

BASELINE_SCHEMA = 1
#: Whether a file is a baseline, which another one may replace.
OURS = looks_like(rb'\{\s*"(layers|runs)": \{')
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
    max_slowdown: float | None = None
    input_dtype: InputType | None = None
    output_dtype: OutputType | None = None
    input_scale: float | None = None
    input_zero_point: int | None = None
    logits: bool | None = None
    streaming: bool | None = None
    causal: bool | None = None
    hop: int | None = None


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


def lines(path: Path) -> list[dict[tuple[str, str], int]]:
    """Of each [[model]], in order: the line of every key of its tables, by (table, key).

    (table, "") is the line where the table begins, ("", "") the model's own. Dotted keys and inline
    tables count; what is written otherwise has its table's line.
    """
    found: list[dict[tuple[str, str], int]] = []
    table = ""
    for number, text in enumerate(reading.text(path).splitlines(), 1):
        stripped = text.strip()
        if re.match(r"\[\[\s*model\s*\]\]", stripped):
            found.append({("", ""): number})
            table = ""
        elif header := re.match(r"\[\s*([\w.-]+)\s*\]", stripped):
            table = header[1].removeprefix("model.")
            if found:
                found[-1].setdefault((table, ""), number)
        elif found and (entry := re.match(r"([\w-]+)(?:\.([\w-]+))?\s*=\s*(\{?)", stripped)):
            first, second, inline = entry.groups()
            where = (first, second) if second else (table, first)
            found[-1].setdefault(where, number)
            found[-1].setdefault((where[0], ""), number)
            if inline:
                found[-1].setdefault((first, ""), number)
                for name in re.findall(r"[{,]\s*([\w-]+)\s*=", stripped):
                    found[-1].setdefault((first, name), number)
    return found


def line_of(lines_: dict[tuple[str, str], int], table: str, key_: str) -> int:
    """The line of a key; its table's, or the model's, where that is not known."""
    for place in ((table, key_), (table, ""), ("", "")):
        if place in lines_:
            return lines_[place]
    return 1


def key(report: Report) -> str:
    """What a run is called in the baseline."""
    return f"{report.model}@{report.board}"


@dataclass(frozen=True)
class Baseline:
    """What was committed: of every run its figures, and its layers where it tells them."""

    runs: dict[str, dict[str, float]] = field(default_factory=dict)
    layers: dict[str, dict[str, LayerState]] = field(default_factory=dict)


def load_baseline(path: Path) -> Baseline:
    """A baseline; empty if there is none yet. Raises SecateurError if it cannot be read."""
    if not path.exists():
        return Baseline()
    try:
        data: Any = reading.json_file(path)
        if data["schema"] != BASELINE_SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        return Baseline(
            {
                str(run): {str(k): float(v) for k, v in figures.items()}
                for run, figures in data["runs"].items()
            },
            {
                # Pairs: the order is the model's, which sorted keys would lose.
                str(run): {str(name): LayerState.from_dict(state) for name, state in layers}
                for run, layers in data.get("layers", {}).items()
            },
        )
    except (FileError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as e:
        raise SecateurError(
            f"baseline {path} cannot be read ({e}): write it again with `secateur baseline update`."
        ) from e


def baseline_at(path: Path, ref: str) -> Baseline:
    """`load_baseline` as it is committed at a git ref (branch, tag or commit).

    Raises SecateurError where git, the ref or the file there is missing.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][\w./@{}^~+-]*", ref):
        raise SecateurError(f"--against {ref!r} is no name of a commit or branch")
    try:
        done = subprocess.run(
            ["git", "show", f"{ref}:./{path.name}"], cwd=path.resolve().parent,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as e:
        raise SecateurError(f"--against {ref} needs git, which does not run ({e})") from e
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise SecateurError(
            f"the repository of {path.resolve().parent} holds no {path.name} at {ref} "
            f"({said[-1] if said else 'git says nothing'}): commit one with "
            "`secateur baseline update`"
        )
    if len(done.stdout) > 16 << 20:
        raise SecateurError(f"{path.name} at {ref} is larger than any baseline")
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        there = Path(folder) / path.name
        there.write_bytes(done.stdout)
        return load_baseline(there)


def save_baseline(path: Path, baseline: Baseline) -> Path:
    """Write a baseline, sorted, so that its differences read well."""
    layers = {
        run: [[name, asdict(state)] for name, state in layers.items()]
        for run, layers in baseline.layers.items()
    }
    document = {"schema": BASELINE_SCHEMA, "runs": baseline.runs, "layers": layers}
    return write(path, json.dumps(document, indent=2, sort_keys=True) + "\n", OURS)
