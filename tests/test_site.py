"""The documentation as a site: built strictly, and every page looked at in Chromium."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import NEEDS_BROWSER, ROOT, look

pytest.importorskip("material", reason="mkdocs-material is not installed: make docs")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_and_fetches_nothing(site: Path) -> None:
    """One page for each file; scripts, styles and fonts are the site's own."""
    for source in (ROOT / "docs").rglob("*.md"):
        name = source.relative_to(ROOT / "docs").with_suffix("")
        page = site / ("index.html" if str(name) == "index" else f"{name}/index.html")
        text = page.read_text(encoding="utf-8")
        for attribute in ('<script src="http', '<img src="http', "url(http", "<iframe"):
            assert attribute not in text, (name, attribute)


def test_the_api_has_signatures_and_no_hooks(site: Path) -> None:
    """True defaults are shown, Keras' own hooks are not."""
    text = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert "calibration_method" in text
    assert "balanced" in text  # the default of `optimize`
    for hook in ("on_train_batch_end", "on_epoch_begin", "set_params"):
        assert f'id="secateur.Prune.{hook}"' not in text


def test_the_home_page_shows_what_it_does(site: Path) -> None:
    """A picture, figures, how to begin, ten lines of Python."""
    text = (site / "index.html").read_text(encoding="utf-8")
    assert '<img alt="Accuracy of a keyword spotter' in text
    assert "TFLite Micro with CMSIS-NN" in text
    assert "<table>" in text
    assert "make demo" in text
    assert "callbacks" in text


def test_every_page_can_be_walked_through(site: Path) -> None:
    """Code can be copied, light and dark be chosen, a page leads to its neighbours."""
    for page in site.rglob("index.html"):
        text = page.read_text(encoding="utf-8")
        assert 'title="To dark colours"' in text, page
        assert 'title="To light colours"' in text, page
        assert "content.code.copy" in text, page
        assert "md-footer__link--next" in text or "md-footer__link--prev" in text, page


@pytest.mark.parametrize(
    "scheme", [pytest.param(s, marks=NEEDS_BROWSER) for s in ("light", "dark")]
)  # fmt: skip
def test_every_page_in_chromium(scheme: str, site: Path, tmp_path: Path) -> None:
    """At 1280 and 390 pixels axe finds nothing, and nothing but a table is wider."""
    pages = [p for p in sorted(site.rglob("index.html")) if "assets" not in p.parts]
    assert len(pages) > 30
    found = look(pages, site, tmp_path, scheme)
    assert found == [], "\n".join(map(str, found[:20]))
