"""The console every result and every progress line goes through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from secateur.names import shown


class PlainConsole(Console):
    """A console that takes no string for markup, emoji or a command to the terminal.

    Names come from models, manifests and serial peers; styles are given by objects (rich.text.Text,
    `style=`), never inside a string.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments of `renderable`, whose text acts on nothing."""
        for segment in super().render(renderable, options):
            if segment.control is None:
                yield Segment(shown(segment.text, keep="\n"), segment.style)
            else:
                yield segment
