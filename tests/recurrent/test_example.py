"""examples/listen: the program prints the words that the reference hears."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import secateur as sc

keras = pytest.importorskip("keras")
EXAMPLE = Path(__file__).parents[2] / "examples" / "listen"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_it_prints_what_the_reference_hears(tmp_path: Path) -> None:
    example = runpy.run_path(str(EXAMPLE / "make_listener.py"))
    keras.utils.set_random_seed(1)
    model, definition = example["network"](), sc.Mfcc()
    rng, t = np.random.default_rng(0), np.arange(4 * 16000)
    loud = 6000 * np.sin(2e-5 * t * (t % 9000)) * (t // 8000 % 2)
    heard = np.rint(loud + rng.normal(0, 40, t.size)).astype(np.int16)
    seconds = heard.reshape(4, -1)
    x = np.stack([definition.real(s) for s in seconds])[..., None].astype("float32")
    last = model.layers[-1]  # untrained answers hardly differ: centre them
    values = last.input
    inner = keras.Model(model.input, values).predict(x, verbose=0)
    kernel = rng.normal(0, 1, (24, 5)).astype("f4")
    last.set_weights([kernel, -inner.mean(axis=0) @ kernel])

    listener = sc.convert(model, x, name="ears", streaming=True)
    features = listener.add_features(definition)
    home = listener.save(tmp_path / "ears")
    shutil.copy(EXAMPLE / "main.c", tmp_path)
    sources = sorted(map(str, home.rglob("*.c")))
    sources = [s for s in sources if "/src/" in s]
    command = ["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-I", str(home / "src")]
    command += [str(tmp_path / "main.c"), *sources, "-o", str(tmp_path / "listen")]
    subprocess.run(command, check=True, timeout=120)
    done = subprocess.run(
        [str(tmp_path / "listen")], input=heard.tobytes(), capture_output=True, check=True,
        timeout=60,
    )  # fmt: skip

    stream, words, best, turns = listener.stream(), ["(nothing)", *example["WORDS"]], 0, 0
    silence = np.zeros(definition.window - definition.hop, np.int16)
    want = []
    for frame in features.codes(np.concatenate([silence, heard])):
        answer = stream.step(frame.reshape(1, 1, 10, 1))
        if answer is None:
            continue
        now = int(answer.reshape(-1).argmax())
        turns, best = (turns + 1 if now == best else 0), now
        want += [words[now]] if turns == 3 else []
    assert done.stdout.decode().split() == want
    assert len(set(want)) > 1
