"""How prices are fitted: what is asked for, what is held, and what one core takes from another."""

from __future__ import annotations

import pytest
from benchmarks.cost_model import Sample, alike, fit, is_decoding, solve


def _sample(work: dict[tuple[str, str], float], counted: float, small: bool = False) -> Sample:
    return Sample("lesson", "cortex-m4", "k", work, (0.0, 0.0), (counted, 2 * counted), small)


A, B, C = ("dense_sparse", "rows"), ("huffman_joint", "symbols"), ("dense_sparse", "coded_rows")


def test_what_is_held_is_taken_off_first() -> None:
    rows = [{A: 10.0, B: 100.0}, {A: 100.0, B: 100.0}]
    found = solve(rows, [10 * 3 + 100 * 7, 100 * 3 + 100 * 7], {B: float("nan")}, {A: 3.0})
    assert found == pytest.approx([7.0])


def test_decoders_alone_are_fitted_and_the_rest_stands() -> None:
    """Twice the same fit is the same: nothing of the old price of a decoder is in the new one."""
    assert not is_decoding(A)
    assert is_decoding(B)
    assert is_decoding(C)
    learned = [
        _sample({A: a, B: b, C: c}, 3 * a + 7 * b + 20 * c)
        for a, b, c in ((1.0, 50.0, 4.0), (9.0, 10.0, 30.0), (2.0, 400.0, 8.0))
    ]
    learned += [_sample(s.work, 2 * s.counted[0], small=True) for s in learned]
    known = {"dense_sparse": {"rows": [3.0, 6.0, 6.0, 12.0], "coded_rows": [900.0, 900.0]}}
    once = fit(learned, known, part="decoders")
    assert once["huffman_joint"]["symbols"] == pytest.approx([7, 14, 14, 28])
    assert once["dense_sparse"] == {"coded_rows": pytest.approx([20, 40, 40, 80])}
    again = fit(learned, {f: known.get(f, {}) | u for f, u in once.items()}, part="decoders")
    assert again == once


def test_a_core_takes_the_instructions_of_one_that_executes_the_same() -> None:
    mine = {"dense": {"rows": [5.0, 5.0]}, "pool": {"taps": [4.0, 2.0]}}
    other = {"dense": {"rows": [8.0, 16.0, 9.0, 18.0]}, "huffman_joint": {"symbols": [10.0, 20.0]}}
    whole = alike(mine, other, whole=True)
    assert whole["dense"]["rows"] == [8.0, 8.0, 9.0, 9.0]  # a cycle an instruction, as before
    assert whole["huffman_joint"]["symbols"] == [10.0, 7.5]  # the pace of all that is known
    assert whole["pool"] == mine["pool"]
    assert alike(mine, other, whole=False)["dense"] == mine["dense"]
