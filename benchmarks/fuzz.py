"""python -m benchmarks.fuzz TARGET [SECONDS]: a reader under coverage-guided fuzzing (atheris).

Whatever bytes a file or a serial peer holds, a reader returns or raises a SecateurError; anything
else is a finding, and so is more than half a minute or 2 GB. An UnexpectedError is the boundary's
word for what no reader foresaw: refused as it should be, but listed, since it deserves a sentence
of its own. `attempts` does the same without atheris, by a fixed number of mutations.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@dataclass(frozen=True)
class Target:
    """A reader: what it is given at first, and how it is called in an empty folder."""

    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], object]


def _file(name: str, load: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def read(data: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(data)
        return load(path)

    return read


def _model(path: Path) -> object:
    from secateur.frontend.load import load

    return load(path)


def _keras_config(data: bytes, folder: Path) -> object:
    from .hostile import small

    return _model(small.keras_file(folder, config=data))


def _npz(path: Path) -> object:
    from secateur.cli.inputs import load_inputs

    return load_inputs(path)


def _npz_seeds() -> list[bytes]:
    import numpy as np

    from .hostile import small

    out = []
    codes = {"x": np.zeros((2, 3), np.int8), "scale": 0.1, "zero_point": 3}
    for arrays in ({"x": small.inputs(2), "y": np.arange(2)}, codes):
        file = io.BytesIO()
        np.savez(file, **arrays)
        out.append(file.getvalue())
    return out


def _board(path: Path) -> object:
    from secateur.targets import boards

    return boards.check(path)


def _toml(path: Path) -> object:
    from secateur import config

    return config.load(path)


def _serial(data: bytes, folder: Path) -> object:
    """Each byte below 128 and those behind it: a reply of so many bytes, with a valid CRC, to the
    request; from 128 on, bytes of another frame, or noise as it is."""
    from secateur.targets.wire import frames
    from secateur.targets.wire.client import Client, DeviceFaultError

    left = io.BytesIO(data)

    class Line:
        out = b""

        def write(self, sent: bytes) -> None:
            request = frames.decode(sent.strip(b"\0"))
            if request is None or not (first := left.read(1)):
                return
            payload = left.read(first[0] & 127)
            if first[0] < 128:
                code, sequence = request.command | frames.REPLY, request.sequence
                self.out += frames.encode(frames.Frame(code, sequence, 0, payload, 1))
            elif len(payload) > 4 and payload[0] & 1:
                code, sequence, status, version = payload[1:5]
                frame = frames.Frame(code, sequence, status, payload[5:], version)
                self.out += frames.encode(frame)
            else:
                self.out += payload

        def read(self, timeout: float) -> bytes:
            said, self.out = self.out, b""
            return said

    client = Client(Line(), reply_time=0.002, run_time=0.005, retries=1)
    try:
        info = client.info()
        client.load(bytes(info.input_size))
        client.run()
        client.read(info.output_size)
        return client.memory()
    except DeviceFaultError as e:  # what a device may say of itself
        return e.words


def _serial_seeds() -> list[bytes]:
    import struct

    from .hostile.peers import INFO

    info = struct.pack("<5I", *INFO) + b"echo"
    said = [info, struct.pack("<I", 224), struct.pack("<I", 448), struct.pack("<I", 490)]
    said += [struct.pack("<iIqI", 0, 1, 1000, 0), bytes(12), struct.pack("<iII", 0, 100, 600)]
    return [b"".join(bytes([len(s)]) + s for s in said), b"\x86\1\x81\1\0\1" + info]


def _config_seeds() -> list[bytes]:
    from .hostile import small

    return [json.dumps(small.config()).encode()]


def _board_seeds() -> list[bytes]:
    from .hostile import small

    return [json.dumps(small.board(b)).encode() for b in ("nucleo_f446re", "mps2_an386")]


def _toml_seeds() -> list[bytes]:
    from .hostile import values

    rest = '[model.budgets]\nflash = "64k"\n[model.tolerance]\nflash = 0.1\n'
    return [f"[[model]]\n{values.MODEL}boards = ['host']\n{rest}".encode()]


def _of(name: str) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        from .hostile import small

        return [getattr(small, name)()]

    return seeds


TARGETS = {
    "tflite": Target(_of("tflite_bytes"), _file("m.tflite", _model)),
    "keras": Target(_of("keras_bytes"), _file("m.keras", _model)),
    "keras-config": Target(_config_seeds, _keras_config),
    "npz": Target(_npz_seeds, _file("x.npz", _npz)),
    "board": Target(_board_seeds, _file("evil.json", _board)),
    "toml": Target(_toml_seeds, _file("secateur.toml", _toml)),
    "serial": Target(_serial_seeds, _serial),
}
#: Mutations that `attempts` makes at most.
MOST = 10_000_000
#: What no reader foresaw: the sentence without the path -> the first input.
unforeseen: dict[str, bytes] = {}


def attempt(target: Target, data: bytes, folder: Path) -> None:
    """Read once; whatever is not a SecateurError goes on."""
    from secateur.errors import SecateurError, UnexpectedError

    try:
        target.read(data, folder)
    except UnexpectedError as e:
        unforeseen.setdefault(str(e).replace(str(folder), ""), data)
    except SecateurError as e:
        if not str(e).isprintable():
            raise RuntimeError(f"a terminal would act on {str(e)!r}") from e


def mutations(target: Target, count: int, seed: int = 0) -> Iterator[bytes]:
    """Seeds with some bytes replaced, taken out, doubled or exchanged for a telling value."""
    rng = Random(seed)
    seeds = target.seeds()
    telling = (b"\0", b"\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"-1", b"1e999", b"null", b"{}")
    for i in range(count):
        data = bytearray(seeds[i % len(seeds)])
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data) + 1)
            end = at + rng.choice((0, 1, 1, 2, 4, 4, 16))
            new = rng.choice((*telling, bytes(data[at:end]) * 2, rng.randbytes(2), b""))
            data[at:end] = new
        yield bytes(data)


def attempts(name: str, seconds: float, seed: int = 0) -> int:
    """Mutations without coverage, always the same ones, for so long; how many there were."""
    target, begin, done = TARGETS[name], time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for data in mutations(target, MOST, seed):
            attempt(target, data, Path(folder))
            done += 1
            if time.monotonic() - begin > seconds:
                break
    return done


def main() -> None:
    name, seconds = sys.argv[1], int((sys.argv[2:] or ["600"])[0])
    import atheris
    import keras  # noqa: F401  not instrumented: slow, and not what is looked at

    with atheris.instrument_imports(include=["secateur"], enable_loader_override=False):
        import secateur.cli.inputs
        import secateur.config
        import secateur.frontend.keras3
        import secateur.frontend.load
        import secateur.frontend.tflite
        import secateur.targets.boards
        import secateur.targets.wire.client  # noqa: F401
    target = TARGETS[name]
    runs = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as home:
        corpus, folder = Path(home, "corpus"), Path(home, "files")
        corpus.mkdir()
        folder.mkdir()
        for i, seed in enumerate(target.seeds()):
            (corpus / str(i)).write_bytes(seed)
        found = Path("build") / "fuzz" / f"{name}.json"

        def one(data: bytes) -> None:
            nonlocal runs
            runs += 1
            known = len(unforeseen)
            attempt(target, data, folder)
            if len(unforeseen) > known:  # libFuzzer leaves the process without a word
                found.parent.mkdir(parents=True, exist_ok=True)
                shown = {said: data[:4000].hex() for said, data in unforeseen.items()}
                found.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
                print(f"unforeseen: {list(unforeseen)[-1][:300]}", flush=True)

        options = [
            f"-max_total_time={seconds}",
            "-timeout=30",
            "-rss_limit_mb=2500",
            "-len_control=0",
        ]
        prefix = f"-artifact_prefix={Path('build').absolute()}/fuzz-{name}-"
        atheris.Setup([sys.argv[0], *options, "-max_len=20000", prefix, str(corpus)], one)
        Path("build").mkdir(exist_ok=True)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
