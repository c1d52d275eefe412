"""What a serial peer may say: anything. The client checks it, and never waits for ever."""

from __future__ import annotations

import ast
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur import cores, targets
from secateur.errors import TargetError
from secateur.targets import Image
from secateur.targets.builders import elf
from secateur.targets.wire import frames, session
from secateur.targets.wire.client import Client, DeviceFaultError
from secateur.targets.wire.frames import Frame
from secateur.targets.wire.process import ProcessLine

from .conftest import ECHO, echo, need, samples

Reply = Callable[[Frame], list[Frame]]
INFO = struct.pack("<5I", 490, 12, 600, 1000, 3) + b"echo"


class Peer:
    """A line whose other end answers by a function; it says nothing on its own."""

    def __init__(self, answer: Reply) -> None:
        self._answer = answer
        self._out = bytearray()

    def write(self, data: bytes) -> None:
        request = frames.decode(data.strip(b"\0"))
        assert request is not None
        for reply in self._answer(request):
            self._out += frames.encode(reply)

    def read(self, timeout: float) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        if not data:
            time.sleep(min(timeout, 0.001))
        return data


def honest(request: Frame) -> bytes:
    """What the harness says: a model of 490 inputs and 12 outputs."""
    if request.command == frames.INFO:
        return INFO
    if request.command == frames.LOAD:
        return struct.pack(
            "<I", struct.unpack_from("<I", request.payload)[0] + len(request.payload) - 4
        )
    if request.command == frames.RUN:
        return struct.pack("<iIqI", 0, struct.unpack_from("<I", request.payload)[0], 1000, 0)
    if request.command == frames.READ:
        return bytes(struct.unpack("<II", request.payload)[1])
    return struct.pack("<iII", 0, 100, 600)


def lying(about: int, payload: bytes, code: int | None = None, version: int = 1) -> Reply:
    """Honest but for the replies to one command: their payload, command or version."""

    def answer(request: Frame) -> list[Frame]:
        reply = Frame(request.command | frames.REPLY, request.sequence, 0, honest(request))
        if request.command == about:
            reply = Frame(code or reply.command, reply.sequence, 0, payload, version)
        return [reply]

    return answer


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Image:
    need("cc")
    return targets.build(ECHO, "host", tmp_path_factory.mktemp("host"))


def talk(image: Image, answer: Reply) -> session.Conversation:
    client = Client(Peer(answer), reply_time=0.05, run_time=0.2, retries=1)
    return session.converse(image, client, samples(2))


def info(**changes: int) -> bytes:
    fields = {"input": 490, "output": 12, "arena": 600, "hz": 1000, "overhead": 3} | changes
    return struct.pack("<5I", *fields.values()) + b"echo"


WRONG = [
    ("info", "length", frames.INFO, b""),
    ("info", "length", frames.INFO, INFO[:19]),
    ("info", "output size", frames.INFO, info(output=2**32 - 1)),
    ("info", "output size", frames.INFO, info(output=0)),
    ("info", "output size", frames.INFO, info(output=13)),
    ("info", "input size", frames.INFO, info(input=64)),
    ("info", "input size", frames.INFO, info(input=0)),
    ("info", "arena", frames.INFO, info(arena=2**31)),
    ("info", "arena", frames.INFO, info(arena=604)),
    ("info", "timer_hz", frames.INFO, info(hz=0)),
    ("load", "length", frames.LOAD, b""),
    ("load", "length", frames.LOAD, bytes(5)),
    ("load", "end", frames.LOAD, bytes(4)),
    ("run", "length", frames.RUN, b""),
    ("run", "length", frames.RUN, bytes(19)),
    ("run", "length", frames.RUN, bytes(224)),
    ("run", "runs", frames.RUN, struct.pack("<iIqI", 0, 2, 5, 0)),
    ("read", "length", frames.READ, b""),
    ("read", "length", frames.READ, bytes(11)),
    ("read", "length", frames.READ, bytes(13)),
    ("memory", "length", frames.MEMORY, bytes(11)),
    ("memory", "stack", frames.MEMORY, struct.pack("<iII", 0, 2**32 - 1, 0)),
    ("memory", "arena", frames.MEMORY, struct.pack("<iII", 0, 0, 601)),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "name", "command", "payload"), WRONG)
def test_a_wrong_reply_names_frame_and_field(
    frame: str, name: str, command: int, payload: bytes, built: Image
) -> None:
    with pytest.raises(TargetError, match=rf"^frame '{frame}', field {name}: the device says"):
        talk(built, lying(command, payload))


@pytest.mark.parametrize("command", [frames.INFO, frames.LOAD, frames.RUN, frames.READ])
def test_another_version_is_named(command: int, built: Image) -> None:
    with pytest.raises(TargetError, match=r"field version: the device says 2, not 1"):
        talk(built, lying(command, honest(Frame(command, 0, 0, bytes(8))), version=2))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 13, 57, 224])
def test_a_fault_of_wrong_length(size: int, built: Image) -> None:
    with pytest.raises(TargetError, match=rf"^frame 'fault', field registers: .* {size} bytes"):
        talk(built, lying(frames.RUN, bytes(size), code=frames.FAULT))


def test_an_honest_peer_is_believed(built: Image) -> None:
    got = talk(built, lying(0, b""))
    assert got.outputs.shape == (2, 12)
    assert (got.stack, got.arena) == (100, 600)


def test_a_models_name_is_text() -> None:
    answer = lying(frames.INFO, INFO[:20] + b"a\x1b[31m\xff\n")
    assert Client(Peer(answer)).info().name == "a?[31m??"


NOISE = bytes([1, 0, 1, 0, 1, 0, 1])


def test_complaints_about_older_bytes_cost_no_attempt(built: Image) -> None:
    """Seven bytes of noise make the device complain five times, once of the request itself."""
    line = ProcessLine([str(built.elf)])
    try:
        line.write(NOISE)
        client = Client(line, reply_time=2, retries=0)
        one = samples(1)
        got, _ = client.infer(one[0], client.info())
        assert np.array_equal(got, echo(one)[0])
    finally:
        line.close()


def test_a_device_that_only_complains() -> None:
    def complain(request: Frame) -> list[Frame]:
        return [Frame(frames.NAK, 0)] * 3

    with pytest.raises(TargetError, match=r"frame 'info' \(number 1\) got no answer in"):
        Client(Peer(complain), reply_time=0.002, retries=2).info()


def test_what_came_before_a_request_is_forgotten() -> None:
    """An answer to the next request, sent too early, is not taken for it."""
    peer = Peer(lying(0, b""))
    client = Client(peer, reply_time=0.05)
    early = Frame(frames.READ | frames.REPLY, 1, 0, b"no" * 6)
    peer._out += frames.encode(early)
    assert client.read(12) == bytes(12)


class _Babble:
    """A line that never ends and never has a frame."""

    def __init__(self) -> None:
        self.longest = 0
        self.client: Client | None = None

    def write(self, data: bytes) -> None:
        pass

    def read(self, timeout: float) -> bytes:
        if self.client is not None:
            self.longest = max(self.longest, len(self.client._buffer))
        time.sleep(0.0001)
        return b"\x55" * 4096


def test_an_endless_line_ends() -> None:
    line = _Babble()
    line.client = Client(line, reply_time=0.05, retries=1)
    with pytest.raises(TargetError, match="got no answer in 2 attempts"):
        line.client.info()
    assert line.longest <= 4096 + 2 * frames.CODED


payloads = st.one_of(
    st.binary(max_size=frames.PAYLOAD),
    st.lists(st.sampled_from([0, 1, 12, 490, 600, 2**31 - 1, 2**31, 2**32 - 1]), max_size=8).map(
        lambda words: struct.pack(f"<{len(words)}I", *words)
    ),
)
commands = st.sampled_from(
    [1, 2, 3, 4, 5, 0x81, 0x82, 0x83, 0x84, 0x85, frames.NAK, frames.FAULT, 0, 0xFF]
)
replies = st.builds(
    Frame, commands, st.integers(0, 12), st.sampled_from([0, 0, 0, 1, 3, 9]), payloads,
    st.sampled_from([1, 1, 1, 0, 2, 255]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(script=st.lists(st.one_of(st.none(), st.lists(replies, max_size=3), payloads), max_size=12))
def test_a_peer_with_valid_checksums_may_say_anything(
    built_elf: Path, script: list[list[Frame] | bytes | None]
) -> None:
    """None: honest; bytes: the right frame with that payload; a list: those frames."""
    left = list(script)

    def answer(request: Frame) -> list[Frame]:
        step = left.pop(0) if left else None
        if isinstance(step, list):
            return step
        said = honest(request) if step is None else step
        return [Frame(request.command | frames.REPLY, request.sequence, 0, said)]

    cpu = cores.get("rv32imac")
    board = SimpleNamespace(id="host", core=cpu.name, cpu=cpu)
    image = SimpleNamespace(elf=built_elf, board=board, sizes=SimpleNamespace(arena=600))
    client = Client(Peer(answer), reply_time=0.002, run_time=0.01, retries=1)
    try:
        got = session.converse(image, client, samples(1))  # type: ignore[arg-type]
    except TargetError as error:
        sentence = str(error)
    else:
        sentence = ""
        assert got.outputs.shape == (1, 12)
    assert "\n" not in sentence
    assert client.repeated < 200  # every request ends, whatever it is told


@pytest.fixture(scope="module")
def built_elf(built: Image) -> Path:
    assert "harness_output" in elf.symbols(built.elf)
    return built.elf


def test_the_client_alone_may_be_told_anything() -> None:
    """Without an image to compare with: sizes are bounded all the same."""
    with pytest.raises(TargetError, match="field output size"):
        Client(Peer(lying(frames.INFO, info(output=2**29)))).info()
    with pytest.raises(DeviceFaultError):
        Client(Peer(lying(frames.INFO, bytes(12), code=frames.FAULT))).info()


class _Late:
    """A line on which a greeting comes in pieces; it remembers what was sent before."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.early = 0

    def write(self, data: bytes) -> None:
        self.early += bool(self.pieces)

    def read(self, timeout: float) -> bytes:
        return self.pieces.pop(0) if self.pieces and timeout > 0 else b""


@pytest.mark.parametrize(
    ("pieces", "heard"),
    [
        ([b"noise\0", b"m-init-done\r\nm-r", b"ea", b"dy\r\n"], True),
        ([bytes([c]) for c in b"m-init-done\r\nm-ready\r\n"], True),
        ([b"m-init-done\r\n"], False),
        ([], False),
    ],
)
def test_the_greeting_is_read_before_anything_is_asked(pieces: list[bytes], heard: bool) -> None:
    line = _Late(pieces)
    client = Client(line, reply_time=0.01, retries=0, greeting=5)
    assert client.greet() is heard
    assert line.early == 0
    assert client.greet() is False  # once


def test_a_line_that_never_stops_is_not_listened_to_for_ever() -> None:
    class Endless:
        def write(self, data: bytes) -> None: ...

        def read(self, timeout: float) -> bytes:
            return b"m-nonsense"

    assert Client(Endless(), greeting=0.02).greet() is False


def test_every_runner_hears_the_greeting_first() -> None:
    """Whoever speaks to a firmware that starts says how long its greeting is waited for."""
    package = Path(targets.__file__).parent / "runners"
    made = [
        (path.name, node)
        for path in sorted(package.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        and node.func.id == "Client"
    ]  # fmt: skip
    assert {name for name, _ in made} >= {
        "hardware.py", "host.py", "qemu.py", "qemu_trace.py", "renode.py", "sim.py",
    }  # fmt: skip
    deaf = [name for name, call in made if "greeting" not in {k.arg for k in call.keywords}]
    assert not deaf
