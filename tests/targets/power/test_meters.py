"""Meters against stand-ins that speak as they do; integration against known waveforms."""

from __future__ import annotations

import os
import pty
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import TargetError
from secateur.targets import power
from secateur.targets.power import ppk2
from secateur.targets.power.base import Recording, integrate
from secateur.targets.power.joulescope import Joulescope

IDLE, ACTIVE, VOLTS = 2e-3, 12e-3, 3.0


def _wave(rate: float, windows: int = 4, long: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Amperes with a ripple of whole periods, and where the model runs."""
    n = round(long * rate)
    gap = np.zeros(n // 2, bool)
    active = np.concatenate([gap, *[np.concatenate([np.ones(n, bool), gap])] * windows])
    ripple = 1e-3 * np.sin(2 * np.pi * 10 * np.arange(n) / n)
    current = np.full(len(active), IDLE)
    current[active] = np.tile(ACTIVE + ripple, windows)
    return current, active


#: Microjoules above idle of 0.01 s.
EXACT = (ACTIVE - IDLE) * VOLTS * 0.01 * 1e6


@settings(max_examples=30, deadline=None)
@given(st.integers(2_000, 200_000), st.integers(1, 6), st.integers(1, 50))
def test_integration(rate: int, windows: int, runs: int) -> None:
    current, active = _wave(rate, windows)
    n = np.arange(len(current))
    found = integrate(
        Recording(n / rate, current, np.full(len(n), VOLTS), active, "test"), runs=runs
    )
    exact = EXACT * round(0.01 * rate) / rate / 0.01
    assert found.uj * runs == pytest.approx(exact, rel=0.005)
    assert found.windows == windows
    assert found.idle_ma == pytest.approx(2.0)
    assert found.spread_uj == pytest.approx(0, abs=1e-6)


def test_without_a_trigger_the_duration_decides() -> None:
    rate = 10_000
    current, active = _wave(rate)
    start = int(np.argmax(active))
    n = np.arange(len(current) - start)
    volts = np.full(len(n), VOLTS)
    recording = Recording(n / rate, current[start:], volts, None, "test")
    # idle is judged on the rest, most of which must be idle
    short = Recording(n[:149] / rate, current[start : start + 149], volts[:149], None, "test")
    assert integrate(short, seconds=0.01).uj == pytest.approx(EXACT, rel=0.005)
    with pytest.raises(TargetError, match="duration of the runs"):
        integrate(recording)
    with pytest.raises(TargetError, match="the runs took 5 s"):
        integrate(recording, seconds=5)


def test_only_the_last_windows_count() -> None:
    """What a recording saw before the measurement, other runs among it, is left out."""
    current, active = _wave(10_000, windows=5)
    first = np.argmin(active[100:]) + 100  # behind the first window
    current[:first][active[:first]] *= 7
    n = np.arange(len(current))
    recording = Recording(n / 1e4, current, np.full(len(n), VOLTS), active, "test")
    found = integrate(recording, windows=4)
    assert found.windows == 4
    assert found.uj == pytest.approx(EXACT, rel=0.005)
    with pytest.raises(TargetError, match="saw 5 of 6 windows"):
        integrate(recording, windows=6)


def test_what_cannot_be_integrated() -> None:
    t, ones = np.arange(10.0), np.ones(10)
    for recording, words in [
        (Recording(t[:2], ones[:2], ones[:2], None, "x"), "2 samples"),
        (Recording(t, ones * np.nan, ones, ones > 0, "x"), "no numbers"),
        (Recording(t * 0, ones, ones, ones > 0, "x"), "do not increase"),
        (Recording(t, ones, ones, ones > 0, "x"), "no complete run"),
        (Recording(t, ones, ones, ones < 0, "x"), "no complete run"),
    ]:
        with pytest.raises(TargetError, match=words):
            integrate(recording)


class Device:
    """A stand-in on a pseudo-terminal: `answer` is given what comes and writes what it will."""

    def __init__(self, answer: Callable[[bytes, Callable[[bytes], Any]], None]) -> None:
        self.master, self._slave = pty.openpty()
        tty.setraw(self.master)
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._answer = answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data[:1024]) :]

    def _run(self) -> None:
        import select

        while not self._stop.is_set():
            if select.select([self.master], [], [], 0.02)[0]:
                self._answer(os.read(self.master, 4096), self.send)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def device() -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(answer: Callable[[bytes, Callable[[bytes], Any]], None]) -> Device:
        made.append(Device(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


CALIBRATION = (
    b"Calibrated: 1\nR0: 1003.3\nR1: 101.2\nR2: 10.1\nR3: 0.95\nR4: 0.06\n"
    b"GS0: 0\nGS1: 0\nGS2: 0\nGS3: 0\nGS4: 0\nGI0: 1\nGI1: 1\nGI2: 1\nGI3: 1.02\nGI4: 1\n"
    b"O0: 100\nO1: 80\nO2: 75\nO3: 70\nO4: 60\nS3: 0.000001\nI3: 0.000002\n"
    b"UG0: 1\nUG1: 1\nUG2: 1\nUG3: 1.01\nUG4: 1\nHW: 9173\nIA: 56\nEND"
)


def _ppk2_samples(current: np.ndarray, active: np.ndarray, skip: bool = False) -> bytes:
    """Samples in range 3, by the inverse of the device's formula."""
    table = {k: v[3] for k, v in ppk2.calibration(CALIBRATION.decode()).items()}
    raw = (current / table["UG"] - table["S"] * VOLTS - table["I"]) / table["GI"]
    adc = np.round((raw * table["R"] / (1.8 / 163840) + table["O"]) / 4).astype(np.int64)
    assert adc.max() < 1 << 14
    counter = np.arange(len(adc)) + (np.arange(len(adc)) > 100 if skip else 0)
    words = adc | 3 << 14 | (counter & 63) << 18 | np.where(active, 0, 1).astype(np.int64) << 24
    return words.astype("<u4").tobytes()


def _ppk2(received: list[int], skip: bool = False) -> Callable[..., None]:
    def answer(data: bytes, send: Callable[[bytes], Any]) -> None:
        received.extend(data)
        if 0x19 in data:
            send(CALIBRATION)
        if 0x06 in data:
            send(_ppk2_samples(*_wave(100_000), skip=skip))

    return answer


def _record(meter: power.Meter) -> Recording:
    meter.start()
    time.sleep(0.6)
    return meter.stop()


def test_ppk2(device: Callable[..., Device]) -> None:
    received: list[int] = []
    stand_in = device(_ppk2(received))
    recording = _record(power.get(f"ppk2:{stand_in.port}", VOLTS))
    found = integrate(recording)
    assert found.windows == 4
    assert found.uj == pytest.approx(EXACT, rel=0.005)
    volts = 3000 - 800 + 32
    start = bytes([0x11, 2, 0x0D, 3 + volts // 256, volts % 256, 0x0C, 1, 0x06])
    assert start in bytes(received)
    for _ in range(100):  # the last byte may still be on its way to the stand-in
        if received[-1] == 0x07:
            break
        time.sleep(0.05)
    assert received[-1] == 0x07


def test_ppk2_that_loses_samples(device: Callable[..., Device]) -> None:
    stand_in = device(_ppk2([], skip=True))
    with pytest.raises(TargetError, match="lost samples 1 times"):
        _record(power.get(f"ppk2:{stand_in.port}", VOLTS))


def test_what_is_no_ppk2(device: Callable[..., Device]) -> None:
    stand_in = device(lambda data, send: send(b"hello"))
    with pytest.raises(TargetError, match="is no PPK2"):
        power.get(f"ppk2:{stand_in.port}", VOLTS).start()


def test_lpm01a(device: Callable[..., Device]) -> None:
    current, active = _wave(10_000, windows=1)
    start = int(np.argmax(active))
    commands: list[str] = []

    def answer(data: bytes, send: Callable[[bytes], Any]) -> None:
        for line in data.decode().split("\n")[:-1]:
            commands.append(line)
            send(f"\r\nack {line}\r\n".encode())
            if line == "start":
                send(b"TimeStamp: 000s 000ms, buff 00%\r\n")
                for amperes in current[start : start + 149]:
                    send(f"{round(amperes * 1e7)}-07\r\n".encode())

    stand_in = device(answer)
    recording = _record(power.get(f"lpm01a:{stand_in.port}", VOLTS))
    assert len(recording.current) == 149
    assert integrate(recording, seconds=0.01).uj == pytest.approx(EXACT, rel=0.005)
    assert commands[0] == "htc"
    for _ in range(100):  # the last command may still be on its way to the stand-in
        if "stop" in commands:
            break
        time.sleep(0.05)
    wanted = {"volt 3000m", "trigsrc d7", "trigdelay 0", "pwr on nostatus", "format ascii_dec"}
    assert wanted | {"stop"} <= set(commands)


def test_lpm01a_that_refuses(device: Callable[..., Device]) -> None:
    stand_in = device(lambda data, send: send(b"error: no control\r\n"))
    with pytest.raises(TargetError, match="refuses 'htc': error: no control"):
        power.get(f"lpm01a:{stand_in.port}", VOLTS).start()


def test_ina2xx(device: Callable[..., Device]) -> None:
    stand_in = device(lambda data, send: None)
    meter = power.get(f"ina2xx:{stand_in.port}", VOLTS)
    meter.start()
    current, active = _wave(2_000)
    stand_in.send(b"cut off line\n# ina226\n")
    for i, (amperes, on) in enumerate(zip(current, active, strict=True)):
        stamp = (2**32 - 20_000 + 500 * i) % 2**32
        stand_in.send(f"{stamp},{amperes * 1e6:.1f},3000,{0 if on else 1}\n".encode())
    time.sleep(0.5)
    found = integrate(meter.stop())
    assert found.windows == 4
    assert found.uj == pytest.approx(EXACT, rel=0.005)


class _Driver:
    """The part of the maker's driver that is used."""

    def __init__(self, lose: bool = False, devices: tuple[str, ...] = ("u/js220/000415",)) -> None:
        self.subscribed: dict[str, Callable[[str, Any], None]] = {}
        self.published: list[tuple[str, Any]] = []
        self._lose = lose
        self._devices = devices

    def device_paths(self) -> list[str]:
        return list(self._devices)

    def open(self, path: str) -> None:
        self.published.append((path, "open"))

    def close(self, path: str) -> None:
        self.published.append((path, "close"))

    def publish(self, topic: str, value: Any) -> None:
        self.published.append((topic, value))

    def subscribe(self, topic: str, flags: str, function: Callable[[str, Any], None]) -> None:
        self.subscribed[topic] = function

    def play(self) -> None:
        current, active = _wave(1_000_000)
        streams = {"s/i": current, "s/v": np.full(len(current), VOLTS), "s/gpi/0": ~active}
        for name, data in streams.items():
            topic = f"u/js220/000415/{name}/!data"
            for at in range(0, len(data), 5000):
                gap = 2 if self._lose and at else 0
                part = data[at : at + 5000].astype(np.float32)
                self.subscribed[topic](
                    topic,
                    {"sample_id": 2 * at + gap, "sample_rate": 2_000_000, "decimate_factor": 2,
                     "data": part},
                )  # fmt: skip


def test_joulescope() -> None:
    driver = _Driver()
    meter = Joulescope(lambda: driver)
    meter.start()
    driver.play()
    found = integrate(meter.stop())
    assert found.windows == 4
    assert found.uj == pytest.approx(EXACT, rel=0.005)
    assert ("u/js220/000415/s/i/ctrl", 1) in driver.published
    assert ("u/js220/000415/s/i/ctrl", 0) in driver.published


def test_joulescope_that_loses_or_is_missing() -> None:
    driver = _Driver(lose=True)
    meter = Joulescope(lambda: driver)
    meter.start()
    driver.play()
    with pytest.raises(TargetError, match="lost samples"):
        meter.stop()
    with pytest.raises(TargetError, match="no Joulescope"):
        Joulescope(lambda: _Driver(devices=())).start()


def test_csv(tmp_path: Path) -> None:
    current, active = _wave(10_000)
    lines = ["Timestamp(ms),Current(uA),D0"]
    lines += [
        f"{i / 10},{a * 1e6},{0 if on else 1}"
        for i, (a, on) in enumerate(zip(current, active, strict=True))
    ]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines))
    found = integrate(_record(power.get(f"csv:{path}", VOLTS)))
    assert found.uj == pytest.approx(EXACT, rel=0.005)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "no column 'time'"),
        ("time,current\n1,x\n", "no number"),
        ("time,current\n1\n", "no number"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(TargetError, match=words):
        power.get(f"csv:{path}").stop()


def test_unknown_meters() -> None:
    with pytest.raises(TargetError, match="power meter 'wet finger' is unknown"):
        power.get("wet finger")
    with pytest.raises(TargetError, match="does not exist"):
        power.get("csv:/nowhere.csv").stop()
    with pytest.raises(TargetError, match=r"0\.8 to 5 V, not 12 V"):
        power.get("ppk2", 12)
    with pytest.raises(TargetError, match=r"1\.8 to 3\.3 V, not 5 V"):
        power.get("lpm01a:/dev/x", 5)
