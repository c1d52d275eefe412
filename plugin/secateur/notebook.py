"""Tables for notebooks: what `_repr_html_` gives; no style sheet, no script, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .names import shown


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()
) -> str:
    """An HTML table below a line of text; numbers get thousands separators and stand right."""
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    below = "".join(f"<p>{_text(note)}</p>" for note in notes)
    return (
        f"<div><p><strong>{_text(title)}</strong></p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{below}</div>"
    )


def _text(value: object) -> str:
    return escape(shown(str(value)))


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f'<td style="text-align:left">{_text("" if value is None else value)}</td>'
    return f'<td style="text-align:right">{value:,.4g}</td>' if isinstance(value, float) else (
        f'<td style="text-align:right">{value:,}</td>'
    )  # fmt: skip
