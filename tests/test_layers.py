"""The layers of docs/architecture.md hold: nothing imports upward, nothing in a circle."""

from __future__ import annotations

from pathlib import Path

import grimp
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parent.parent


def test_the_contracts_of_pyproject_hold() -> None:
    assert lint_imports(str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_only_the_top_imports_the_package_itself() -> None:
    """`import secateur` means its public interface, which stands above everything."""
    graph = grimp.build_graph("secateur", exclude_type_checking_imports=True, cache_dir=None)
    top = ("secateur.cli", "secateur.demo", "secateur.pytest_plugin")
    importers = graph.find_modules_that_directly_import("secateur")
    assert {m for m in importers if not m.startswith(top)} == set()
