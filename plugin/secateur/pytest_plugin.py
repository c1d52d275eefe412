"""pytest plugin: deploy a model in a test and assert on its figures.

    def test_fits(secateur_deploy):
        report = secateur_deploy("model.keras", calibration=x[:256], inputs=x, labels=y)
        assert report.flash < "32 kB"
        assert report.latency < "20 ms"
        assert report.accuracy >= 0.9
        assert report.bit_exact

or, for every model a test deploys, `@pytest.mark.secateur_budget(flash="32 kB", accuracy=0.9)`.
A failure names the limit, the measured figure, the costliest layer and the last known good
figure (of `secateur-baseline.json` in pytest's root folder). Options: --secateur-board,
--secateur-emulator, and the same as ini settings secateur_board, secateur_emulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from secateur.report import Report

_deployed: pytest.StashKey[list[Any]] = pytest.StashKey()
_DEFAULT_BOARD = "mps2_an386"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Board and emulator, on the command line or in the ini file."""
    group = parser.getgroup("secateur")
    group.addoption("--secateur-board", help=f"board to deploy to (default {_DEFAULT_BOARD})")
    group.addoption("--secateur-emulator", help="emulator (default: the best one installed)")
    parser.addini("secateur_board", "board to deploy to", default=_DEFAULT_BOARD)
    parser.addini("secateur_emulator", "emulator to deploy with", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker."""
    config.addinivalue_line(
        "markers",
        "secateur_budget(flash=..., ram=..., latency=..., energy=..., accuracy=..., "
        "bit_exact=True): limits for every model the test deploys",
    )


@pytest.fixture
def secateur_board(request: pytest.FixtureRequest) -> str:
    """The board that `secateur_deploy` uses."""
    return request.config.getoption("--secateur-board") or request.config.getini("secateur_board")


@pytest.fixture
def secateur_deploy(
    request: pytest.FixtureRequest, secateur_board: str, tmp_path: Path
) -> Callable[..., Report]:
    """`secateur_deploy(model, calibration, inputs=None, labels=None, board=None, emulator=None,
    **convert)` converts, builds in a temporary folder, runs and returns the Report. `model` may
    also be a CompiledModel; then `calibration` is left out.
    """
    config = request.config
    default = config.getoption("--secateur-emulator") or config.getini("secateur_emulator") or None
    reports: list[Any] = request.node.stash.setdefault(_deployed, [])

    def deploy(
        model: Any,
        calibration: Any = None,
        inputs: Any = None,
        labels: Any = None,
        board: str | None = None,
        emulator: str | None = None,
        **convert: Any,
    ) -> Report:
        import secateur
        from secateur.flow import CompiledModel

        board = board or secateur_board
        if not isinstance(model, CompiledModel):
            model = secateur.convert(model, calibration=calibration, board=board, **convert)
        report = secateur.deploy(
            model,
            board=board,
            inputs=inputs,
            labels=labels,
            emulator=emulator or default,
            build_dir=tmp_path / f"secateur-{len(reports)}",
        )
        reports.append(report)
        return report

    return deploy


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """After the test's body: the budgets of its marker."""
    result = yield
    marker = item.get_closest_marker("secateur_budget")
    if marker is None:
        return result
    from secateur.report import budget

    reports = item.stash.get(_deployed, [])
    if not reports:
        pytest.fail("secateur_budget: the test deployed nothing; use the secateur_deploy fixture")
    verdicts = [
        v
        for report in reports
        for v in budget.check(report, marker.kwargs, _last_good(item.config, report))
    ]
    broken = [v.text for v in verdicts if not v.kept]
    if broken:
        pytest.fail("\n".join(broken), pytrace=False)
    return result


def _last_good(config: pytest.Config, report: Report) -> dict[str, float]:
    from secateur.config import key, load_baseline

    return load_baseline(config.rootpath / "secateur-baseline.json").get(key(report), {})


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """A failed `report.flash < "32 kB"`, explained."""
    import sys

    if "secateur.report.units" not in sys.modules:  # no figure without it
        return None
    from secateur.report import budget
    from secateur.report.units import Quantity, show

    if not isinstance(left, Quantity):
        return None
    name = type(left).__name__.lower()
    figure = "stored" if name == "size" else name
    measured = show(left.headline, left.unit)
    lines = [
        f"{name} {op} {right!r}",
        f"expected: {op} {right}",
        f"measured: {measured}  {_parts(left)}",
    ]
    report = left.report
    if report is not None:
        layer = budget.costliest(report, figure)
        if layer:
            lines.append(f"costliest layer: {layer}")
        good = _last_good(config, report).get(figure)
        if good is not None:
            lines.append(f"last known good: {show(good, left.unit)}")
    return lines


def _parts(figure: Any) -> str:
    from dataclasses import asdict

    return ", ".join(f"{name} {value}" for name, value in asdict(figure).items())
