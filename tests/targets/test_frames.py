"""Frames survive what a bad line does to them; both sides fuzzed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur import targets
from secateur.errors import TargetError
from secateur.targets import Image
from secateur.targets.wire import frames
from secateur.targets.wire.client import Client
from secateur.targets.wire.frames import Frame
from secateur.targets.wire.process import ProcessLine

from .conftest import ECHO, echo, need, samples


@given(
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(max_size=frames.PAYLOAD),
)
def test_round_trip(command: int, sequence: int, status: int, payload: bytes) -> None:
    frame = Frame(command, sequence, status, payload)
    coded = frames.encode(frame)
    assert coded[0] == coded[-1] == 0
    assert 0 not in coded[1:-1]
    assert frames.decode(coded[1:-1]) == frame


@given(st.binary(max_size=300))
def test_noise_is_not_a_frame(noise: bytes) -> None:
    assert frames.decode(noise.replace(b"\0", b"\1")) is None


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_flipped_bit_is_seen(payload: bytes, data: st.DataObject) -> None:
    coded = bytearray(frames.encode(Frame(1, 2, 3, payload))[1:-1])
    coded[data.draw(st.integers(0, len(coded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert frames.decode(bytes(coded)) is None


def test_a_payload_too_long() -> None:
    with pytest.raises(ValueError, match="at most 224"):
        frames.encode(Frame(1, 1, 0, bytes(225)))


class FaultyLine:
    """Flips, drops, doubles and delays bytes, each once in a thousand, both ways."""

    def __init__(self, line: ProcessLine, seed: int, rate: float = 0.001) -> None:
        self._line = line
        self._random = random.Random(seed)
        self._rate = rate
        self._held: bytes = b""

    def _damage(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            chance = self._random.random() / self._rate
            if chance < 1:
                out.append(byte ^ 1 << self._random.randrange(8))
            elif chance < 2:
                continue
            elif chance < 3:
                out += bytes([byte, byte])
            else:
                out.append(byte)
        return bytes(out)

    def write(self, data: bytes) -> None:
        self._line.write(self._damage(data))

    def read(self, timeout: float) -> bytes:
        data = self._held + self._damage(self._line.read(timeout))
        self._held = b""
        if data and self._random.random() < 0.05:  # the end of what came is late
            cut = self._random.randrange(len(data))
            data, self._held = data[:cut] or data[:1], data[cut:] if cut else data[1:]
        return data


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The harness on the host, with address and undefined-behaviour checks."""
    need("cc")
    return targets.build(ECHO, "host", tmp_path_factory.mktemp("host"), sanitize=True)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_on_a_bad_line(careful: Image, seed: int) -> None:
    inputs = samples(30, seed)
    expected = echo(inputs)
    line = ProcessLine([str(careful.elf)])
    try:
        client = Client(FaultyLine(line, seed), reply_time=0.25, retries=20)
        info = client.info()
        for one, wanted in zip(inputs, expected, strict=True):
            assert np.array_equal(client.infer(one, info)[0], wanted)
    finally:
        line.close()
    assert client.repeated > 0


def test_a_hopeless_line_names_the_frame(careful: Image) -> None:
    line = ProcessLine([str(careful.elf)])
    try:
        client = Client(FaultyLine(line, 1, rate=0.3), reply_time=0.02, retries=3)
        with pytest.raises(TargetError, match=r"frame 'info' \(number 1\) got no answer in 4"):
            client.info()
    finally:
        line.close()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(noise=st.lists(st.binary(max_size=400), min_size=1, max_size=4))
def test_the_device_finds_its_way_back(careful: Image, noise: list[bytes]) -> None:
    """Any bytes, and then a request: it is answered, and no sanitizer has complained."""
    line = ProcessLine([str(careful.elf)])
    try:
        for part in noise:
            # Text that asks for a very long run is obeyed, which is not what is tested.
            line.write(part.replace(b"%", b"?"))
        client = Client(line, reply_time=2, retries=4)
        assert client.info().name == "echo"
        one = samples(1)
        assert np.array_equal(client.infer(one[0], client.info())[0], echo(one)[0])
    finally:
        line.close()


class _Noise:
    """A line that says something, but never an answer."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def write(self, data: bytes) -> None:
        pass

    def read(self, timeout: float) -> bytes:
        return self._parts.pop() if self._parts else b""


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6))
def test_the_host_does_not_believe_noise(parts: list[bytes]) -> None:
    with pytest.raises(TargetError, match="got no answer"):
        Client(_Noise(parts), retries=1).info()


def test_a_repeated_request_is_not_run_twice(image: Callable[[str], Image], tmp_path: Path) -> None:
    """Only the reply is sent again: a run that was asked for once runs once."""
    line = ProcessLine([str(image("host").elf)])
    try:
        client = Client(line)
        info = client.info()
        client.infer(samples(1)[0], info)
        first = client.read(12)
        request = frames.encode(Frame(frames.RUN, 77, 0, (1).to_bytes(4, "little")))
        line.write(request)
        line.write(request)
        answers = b""
        while len([p for p in answers.split(b"\0") if p]) < 2:
            answers += line.read(5)
        one, two = (p for p in answers.split(b"\0") if p)
        assert one == two
        assert client.read(12) == first
    finally:
        line.close()


def test_another_protocol_version_is_refused(image: Callable[[str], Image]) -> None:
    line = ProcessLine([str(image("host").elf)])
    try:
        line.write(frames.encode(Frame(frames.INFO, 1, version=9)))
        answer = b""
        while answer.count(b"\0") < 2:
            answer += line.read(5)
        reply = frames.decode(answer.split(b"\0")[1])
        assert reply is not None
        assert reply.status == 3
    finally:
        line.close()


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        (frames.LOAD, (491).to_bytes(4, "little")),
        (frames.LOAD, (480).to_bytes(4, "little") + bytes(11)),
        (frames.LOAD, (2**32 - 1).to_bytes(4, "little") + bytes(2)),
        (frames.READ, (10).to_bytes(4, "little") + (3).to_bytes(4, "little")),
        (frames.READ, (2**32 - 4).to_bytes(4, "little") + (8).to_bytes(4, "little")),
    ],
)
def test_an_address_out_of_range_is_refused(careful: Image, command: int, payload: bytes) -> None:
    line = ProcessLine([str(careful.elf)])
    try:
        client = Client(line)
        with pytest.raises(TargetError, match="refuses it, address out of range"):
            client._request(command, payload)
    finally:
        line.close()
