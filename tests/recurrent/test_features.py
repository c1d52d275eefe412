"""Features of sound: the float definition, the integers, the C on host and cores."""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

import secateur as sc
from secateur.codegen.features import feature_files
from secateur.errors import DataError
from secateur.lowering import passes
from secateur.lowering.mfcc import Mfcc, QMfcc
from secateur.lowering.streaming import lower_stream
from tests.codegen import run_c

from .test_streaming import recogniser, sound

_SECOND = np.arange(16000) / 16000


def sounds() -> dict[str, np.ndarray]:
    """int16 [16000] each."""
    rng, t = np.random.default_rng(0), _SECOND
    voice = sum(np.sin(2 * np.pi * 120 * k * t + 3 * np.sin(12 * t)) / k for k in range(1, 30))
    made = {
        "noise": rng.normal(0, 3000, t.size), "quiet": rng.normal(0, 3, t.size),
        "tone": 20000 * np.sin(2 * np.pi * 440 * t),
        "chirp": 8000 * np.sin(2 * np.pi * (100 * t + 1500 * t * t)),
        "square": 32767 * np.sign(np.sin(2 * np.pi * 200 * t)), "silence": np.zeros(t.size),
        "voice": 9000 * voice * np.clip(np.sin(9 * t), 0, 1),
        "burst": np.where((t > 0.3) & (t < 0.5), 8000, 20) * rng.normal(0, 1, t.size),
    }  # fmt: skip
    return {k: np.clip(np.rint(v), -32768, 32767).astype(np.int16) for k, v in made.items()}


def test_the_definition_is_tensorflows() -> None:
    signal = pytest.importorskip("tensorflow").signal
    samples = sounds()["burst"]
    windows = signal.stft(
        samples.astype(np.float32) / 32768, 480, 320, window_fn=signal.hann_window
    )
    mel = signal.linear_to_mel_weight_matrix(40, 257, 16000, 20.0, 4000.0)
    logs = np.log(np.abs(windows) @ mel.numpy() + 1e-6)
    want = signal.mfccs_from_log_mel_spectrograms(logs)[..., :10].numpy()
    np.testing.assert_allclose(Mfcc().real(samples), want, atol=2e-4)
    np.testing.assert_allclose(Mfcc(coefficients=0).real(samples), logs, atol=2e-4)


@pytest.mark.parametrize(
    ("definition", "scale", "zero"),
    [
        (Mfcc(), 0.58, 83), (Mfcc(), 0.2, -20), (Mfcc(coefficients=0), 0.08, 40),
        (Mfcc(8000, 200, 80, 20, 50.0, 4000.0, 13, 4.0), 0.4, 60),
    ],
)  # fmt: skip
def test_codes_are_within_one(definition: Mfcc, scale: float, zero: int) -> None:
    q = QMfcc(definition, scale, zero)
    for name, samples in sounds().items():
        want = np.clip(np.floor(definition.real(samples) / scale + 0.5) + zero, -128, 127)
        assert np.abs(q.codes(samples) - want).max() <= 1, name


_VOICES = {
    "en": "yes no up down left right on off stop go", "en+f3": "hey secateur, switch the light on",
    "de+m3": "eins zwei drei vier fünf sechs", "fr+whisper": "un deux trois quatre cinq",
    "en+croak": "the quick brown fox jumps over the lazy dog",
}  # fmt: skip


def spoken(voice: str, words: str, folder: Path) -> np.ndarray:
    """Words by espeak-ng at 16 kHz, int16, behind half a second of a quiet room's noise."""
    path = folder / "spoken.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-w", str(path), words], check=True, timeout=60)
    with wave.open(str(path)) as w:
        rate, frames = w.getframerate(), w.readframes(w.getnframes())
    heard = np.frombuffer(frames, "<i2").astype(np.float64)
    at = np.arange(int(heard.size * 16000 / rate)) * rate / 16000
    heard = np.interp(at, np.arange(heard.size), heard)
    heard = np.concatenate([np.zeros(8000), heard]) * 0.9
    heard += np.random.default_rng(0).normal(0, 4, heard.size)
    return np.clip(np.rint(heard), -32768, 32767).astype(np.int16)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize("voice", _VOICES)
def test_codes_of_voices_are_within_one(voice: str, tmp_path: Path) -> None:
    samples = spoken(voice, _VOICES[voice], tmp_path)
    for definition, scale, zero in (
        (Mfcc(), 0.58, 83), (Mfcc(), 0.2, -20), (Mfcc(coefficients=0), 0.08, 40),
    ):  # fmt: skip
        real = definition.real(samples)
        want = np.clip(np.floor(real / scale + 0.5) + zero, -128, 127)
        got = QMfcc(definition, scale, zero).codes(samples)
        assert len(got) > 80
        assert np.abs(got - want).max() <= 1


_RUN = """
#include <string.h>
#include "{name}.h"
#include "{name}_features.h"
int {name}_run_in(void *arena, const int8_t *in, int8_t *out);
int {name}_run_in(void *arena, const int8_t *in, int8_t *out)
{{
    static uint32_t state[{upper}_FEATURES_BYTES / 4];
    int16_t samples[{upper}_HOP];
    int8_t answer[{upper}_OUTPUT_SIZE];
    {name}_features_reset(state);
    for (int i = 0; i < {n}; i++, in += sizeof samples, out += {outputs}) {{
        memcpy(samples, in, sizeof samples);
        {name}_features(state, samples, out);
    }}
    {name}_listen_reset(state, arena);
    return {name}_listen(state, arena, samples, answer) < 0 ? -1 : 0;
}}
"""


@pytest.mark.parametrize("core", ["", *run_c.CORES])
def test_the_same_bytes_in_c(core: str, tmp_path: Path) -> None:
    definitions = [
        Mfcc(coefficients=4), Mfcc(coefficients=0, channels=4, window=64, hop=16, high=8000.0),
        Mfcc(window=100, hop=100, channels=40, coefficients=4, gain=8.0),
    ]  # fmt: skip
    plans, inputs, expected = [], [], []
    whole = sounds()
    n = 6
    for i, d in enumerate(definitions):
        q = passes.run(passes.INTEGER, lower_stream(recogniser(), sound(4, 20)))
        plan = run_c.plan(q, f"net{i}")
        name, files = plan.library.name, plan.library.files
        features = QMfcc(d, 0.5, 3)
        files |= feature_files(name, features)
        frame, size = q.tensors[q.input].size, q.tensors[q.output].size
        files[f"src/{name}_more.c"] = _RUN.format(
            name=name, upper=name.upper(), n=n, outputs=d.outputs
        ).replace(f"{name.upper()}_OUTPUT_SIZE", str(size))
        h = files[f"src/{name}.h"]
        h = h.replace(f"_INPUT_SIZE {frame} ", f"_INPUT_SIZE {2 * d.hop * n} ")
        h = h.replace(f"_OUTPUT_SIZE {size} ", f"_OUTPUT_SIZE {d.outputs * n} ")
        entry = f"int {name}_run_in(void *arena, const int8_t *in, int8_t *out);\n"
        files[f"src/{name}.h"] = h.replace("#ifdef __cplusplus\n}", entry + "#ifdef __cplusplus\n}")
        heard = [whole[k][4000 : 4000 + d.hop * n] for k in ("square", "noise", "tone")]
        plans.append(plan)
        inputs.append(np.stack(heard).view(np.int8))
        silence = np.zeros(d.window - d.hop, np.int16)
        expected.append(np.stack([features.codes(np.concatenate([silence, s])) for s in heard]))
    got = run_c.on_core(core, plans, inputs, tmp_path) if core else run_c.on_host(
        plans, inputs, tmp_path
    )  # fmt: skip
    for one, want in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.reshape(want.shape), want)


def test_a_stream_reads_samples(tmp_path: Path) -> None:
    compiled = sc.convert(recogniser(), sound(4, 20), name="net", streaming=True)
    features = compiled.add_features(sc.Mfcc(coefficients=4))
    assert features.scale == compiled.inputs.ends[0].scale
    assert "bytes of tables" in compiled.notes[-1]
    home = compiled.save(tmp_path / "net", "plain")
    assert "int net_listen(" in next(home.rglob("net_features.h")).read_text()
    with pytest.raises(DataError, match="frames of 4 features, and 10 are made"):
        compiled.add_features(sc.Mfcc())
    whole = sc.convert(recogniser(), sound(4, 20), name="net")
    with pytest.raises(DataError, match="streaming=True"):
        whole.add_features(sc.Mfcc(coefficients=4))


@pytest.mark.parametrize(
    "wrong", [{"hop": 500}, {"window": 4000}, {"high": 9000.0}, {"coefficients": 41}, {"gain": 0.0}]
)
def test_what_is_no_definition_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError):
        Mfcc(**wrong)  # type: ignore[arg-type]


def test_samples_are_sixteen_bits() -> None:
    with pytest.raises(DataError, match="give int16"):
        Mfcc().real(np.zeros(1000))
