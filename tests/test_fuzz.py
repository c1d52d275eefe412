"""A fixed number of mutations for every reader that `python -m benchmarks.fuzz` knows."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("keras")

from benchmarks import fuzz

#: Those that read small files fast get more.
COUNTS = {"serial": 2000, "npz": 400, "keras": 200, "keras-config": 60, "board": 60, "toml": 30}


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_a_reader_answers_mutations_with_a_sentence(name: str) -> None:
    known = set(fuzz.unforeseen)
    fuzz.attempts(name, COUNTS.get(name, 60))
    assert set(fuzz.unforeseen) == known, "an UnexpectedError: give it a sentence of its own"


@pytest.mark.parametrize(("at", "value"), [(6, 255), (8, 1)])
def test_a_zip_that_this_version_cannot_read(at: int, value: int, tmp_path: Path) -> None:
    """Needs version 25.5 of zip, found by fuzzing; is encrypted."""
    data = bytearray(fuzz.TARGETS["npz"].seeds()[0])
    data[data.index(b"PK\1\2") + at] = value
    fuzz.attempt(fuzz.TARGETS["npz"], bytes(data), tmp_path)
