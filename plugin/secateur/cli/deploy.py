"""`secateur deploy`: convert, build, run, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secateur.errors import DataError

from .convert import conversion_options
from .output import import_keras, json_option, print_result, progress, warn, work

if TYPE_CHECKING:
    from secateur.codegen.plan import Budget
    from secateur.flow.arguments import Builder
    from secateur.report.figures import Report
    from secateur.targets import Target

CALIBRATION_SAMPLES = 256


@click.command("deploy")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--board", "boards_", multiple=True, help="A board of `secateur boards`; repeatable.")
@click.option("--all-emulated", is_flag=True, help="Every board that an installed emulator knows.")
@click.option("--emulator", help="host, sim, qemu or renode; default: the best one installed.")
@click.option(
    "--inputs", type=click.Path(path_type=Path), help=".npz with x to run, and labels y if known."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help=f".npz with x; default: the first {CALIBRATION_SAMPLES} of --inputs.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for library, firmware and report.json (with several boards: for a folder each); "
    "default: build/NAME/BOARD.",
)
@click.option(
    "--port",
    "ports",
    multiple=True,
    help="Flash and run the board itself, at this serial port, or 'auto' for the one with its USB "
    "id; one for each --board.",
)
@click.option(
    "--power",
    help="Measure energy: ppk2[:PORT], joulescope, lpm01a:PORT, ina2xx:PORT, or csv:FILE for the "
    "recording of another meter. Implies --port auto.",
)
@click.option(
    "--builder",
    default="platformio",
    show_default=True,
    help="platformio, or gcc for the compiler alone; both give the same image.",
)
@click.option(
    "--code-in-ram",
    is_flag=True,
    help="Copy the model's functions to RAM at start-up, where they do not wait for flash; needs "
    "--builder gcc.",
)
@click.option(
    "--against",
    metavar="tflite|FILE.tflite",
    type=click.Path(path_type=Path),
    help="Run TensorFlow Lite beside: the int8 .tflite of MODEL, same calibration, or yours.",
)
@click.option(
    "--peer-figures",
    type=click.Path(path_type=Path),
    help="JSON with flash and arena of TensorFlow Lite Micro by model, shown beside.",
)
@click.option("--html", type=click.Path(path_type=Path), help="Write the report as a page, too.")
@conversion_options
@json_option
def command(
    model: Path,
    boards_: tuple[str, ...],
    all_emulated: bool,
    emulator: str | None,
    inputs: Path | None,
    calibration: Path | None,
    out: Path | None,
    ports: tuple[str, ...],
    power: str | None,
    builder: Builder,
    code_in_ram: bool,
    against: Path | None,
    peer_figures: Path | None,
    html: Path | None,
    as_json: bool,
    **conversion: Any,
) -> None:
    """Run MODEL (.keras) on a board or in its emulator, and report.

    Several boards give one table that compares them. Each gets a plan for its core. With --port or
    --power the board itself is flashed and its figures are measured.
    """
    from secateur.files import check, check_folder
    from secateur.report import history
    from secateur.report import html as page
    from secateur.report.terminal import compare, render

    from .inputs import as_calibration, load_calibration, load_inputs

    if inputs is None and calibration is None:
        raise DataError(
            "deploy needs data to calibrate with: give --inputs or --calibration, an .npz with x."
        )
    if html is not None:
        check(html, page.OURS)  # now, not after the work
    if against is not None and inputs is None:
        raise DataError("--against runs inputs in TensorFlow Lite: give --inputs.")
    if peer_figures is not None and against is None:
        raise DataError("--peer-figures stand beside --against: give both.")
    chosen = _boards(boards_, all_emulated, emulator)
    if out is not None:
        for board in chosen:
            check_folder((out if len(chosen) == 1 else out / board) / "library")
    chosen_targets = _targets(chosen, emulator, ports, power)
    x, y = load_inputs(inputs) if inputs is not None else (None, None)
    if calibration is not None:
        samples = load_calibration(calibration)
    else:
        assert x is not None
        samples = as_calibration(x[:CALIBRATION_SAMPLES], str(inputs))
    with work(as_json), progress(f"converting {model}") as step:
        import secateur

        import_keras()
        compiled = secateur.convert(model, samples, board=chosen[0], **conversion)
        if against is not None and str(against) == "tflite":
            against = (out or Path("build") / compiled.name) / f"{compiled.name}.tflite"
            secateur.to_tflite(model, samples, against)
        reports: list[Report] = []
        folders: list[Path] = []
        for board, target in zip(chosen, chosen_targets, strict=True):
            folder = Path("build") / compiled.name / board
            if out is not None:
                folder = out if len(chosen) == 1 else out / board
            reports.append(
                secateur.deploy(
                    compiled,
                    board=board,
                    inputs=x,
                    labels=y,
                    emulator=target,
                    build_dir=folder,
                    builder=builder,
                    code_in_ram=code_in_ram,
                    against=against,
                    peer_figures=peer_figures,
                )
            )
            folders.append(folder)
        if html is not None:
            from secateur.report.details import of, with_causes

            step("counting instructions by layer")
            details = of(compiled, chosen[0], folders[0])
            reports[0] = with_causes(reports[0], details)
            reports[0].save(folders[0] / "report.json")
            page.save(
                html, reports[0], details, reports[1:],
                limits=_limits(compiled.budget), previous=history.previous(reports[0], warn),
            )  # fmt: skip
        for report in reports:
            history.append(report)
    if len(reports) == 1:
        print_result(as_json, reports[0].to_dict(), lambda: render(reports[0]))
    else:
        print_result(as_json, [r.to_dict() for r in reports], lambda: compare(reports))


def _limits(asked: Budget) -> dict[str, float]:
    """Budgets by the figures of a report."""
    limits = {"flash": asked.flash, "ram": asked.ram, "latency": asked.latency_ms}
    return {name: float(limit) for name, limit in limits.items() if limit is not None}


def _targets(
    boards: list[str], emulator: str | None, ports: tuple[str, ...], power: str | None
) -> list[Target]:
    """What runs each board; what is missing is named now."""
    from secateur import targets

    if len(ports) > 1 and len(ports) != len(boards):
        raise DataError(
            f"{len(ports)} ports for {len(boards)} boards: give --port once for each --board, in "
            "the same order."
        )
    if len(ports) == 1 and len(boards) > 1 and ports[0] != "auto":
        raise DataError(f"--port {ports[0]} is one board's, and there are {len(boards)}.")
    each: list[str | None] = list(ports) if len(ports) > 1 else [ports[0] if ports else None]
    each *= len(boards) if len(each) == 1 else 1
    return [
        targets.pick(b, emulator, port, power, _recorded)
        for b, port in zip(boards, each, strict=True)
    ]


def _recorded(path: Path) -> None:
    """Waits for the recording of a meter this program does not drive."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        click.echo(f"The runs are over: save the recording as {path}, then press Enter.", err=True)
        sys.stdin.readline()


def _boards(names: tuple[str, ...], all_emulated: bool, emulator: str | None) -> list[str]:
    """Which boards to run on; an unknown one is named now, before minutes of work."""
    from secateur import targets

    if all_emulated:
        if names:
            raise DataError("--all-emulated and --board exclude each other: give one of them.")
        usable = [t for t in map(targets.get, targets.names()) if t.available() is None]
        return [
            board.id
            for board in targets.boards.all()
            if not board.hosted
            and any(t.supports(board) for t in usable if emulator in (None, t.name))
        ]
    if not names:
        raise DataError("deploy needs a target: give --board; `secateur boards` lists them.")
    for name in names:
        targets.boards.load(name)
    return list(dict.fromkeys(names))
