"""The text protocol of harness_text.c, as a person's command speaks it."""

from __future__ import annotations

from secateur.errors import TargetError

from .client import GREETING, Transport

#: Seconds without a byte after which a board is silent.
SILENT = 10.0
#: Characters of an answer, more than which no board of ours says.
LONGEST = 1 << 20


def ask(line: Transport, board: str, command: str, where: str = "") -> str:
    """What a board says to `command`, up to its "m-ready".

    where: what follows in the sentence if it says nothing. Raises TargetError, also for an answer
    without an end.
    """
    line.write(f"{command}%".encode())
    text, end = "", GREETING.decode("ascii")
    while end not in text:
        data = line.read(SILENT)
        if not data:
            raise TargetError(f"{board} does not answer '{command}' within {SILENT:.0f} s{where}")
        text += data.decode("ascii", "replace")
        if len(text) > LONGEST:
            raise TargetError(f"{board} answers '{command}' with more than {LONGEST:,} characters")
    return text
