"""The one exception a user's mistake or a machine's lack ends in.

Every message is one sentence that names the thing, the place and the way out; the command
line prints it and exits with 2.
"""

from __future__ import annotations

from .names import shown


class SecateurError(Exception):
    """Base of every error this package raises on purpose.

    Messages quote what files say; nothing of that acts on a terminal (`names.shown`).
    """

    def __str__(self) -> str:
        return shown(super().__str__())


class ModelError(SecateurError):
    """The model cannot be converted: unsupported layer, unbuilt, NaN weights, corrupt file."""


class DataError(SecateurError):
    """Calibration or test data do not fit the model."""


class ToolError(SecateurError):
    """A compiler, emulator, probe or package is missing or failed."""


class TargetError(SecateurError):
    """A board or emulator did not do what it was asked: timeout, fault, lost frame."""


class BudgetError(SecateurError):
    """No plan fits the budgets the user gave."""


class StreamError(SecateurError):
    """A coded weight stream is truncated or corrupt."""


class FileError(SecateurError):
    """A file cannot be read or written, or is not this program's to replace."""


class UnexpectedError(SecateurError):
    """A file made this program fail in a way nobody foresaw; the cause is kept."""


class RangeWarning(UserWarning):
    """Data that calibrate, or run, a model badly: nothing fails, and everything may be wrong."""
