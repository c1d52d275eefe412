"""The public interface: typed, checked early, the same in Python and on the command line."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import pytest
from mypy import api

import secateur as sc
from secateur.cli.convert import command as convert_command
from secateur.cli.deploy import command as deploy_command
from secateur.codegen.optimize import WEIGHTS
from secateur.config import PlanOptions
from secateur.errors import DataError, ModelError, SecateurError, TargetError
from secateur.flow.arguments import Builder, Optimize
from secateur.lowering.calibrate import METHODS, Method

ROOT = Path(__file__).resolve().parent.parent


def test_type_checkers_see_what_there_is(tmp_path: Path) -> None:
    """No public name is Any; calls with a wrong value are found."""
    names = [n for n in sc.__all__ if n != "__version__"]
    source = tmp_path / "user.py"
    lines = ["import secateur as sc", *(f"reveal_type(sc.{n})" for n in names)]
    lines += ["sc.convert('m.keras', [], optimize='speed')", "sc.Prune(sparsity='much')"]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    cache = ROOT / ".mypy_cache"
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache)]
    said, errors, _ = api.run([*options, "--follow-imports", "silent", str(source)])
    assert not errors
    revealed = dict(zip(names, re.findall(r'Revealed type is "(.*)"', said), strict=True))
    assert not {n: t for n, t in revealed.items() if t == "Any"}
    assert "sparsity: float" in revealed["Prune"]
    assert "-> secateur.flow.compiled.CompiledModel" in revealed["convert"]
    assert "-> secateur.errors.ModelError" in revealed["ModelError"]
    assert f'user.py:{len(lines) - 1}: error: Argument "optimize"' in said
    assert f'user.py:{len(lines)}: error: Argument "sparsity"' in said


def test_errors_and_reports_need_no_keras() -> None:
    code = (
        "import sys, secateur as sc; sc.ModelError, sc.Report, sc.convert, sc.CompiledModel\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_stub_names_every_callback() -> None:
    pytest.importorskip("keras")
    from secateur import callbacks

    assert set(callbacks.__all__) <= set(sc.__all__)
    for name in sc.__all__:
        assert getattr(sc, name) is not None


def test_a_values_list_is_the_one_that_works() -> None:
    assert set(get_args(Optimize)) == set(WEIGHTS)
    assert set(get_args(Method)) == {"auto", *METHODS}


_X = np.zeros((2, 4), np.float32)
_SOME = np.linspace(-1, 1, 64, dtype=np.float32).reshape(16, 4)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"optimize": "speed"}, DataError, "optimize is 'speed': choose one of latency, energy"),
        ({"calibration_method": "max"}, DataError, "calibration_method is 'max': choose one of"),
        ({"weights": "flash"}, DataError, "weights is 'flash': choose one of separate, static"),
        ({"encodings": "zip"}, DataError, "encoding 'zip' is unknown: .*ternary"),
        ({"encodings": {"a": "dense/none"}}, DataError, "kernel 'none' is unknown"),
        ({"board": "nowhere"}, TargetError, "board 'nowhere' is unknown"),
        ({"flash": "much"}, SecateurError, "much"),
        ({"latency": "5 ms"}, DataError, "a latency budget needs the board"),
    ],
)
def test_arguments_are_checked_before_the_model_is_read(
    wrong: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        sc.convert("no-such-model.keras", _X, **wrong)


def _options(command: click.Command) -> dict[str, Any]:
    """Default by parameter of a command."""
    return {p.name: p.default for p in command.params if p.name is not None}


def _defaults(function: Any) -> dict[str, Any]:
    return {
        n: p.default
        for n, p in inspect.signature(function).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }


#: What is called otherwise on the command line: the parameter of the command.
RENAMED = {"build_dir": "out", "port": "ports"}


@pytest.mark.parametrize(
    ("function", "command"),
    [(sc.convert, convert_command), (sc.convert, deploy_command), (sc.deploy, deploy_command)],
)
def test_python_and_the_command_line_take_the_same_options(
    function: Any, command: click.Command
) -> None:
    offered = _options(command)
    for name, default in _defaults(function).items():
        if name == "labels" or (function is sc.convert and name == "board"):
            continue  # labels come with --inputs; deploy has several boards
        option = RENAMED.get(name, name)
        assert option in offered, f"{command.name} has no option for {name}"
        if default:  # a flag that is off has none of its own
            assert offered[option] == default, name


def test_the_budget_file_takes_convert_options() -> None:
    others = {"name", "optimize", "board"}  # of [[model]] itself
    assert set(PlanOptions.model_fields) == set(_defaults(sc.convert)) - others


def test_encodings_on_the_command_line() -> None:
    def read(*values: str) -> Any:
        return convert_command.make_context("convert", [
            "m.keras", "--calibration", "x.npz", "--out", "o",
            *(part for v in values for part in ("--encodings", v)),
        ]).params["encodings"]  # fmt: skip

    assert read() is None
    assert read("ternary") == "ternary"
    assert read("conv=sparse", "a=b=dense") == {"conv": "sparse", "a=b": "dense"}
    with pytest.raises(DataError, match="--encodings dense: several are given as LAYER=ENCODING"):
        read("conv=sparse", "dense")


def test_builders_are_those_there_are() -> None:
    assert set(get_args(Builder)) == {"platformio", "gcc"}


@pytest.mark.train
def test_a_layer_that_is_not_there_is_named() -> None:
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")], name="m")
    with pytest.raises(ModelError, match="encodings names layer 'haed', which 'm' has not: head"):
        sc.convert(model, _X + 1, encodings={"haed": "dense"})


@pytest.mark.train
def test_constants_are_file_local_where_asked(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")], name="m")
    sources = {}
    for weights in ("separate", "static"):
        folder = sc.convert(model, _SOME, weights=weights).save(tmp_path / weights, "plain")
        sources[weights] = {p.name: p.read_text() for p in folder.rglob("m*.c")}
    assert set(sources["separate"]) - set(sources["static"]) == {"m_weights.c"}
    assert "static const int8_t m_head_w[" in sources["static"]["m.c"]
