"""The terminal form of a report and of a table of layers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..coding.base import columns_of_causes
from .console import PlainConsole
from .layers import LayerFigures, total
from .units import show

if TYPE_CHECKING:
    from .figures import Report

_COLUMNS = (
    ("weights", 7),
    ("kept", 5),
    ("bits", 5),
    ("bytes", 6),
    ("entropy", 7),
    ("kMACs", 6),
    ("effect.", 7),
)


def layer_table(layers: Sequence[LayerFigures], title: str | None = None) -> Table:
    """A row per layer and a row of totals; fits 80 columns."""
    table = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("layer", no_wrap=True, overflow="ellipsis", min_width=8)
    table.add_column("stored as", no_wrap=True, overflow="ellipsis", min_width=7)
    # What may shrink in a narrow terminal is the names, never the numbers.
    for name, width in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for layer in layers:
        table.add_row(Text(layer.name), Text(layer.encoding or layer.op), *_figures(layer))
    table.add_section()
    table.add_row("total", "", *_figures(total(layers)), style="bold")
    return table


def cause_table(layers: Sequence[tuple[LayerFigures, Mapping[str, int]]]) -> Table:
    """Stored bits by cause, beside the entropy of the weights; `layers` with bits by kind."""
    columns = columns_of_causes()
    table = Table(
        title="bits by cause",
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("layer", no_wrap=True, overflow="ellipsis", min_width=8)
    for name in ("entropy", "stored", *columns):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name) + 1)
    sums = [0.0] * (2 + len(columns))
    for layer, bits in layers:
        parts = [sum(bits.get(kind, 0) for kind in kinds) for kinds in columns.values()]
        row = [8 * layer.entropy_bytes, 8 * layer.stored_bytes, *parts]
        sums = [a + b for a, b in zip(sums, row, strict=True)]
        if layer.stored_bytes:
            table.add_row(Text(layer.name), *(f"{n:,.0f}" for n in row))
    table.add_section()
    table.add_row("total", *(f"{n:,.0f}" for n in sums), style="bold")
    return table


def _figures(layer: LayerFigures) -> list[str]:
    out = ["", "", "", f"{layer.stored_bytes:,}" if layer.stored_bytes else "", "", "", ""]
    if layer.parameters:
        out[0] = f"{layer.parameters:,}"
        out[1] = f"{100 * layer.nonzeros / layer.parameters:.0f} %"
        out[2] = f"{layer.bits_per_weight:.2f}"
        out[4] = f"{layer.entropy_bytes:,.0f}"
    if layer.macs:
        digits = 0 if layer.macs >= 10_000 else 1
        out[5] = f"{layer.macs / 1000:,.{digits}f}"
        out[6] = f"{layer.effectual_macs / 1000:,.{digits}f}"
    return out


def _headlines(report: Report) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    accuracy, size, flash, ram = report.accuracy, report.size, report.flash, report.ram
    if accuracy.headline is not None:
        parts = (("float", accuracy.float), ("reference", accuracy.reference))
        stages = [f"{name} {show(v, 'fraction')}" for name, v in parts if v is not None]
        if accuracy.device is not None:
            stages.append(f"device {show(accuracy.device, 'fraction')}")
        kind = "" if accuracy.kind == "top-1" else f" ({accuracy.kind})"
        grid.add_row("accuracy", ", ".join(stages) + kind)
    if report.classes is not None:
        grid.add_row("classes", report.classes.sentence())
    if report.against is not None:
        for i, line in enumerate(report.against.lines()):
            grid.add_row("" if i else "against", line)
    if report.regression is not None:
        for name, figure in (("error", report.regression.mae), ("R2", report.regression.r2)):
            stages = [f"{s} {show(v, 'number')}" for s, v in figure.items() if v is not None]
            unit = ", mean absolute" if name == "error" else ""
            grid.add_row(name, (", ".join(stages) or "not determined") + unit)
    if report.outputs.total:
        exact = f"{report.outputs.identical} of {report.outputs.total}"
        grid.add_row("outputs identical", Text(exact, "green" if report.bit_exact else "bold red"))
    grid.add_row(
        "weights",
        f"{size.stored:,} bytes stored; {size.float32:,} in float32 ({size.ratio:.1f}x), "
        f"{size.int8:,} in int8",
    )
    if report.factors is not None:
        grid.add_row("factors", str(report.factors))
    grid.add_row(
        "flash",
        f"{flash.model + flash.runtime:,} bytes: model {flash.model:,}, runtime {flash.runtime:,}"
        f" (image with harness {flash.harness:,}: {flash.total:,})",
    )
    grid.add_row(
        "RAM",
        f"{ram.arena + ram.stack + ram.static:,} bytes: arena {ram.arena:,}, "
        f"stack {ram.stack:,}, static {ram.static:,}",
    )
    latency = report.latency
    parts_: list[str] = []
    if latency.instructions is not None:
        parts_.append(f"{latency.instructions:,} instructions")
    if latency.cycles is not None:
        parts_.append(f"{latency.cycles:,.0f} cycles ({latency.kind})")
    if latency.ms is not None:
        between = ""
        if latency.low is not None and latency.high is not None:
            between = f" ({show(latency.low, 'ms')} to {show(latency.high, 'ms')})"
        elif latency.low is not None:
            between = f" (at least {show(latency.low, 'ms')})"
        parts_.append(show(latency.ms, "ms") + between)
    grid.add_row("latency", ", ".join(parts_) or "not determined")
    if report.energy.uj is not None:
        source = f"; {report.energy.source}" if report.energy.source else ""
        grid.add_row("energy", f"{show(report.energy.uj, 'uj')} ({report.energy.kind}{source})")
        if causes := report.energy.causes:
            into = ", ".join(f"{name} {show(uj, 'uj')}" for name, uj in causes.items())
            grid.add_row("", f"of it, estimated: {into}")
    if report.others:
        grid.add_row("others, estimated", report.alternatives)
    for note in report.notes:
        grid.add_row("note", note)
    return grid


def render(report: Report) -> RenderableType:
    """The whole report for a rich console."""
    where = report.board if report.emulator is None else f"{report.board} ({report.emulator})"
    return Group(
        Text(f"{report.model} on {where}", "bold"),
        layer_table(report.layers),
        _headlines(report),
    )


def compare(reports: Sequence[Report]) -> Table:
    """One row a report."""
    table = Table(header_style="bold")
    for name in ("model", "board"):
        table.add_column(name)
    for name in ("accuracy", "stored", "flash", "RAM", "instructions", "latency", "energy"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("identical", justify="right", no_wrap=True)
    for r in reports:
        n = r.latency.instructions
        table.add_row(
            Text(r.model),
            Text(r.board if r.emulator is None else f"{r.board} ({r.emulator})"),
            str(r.accuracy),
            f"{r.size.stored:,}",
            f"{r.flash.model + r.flash.runtime:,}",
            f"{r.ram.arena + r.ram.stack + r.ram.static:,}",
            "-" if n is None else f"{n:,}",
            str(r.latency),
            str(r.energy),
            f"{r.outputs.identical} of {r.outputs.total}",
        )
    return table


def layer_text(layers: Sequence[LayerFigures], title: str, width: int = 110) -> str:
    """`layer_table` as plain text, no control codes."""
    buffer = io.StringIO()
    PlainConsole(file=buffer, width=width, color_system=None).print(layer_table(layers, title))
    return buffer.getvalue()


def report_text(report: Report, width: int = 110) -> str:
    """Plain text, no control codes."""
    buffer = io.StringIO()
    PlainConsole(file=buffer, width=width, color_system=None).print(render(report))
    return buffer.getvalue()
