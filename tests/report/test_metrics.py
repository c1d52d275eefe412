"""The surveys' metrics: sums by hand, round trip, page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secateur.report import LayerFigures, Report, html, metrics, roofline
from tests.report.sample import report


def made() -> Report:
    layers = (
        LayerFigures("a", "conv", "ternary", 100, 40, 30, 9.0, 1000, 400, levels=2, moved=80,
                     values=80),
        LayerFigures("b", "dense", "dense", 50, 50, 50, 40.0, 50, 50, levels=40, moved=20,
                     values=20),
    )  # fmt: skip
    plain = report(layers=layers)
    return replace(plain, metrics=metrics.of(plain, "dsp"))


def test_figures_are_the_sums_of_the_layers() -> None:
    m = made().metrics
    assert m is not None
    assert (m.parameters, m.nonzeros, m.macs, m.effectual_macs) == (150, 90, 1050, 450)
    assert m.bits_per_weight == pytest.approx(8 * 80 / 150)
    assert m.bits_per_activation == 8
    assert m.bit_operations == 8 * (400 * 2 + 50 * 6)  # -1, 0, 1 take two bits; 41 values six
    assert (m.flash_moved, m.ram_moved) == (80, 100)
    assert m.intensity == pytest.approx(450 / 180)
    latency, energy = made().latency, made().energy
    assert m.throughput == pytest.approx(1000 / (latency.ms or 1))
    assert m.energy_delay == pytest.approx((latency.ms or 0) * (energy.uj or 0))
    assert m.kinds["instructions"] == "counted"


def test_they_are_in_the_document_and_come_back() -> None:
    one = made()
    assert Report.from_dict(one.to_dict()).metrics == one.metrics
    older = one.to_dict()
    del older["metrics"]
    assert Report.from_dict(older).metrics is None


def test_the_page_shows_them_with_the_roofline() -> None:
    one = made()
    text = html.render(one)
    assert "Metrics at three levels" in text
    assert "effectual MACs a cycle" in text
    assert "Metrics at three levels" not in html.render(report())
    assert one.metrics is not None
    assert not roofline.fits(replace(one.metrics, cycles=None))
    assert "Roofline: 2.50 MACs a byte" in roofline.svg(one.metrics)
