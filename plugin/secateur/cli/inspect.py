"""`secateur inspect`: a model or a generated library, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from secateur import reading
from secateur.errors import ModelError
from secateur.names import shown

from .output import import_keras, json_option, print_result, work


@click.command("inspect")
@click.argument("path", metavar="MODEL|DIR", type=click.Path(path_type=Path))
@click.option(
    "--error",
    "calibration",
    metavar="X.NPZ",
    type=click.Path(path_type=Path),
    help="Convert with these inputs and show what 8 bits cost each tensor.",
)
@click.option("--graph", metavar="FORM", help="Draw the model: mermaid, dot or html.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the drawing.")
@json_option
def command(
    path: Path, calibration: Path | None, graph: str | None, out: Path | None, as_json: bool
) -> None:
    """Show a model or a converted library by layer."""
    if graph is not None:
        _draw(path, graph, out, as_json)
    elif out is not None:
        raise ModelError("--out is where --graph draws: give --graph mermaid, dot or html")
    elif calibration is not None:
        _errors(path, calibration, as_json)
    elif path.is_dir():
        _library(path, as_json)
    else:
        _model(path, as_json)


def _library(path: Path, as_json: bool) -> None:
    from secateur.report import LayerFigures
    from secateur.report.gains import Gains
    from secateur.report.terminal import cause_table, layer_table

    manifest = path / "secateur.json"
    try:
        if not manifest.exists():
            raise ModelError(
                f"{path} holds no secateur.json: give a folder that `secateur convert` wrote."
            )
        data = reading.json_file(manifest, kind=ModelError)
        layers = [LayerFigures.from_dict(layer) for layer in data["layers"]]
        bits = [dict(layer["bits"]) for layer in data["layers"]]
        name, factors = data["name"], Gains(**data["factors"])
        chains = [_chain(c["layers"], c["rows"]) for c in data.get("chains", [])]
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ModelError(f"{manifest} cannot be read ({e}): convert the model again.") from e

    def tables() -> Any:
        with reading.reading(manifest, ModelError):
            return group()

    def group() -> Any:
        from rich.console import Group

        causes = cause_table(list(zip(layers, bits, strict=True)))
        text = "\n".join([f"factors: {factors}", *chains])
        return Group(layer_table(layers, title=f"{name} in {path}"), text, "", causes)

    print_result(as_json, data, tables)


def _draw(path: Path, form: str, out: Path | None, as_json: bool) -> None:
    from rich.text import Text

    from secateur.files import check, write
    from secateur.report import graph

    if form not in graph.FORMS:
        raise ModelError(f"--graph {form} is none of {', '.join(graph.FORMS)}")
    if path.is_dir() and (path / "secateur.json").exists():
        raise ModelError(f"{path} is a library: --graph draws the model it was made of.")
    if out is not None:
        check(out, graph.OURS)
    with work(as_json):
        from secateur.frontend.load import load

        import_keras()
        text = graph.FORMS[form](load(path))
    if out is not None:
        write(out, text, graph.OURS)
        text = f"{out}"
    if as_json:
        print_result(True, {"graph": form, "out": out and str(out), "text": text}, lambda: "")
    elif out is not None:
        print_result(False, None, lambda: Text(text))
    else:
        click.echo(text, nl=False)


def _errors(path: Path, calibration: Path, as_json: bool) -> None:
    """What integers cost, tensor by tensor."""
    from .inputs import load_calibration

    if path.is_dir():
        raise ModelError(f"{path} is a library: --error needs the model it was made of.")
    x = load_calibration(calibration)
    with work(as_json):
        import secateur
        from secateur.flow.errors_by_tensor import by_tensor

        import_keras()
        compiled = secateur.convert(path, x)
        rows = by_tensor(compiled, x)
    data = {"model": compiled.name, "tensors": [r.to_dict() for r in rows]}

    def table() -> Any:
        from rich.table import Table
        from rich.text import Text

        out = Table(title=f"{compiled.name}: integers beside float", title_justify="left")
        out.add_column("tensor", overflow="fold")
        out.add_column("op")
        for column in ("SQNR, dB", "step", "codes used", "clipped"):
            out.add_column(column, justify="right")
        for r in rows:
            out.add_row(
                Text(shown(r.tensor)), r.op, f"{r.sqnr_db:.1f}", f"{r.step:.4g}", f"{r.used:.0%}",
                f"{r.clipped:.2%}",
            )  # fmt: skip
        return out

    print_result(as_json, data, table)


def _chain(layers: list[str], rows: int) -> str:
    """One line about layers that run some rows at a time."""
    count = "1 row" if rows == 1 else f"{rows} rows"
    return f"chain: {', '.join(layers[:-1])}, {layers[-1]}: {count} of the last at a time"


def _model(path: Path, as_json: bool) -> None:
    with work(as_json):
        from secateur.frontend.load import load

        import_keras()

        graph = load(path)
    rows = [_row(node) for node in graph]
    data = {
        "model": graph.name,
        "layers": rows,
        "parameters": sum(row["parameters"] for row in rows),
        "macs": sum(row["macs"] for row in rows),
    }

    def table() -> Any:
        from rich.table import Table
        from rich.text import Text

        out = Table(title=f"{graph.name} in {path}", title_justify="left", header_style="bold")
        out.add_column("layer", overflow="fold")
        out.add_column("op")
        out.add_column("shape")
        for column in ("parameters", "non-zero", "levels", "MACs"):
            out.add_column(column, justify="right")
        for row in rows:
            weighted = row["levels"] is not None
            out.add_row(
                Text(row["name"]),
                row["op"],
                "x".join(str(n) for n in row["shape"]),
                f"{row['parameters']:,}" if row["parameters"] else "",
                f"{row['nonzeros']:,}" if weighted else "",
                f"{row['levels']:,}" if weighted else "",
                f"{row['macs']:,}" if row["macs"] else "",
            )
        out.add_section()
        out.add_row("total", "", "", f"{data['parameters']:,}", "", "", f"{data['macs']:,}")
        return out

    print_result(as_json, data, table)


def _row(node: Any) -> dict[str, Any]:
    """`levels` counts the distinct weights: a pruned and clustered layer has few."""
    import numpy as np

    kernel = node.params.get("kernel")
    pixels = int(np.prod(node.shape[:-1])) if kernel is not None else 0
    return {
        "name": node.name,
        "op": node.op,
        "shape": list(node.shape),
        "parameters": sum(int(p.size) for p in node.params.values()),
        "nonzeros": None if kernel is None else int(np.count_nonzero(kernel)),
        "levels": None if kernel is None else int(np.unique(kernel).size),
        "macs": 0 if kernel is None else int(kernel.size) * pixels,
    }
