"""The same model in another runtime, beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secateur.errors import DataError
from secateur.reading import json_file


@dataclass(frozen=True)
class Peer:
    """One .tflite file run beside the device.

    accuracy: share of right answers, None without labels. equal: share of inputs for which both
    give the same answer (the largest output; of one output the same side of the threshold), None
    for regressions. flash, arena, instructions: of TensorFlow Lite Micro, where a file gives them.
    """

    file: str
    runtime: str  #: and its version
    bytes: int  #: of the file
    inputs: int  #: that were run
    accuracy: float | None = None
    equal: float | None = None
    flash: int | None = None
    arena: int | None = None
    instructions: int | None = None
    source: str = ""  #: of the last three

    def lines(self) -> list[str]:
        """For people."""
        parts = [f"{self.file} ({self.bytes:,} bytes) in {self.runtime}"]
        if self.accuracy is not None:
            parts.append(f"accuracy {100 * self.accuracy:.2f} %")
        if self.equal is not None:
            parts.append(f"the same answer for {100 * self.equal:.2f} % of {self.inputs:,} inputs")
        out = [", ".join(parts)]
        known = [
            f"{name} {value:,}"
            for name, value in (
                ("flash", self.flash), ("arena", self.arena), ("instructions", self.instructions)
            )
            if value is not None
        ]  # fmt: skip
        if known:
            out.append(f"TensorFlow Lite Micro: {', '.join(known)} ({self.source})")
        return out


def figures(path: str | Path, model: str) -> dict[str, int | str]:
    """What a file says of a model in TensorFlow Lite Micro; empty where it does not know it.

    The file is JSON: {"MODEL": {"flash": bytes, "arena": bytes, "instructions": n,
    "source": text}}.
    Raises DataError for anything else.
    """
    data = json_file(path, kind=DataError)
    entry = data.get(model, {}) if isinstance(data, dict) else None
    known = ("flash", "arena", "instructions")
    if not isinstance(entry, dict) or not all(
        (k in known and isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 40)
        or (k == "source" and isinstance(v, str))
        for k, v in entry.items()
    ):
        raise DataError(
            f'{path} is no file of figures: write {{"{model}": {{"flash": 107548, "arena": 22820, '
            '"source": "where from"}}'
        )
    return {"source": f"figures of {Path(path).name}", **entry} if entry else {}
