"""A `CompiledModel` built for a board, run there or in an emulator, and reported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from ..lowering import reference
from ..progress import tell
from ..report.figures import (
    Energy,
    Flash,
    Outputs,
    Ram,
    Report,
    estimate_energy,
    estimate_latency,
    write_text,
)
from . import accuracy
from .compiled import CompiledModel

if TYPE_CHECKING:
    from ..targets import Board, RunResult, Target


def deploy(
    compiled: CompiledModel,
    board: str = "mps2_an386",
    inputs: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    emulator: str | Target | None = None,
    build_dir: str | Path | None = None,
    builder: str = "platformio",
    port: str | None = None,
    power: str | None = None,
) -> Report:
    """Build `compiled` for a board, run `inputs` there (or in its emulator), and report.

    With `port` (serial port, or "auto") the board itself is flashed and run, and with `power`
    ("ppk2", "joulescope", "lpm01a:PORT", "ina2xx:PORT", "csv:FILE") its energy is measured.
    `emulator` may be a Target that is ready to run.
    inputs: real [N, *input shape] or int8; labels: class indices [N], for accuracy. The library is
    written to `build_dir`/library and built beside it (default build/NAME/BOARD). If `compiled`
    was planned for another core, the library that is built has a plan for the board's.
    Raises ToolError, TargetError, DataError, BudgetError.
    """
    from .. import targets

    b = targets.boards.load(board)
    if isinstance(emulator, targets.Target):
        target = emulator
    else:
        target = targets.pick(b, emulator, port, power)
    compiled = compiled.planned_for(b)
    if inputs is None:
        x = np.zeros((1, *compiled.qgraph.interface_shape(compiled.qgraph.input)), np.int8)
    else:
        x = compiled.quantize(inputs)
    if labels is not None and len(labels) != len(x):
        raise DataError(f"{len(labels)} labels for {len(x)} inputs; give one label an input")
    folder = Path(build_dir) if build_dir else Path("build") / compiled.name / board
    library = compiled.save(folder / "library")
    tell(f"building for {board}")
    image = targets.build(library, b, folder / "firmware", builder=builder)
    tell(f"running on {board} ({target.name})", 0, len(x))
    result = target.run(image, x)
    tell("comparing with the reference")
    expected = reference.run(compiled.qgraph, x).reshape(len(x), -1)
    same = int(np.all(result.outputs.reshape(len(x), -1) == expected, axis=1).sum())
    s = image.sizes
    latency = estimate_latency(
        result.instructions,
        result.cycles,
        result.cycles_kind,
        b.clock_hz,
    )
    report = Report(
        model=compiled.name,
        board=board,
        emulator=None if target.name == "board" else target.name,
        accuracy=accuracy.measure(compiled, inputs, labels, expected, result.outputs),
        outputs=Outputs(same, len(x)),
        size=compiled.size,
        flash=Flash(s.total, s.model, s.runtime, s.harness),
        ram=Ram(s.arena, result.stack, s.static_ram),
        latency=latency,
        energy=_energy(result, latency.ms, b),
        layers=tuple(compiled.layers),
        factors=compiled.factors,
    )
    write_text(folder / "report.json", report.to_json())
    return report


def _energy(result: RunResult, ms: float | None, board: Board) -> Energy:
    """What a meter measured above idle; else the estimate from the manifest's current."""
    if result.energy is not None:
        e = result.energy
        spread = f" (+-{round(e.spread_uj, 6):.3g} uJ)" if e.windows > 1 else ""  # to a picojoule
        source = f"{e.source}, {e.windows} windows{spread}, idle {e.idle_ma:.3g} mA subtracted"
        return Energy(e.uj, "measured", source)
    p = board.power
    return estimate_energy(ms, p.active_ma, p.voltage, p.source)
