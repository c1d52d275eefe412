"""What `convert` and `deploy` take, checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from .. import coding
from ..codegen.kernels import all_kernels
from ..codegen.library import WeightsIn
from ..codegen.plan import DEFAULT_CORE, Budget
from ..errors import DataError, ModelError
from ..lowering.calibrate import Method
from ..lowering.qgraph import QGraph
from ..report.units import parse

#: What a plan minimises.
Optimize = Literal["latency", "energy", "balanced", "flash"]
#: How the ranges of activations are found.
CalibrationMethod = Method
#: What builds the firmware.
Builder = Literal["platformio", "gcc"]


__all__ = [
    "Builder", "CalibrationMethod", "Optimize", "WeightsIn", "budget_of", "check_encodings",
    "check_layers", "core_and_clock", "one_of",
]  # fmt: skip


def one_of(what: str, value: object, allowed: object) -> None:
    """Raises DataError unless `value` is one of a Literal's values."""
    if value not in get_args(allowed):
        raise DataError(f"{what} is {value!r}: choose one of {', '.join(get_args(allowed))}")


def check_slowdown(value: float) -> None:
    """Raises DataError unless `value` is a number of at least 1."""
    if not isinstance(value, int | float) or not value >= 1:
        raise DataError(
            f"max_slowdown is {value!r}: give how many times slower than the fastest plan another "
            "may be, a number of at least 1"
        )


def core_and_clock(board: str | None) -> tuple[str, int]:
    """(core, clock in Hz) of a board; (the default core, 0) without."""
    if board is None:
        return DEFAULT_CORE, 0
    from ..targets import boards

    found = boards.load(board)
    return found.core, found.clock_hz


def budget_of(
    flash: str | int | None, ram: str | int | None, latency: str | float | None, clock_hz: int
) -> Budget:
    """The budgets as numbers. Raises DataError naming the one that is no quantity."""
    if latency is not None and not clock_hz:
        raise DataError(
            "a latency budget needs the board whose clock it is for: give board=... (--board)"
        )
    return Budget(
        None if flash is None else int(parse(flash, "bytes")),
        None if ram is None else int(parse(ram, "bytes")),
        None if latency is None else parse(latency, "ms"),
        clock_hz,
    )


def check_encodings(encodings: Mapping[str, str] | str | None) -> None:
    """Raises DataError for a name, "ENCODING" or "ENCODING/KERNEL", that does not exist."""
    wanted = [encodings] if isinstance(encodings, str) else list((encodings or {}).values())
    known = [e.name for e in coding.all_encodings()]
    kernels = [k.name for k in all_kernels()]
    for text in wanted:
        name, _, kernel = str(text).partition("/")
        if name not in known:
            raise DataError(f"encoding {name!r} is unknown: {', '.join(sorted(known))}")
        if kernel and kernel not in kernels:
            raise DataError(f"kernel {kernel!r} is unknown: {', '.join(sorted(kernels))}")


def check_layers(encodings: Mapping[str, str] | str | None, graph: QGraph) -> None:
    """Raises ModelError if `encodings` names a layer that the model has not."""
    if isinstance(encodings, Mapping):
        names = [op.name for op in graph]
        for layer in encodings:
            if layer not in names:
                raise ModelError(
                    f"encodings names layer {layer!r}, which '{graph.name}' has not: "
                    f"{', '.join(names)}"
                )
