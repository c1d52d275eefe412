"""Names of layers and models: whatever they hold, the C compiles and nothing acts on a terminal."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import secateur
from secateur import names
from secateur.codegen.formats import FORMATS, files_as
from secateur.errors import ModelError, SecateurError
from secateur.frontend.ir import Graph
from secateur.frontend.layers import Builder
from secateur.report import changes, ci, history, history_page, html
from secateur.report.budget import check as check_budget
from secateur.report.console import PlainConsole
from secateur.report.terminal import layer_table, report_text
from secateur.targets import assets, tools

from .report.sample import report as sample_report

LAYER = changes.LayerState("dense", 1, 1, 1)
#: All of Unicode, control characters and lone surrogates included.
ANY = st.text(st.characters(exclude_categories=()), max_size=60)
#: What hurt, once.
HOSTILE = [
    'x\n#include <stdio.h>\n__attribute__((constructor)) static void f(void) { puts("RAN"); }\n//',
    "x*/ __attribute__((constructor)) static void f(void) { } /*", "??/\n#error trigraph",
    "conv-1", "block1.conv", "conv 1", "a.b", "conv:0", "conv(1)", 'say "no"', "back\\", "\x1b[2J",
    "100 %", "%s%n", "int", "input", "output", "arena", "run", "run_in", "", "_", "1", "Ünï",
    "日本", "\u202e\u2066", "\r\n", "\x9b31m", "[red]x[/red]", "{{ 7 * 7 }}", "x" * 5000,
    "$(touch F)", "`touch F`", "<script>alert(1)</script>", "shared_huffman_joint_3", "y",
]  # fmt: skip
MODELS = [
    "stdint", "string", "sc_port", "sc_crc32", "port", "harness", "harness_main",
    "model_glue", "stm32", "main", "int", "add", "test", "con", "../up", "a/b", *HOSTILE,
]  # fmt: skip


def graph(model: str, called: list[str]) -> Graph:
    """A small network of convolutions, sums and a Dense layer whose layers are `called` that."""
    rng = np.random.default_rng(0)
    b = Builder(model)
    t = b.add_input("in", (4, 4, 2))
    for i, name in enumerate(called):
        kernel = rng.normal(0, 0.5, (1, 1, 2, 2)).astype(np.float32)
        attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0)}
        y = b.emit("conv2d", name, [t], (4, 4, 2), attrs, {"kernel": kernel})
        if i % 3 == 2:
            y = b.emit("relu", f"{name}_relu", [y], (4, 4, 2), {"max_value": None})
            y = b.emit("add", f"{name}_q", [t, y], (4, 4, 2))
        t = y
    t = b.emit("flatten", "flat", [t], (32,))
    weights = {"kernel": rng.normal(0, 0.5, (32, 3)).astype(np.float32)}
    return b.finish(b.emit("dense", called[0], [t], (3,), {}, weights))


def compiled(model: str, called: list[str]) -> secateur.CompiledModel:
    calibration = np.random.default_rng(1).normal(size=(8, 4, 4, 2)).astype(np.float32)
    return secateur.convert(graph(model, called), calibration)


@given(ANY)
def test_any_name_becomes_an_identifier_of_bounded_length(name: str) -> None:
    made = names.model(name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", made, re.ASCII)
    assert len(made) <= names.LONGEST
    assert names.model(made) == made


@pytest.mark.parametrize("name", ["stdint", "string", "sc_port", "sc_crc32", "port",
                                  "harness", "model_glue", "stm32", "switch", "con"])  # fmt: skip
def test_a_reserved_name_gets_a_prefix(name: str) -> None:
    assert names.model(name) == f"m_{name}"


@pytest.mark.parametrize("name", ["kws", "kws_dscnn", "net2", "lenet_300_100", "m_2net"])
def test_a_name_that_is_fit_stays(name: str) -> None:
    assert names.model(name) == name


def test_no_model_is_called_like_a_file_of_this_project() -> None:
    own = [*(assets.firmware() / "src").iterdir(), *Path(secateur.__file__).parent.rglob("*.h")]
    assert len(own) > 40
    assert [p.stem for p in own if names.model(p.stem) == p.stem] == []


@pytest.mark.parametrize("compiler", ["arm-none-eabi-gcc", "riscv64-unknown-elf-gcc"])
def test_no_model_is_called_like_a_header_of_the_compiler(compiler: str) -> None:
    if why := tools.missing(compiler):
        pytest.skip(why)
    specs = ["--specs=picolibc.specs"] if compiler.startswith("riscv") else []
    command = [compiler, *specs, "-E", "-v", "-x", "c", "/dev/null"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    folders = re.findall(r"^ (/.*)$", said.split("search starts here:")[-1], re.M)
    headers = {p.stem for folder in folders for p in Path(folder).glob("*.h")}
    assert "stdint" in headers
    assert {h for h in headers if names.model(h) == h} == set()


@given(st.lists(ANY | st.sampled_from(HOSTILE), unique=True, max_size=12))
def test_layers_get_names_of_their_own(called: list[str]) -> None:
    made = names.layers(tuple(called))
    assert set(made) == set(called)
    assert len(set(made.values())) == len(called)
    assert all(re.fullmatch(r"\w{1,48}", m, re.ASCII) for m in made.values())


def test_what_stands_for_a_layer_is_stable() -> None:
    made = names.layers(("conv-1", "conv_1", "conv 1", "dense"))
    assert made["conv_1"], made["dense"] == ("conv_1", "dense")
    assert names.layers(("conv 1", "conv_1"))["conv 1"] == made["conv 1"] == "conv_1_1f8c81"
    assert names.layers(("conv-1",))["conv-1"] == "conv_1"


@given(ANY | st.sampled_from(HOSTILE))
def test_a_comment_is_one_line_that_does_not_end_early(text: str) -> None:
    line = names.comment(text)
    assert re.fullmatch(r"[ -~]*", line)
    assert not re.search(r"\*/|/\*|\?\?", f"/* {line} */"[2:-2])
    assert not line.endswith("\\")


def _compiles(model: secateur.CompiledModel, folder: Path) -> None:
    library = model.plan.library
    for path, text in library.files.items():
        assert re.fullmatch(r"[ -~\n\t]*", text), path
        assert re.fullmatch(r"[a-z0-9_./]+", path), path
    source = library.save(folder) / "src"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O0"]
    for c in sorted(source.glob("*.c")):
        tools.run(["gcc", *flags, "-c", str(c), "-o", str(c.with_suffix(".o"))], f"compiling {c}")
    shown = subprocess.run(
        ["nm", "--defined-only", *map(str, source.glob("*.o"))], capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert " f\n" not in shown, "code from a name"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(MODELS) | ANY,
    st.lists(ANY | st.sampled_from(HOSTILE), unique=True, min_size=4, max_size=6),
)
@example(HOSTILE[0], HOSTILE[:8])
@example("add", ["x", "x_q", "run", "arena", "check_weights", "x_q_q"])
@example("rescale", HOSTILE[8:20])
@example("x" * 5000, HOSTILE[20:])
def test_whatever_a_model_is_called_its_library_compiles(
    tmp_path_factory: pytest.TempPathFactory, model: str, called: list[str]
) -> None:
    _compiles(compiled(model, called), tmp_path_factory.mktemp("lib") / "lib")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_carries_the_safe_name_only(form: str) -> None:
    library = compiled(HOSTILE[0], HOSTILE[:4]).plan.library
    for path, content in files_as(library, form).items():
        assert re.fullmatch(r"[A-Za-z0-9_./]+", path)
        if isinstance(content, str):
            assert re.fullmatch(r"[ -~\n\t]*", content), path


def test_a_layers_name_never_runs(tmp_path: Path) -> None:
    """The exploit as it was found: `deploy --board host` printed from a constructor."""
    mark = tmp_path / "ran"
    evil = (
        f'a\n*/\n#include <stdio.h>\n#define X\n__attribute__((constructor)) static void e(void) '
        f'{{ fclose(fopen("{mark}", "w")); }}\n/*'
    )  # fmt: skip
    model = compiled("net", [evil, "b", "c", "d"])
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
    report = secateur.deploy(model, board="host", inputs=x, build_dir=tmp_path / "build")
    assert report.bit_exact
    assert not mark.exists()
    assert evil in {layer.name for layer in report.layers}, "reports call it as the model does"


def test_profiles_call_layers_as_the_model_does(tmp_path: Path) -> None:
    from secateur.targets.runners.profile import profile

    if why := tools.missing("arm-none-eabi-gcc"):
        pytest.skip(why)
    model = compiled("net", ["conv 1", "output", "日本", "d"])
    folder = model.save(tmp_path / "lib")
    found = profile(folder, "mps2_an386", tmp_path / "build", np.zeros((1, 32), np.int8))
    called = [step.layer for step in found.steps]
    assert called[0] == "input"
    assert called[-1] == "output"
    assert {"conv 1", "日本"} <= set(called)
    assert called.count("output") == 2, "a layer may be called like the end of the model"


def _acts(text: str) -> list[str]:
    """Characters that act on a terminal."""
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


@settings(deadline=None, max_examples=50)
@given(ANY | st.sampled_from(HOSTILE))
def test_nothing_foreign_acts_on_a_terminal(name: str) -> None:
    out = io.StringIO()
    console = PlainConsole(file=out, width=200, color_system=None, force_terminal=True)
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    table.add_row(Text(name))
    console.print(table)
    console.print(name)
    assert _acts(out.getvalue()) == []
    assert _acts(str(SecateurError(name))) == []
    assert "\n" not in str(ModelError(name))


def test_markup_and_emoji_in_a_name_are_text() -> None:
    out = io.StringIO()
    PlainConsole(file=out, width=200, color_system="truecolor", force_terminal=True).print(
        "[red]x[/red] [link=file:///]y[/link] :warning:", highlight=False
    )
    assert out.getvalue() == "[red]x[/red] [link=file:///]y[/link] :warning:\n"


@settings(deadline=None, max_examples=50)
@given(ANY | st.sampled_from(HOSTILE))
def test_reports_show_names_as_text(name: str) -> None:
    from dataclasses import replace

    r = sample_report()
    r = replace(r, model=name, board=name, layers=(replace(r.layers[0], name=name),))
    assert _acts(report_text(r)) == []
    out = io.StringIO()
    PlainConsole(file=out, width=160, color_system=None).print(layer_table(r.layers, title=name))
    assert _acts(out.getvalue()) == []
    page = html.render(r)
    assert "<script" not in page
    assert _acts(page) == []
    assert json.loads(r.to_json())["model"] == name
    verdicts = check_budget(r, {"flash": 1}, None, {})
    assert verdicts
    from xml.etree import ElementTree

    ElementTree.fromstring(ci.junit(verdicts))
    json.loads(ci.sarif(verdicts, name, "1"))
    assert len(ci.github(verdicts, name).splitlines()) == len(verdicts)
    rows = [row for row in ci.markdown(verdicts).splitlines() if row.startswith("|")]
    assert len(rows) == 2 + len(verdicts)
    assert "<" not in re.sub(r"\\<", "", rows[2])
    beside = changes.between(r, {"flash": 1.0}, {"flash": 2.0}, {"other": LAYER})
    said = ci.markdown([], [beside, changes.between(r, {}, None, None)], name).splitlines()
    tables = [row for row in said if row.startswith("| ")]
    assert len(tables) == 3 + 1 + 2  # headings, a figure, a layer that is gone and one that is new
    assert _acts("\n".join(said)) == []
    known = ("<!-- secateur check -->", "<details><summary>", "</summary>", "</details>")
    text = re.sub("|".join(map(re.escape, known)), "", re.sub(r"\\<", "", "\n".join(said)))
    assert "<" not in text
    entry = history.Entry(1, name, name, name, name, r.to_dict(), name)
    page = history_page.render([entry])
    assert "<script" not in page
    assert _acts(page) == []
