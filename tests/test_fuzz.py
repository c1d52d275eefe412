"""Mutations for every reader that `python -m benchmarks.fuzz` knows, the same ones each time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("keras")

from benchmarks import fuzz

#: How long each reader gets.
SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_a_reader_answers_mutations_with_a_sentence(name: str) -> None:
    known = set(fuzz.unforeseen)
    assert fuzz.attempts(name, SECONDS) > 20
    assert set(fuzz.unforeseen) == known, "an UnexpectedError: give it a sentence of its own"


@pytest.mark.parametrize(("at", "value"), [(6, 255), (8, 1)])
def test_a_zip_that_this_version_cannot_read(at: int, value: int, tmp_path: Path) -> None:
    """Needs version 25.5 of zip, found by fuzzing; is encrypted."""
    data = bytearray(fuzz.TARGETS["npz"].seeds()[0])
    data[data.index(b"PK\1\2") + at] = value
    fuzz.attempt(fuzz.TARGETS["npz"], bytes(data), tmp_path)
