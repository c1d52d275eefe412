"""EIE's factors from layers whose shares are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.report import LayerFigures, Report, gains
from secateur.report.gains import Gains

from . import sample


def layer(op: str, weights: int, nonzeros: int, **more: object) -> LayerFigures:
    made = LayerFigures(op, op, "sparse", weights, nonzeros, 0, 0.0, weights, nonzeros)
    return replace(made, **more)  # type: ignore[arg-type]


def test_each_factor_is_its_definition() -> None:
    layers = [
        layer("conv", 1000, 500, levels=254),
        layer("dense", 3000, 300, levels=16, live=0.25, skips=True),
        layer("dense", 1000, 200, levels=2, live=0.5),
        layer("pool", 0, 0),
    ]
    found = gains.of(layers, float32=20_000, stored=1_000)
    assert found.sparsity == 5.0
    assert found.sharing == pytest.approx(32 * 1000 / (500 * 8 + 300 * 4 + 200 * 1), abs=1e-3)
    assert found.skipping == pytest.approx(500 / (75 + 200), abs=1e-3)
    assert found.possible == pytest.approx(500 / (75 + 100), abs=1e-3)
    assert found.memory == 20.0
    assert str(found) == (
        "sparsity 5.0x, weight sharing 5.9x, zero inputs 1.8x (of 2.9x possible), memory 20.0x"
    )


def test_nothing_done_is_one() -> None:
    assert gains.of([layer("pool", 0, 0)], 0, 0) == Gains(1, 1, 1, 1, 1)


def test_reports_carry_them() -> None:
    report = sample.report(factors=Gains(5.0, 8.0, 2.0, 3.0, 30.0))
    again = Report.from_dict(report.to_dict())
    assert again.factors == report.factors
    assert "factors" in str(report)
    assert "zero inputs 2.0x (of 3.0x possible)" in str(report)
    assert "factors" not in str(sample.report())
