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
--secateur-emulator, and the same as ini settings secateur_board, secateur_emulator. What
was deployed before (same files, arrays, options and program) is read from pytest's cache, by every
process of pytest-xdist; --secateur-no-cache does it again.
"""

from __future__ import annotations

import json
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
    group.addoption(
        "--secateur-no-cache", action="store_true",
        help="convert, build and run again what the cache has a report of",
    )  # fmt: skip
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

        def fresh() -> Report:
            compiled = model
            if not isinstance(compiled, CompiledModel):
                compiled = secateur.convert(
                    compiled, calibration=calibration, board=board, **convert
                )
            return secateur.deploy(
                compiled,
                board=board,
                inputs=inputs,
                labels=labels,
                emulator=emulator or default,
                build_dir=tmp_path / f"secateur-{len(reports)}",
            )

        key = None
        if not config.getoption("--secateur-no-cache"):
            parts = [model, calibration, inputs, labels, board, emulator or default, convert]
            key = _key(parts)
        reports.append(fresh() if key is None else _cached(config, key, fresh))
        return reports[-1]

    return deploy


def _key(parts: list[Any]) -> str | None:
    """A hash of all that a deployment depends on; None where something has no bytes to hash."""
    import hashlib

    import numpy as np

    import secateur
    from secateur.flow import CompiledModel

    h = hashlib.sha256()

    def add(kind: str, content: bytes) -> None:
        h.update(f"{kind}:{len(content)}:".encode() + content)

    for file in sorted(Path(secateur.__file__).parent.rglob("*")):
        if file.suffix in (".py", ".j2", ".h", ".c", ".json") and file.is_file():
            stat = file.stat()
            add("program", f"{file}:{stat.st_size}:{stat.st_mtime_ns}".encode())

    def one(value: Any) -> bool:
        if isinstance(value, CompiledModel):
            add("compiled", repr((value.notes, value.optimize, value.plan.core)).encode())
            files = value.plan.library.files
            return all(one(f"{path}\n{files[path]}") for path in sorted(files))
        if isinstance(value, str | Path) and Path(value).is_file():
            add("file", Path(value).read_bytes())
            return True
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            add("array", repr((value.shape, value.dtype.str)).encode() + value.tobytes())
            return True
        if isinstance(value, dict):
            return all(one(k) and one(value[k]) for k in sorted(value, key=str))
        if isinstance(value, list | tuple):
            add("list", str(len(value)).encode())
            return all(one(v) for v in value)
        if value is None or isinstance(value, str | int | float | bool):
            add("plain", json.dumps(value).encode())
            return True
        return False  # a Keras model in memory, for instance

    return h.hexdigest() if all(one(part) for part in parts) else None


def _cached(config: pytest.Config, key: str, fresh: Callable[[], Report]) -> Report:
    """The report kept under `key`, else a fresh one; processes that want the same take turns."""
    from dataclasses import replace

    from secateur.errors import SecateurError
    from secateur.files import held
    from secateur.report import Report

    cache = getattr(config, "cache", None)
    if cache is None:  # -p no:cacheprovider
        return fresh()
    path = cache.mkdir("secateur") / f"{key}.json"
    notes = path.with_suffix(".notes.json")
    with held(path.with_suffix(".lock"), path, 3600.0):
        try:
            kept = Report.load(path)
            return replace(kept, notes=tuple(json.loads(notes.read_text(encoding="utf-8"))))
        except (SecateurError, OSError, ValueError):  # none yet, or damaged: made again
            pass
        report = fresh()
        path.unlink(missing_ok=True)
        report.save(path)
        notes.write_text(json.dumps(list(report.notes)), encoding="utf-8")
        return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Before the test's body that its marker names figures there are; after it, the budgets."""
    marker = item.get_closest_marker("secateur_budget")
    if marker is None:
        return (yield)
    from secateur.errors import SecateurError
    from secateur.report import budget

    try:
        for figure, value in marker.kwargs.items():
            budget.limit_of(figure, value)
    except SecateurError as e:
        pytest.fail(f"secateur_budget: {e}", pytrace=False)
    result = yield

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

    return load_baseline(config.rootpath / "secateur-baseline.json").runs.get(key(report), {})


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
