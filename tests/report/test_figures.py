"""The report's figures: schema, units, comparisons, text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.errors import SecateurError
from secateur.report import (
    Accuracy,
    Alternative,
    Energy,
    Flash,
    Latency,
    LayerFigures,
    Outputs,
    Ram,
    Regression,
    Report,
    Size,
    estimate_energy,
    estimate_latency,
    layer_macs,
)
from secateur.report.classes import Classes
from secateur.report.details import Details, with_causes
from secateur.report.gains import Gains
from secateur.report.peer import Peer
from secateur.report.units import parse, show

KEYS = {
    "schema": None,
    "model": None,
    "board": None,
    "emulator": None,
    "accuracy": {"float", "reference", "device", "kind"},
    "outputs": {"identical", "total"},
    "size": {"float32", "int8", "stored"},
    "flash": {"total", "model", "runtime", "harness"},
    "ram": {"arena", "stack", "static"},
    "latency": {"instructions", "cycles", "ms", "kind", "low", "high"},
    "energy": {"uj", "kind", "source", "causes", "low", "high"},
    "layers": None,
    "factors": {"sparsity", "sharing", "skipping", "possible", "memory"},
    "metrics": None,
    "others": None,
    "regression": {"mae", "r2"},
    "classes": {"counts", "device", "float", "confusion", "changed", "changed_total"},
    "against": {
        "file",
        "runtime",
        "bytes",
        "inputs",
        "accuracy",
        "equal",
        "flash",
        "arena",
        "instructions",
        "source",
    },
}
LAYER_KEYS = {
    "name",
    "op",
    "encoding",
    "parameters",
    "nonzeros",
    "stored_bytes",
    "entropy_bytes",
    "macs",
    "effectual_macs",
}


@pytest.fixture
def report() -> Report:
    return Report(
        model="toy",
        board="mps2_an386",
        emulator="qemu",
        accuracy=Accuracy(0.91, 0.905, 0.905),
        regression=Regression({"float": 0.1, "device": 0.2}, {"float": 0.9, "device": 0.8}),
        classes=Classes((3, 4), (3, 2), (3, 3), ((3, 0), (2, 2)), (5,), 1),
        against=Peer("a.tflite", "LiteRT 2", 4000, 7, 0.9, 0.95, 90_000, 3000, 10**6, "measured"),
        outputs=Outputs(200, 200),
        size=Size(4000, 1100, 300),
        flash=Flash(31000, 8000, 4000, 19000),
        ram=Ram(2000, 300, 100),
        latency=Latency(90_000, 100_000.0, 4.0, "estimated"),
        energy=Energy(120.5, "estimated", "datasheet"),
        layers=(
            LayerFigures("conv", "conv", "ternary", 640, 100, 90, 80.5, 80_000, 12_500, "ternary"),
            LayerFigures("pool", "pool", "", 0, 0, 0, 0.0, 0, 0),
        ),
        factors=Gains(6.4, 32.0, 1.0, 1.0, 13.3),
        others={
            "flash": Alternative(4404, 7.7),
            "latency": Alternative(13_000, 2.5),
            "energy": Alternative(13_000, 2.5),
        },
    )


def test_what_another_optimize_would_give(report: Report) -> None:
    told = "flash: 4.4 kB at 7.70 ms; latency, energy: 13.0 kB at 2.50 ms"
    assert report.alternatives == told
    assert "others, estimated" in str(report)
    assert str(Alternative(100, None)) == "100 B"
    assert Report.from_dict(report.to_dict()).others == report.others


def test_schema_is_exactly_the_documented_one(report: Report) -> None:
    data = json.loads(report.to_json())
    assert set(data) == set(KEYS)
    for key, inner in KEYS.items():
        if inner is not None:
            assert set(data[key]) == inner
    assert all(set(layer) == LAYER_KEYS for layer in data["layers"])
    assert data["schema"] == 1


def test_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "report-schema.md").read_text()
    for key, inner in KEYS.items():
        assert f"`{key}`" in text
        for name in inner or ():
            assert f"`{key}.{name}`" in text
    for name in LAYER_KEYS:
        assert f"`{name}`" in text


def test_save_and_load_round_trip(report: Report, tmp_path: Path) -> None:
    path = report.save(tmp_path / "deep" / "report.json")
    again = Report.load(path)
    assert again.to_dict() == report.to_dict()
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}', '{"schema": 1, "model": "x"}'])
def test_load_refuses_what_is_no_report(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(SecateurError, match="report"):
        Report.load(path)


def test_unwritable_folder_is_one_sentence(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SecateurError, match="cannot write"):
        report.save(tmp_path / "file" / "report.json")


def test_budgets_compare_with_text(report: Report) -> None:
    assert report.flash < "12.1 kB"
    assert report.flash <= 12_000
    assert not report.flash < "11.7 KiB"
    assert report.latency < "20 ms"
    assert report.latency > "3999 us"
    assert report.energy < "1 mJ"
    assert report.accuracy >= 0.9
    assert report.accuracy >= "90 %"
    assert report.ram < "2.5 kB"
    assert report.size < 301
    assert report.bit_exact
    assert not replace(report, outputs=Outputs(199, 200)).bit_exact
    assert not replace(report, outputs=Outputs(0, 0)).bit_exact
    assert report.flash < Flash(0, 12_001, 0, 0)


def test_comparing_an_unknown_figure_says_so(report: Report) -> None:
    with pytest.raises(SecateurError, match="not determined"):
        assert replace(report.latency, ms=None) < "20 ms"
    with pytest.raises(TypeError):
        assert report.flash < None  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("32 kB", "bytes", 32_000),
        ("32 KiB", "bytes", 32_768),
        ("1.5MB", "bytes", 1_500_000),
        ("100", "bytes", 100),
        ("20ms", "ms", 20),
        ("1 s", "ms", 1000),
        ("500 µs", "ms", 0.5),
        ("2 mJ", "uj", 2000),
        ("90 %", "fraction", 0.9),
        ("0.9", "fraction", 0.9),
        (7, "bytes", 7),
    ],
)
def test_parse(text: str | float, unit: str, value: float) -> None:
    assert parse(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(("text", "unit"), [("32 ms", "bytes"), ("", "ms"), ("a lot", "uj")])
def test_parse_refuses(text: str, unit: str) -> None:
    with pytest.raises(SecateurError, match="not a quantity"):
        parse(text, unit)


def test_show() -> None:
    assert show(None, "ms") == "-"
    assert show(12, "bytes") == "12 B"
    assert show(12_345, "bytes") == "12.3 kB"
    assert show(0.25, "ms") == "250 us"
    assert show(0.9051, "fraction") == "90.51 %"


def test_text_names_what_matters(report: Report) -> None:
    text = str(report)
    assert "outputs identical  200 of 200" in text
    assert "toy on mps2_an386 (qemu)" in text
    assert "90.50 %" in text
    assert "13.3x" in text
    assert "\x1b" not in text


def test_estimates() -> None:
    latency = estimate_latency(80, 100.0, "estimated", 1e6)
    assert latency.ms == pytest.approx(0.1)
    assert estimate_latency(None, None, "estimated", 1e6).ms is None
    energy = estimate_energy(latency, 10.0, 3.0, "datasheet")
    assert energy.uj == pytest.approx(3.0)  # 0.1 ms x 10 mA x 3 V
    assert energy.kind == "estimated"
    unknown = estimate_latency(None, None, "estimated", 1e6)
    assert estimate_energy(unknown, 10.0, 3.0, "").uj is None
    assert layer_macs((64, 25, 5), 640, 100) == (640 * 125, 100 * 125)
    assert layer_macs((12,), 768, 70) == (768, 70)


def test_energy_by_cause(report: Report, tmp_path: Path) -> None:
    told = with_causes(report, Details(causes={"core": 0.75, "mac": 0.25}))
    assert told.energy.causes == pytest.approx({"core": 90.375, "mac": 30.125})
    assert Report.load(told.save(tmp_path / "report.json")).energy == told.energy
    assert "core 90.4 uJ, mac 30.1 uJ" in str(told)
    assert with_causes(report, Details()) is report
    unknown = replace(report, energy=Energy(None, "estimated", ""))
    assert with_causes(unknown, Details(causes={"core": 1.0})) is unknown


def test_an_estimate_has_a_range_where_errors_are_known() -> None:
    latency = estimate_latency(90, 100_000.0, "estimated", 10e6, 0.05)
    assert (latency.ms, latency.low, latency.high) == pytest.approx((10, 9.5, 10.5))
    energy = estimate_energy(latency, 5.0, 3.0, "a datasheet", 0.1)
    assert (energy.uj, energy.low, energy.high) == pytest.approx((150, 128.25, 173.25))
    assert estimate_energy(latency, 5.0, 3.0, "a datasheet").low is None
    unknown = estimate_latency(90, 100_000.0, "estimated", 10e6)
    assert unknown.low is None
    assert estimate_energy(unknown, 5.0, 3.0, "a datasheet", 0.1).low is None
    assert estimate_latency(None, 100_000.0, "measured", 10e6, 0.05).low is None
    assert estimate_latency(90, None, "estimated", 10e6, 0.05).low is None
