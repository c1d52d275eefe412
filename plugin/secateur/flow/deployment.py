"""A `CompiledModel` built for a board, run there or in an emulator, and reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..codegen.ends import joined, split
from ..codegen.plan import executed
from ..errors import DataError
from ..files import held, lock_of
from ..lowering import reference
from ..progress import tell
from ..report import metrics
from ..report.figures import (
    Alternative,
    Energy,
    Flash,
    Latency,
    Outputs,
    Ram,
    Report,
    estimate_energy,
    estimate_latency,
)
from ..tasks import Task
from . import accuracy, ranges
from . import against as against_
from .arguments import Builder, check_slowdown, one_of
from .compiled import CompiledModel

if TYPE_CHECKING:
    from ..targets import Board, RunResult, Target


#: Of estimates that leave out what nobody knows.
_FROM_BELOW = "cycles are at least these, without what flash waits on this board"
_NO_CYCLES = "there is no latency: nothing is known of how long instructions take on core"

#: Seconds a deployment waits for another one in its folder.
TURN = 600.0

_IN_RAM = (
    "the model's code is in RAM, and counted there as data; that it shares a bus with data is not "
    "in the estimate"
)


def deploy(
    compiled: CompiledModel,
    board: str = "mps2_an386",
    *,
    inputs: Any = None,
    labels: np.ndarray | None = None,
    emulator: str | Target | None = None,
    build_dir: str | Path | None = None,
    builder: Builder = "platformio",
    code_in_ram: bool = False,
    port: str | None = None,
    power: str | None = None,
    against: str | Path | None = None,
    peer_figures: str | Path | None = None,
    max_slowdown: float | None = None,
) -> Report:
    """Build a converted model for a board, run it there or in an emulator, and report.

    Args:
        compiled: what `convert` returned. If it was planned for another core, the library that is
            built has a plan for the board's.
        board: a board of `secateur boards`, "host" for this computer.
        inputs: what to run (of several inputs a list in the model's order, or a mapping by name),
            real [N, *input shape] in any dtype but int8, which are the converted model's codes
            (`CompiledModel.quantize`); None: one input of zeros.
        labels: for the accuracy class numbers [N] or one-hot [N, classes], 0 and 1 for one logit or
            sigmoid or for several labels a sample; targets of a regression. Anything else is
            refused before anything is built (`secateur.tasks`).
        emulator: "host", "sim", "qemu" or "renode", or a Target that is ready to run; None: the
            best one installed that knows the board.
        build_dir: the library is written to `build_dir`/library and built beside it, with
            report.json; default: build/NAME/BOARD.
        builder: "platformio", or "gcc" for the compiler alone; both give the same image.
        code_in_ram: have start-up copy the model's functions to RAM, where they do not wait for
            flash; constants stay in flash. For the builder "gcc".
        port: serial port of the board itself, or "auto" for the one with its USB id: it is flashed
            and run.
        power: meter that records the board's energy: "ppk2[:PORT]", "joulescope", "lpm01a:PORT",
            "ina2xx:PORT" or "csv:FILE". Implies port "auto".
        against: a .tflite of the same network (`to_tflite` makes one), run with LiteRT on the same
            inputs: `Report.against`.
        peer_figures: a JSON file with what TensorFlow Lite Micro needs for models by name
            (`report.peer.figures`), shown beside.
        max_slowdown: plan again, with this bound on how many times slower than the fastest plan
            another may be; None: as converted.

    Returns:
        The figures, also in `build_dir`/report.json. Cycles and energy are measured on hardware,
        and estimated in emulators.

    Raises:
        DataError: inputs or labels do not fit the model, or an argument is not one of its values.
        TargetError: the board is unknown, nothing here runs it, or the run failed.
        ToolError: a compiler, emulator or probe is missing or failed.
        BudgetError: no plan for the board's core keeps the budgets.
        FileError: `build_dir` holds files of others where the build writes, or is another one's.
    """
    from .. import targets

    one_of("builder", builder, Builder)
    if against is not None and inputs is None:
        raise DataError("against without inputs has nothing to run; give inputs, too")
    if max_slowdown is not None:
        check_slowdown(max_slowdown)
    b = targets.boards.load(board)
    if code_in_ram:
        targets.check_code_in_ram(b, builder)
    if isinstance(emulator, targets.Target):
        target = emulator
    else:
        target = targets.pick(b, emulator, port, power)
    if inputs is None:
        x = [np.zeros((1, *e.shape), e.dtype) for e in compiled.inputs.ends]
    else:
        codes = compiled.quantize(inputs)
        x = [codes] if len(compiled.inputs.ends) == 1 else codes
    if compiled.qgraph.step_due is not None:
        raise DataError(
            f"'{compiled.name}' was converted for streaming, and the harness runs whole windows: "
            "write its library (save) and call NAME_step, or deploy the model of the window"
        )
    asked = accuracy.task(compiled, inputs, labels)
    notes = (*compiled.notes, *ranges.warned(ranges.of_inputs(compiled, inputs)))
    if max_slowdown is not None and max_slowdown != compiled.max_slowdown:
        compiled = compiled.with_slowdown(max_slowdown, b)
    compiled = compiled.planned_for(b)
    folder = Path(build_dir) if build_dir else Path("build") / compiled.name / board
    with held(lock_of(folder), folder, TURN):
        return _deploy(
            compiled, b, target, x, inputs, asked, notes, folder, builder, code_in_ram, against,
            peer_figures,
        )  # fmt: skip


def _deploy(
    compiled: CompiledModel,
    board: Board,
    target: Target,
    x: list[np.ndarray],
    inputs: Any,
    asked: Task | None,
    notes: tuple[str, ...],
    folder: Path,
    builder: Builder,
    code_in_ram: bool,
    peer: str | Path | None,
    peer_figures: str | Path | None,
) -> Report:
    """`deploy` in a folder that is this process' alone; x: an array of codes for each input."""
    from .. import targets

    library = compiled.save(folder / "library")
    tell(f"building for {board.id}")
    image = targets.build(
        library, board, folder / "firmware", builder=builder, code_in_ram=code_in_ram
    )
    if code_in_ram:
        notes = (*notes, _IN_RAM)
    tell(f"running on {board.id} ({target.name})", 0, len(x[0]))
    wire = joined(compiled.inputs, x)
    result = target.run(image, wire)
    tell("comparing with the reference")
    made = reference.run(compiled.qgraph, dict(zip(compiled.qgraph.inputs, x, strict=True)))
    many = [made] if len(compiled.outputs.ends) == 1 else made
    expected, device = joined(compiled.outputs, many), result.outputs.reshape(len(wire), -1)
    same = int(np.all(device == expected, axis=1).sum())
    s = image.sizes
    latency = estimate_latency(
        result.instructions,
        result.cycles,
        result.cycles_kind,
        board.clock_hz,
        board.cpu.cycles.error if board.cpu.cycles else None,
        result.between,
        board.wait_states is None,
    )
    if latency.cycles is not None and latency.kind == "estimated" and board.wait_states is None:
        notes = (*notes, f"{_FROM_BELOW}: {board.wait_states_source or 'its manifest is silent'}")
    if latency.ms is None and board.cpu.cycles is None and not board.hosted:
        notes = (*notes, f"{_NO_CYCLES} {board.core}")
    first = split(compiled.outputs, device)[0]  # labels are for models of one output
    right, off, by_class = accuracy.measure(compiled, inputs, asked, many[0], first)
    beside = None
    if peer is not None:
        beside = against_.compare(compiled, peer, inputs, asked, first, peer_figures)
    report = Report(
        model=compiled.name,
        board=board.id,
        emulator=None if target.name == "board" else target.name,
        accuracy=right,
        outputs=Outputs(same, len(wire)),
        size=compiled.size,
        flash=Flash(s.total, s.model, s.runtime, s.harness),
        ram=Ram(s.arena, result.stack, s.static_ram),
        latency=latency,
        energy=_energy(result, latency, board),
        layers=tuple(compiled.layers),
        factors=compiled.factors,
        regression=off,
        classes=by_class,
        against=beside,
        others=_others(compiled, board),
        notes=(*notes, *result.notes),
    )
    report = replace(report, metrics=metrics.of(report, executed(board.core)))
    report.save(folder / "report.json")
    return report


def _others(compiled: CompiledModel, board: Board) -> dict[str, Alternative]:
    """What plans for any other `optimize` would give, where that is another plan."""
    plan = compiled.plan
    here = board.cpu.priced_as == plan.core and board.cpu.cycles is not None and board.clock_hz
    return {
        optimize: Alternative(a.flash, 1e3 * a.cycles / board.clock_hz if here else None)
        for optimize, a in plan.others.items()
    }


def _energy(result: RunResult, latency: Latency, board: Board) -> Energy:
    """What a meter measured above idle; else the estimate from the manifest's current."""
    if result.energy is not None:
        e = result.energy
        spread = f" (+-{round(e.spread_uj, 6):.3g} uJ)" if e.windows > 1 else ""  # to a picojoule
        source = f"{e.source}, {e.windows} windows{spread}, idle {e.idle_ma:.3g} mA subtracted"
        return Energy(e.uj, "measured", source)
    p = board.power
    return estimate_energy(latency, p.active_ma, p.voltage, p.source, p.tolerance)
