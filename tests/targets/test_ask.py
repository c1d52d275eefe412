"""A command of the text protocol and what comes back."""

from __future__ import annotations

import pytest

from secateur.errors import TargetError
from secateur.targets.wire import text


class Line:
    """Says what it is given, piece by piece, and then `rest` for ever."""

    def __init__(self, *pieces: bytes, rest: bytes = b"") -> None:
        self.pieces, self.rest, self.written = list(pieces), rest, b""

    def write(self, data: bytes) -> None:
        self.written += data

    def read(self, timeout: float) -> bytes:
        return self.pieces.pop(0) if self.pieces else self.rest


def test_an_answer_in_pieces() -> None:
    line = Line(b"m-name-[k", b"ws]\r\nm-re", b"ady\r\n")
    assert text.ask(line, "b", "name") == "m-name-[kws]\r\nm-ready\r\n"
    assert line.written == b"name%"


def test_silence_names_the_board_the_command_and_the_way_out() -> None:
    with pytest.raises(TargetError, match=r"^b does not answer 'name' within 10 s on p: look$"):
        text.ask(Line(b"m-"), "b", "name", " on p: look")


def test_an_answer_without_an_end_is_bounded() -> None:
    with pytest.raises(TargetError, match="more than 1,048,576 characters"):
        text.ask(Line(rest=b"x" * 65536), "b", "name")
