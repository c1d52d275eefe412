"""The figures of one deployment; `report.json` is their schema 1 (docs/report-schema.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from pydantic import TypeAdapter, ValidationError

from secateur import notebook
from secateur.errors import SecateurError
from secateur.files import looks_like, write
from secateur.reading import json_file, reading

from .classes import Classes
from .gains import Gains
from .layers import LayerFigures
from .metrics import Metrics
from .peer import Peer
from .units import Quantity, show

SCHEMA = 1

#: Whether a file is a report.json, which another one may replace.
OURS = looks_like(rb'\{\s*"schema": \d+,\s*"model": ')

_Number: TypeAlias = float | None  # `Accuracy.float` hides the built-in name


@dataclass(frozen=True)
class Accuracy(Quantity):
    """Fractions of right answers, None where no labels were given or the stage did not run.

    `kind` says what was counted: "top-1", "binary" (one logit or sigmoid against 0 and 1) or
    "multi-label" (every 0 and 1 of a row by itself); with "regression" see `Report.regression`.
    """

    unit: ClassVar[str] = "fraction"
    float: _Number = None
    reference: _Number = None
    device: _Number = None
    kind: str = "top-1"

    @property
    def headline(self) -> _Number:
        """The device's, else the reference's (which is the same wherever outputs are identical)."""
        return self.device if self.device is not None else self.reference


@dataclass(frozen=True)
class Regression:
    """How far a regression is off: by stage ("float", "reference", "device").

    `mae`: mean absolute error, in the targets' unit. `r2`: share of the targets' variance that is
    explained, 1 at best. None where a stage did not run or targets do not vary.
    """

    mae: Mapping[str, float | None]
    r2: Mapping[str, float | None]


@dataclass(frozen=True)
class Outputs:
    """How many runs gave exactly the bytes of the NumPy reference."""

    identical: int
    total: int


@dataclass(frozen=True)
class Size(Quantity):
    """Bytes of all parameters: in float32, as plain int8, as stored."""

    unit: ClassVar[str] = "bytes"
    float32: int
    int8: int
    stored: int

    @property
    def headline(self) -> float | None:
        """Stored bytes."""
        return self.stored

    @property
    def ratio(self) -> float:
        """float32 bytes per stored byte, everything stored counted."""
        return self.float32 / self.stored if self.stored else 0.0


@dataclass(frozen=True)
class Flash(Quantity):
    """Bytes of the linked image by owner."""

    unit: ClassVar[str] = "bytes"
    total: int
    model: int
    runtime: int
    harness: int

    @property
    def headline(self) -> float | None:
        """Model and runtime: what the network costs an application. The harness is ours."""
        return self.model + self.runtime


@dataclass(frozen=True)
class Ram(Quantity):
    """Bytes: activations' arena, stack high-water mark, other .data and .bss."""

    unit: ClassVar[str] = "bytes"
    arena: int
    stack: int
    static: int

    @property
    def headline(self) -> float | None:
        """The sum."""
        return self.arena + self.stack + self.static


@dataclass(frozen=True)
class Latency(Quantity):
    """Per inference. `kind` is "measured" (hardware counter) or "estimated" (cost table).

    `low` and `high` are milliseconds between which an estimate is, by what the sources of its rules
    leave open and the known error of the core's model; None where that is unknown.
    """

    unit: ClassVar[str] = "ms"
    instructions: int | None
    cycles: float | None
    ms: float | None
    kind: str
    low: float | None = None
    high: float | None = None

    @property
    def headline(self) -> float | None:
        """Milliseconds at the board's clock."""
        return self.ms


@dataclass(frozen=True)
class Energy(Quantity):
    """Per inference, in microjoules. `source` says where the figure comes from, `causes` what the
    energy goes into (an estimate; None unless profiled). `low` and `high` are microjoules between
    which an estimate is, None unless the errors of cycles and current are both known."""

    unit: ClassVar[str] = "uj"
    uj: float | None
    kind: str
    source: str = ""
    causes: Mapping[str, _Number] | None = None
    low: float | None = None
    high: float | None = None

    @property
    def headline(self) -> float | None:
        """Microjoules."""
        return self.uj


@dataclass(frozen=True)
class Alternative:
    """What a plan for another `optimize` would give, by the planner's estimates: bytes of model and
    runtime in flash, milliseconds of an inference (None where the board has no estimate)."""

    flash: int
    ms: float | None

    def __str__(self) -> str:
        return show(self.flash, "bytes") + ("" if self.ms is None else f" at {show(self.ms, 'ms')}")


@dataclass(frozen=True)
class Report:
    """Everything one deployment showed. `print(report)` gives the terminal form."""

    model: str
    board: str
    emulator: str | None  #: None on hardware
    accuracy: Accuracy
    outputs: Outputs
    size: Size
    flash: Flash
    ram: Ram
    latency: Latency
    energy: Energy
    layers: tuple[LayerFigures, ...] = ()
    factors: Gains | None = None
    regression: Regression | None = None  #: instead of accuracies, where labels are targets
    classes: Classes | None = None  #: of a classification with labels
    against: Peer | None = None  #: the same model in TensorFlow Lite, where that was asked for
    metrics: Metrics | None = None  #: of the surveys, at three levels
    others: Mapping[str, Alternative] = field(default_factory=dict)  #: by `optimize`
    notes: tuple[str, ...] = field(default=(), compare=False)  #: for people; not part of schema 1

    @property
    def alternatives(self) -> str:
        """What another `optimize` would give: "flash: 4.4 kB at 7.7 ms; latency, energy: ..."."""
        alike: dict[str, list[str]] = {}
        for optimize, what in self.others.items():
            alike.setdefault(str(what), []).append(optimize)
        return "; ".join(f"{', '.join(names)}: {what}" for what, names in alike.items())

    def __post_init__(self) -> None:
        # A failed assertion on one figure wants to show the rest (see secateur.pytest_plugin).
        for name in ("accuracy", "size", "flash", "ram", "latency", "energy"):
            object.__setattr__(getattr(self, name), "report", self)

    def __repr__(self) -> str:
        where = self.board if self.emulator is None else f"{self.board}, {self.emulator}"
        exact = f"{self.outputs.identical} of {self.outputs.total} outputs identical"
        return f"<Report {self.model} ({where}): {exact}, flash {self.flash}, ram {self.ram}>"

    @property
    def bit_exact(self) -> bool:
        """Whether every run gave the reference's bytes (and there was at least one run)."""
        return self.outputs.total > 0 and self.outputs.identical == self.outputs.total

    def to_dict(self) -> dict[str, Any]:
        """Schema 1."""
        out: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        del out["notes"]
        out["layers"] = [layer.to_dict() for layer in self.layers]
        return out

    def to_json(self) -> str:
        """Schema 1 as indented JSON, ending in a newline."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write `report.json` to `path` in one step; folders are made as needed.

        Raises FileError if something other than a report is there.
        """
        return write(path, self.to_json(), OURS)

    @classmethod
    def from_dict(cls, data: dict[str, Any], what: str = "report") -> Report:
        """The inverse of `to_dict`; `what` names the document in errors.

        Raises SecateurError for another schema or missing figures.
        """
        if data.get("schema") != SCHEMA:
            raise SecateurError(
                f"{what} has schema {data.get('schema')!r}, this version reads {SCHEMA}: "
                "write it again with this version."
            )
        try:
            fields = {key: value for key, value in data.items() if key not in ("schema", "notes")}
            report: Report = TypeAdapter(cls).validate_python(fields)
        except ValidationError as e:
            first = e.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SecateurError(
                f"{what} is not a complete schema {SCHEMA} document: {where}: {first['msg']}."
            ) from e
        return report

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a `report.json`."""
        data = json_file(path)
        if not isinstance(data, dict):
            raise SecateurError(f"report {path} is not a JSON object.")
        with reading(path):
            return cls.from_dict(data, f"report {path}")

    def _repr_html_(self) -> str:
        figures = [
            f"{name} {getattr(self, name)}"
            for name in ("accuracy", "size", "flash", "ram", "latency", "energy")
            if getattr(self, name).headline is not None
        ]
        rows: list[list[object]] = [
            [x.name, x.encoding or x.op, x.parameters, x.nonzeros, x.stored_bytes, x.effectual_macs]
            for x in self.layers
        ]
        columns = ("layer", "stored as", "weights", "non-zero", "bytes", "effectual MACs")
        return notebook.table(repr(self)[1:-1], columns, rows, [", ".join(figures), *self.notes])

    def plot(self, path: str | Path | None = None) -> Any:
        """Bytes and multiply-accumulates by layer as a matplotlib figure, which is returned.

        path: also save it there (.png, .svg or .pdf); an earlier picture is replaced. Raises
        ToolError without matplotlib, FileError if another file is there.
        """
        from .plot import figure

        return figure(self, path)

    def __str__(self) -> str:
        from .terminal import report_text

        return report_text(self)


def estimate_latency(
    instructions: int | None,
    cycles: float | None,
    kind: str,
    hz: float,
    error: float | None = None,
    between: tuple[float, float] | None = None,
    at_least: bool = False,
) -> Latency:
    """Latency of one inference at a clock of `hz`; unknown cycles stay unknown.

    The others as of `cycles_between`.
    """
    ms = None if cycles is None else 1e3 * cycles / hz
    if cycles is None or kind != "estimated":
        return Latency(instructions, cycles, ms, kind)
    ends = cycles_between(cycles, error, between, at_least)
    low, high = (None if end is None else 1e3 * end / hz for end in ends)
    return Latency(instructions, cycles, ms, kind, low, high)


def cycles_between(
    cycles: float,
    error: float | None,
    between: tuple[float, float] | None = None,
    at_least: bool = False,
) -> tuple[float | None, float | None]:
    """Between what estimated cycles are; None where that is unknown.

    `error` is how far estimates of the core may be off, as a fraction; `between` what their rules
    leave open. `at_least`: something is not in the estimate, so that there is no upper end.
    """
    if error is None:
        return None, None
    low, high = between or (cycles, cycles)
    return low * (1 - error), None if at_least else high * (1 + error)


def estimate_energy(
    latency: Latency,
    current_ma: float | None,
    volts: float | None,
    source: str,
    tolerance: float | None = None,
) -> Energy:
    """Milliseconds x active current x voltage, in microjoules: always "estimated".

    `tolerance` is how far the current may be off, as a fraction.
    """
    if latency.ms is None or current_ma is None or volts is None:
        return Energy(None, "estimated", source)
    mw = current_ma * volts
    if tolerance is None or latency.low is None or latency.high is None:
        return Energy(latency.ms * mw, "estimated", source)
    low, high = latency.low * mw * (1 - tolerance), latency.high * mw * (1 + tolerance)
    return Energy(latency.ms * mw, "estimated", source, None, low, high)
