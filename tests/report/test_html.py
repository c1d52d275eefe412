"""The HTML report: complete, self-contained, well-formed, escaped; rendered in Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from secateur.report import Accuracy, LayerFigures, Outputs, Size, html
from tests.report.sample import details, report

_VOID = {"meta", "link", "br", "line", "rect", "circle"}
AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


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
    assert "Runs compared" in text
    assert "200 of 200" in text
    assert "nrf52840dk" in text
    assert "&lt;conv &amp; 1&gt;" in text
    assert "<conv" not in text


def test_instructions_and_energy_by_layer() -> None:
    text = page()
    assert "40,000<span" in text
    assert "60.2 uJ<span" in text  # half of the cycles, so half of 120.5 uJ
    assert "90,000</td>" in text
    plain = html.render(report(), replace(details(), costs={}))
    assert '<th scope="col">instructions' not in plain


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


def _chromium(profile: Path) -> list[str]:
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    return [
        str(CHROMIUM),
        *flags,
        "--enable-logging=stderr",
        f"--user-data-dir={profile / 'profile'}",
    ]


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
        [*_chromium(tmp_path), "--allow-file-access-from-files", probe.as_uri()],
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
    assert seen["tables"] == 2


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: make axe")
def test_axe_finds_nothing(tmp_path: Path) -> None:
    """axe-core's rules, contrast among them, in light and in dark."""
    run_axe = (
        f"<script>{AXE.read_text()}</script><script>axe.run().then(r => {{"
        "document.body.textContent = JSON.stringify(r.violations.map(v =>"
        " [v.id, v.impact, v.nodes[0].html])); });</script></body>"
    )
    page_with_axe = tmp_path / "axe.html"
    page_with_axe.write_text(page().replace("</body>", run_axe))
    for scheme in ("--blink-settings=preferredColorScheme=1", "--force-dark-mode"):
        run = subprocess.run(
            [*_chromium(tmp_path), "--virtual-time-budget=20000", scheme, page_with_axe.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        found = re.search(r"<body[^>]*>(.*?)</body>", run.stdout, re.DOTALL)
        assert found is not None, run.stdout[:2000]
        assert json.loads(found[1]) == []
