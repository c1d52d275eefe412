"""`secateur check` on a real network: the recipe of docs/ci.md, kept, broken, restored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from secateur.cli import main
from secateur.config import Baseline, load, load_baseline
from secateur.errors import SecateurError

from .report import sample

needs_emulator = pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="arm-none-eabi-gcc and qemu-system-arm are not installed",
)

TOML = """
[[model]]
name = "tiny"
path = "model.keras"
calibration = "x.npz"
inputs = "x.npz"
boards = ["mps2_an386"]
emulator = "qemu"

[model.plan]
ram = "1 kB"

[model.budgets]
flash = "2.5 kB"
accuracy = 0.9
bit_exact = true

[model.tolerance]
instructions = "5 %"
"""


def train(folder: Path, width: int) -> None:
    """Stands for the training script of a project: a model `width` neurons wide."""
    import keras

    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")
    model = keras.Sequential([keras.Input((8,)), hidden, keras.layers.Dense(3, name="out")])
    x = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    model.save(folder / "model.keras")
    np.savez(folder / "x.npz", x=x, y=model.predict(x, verbose=0).argmax(1))


def check(folder: Path, *args: str) -> tuple[int, str]:
    config = str(folder / "secateur.toml")
    build = str(folder / "build")
    result = CliRunner().invoke(main, ["check", "--config", config, "--build", build, *args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


@needs_emulator
@pytest.mark.emulator
@pytest.mark.train
@pytest.mark.slow
def test_widened_fails_restored_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "secateur.toml").write_text(TOML)
    train(tmp_path, 16)
    update = ["baseline", "update", "--config", str(tmp_path / "secateur.toml")]
    result = CliRunner().invoke(main, [*update, "--build", str(tmp_path / "build"), "--json"])
    assert result.exit_code == 0, result.output
    runs = load_baseline(tmp_path / "secateur-baseline.json").runs
    assert runs == json.loads(result.stdout)["runs"]
    assert runs["tiny@mps2_an386"]["bit_exact"] == 1.0

    code, first = check(tmp_path, "--json")
    assert code == 0, first
    assert json.loads(first)["result"] == "kept"
    code, second = check(tmp_path, "--json")
    assert first == second

    train(tmp_path, 256)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    files = [f"--{kind}={tmp_path / kind}" for kind in ("junit", "sarif", "markdown")]
    code, text = check(tmp_path, "--json", "--github", *files)
    assert code == 1
    broken = {v["figure"]: v for v in json.loads(text)["verdicts"] if not v["kept"]}
    assert set(broken) == {"flash", "instructions"}
    assert broken["flash"]["costliest"].startswith("hidden ")
    assert broken["flash"]["last_good"] == runs["tiny@mps2_an386"]["flash"]
    for kind in ("junit", "sarif", "markdown"):
        assert "flash" in (tmp_path / kind).read_text()
    assert "**broken**" in (tmp_path / "summary.md").read_text()

    train(tmp_path, 16)
    assert check(tmp_path)[0] == 0


def test_what_cannot_be_told_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "secateur.toml").write_text(TOML)
    code, _ = check(tmp_path)  # there is no model
    assert code == 2
    code, _ = check(tmp_path / "elsewhere")  # nor a budget file
    assert code == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("flash = ", "flush = "), "flush"),
        (('"2.5 kB"', '"2.5 ms"'), "2.5 ms"),
        (('"5 %"', '"5 kB"'), "5 kB"),
        (("instructions", "speed"), "speed"),
        (('"1 kB"', '"1 ms"'), "1 ms"),
        (("ram = ", "arena = "), "plan.arena"),
        (('path = "model.keras"', ""), "path"),
        (("boards = ", "board = "), "board"),
        (('["mps2_an386"]', "[]"), "boards"),
        (("[[model]]", "[[model"), "not TOML"),
    ],
)
def test_a_faulty_budget_file_is_named_by_key(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    path = tmp_path / "secateur.toml"
    path.write_text(TOML.replace(*change))
    with pytest.raises(SecateurError, match=says):
        load(path)


def test_a_damaged_baseline_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secateur-baseline.json"
    assert load_baseline(path) == Baseline()
    for text in ("", "[]", '{"schema": 2}', '{"schema": 1, "runs": {"a": 1}}',
                 '{"schema": 1, "runs": {}, "layers": {"a": [["b", {}]]}}',
                 '{"schema": 1, "runs": {}, "layers": {"a": {"b": 1}}}'):  # fmt: skip
        path.write_text(text)
        with pytest.raises(SecateurError, match="baseline update"):
            load_baseline(path)


def test_every_budget_has_its_line(tmp_path: Path) -> None:
    from secateur.config import line_of, lines

    path = tmp_path / "secateur.toml"
    path.write_text(
        """# two models
[[model]]
path = "a.keras"
budgets.flash = "1 kB"

[model.tolerance]
ram = "2 %"

[[model]]
path = "b.keras"
budgets = { flash = "1 kB", ram = "2 kB" }
[model.plan]
ram = "4k"
"""
    )
    first, second = lines(path)
    assert line_of(first, "budgets", "flash") == 4
    assert line_of(first, "tolerance", "ram") == 7
    assert line_of(first, "tolerance", "arena") == 6
    assert line_of(second, "budgets", "ram") == 11
    assert line_of(second, "tolerance", "ram") == 9
    assert line_of({}, "budgets", "ram") == 1


def test_a_baseline_of_another_ref(tmp_path: Path) -> None:
    import subprocess

    from secateur.config import baseline_at
    from secateur.errors import SecateurError

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    file = tmp_path / "secateur-baseline.json"
    file.write_text('{"runs": {"net@host": {"flash": 100.0}}, "schema": 1}')
    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "a")
    file.write_text("damaged")
    assert baseline_at(file, "main").runs == {"net@host": {"flash": 100.0}}
    with pytest.raises(SecateurError, match=r"holds no secateur-baseline\.json at nowhere"):
        baseline_at(file, "nowhere")
    for wrong in ("--output=x", "a b", "", "a:b"):
        with pytest.raises(SecateurError, match="is no name of a commit or branch"):
            baseline_at(file, wrong)


def test_differences_from_another_ref_by_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull request that widens a layer: its comment names the layer, and by how many bytes."""
    import subprocess

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    text = TOML.replace("mps2_an386", "host").replace('emulator = "qemu"\n', "")
    text = text.partition("[model.plan]")[0] + '[model.budgets]\nstored = "9 kB"\n'
    (tmp_path / "secateur.toml").write_text(text)
    train(tmp_path, 16)
    update = ["baseline", "update", "--config", str(tmp_path / "secateur.toml")]
    result = CliRunner().invoke(main, [*update, "--build", str(tmp_path / "build")])
    assert result.exit_code == 0, result.output
    assert "1 runs, 1 changed" in result.output
    committed = load_baseline(tmp_path / "secateur-baseline.json")
    assert list(committed.layers["tiny@host"]) == ["hidden", "out"]
    git("init", "-b", "main")
    git("add", "secateur-baseline.json")
    git("commit", "-m", "a")

    code, same = check(tmp_path, "--against", "main")
    assert code == 0
    assert "tiny on host: every layer is that of main." in same

    train(tmp_path, 24)
    comment = tmp_path / "comment.md"
    code, shown = check(tmp_path, "--against", "main", f"--markdown={comment}")
    assert code == 0  # within its budget, and yet another one
    assert "tiny on host, layers that differ from main" in shown
    said = comment.read_text()
    assert said.startswith("<!-- secateur check -->\n### Secateur: 1 of 1 budgets kept\n")
    assert "| figure | main | now | |" in said
    assert "<details><summary>2 layers differ, +" in said
    now = json.loads(check(tmp_path, "--json", "--against", "main")[1])["changes"][0]
    (hidden,) = (c for c in now["layers"] if c["layer"] == "hidden")
    before, after = hidden["before"], hidden["after"]
    grown = after["stored"] - before["stored"]
    assert before["nonzeros"] <= 8 * 16 < after["nonzeros"] <= 8 * 24
    kept = f"{before['nonzeros']} → {after['nonzeros']}"
    assert f"| {before['stored']} → {after['stored']} | +{grown} | {kept} | {kept} |" in said
    check(tmp_path, "--against", "main", f"--markdown={comment}")  # ours: it is replaced


def test_what_a_baseline_lacks_is_said() -> None:
    """A run, or the layers of one, that the other ref does not have."""
    from secateur.report import changes

    report = sample.report()
    unknown = changes.between(report, {"flash": 2.0}, None, None)
    name = f"{report.model} on {report.board}"
    assert unknown.note == (f"{name} is not in the baseline: `secateur baseline update` adds it")
    older = changes.between(report, {"flash": 2.0, "accuracy": 0.9}, {"flash": 1.0}, None)
    assert older.note.startswith(f"the baseline of {name} tells no layers, an earlier version")
    assert [c.text for c in older.changed] == ["+100.00 %", ""]
    states = changes.layers_of(report)
    first = next(iter(states))
    gone = changes.LayerState("dense", 10, 8, 8)
    here = {**{k: v for k, v in states.items() if k != first}, "old|one": gone}
    run = changes.between(report, {}, {}, here)
    assert {c.layer for c in run.layers} == {first, "old|one"}
    text = changes.markdown([run], "main")
    assert "gone: dense" in text
    assert "new: " in text
    assert "old\\|one" in text
