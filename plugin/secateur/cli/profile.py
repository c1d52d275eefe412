"""`secateur profile`: where the instructions of an inference go, layer by layer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secateur import reading
from secateur.errors import DataError

from .convert import conversion_options
from .output import import_keras, json_option, print_result, progress, work

if TYPE_CHECKING:
    import numpy as np

    from secateur.targets.runners.profile import Profile


@click.command("profile")
@click.argument("path", metavar="MODEL|DIR", type=click.Path(path_type=Path))
@click.option("--board", required=True, help="A board of `secateur boards`.")
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help=".npz with x: the first is run; default: random codes.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help=".npz with x, for a MODEL; default: the first 256 of --inputs.",
)
@conversion_options
@json_option
def command(
    path: Path,
    board: str,
    inputs: Path | None,
    calibration: Path | None,
    as_json: bool,
    **conversion: Any,
) -> None:
    """Count the instructions of each layer of MODEL (.keras) or a converted library DIR."""
    import numpy as np

    from secateur.targets import boards

    from .inputs import as_calibration, load_calibration, load_inputs

    b = boards.load(board)
    x = load_inputs(inputs)[0] if inputs is not None else None
    with (
        tempfile.TemporaryDirectory() as tmp,
        work(as_json),
        progress(f"profiling {path} on {board}") as step,
    ):
        from secateur.targets.builders import library
        from secateur.targets.runners.profile import profile

        folder, codes = path, None
        if not path.is_dir():
            if x is None and calibration is None:
                raise DataError(
                    f"{path} must be converted first: give --calibration, an .npz with x, or "
                    "profile the folder of a converted model."
                )
            samples = (
                load_calibration(calibration)
                if calibration is not None
                else as_calibration(x[:256], str(inputs))  # type: ignore[index]
            )
            import secateur

            import_keras()
            step(f"converting {path}")
            compiled = secateur.convert(path, samples, board=board, **conversion)
            folder = compiled.save(Path(tmp) / "library")
            codes = compiled.quantize(x[:1]) if x is not None else None
        elif x is not None:
            codes = _quantize(folder, x[:1])
        if codes is None:
            size = library.read(folder).input_size
            codes = np.random.default_rng(0).integers(-128, 128, (1, size)).astype(np.int8)
        found = profile(folder, b, Path(tmp) / "build", codes.reshape(1, -1))
        layers = {row["name"]: row for row in _manifest(folder).get("layers", [])}
    rows = [_row(step, layers.get(step.layer), found) for step in found.steps]
    data = {**found.to_dict(), "steps": rows}
    print_result(as_json, data, lambda: _table(data, f"{path} on {b.id} ({b.core})"))


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "secateur.json"
    if not path.exists():
        return {}
    found = reading.json_file(path, kind=DataError)
    if not isinstance(found, dict):
        raise DataError(f"{path} is no JSON object: convert the model again.")
    return found


def _quantize(folder: Path, x: np.ndarray) -> np.ndarray:
    """Real inputs as the int8 of a library on disk; int8 stays."""
    import numpy as np

    end = _manifest(folder).get("input", {})
    if x.dtype == np.int8:
        return x
    if "scale" not in end:
        raise DataError(f"{folder} has no secateur.json to scale float inputs: give int8 x.")
    size = int(end["size"])
    if x[0].size != size:
        raise DataError(f"inputs have {x[0].size} values each, the model in {folder} takes {size}.")
    q = np.floor(x / end["scale"] + 0.5) + end["zero_point"]
    return np.asarray(np.clip(q, -128, 127).astype(np.int8))


def _row(step: Any, layer: dict[str, Any] | None, found: Profile) -> dict[str, Any]:
    macs = int(layer["macs"]) if layer else 0
    effectual = int(layer["effectual_macs"]) if layer else 0
    return {
        "layer": step.layer,
        "op": layer["op"] if layer else "copy",
        "encoding": layer["encoding"] if layer else "",
        "function": step.function,
        "instructions": step.instructions,
        "cycles": step.cycles,
        "share": step.instructions / max(1, found.instructions),
        "flash_reads": step.flash,
        "sram_accesses": step.sram,
        "multiplications": step.macs,
        "energy_share": sum(step.energy.values()),
        "energy": step.energy,
        "macs": macs,
        "effectual_macs": effectual,
    }


def _table(data: dict[str, Any], title: str) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from secateur.targets.estimates.energy import CAUSES

    out = Table(title=title, title_justify="left", header_style="bold")
    out.add_column("layer", overflow="fold")
    out.add_column("encoding")
    out.add_column("function", overflow="fold")
    columns = (
        "instructions",
        "share",
        "est. cycles",
        "per MAC",
        "per effectual MAC",
        "est. energy",
    )
    for column in columns:
        out.add_column(column, justify="right", no_wrap=True)
    for row in data["steps"]:
        n = row["instructions"]
        out.add_row(
            Text(row["layer"]),
            row["encoding"] or row["op"],
            Text(row["function"]),
            f"{n:,}",
            f"{row['share']:.1%}",
            f"{row['cycles']:,.0f}",
            f"{n / row['macs']:.2f}" if row["macs"] else "",
            f"{n / row['effectual_macs']:.2f}" if row["effectual_macs"] else "",
            _energy(row["energy_share"], data["energy_uj"]),
        )
    out.add_section()
    total, macs = data["instructions"], sum(row["macs"] for row in data["steps"])
    out.add_row(
        "total", "", "", f"{total:,}", "", f"{data['cycles']:,.0f}",
        f"{total / macs:.2f}" if macs else "", "", _energy(1.0, data["energy_uj"]), style="bold",
    )  # fmt: skip
    by = Table(header_style="bold")
    by.add_column("C function", overflow="fold")
    by.add_column("instructions, callees apart", justify="right")
    by.add_column("share", justify="right")
    for name, n in list(data["functions"].items())[:15]:
        by.add_row(Text(name), f"{n:,}", f"{n / max(1, total):.1%}")
    why = Table(header_style="bold")
    for column in ("energy goes into", "estimated", "share"):
        why.add_column(column, justify="left" if column.startswith("energy") else "right")
    for name, share in data["causes"].items():
        what = Text(f"{name} ({CAUSES[name]})")
        why.add_row(what, _energy(share, data["energy_uj"]), f"{share:.1%}")
    source = Text(f"Energy is estimated. Source: {data['energy_source']}.", "dim")
    return Group(out, by, why, source)


def _energy(share: float, whole: float | None) -> str:
    """Microjoules, or the share where the board's current is not known."""
    return f"{share:.1%}" if whole is None else f"{share * whole:,.1f} uJ"
