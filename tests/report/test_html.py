"""The HTML report: complete, self-contained, well-formed, escaped; rendered in Chromium."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from secateur.report import Accuracy, Energy, Latency, LayerFigures, Outputs, Size, html
from tests.browser import AXE, CHROMIUM, NEEDS_BROWSER, chromium, look
from tests.report.sample import details, report

_VOID = {"meta", "link", "br", "line", "rect", "circle"}


class _Balanced(HTMLParser):
    """Collects ids and text, and checks that every tag is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.stack.append(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value))
            if name == "id":
                self.ids.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            self.attributes.append((tag, name, value))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.stack.pop() == tag


def page() -> str:
    other = report(board="nrf52840dk", size=Size(8800, 2200, 1900), accuracy=Accuracy(device=0.91))
    return html.render(report(), details(), [other])


def test_every_section_is_there() -> None:
    text = page()
    for heading in ("Where the bytes went", "Layers", "Weights and their codebooks"):
        assert heading in text
    assert "The arena over time" in text
    for stage in ("float32", "pruned", "quantized", "coded", "entropy"):
        assert f">{stage}" in text
    assert "Codebook: -1, 1<" in text
    assert "<td>1,000</td><td>500</td>\n<td>stem</td><td>pool</td>" in text  # the arena's table
    assert "Runs compared" in text
    assert "200 of 200" in text
    assert "nrf52840dk" in text
    assert "&lt;conv &amp; 1&gt;" in text
    assert "<conv" not in text


def test_instructions_and_energy_by_layer() -> None:
    text = page()
    assert "40,000<span" in text
    assert "60.2 uJ<span" in text  # half of the energy, so half of 120.5 uJ
    assert "multiplication costs: core 70 %, fetch 30 %." in text
    assert "90,000</td>" in text
    plain = html.render(report(), replace(details(), costs={}))
    assert '<th scope="col">instructions' not in plain


def test_quantized_weights_take_the_fewest_bits_that_tell_levels_apart() -> None:
    """stem: 200 non-zeros of many levels; conv: 410 of two; dense: 99 of at most eight."""
    first = len(details().histograms[0].values)
    bits = 200 * (first - 1).bit_length() + 410 + 99 * 3
    assert f"quantized, values: {-(-bits // 8)} bytes" in page()
    assert f"quantized, values: {200 + 410 + 99} bytes" in html.render(report())


def test_bytes_are_told_by_what_they_are() -> None:
    """No step looks worse for having what an earlier one left out: positions are in both."""
    d = replace(details(), stored={"values": 300.0, "positions": 400.0, "tables": 20.0})
    text = html.render(report(), d)
    assert "coded, values: 300 bytes" in text
    assert "coded, positions: 400 bytes" in text
    assert "coded, other: 40 bytes" in text  # what the sum lacks to the 760 stored
    assert "values 300, positions 400, tables 20 bytes" in text
    assert "quantized, positions: " in text
    plain = html.render(report())
    assert "coded: 760 bytes" in plain


def test_figures_agree_wherever_they_stand() -> None:
    """The headline is the report's own accuracy, the table's foot the sum of its rows and what the
    tiles say; no link leads to the section it stands in."""
    r = report()
    text = page()
    assert 'value">90.50 %</span>' in text
    foot = re.sub(r"\s+", "", text.split("<tfoot>")[1].split("</tfoot>")[0])
    for name in ("parameters", "stored_bytes", "macs", "effectual_macs"):
        whole = sum(getattr(layer, name) for layer in r.layers)
        assert f"<td>{whole:,}</td>" in foot, name
    assert r.size.stored == sum(layer.stored_bytes for layer in r.layers)
    assert f"smaller: {r.size.stored:,} bytes of weights" in text
    assert "coded: 760 bytes" in html.render(r)
    for section in text.split("<section")[1:]:
        own = re.findall(r'id="([^"]+)"', section)
        assert not [to for to in re.findall(r'href="#([^"]+)"', section) if to in own]
    part = replace(r, accuracy=Accuracy(0.91, 0.874, None))  # of all inputs, few of them run
    assert 'value">87.40 %</span>' in html.render(part)


def test_budgets_have_a_card() -> None:
    kept = html.render(report(), limits={"flash": 32_000, "latency": 5})
    assert "Budgets</span>" in kept
    assert "2 of 2 kept" in kept
    assert "flash 12.0 kB, at most 32.0 kB; latency 4.00 ms, at most 5.00 ms" in kept
    broken = html.render(report(), limits={"flash": 32_000, "ram": 2_000, "accuracy": "80 %"})
    assert 'value bad">2 of 3 kept' in broken
    assert "ram 2.4 kB, at most 2.0 kB; flash" in broken
    assert "accuracy 90.50 %, at least 80.00 %" in broken
    assert "Budgets</span>" not in page()


def test_the_page_tells_what_has_changed_since_the_previous_run() -> None:
    before = report(
        latency=Latency(100_000, 120_000.0, 5.0, "estimated"), energy=Energy(None, "estimated")
    )
    text = html.render(report(), previous=before)
    assert "Since the previous run" in text
    assert '<th scope="row">instructions</th><td>100,000</td><td>90,000</td><td>-10.00 %' in text
    assert "<td>5.00 ms</td><td>4.00 ms</td><td>-20.00 %</td>" in text
    assert "<td>-</td><td>120.5 uJ</td><td>not known of both</td>" in text
    assert "<td>as before</td>" in text
    assert "Since the previous run" not in page()


def test_on_a_phone_and_on_paper() -> None:
    """The first column stays, an edge shows that more is there, no card is torn in two."""
    style = " ".join(page().split("<style>")[1].split("</style>")[0].split())
    assert "tbody th, tfoot th { position: sticky; left: 0;" in style
    assert "linear-gradient(to left, var(--line), transparent)" in style
    paper = style[style.index("@media print") :]
    assert ".scroll { overflow: visible; }" in paper
    assert "figure, tr, .tiles li { break-inside: avoid; }" in paper


def test_pictures_have_axes_and_say_what_is_pointed_at() -> None:
    text = page()
    weights = text[text.index('id="weights"') : text.index('id="memory"')]
    assert weights.count('class="axis"') == 2 * weights.count("<svg")
    arena = text[text.index('id="memory"') : text.index("The same as a table")]
    for block in details().blocks:
        assert f"{block.name}: {block.size:,} bytes" in arena


def test_zeros_are_drawn_and_few_levels_have_shares() -> None:
    text = page()
    zeros = details().histograms[1].zeros
    assert f"<title>0: {zeros:,}</title>" in text
    assert "; shares -1: " in text
    assert "(not drawn)" not in text
    assert "code of the weight" in text


def test_codes_are_explained() -> None:
    text = page()
    assert "ternary: columns of the +1 and of the -1." in text
    assert html.code_in_words("rice_ternary") == (
        "columns of the +1 and of the -1; gaps to the next weight in Rice code"
    )
    from secateur import coding

    unnamed = [e.name for e in coding.all_encodings() if not html.code_in_words(e.name)]
    assert unnamed == []


def test_names_of_runs_that_lie_together_do_not_overlap() -> None:
    text = html.render(report(), None, [report(board=f"b{i}") for i in range(4)])
    scatter = text[text.index('id="sc-t"') :]
    ys = [float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="\w+">toy on', scatter)]
    assert len(ys) == 5
    assert min(a - b for a, b in pairwise(ys)) >= 15


def test_self_contained_and_small() -> None:
    text = page()
    assert len(text) < 200_000
    parser = _Balanced()
    parser.feed(text)
    assert parser.stack == []
    for _, name, value in parser.attributes:
        if name in ("src", "href"):
            assert value is not None
            assert value.startswith(("#", "data:"))
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_names_for_those_who_do_not_see_it() -> None:
    text = page()
    parser = _Balanced()
    parser.feed(text)
    assert len(set(parser.ids)) == len(parser.ids)
    refs = [v for _, n, v in parser.attributes if n == "aria-labelledby" and v]
    assert all(part in parser.ids for ref in refs for part in ref.split())
    assert text.count('role="img"') == text.count("<desc")
    assert text.count("<table") == text.count("<caption")
    assert '<html lang="en">' in text


def test_a_difference_is_loud_and_missing_figures_leave_no_hole() -> None:
    assert "value bad" in html.render(report(outputs=Outputs(199, 200)))
    bare = html.render(
        report(accuracy=Accuracy(), layers=(LayerFigures("p", "pool", "", 0, 0, 0, 0.0, 0, 0),))
    )
    assert "Accuracy</span>" not in bare
    assert "None" not in bare
    assert "Runs compared" not in bare


def test_save_is_one_file(tmp_path: Path) -> None:
    path = html.save(tmp_path / "a" / "report.html", report(), details())
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_in_chromium(tmp_path: Path) -> None:
    """No console message, nothing wider than a phone's screen outside the scrolling tables."""
    path = html.save(tmp_path / "report.html", report(), details(), [report()])
    probe = tmp_path / "probe.html"
    # An iframe as wide as a phone: headless Chromium itself does not go below 500 pixels.
    probe.write_text(
        f'<iframe id="f" width="360" height="2000" src="{path.name}"></iframe><script>'
        "window.onload = () => { const d = document.getElementById('f').contentDocument;"
        "const e = d.documentElement; document.title = JSON.stringify({wide: e.scrollWidth,"
        " svg: d.querySelectorAll('svg').length, tables: d.querySelectorAll('table').length});"
        "document.body.textContent = document.title; };</script>"
    )
    run = subprocess.run(
        [*chromium(tmp_path), "--dump-dom", "--allow-file-access-from-files", probe.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ":CONSOLE" not in run.stderr
    found = re.search(r"<body>(.*?)</body>", run.stdout, re.DOTALL)
    assert found is not None, run.stdout
    seen = json.loads(found[1])
    assert seen["wide"] <= 360
    assert seen["svg"] == 6
    assert seen["tables"] == 3


@pytest.mark.parametrize(
    "scheme", [pytest.param(s, marks=NEEDS_BROWSER) for s in ("light", "dark")]
)  # fmt: skip
def test_axe_finds_nothing(scheme: str, tmp_path: Path) -> None:
    written = html.save(tmp_path / "report.html", report(), details(), [report(board="other")])
    assert look([written], tmp_path, tmp_path, scheme) == []


@pytest.mark.train
@pytest.mark.slow
def test_the_keyword_spotters_page(tmp_path: Path) -> None:
    """The demo's network, as it comes: small, and nothing for axe to find."""
    import secateur as sc
    from secateur import data
    from secateur.report.details import of

    x, _ = data.load("kws_train")
    compiled = sc.convert(data.KWS_MODEL, calibration=x[:64], name="kws")
    figures = report(model="kws", layers=tuple(compiled.layers), size=compiled.size)
    text = html.render(figures, of(compiled))
    assert len(text.encode()) < 1_000_000
    assert text.count("<figure") == 2 + sum(layer.parameters > 0 for layer in compiled.layers)
    if CHROMIUM is not None and AXE.is_file():
        (tmp_path / "kws.html").write_text(text, encoding="utf-8")
        assert look([tmp_path / "kws.html"], tmp_path, tmp_path, "light") == []
