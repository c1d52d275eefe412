"""README's and docs' figures are those of the committed results, code in docs that of its files."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from benchmarks import render

FIELDS = {
    "network", "encoding", "target", "instructions", "cycles", "flash", "arena", "identical",
    "total",
}  # fmt: skip


def test_pages_say_what_was_measured() -> None:
    """In a process of its own: other tests register cores and boards that no page has."""
    command = [sys.executable, "-m", "benchmarks.render", "--check"]
    done = subprocess.run(command, cwd=render.ROOT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0), "run python -m benchmarks.render"


def test_every_block_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in render.PAGES)
    for name in render.BLOCKS:
        assert text.count(f"<!-- figures: {name} -->") == 1
    assert text.count("<!-- = ") >= 2


def test_results_are_rows_and_outputs_identical() -> None:
    for name in ("bench", "helium"):
        for row in render.results(name):
            assert set(row) == FIELDS
            assert row["identical"] == row["total"]


def test_a_changed_result_changes_the_page(
    tmp_path: render.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in render.RESULTS.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    rows = render.results("bench")
    next(r for r in rows if r["target"] == "cortex-m4")["instructions"] += 1
    (tmp_path / "bench.json").write_text(json.dumps(rows))
    monkeypatch.setattr(render, "RESULTS", tmp_path)
    text = (render.ROOT / "README.md").read_text(encoding="utf-8")
    assert text != render.rendered(text)
    with pytest.raises(KeyError, match="0 rows"):
        render.rendered("<!-- = bench kws none cortex-m4 flash -->1<!-- / -->")
