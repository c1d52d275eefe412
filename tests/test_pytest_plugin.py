"""The pytest plugin, run by pytest in a folder of its own; deploying is replaced by a stand-in."""

from __future__ import annotations

import json
import os

import pytest

pytest_plugins = ["pytester"]

_STAND_IN = """
import pytest, secateur, secateur.flow
from tests.report.sample import report

class Compiled(secateur.flow.CompiledModel):
    def __init__(self): pass

@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    def deploy(model, board, inputs, labels, emulator, build_dir):
        return report(board=board, emulator=emulator)
    monkeypatch.setattr(secateur, "deploy", deploy, raising=False)
    monkeypatch.setattr(secateur, "convert", lambda *a, **k: Compiled(), raising=False)
"""


@pytest.fixture
def folder(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> pytest.Pytester:
    pytester.makeconftest(_STAND_IN)
    pytester.syspathinsert(request.config.rootpath)
    runs = {"toy@mps2_an386": {"flash": 11_000.0, "accuracy": 0.92}}
    baseline = {"schema": 1, "runs": runs}
    (pytester.path / "secateur-baseline.json").write_text(json.dumps(baseline))
    return pytester


def test_kept_budgets_pass(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import pytest

        def test_fits(secateur_deploy, secateur_board):
            report = secateur_deploy("model.keras", calibration=[0])
            assert report.board == secateur_board == "mps2_an386"
            assert report.flash < "32 kB"
            assert report.latency < "20 ms"
            assert report.accuracy >= 0.9
            assert report.bit_exact

        @pytest.mark.secateur_budget(flash="32 kB", accuracy=0.9, bit_exact=True)
        def test_marked(secateur_deploy):
            secateur_deploy("model.keras", calibration=[0])
        """
    )
    folder.runpytest("--strict-markers").assert_outcomes(passed=2)


def test_a_failure_explains_itself(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        def test_fits(secateur_deploy):
            report = secateur_deploy("model.keras", calibration=[0])
            assert report.flash < "10 kB"
        """
    )
    result = folder.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*expected: < 10 kB",
            "*measured: 12.0 kB*model 8000*",
            "*costliest layer: <conv & 1> (46 %)",
            "*last known good: 11.0 kB",
        ]
    )


def test_a_broken_marker_names_every_figure(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import pytest

        @pytest.mark.secateur_budget(flash="10 kB", accuracy=0.99)
        def test_marked(secateur_deploy):
            secateur_deploy("model.keras", calibration=[0])

        @pytest.mark.secateur_budget(flash="10 kB")
        def test_forgot():
            pass
        """
    )
    result = folder.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["*flash is 12.0 kB, budget at most 10.0 kB; last known good 11.0 kB; costliest*"]
    )
    result.stdout.fnmatch_lines(["*accuracy is 90.50 %, budget at least 99.00 %*"])
    result.stdout.fnmatch_lines(["*deployed nothing*"])


def test_board_and_emulator_come_from_options_or_the_ini_file(folder: pytest.Pytester) -> None:
    folder.makeini("[pytest]\nsecateur_board = microbit\nsecateur_emulator = qemu\n")
    folder.makepyfile(
        """
        def test_ini(secateur_deploy):
            report = secateur_deploy("model.keras", calibration=[0])
            assert (report.board, report.emulator) == ("microbit", "qemu")
        """
    )
    folder.runpytest().assert_outcomes(passed=1)
    folder.runpytest("--secateur-board", "host").assert_outcomes(failed=1)


def test_a_figure_that_does_not_exist_is_one_sentence(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import pytest

        @pytest.mark.secateur_budget(flsh="32 kB")
        def test_marked(secateur_deploy):
            raise AssertionError("not even begun")
        """
    )
    result = folder.runpytest()
    result.assert_outcomes(failed=1)
    said = "secateur_budget: no figure 'flsh' to budget; did you mean 'flash'? There are flash, *"
    result.stdout.fnmatch_lines([said])
    result.stdout.no_fnmatch_line("*not even begun*")
    result.stdout.no_fnmatch_line("*Traceback*")


def test_what_was_deployed_before_is_read_from_the_cache(folder: pytest.Pytester) -> None:
    folder.makepyfile(
        """
        import pathlib, pytest, secateur

        @pytest.mark.parametrize("n", range(3))
        def test_it(secateur_deploy, monkeypatch, n):
            made = secateur.deploy
            def counted(*a, **k):
                with open("count", "a") as f:
                    f.write("x")
                return made(*a, **k)
            monkeypatch.setattr(secateur, "deploy", counted)
            assert secateur_deploy("model.keras", calibration=[0]).bit_exact
        """
    )
    count = folder.path / "count"
    folder.runpytest("-p", "no:xdist").assert_outcomes(passed=3)
    assert count.read_text() == "x"
    folder.runpytest("-p", "no:xdist").assert_outcomes(passed=3)
    assert count.read_text() == "x"
    folder.runpytest("-p", "no:xdist", "--secateur-no-cache").assert_outcomes(passed=3)
    assert count.read_text() == "xxxx"
    (folder.path / "model.keras").write_bytes(b"another model")
    folder.runpytest("-p", "no:xdist").assert_outcomes(passed=3)
    assert count.read_text() == "xxxxx"


def test_processes_of_xdist_deploy_once(
    folder: pytest.Pytester, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four tests of one model in two processes at once: one deploys, the others read."""
    pytest.importorskip("xdist")
    places = [str(request.config.rootpath), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    folder.makepyfile(
        """
        import os, time, pytest, secateur

        @pytest.mark.parametrize("n", range(4))
        def test_it(secateur_deploy, monkeypatch, n):
            with open("workers", "a") as f:
                f.write(os.environ["PYTEST_XDIST_WORKER"] + " ")
            made = secateur.deploy
            def slow(*a, **k):
                with open("count", "a") as f:
                    f.write("x")
                time.sleep(1)
                return made(*a, **k)
            monkeypatch.setattr(secateur, "deploy", slow)
            assert secateur_deploy("model.keras", calibration=[0]).bit_exact
        """
    )
    folder.runpytest_subprocess("-n", "2").assert_outcomes(passed=4)
    assert set((folder.path / "workers").read_text().split()) == {"gw0", "gw1"}
    assert (folder.path / "count").read_text() == "x"
