"""A report as a matplotlib figure, for notebooks and papers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur import extras
from secateur.errors import DataError, ToolError
from secateur.files import looks_like, write
from secateur.names import shown

if TYPE_CHECKING:
    from .figures import Report

#: Kinds of pictures, by what they begin with.
_KINDS = {".png": rb"\x89PNG", ".svg": rb"<\?xml.*<svg|<svg", ".pdf": rb"%PDF"}


def figure(report: Report, path: str | Path | None = None) -> Any:
    """See `Report.plot`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolError(
            "report.plot() draws with matplotlib, which is not installed: "
            f"{extras.install('train')}"
        ) from error
    layers = [x for x in report.layers if x.stored_bytes or x.macs]
    names = [shown(x.name) for x in layers]
    made = Figure(figsize=(8, 1.6 + 0.28 * len(layers)), layout="constrained")
    made.suptitle(f"{shown(report.model)} on {shown(report.board)}: {report.size.stored:,} bytes")
    left, right = made.subplots(1, 2, sharey=True)
    left.barh(names, [x.stored_bytes for x in layers], color="#1f7a4d")
    left.plot([x.entropy_bytes for x in layers], names, "|", color="#a65a1c", label="entropy")
    left.set_xlabel("bytes stored")
    right.barh(names, [x.macs for x in layers], color="#a9b5ad", label="all")
    right.barh(names, [x.effectual_macs for x in layers], color="#1f7a4d", label="weight not 0")
    right.set_xlabel("multiply-accumulates")
    left.invert_yaxis()
    for axes in (left, right):
        axes.legend(frameon=False)
    if path is not None:
        _save(made, Path(path))
    return made


def _save(made: Any, path: Path) -> None:
    if path.suffix not in _KINDS:
        raise DataError(f"{path} must end in one of {', '.join(_KINDS)}")
    raw = io.BytesIO()
    made.savefig(raw, format=path.suffix[1:])
    write(path, raw.getvalue(), looks_like(_KINDS[path.suffix]))
