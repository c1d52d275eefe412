"""MLPerf Tiny: what its open runner (github.com/mlcommons/tiny, benchmark/runner) needs beside the
device: a folder of inputs with their classes, and a list of devices. docs/mlperf.md says how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError

if TYPE_CHECKING:
    from ..targets import Board
    from .compiled import CompiledModel


@dataclass(frozen=True)
class Benchmark:
    """One of the suite's networks, as its runner knows it."""

    model: str  #: the runner's name of it
    title: str
    pixels: bool = False  #: inputs come as 0..255
    scores: bool = False  #: inputs come as float32, and the result is one anomaly score


BENCHMARKS: Mapping[str, Benchmark] = {
    "ad": Benchmark("ad01", "anomaly detection", scores=True),
    "ic": Benchmark("ic01", "image classification", pixels=True),
    "kws": Benchmark("kws01", "keyword spotting"),
    "sww": Benchmark("sww01", "streaming wake word"),
    "vww": Benchmark("vww01", "visual wake words", pixels=True),
}


def flags(benchmark: str | None, energy: bool, pixels_as_they_are: bool = False) -> list[str]:
    """Compiler flags of a firmware for the benchmark's runner (docs/mlperf.md).

    `pixels_as_they_are`: the model itself takes 0..255, so bytes need no shift by 128.
    """
    out = []
    if benchmark is not None:
        row = BENCHMARKS[benchmark]
        out.append(f"-DSECATEUR_TEXT_MODEL={row.model}")
        if row.pixels and not pixels_as_they_are:
            out.append("-DSECATEUR_TEXT_UNSIGNED")
        if row.scores:
            out.append("-DSECATEUR_TEXT_ANOMALY")
    if energy:
        out += ["-DSECATEUR_TEXT_ENERGY", "-USECATEUR_BAUD", "-DSECATEUR_BAUD=9600u"]
    return out


def check(compiled: CompiledModel, benchmark: str) -> None:
    """Refuse a model the benchmark's dialogue cannot drive. Raises DataError."""
    row = BENCHMARKS[benchmark]
    graph = compiled.qgraph
    if len(compiled.inputs.ends) != 1 or len(compiled.outputs.ends) != 1:
        raise DataError(
            f"{compiled.name} has {len(compiled.inputs.ends)} inputs and "
            f"{len(compiled.outputs.ends)} outputs; the runner's dialogue has one of each: split it"
        )
    kinds = graph.interface_dtype(graph.inputs[0]), graph.interface_dtype(graph.outputs[0])
    if kinds[0] not in (("int8", "uint8") if row.pixels else ("int8",)) or kinds[1] != "int8":
        raise DataError(
            f"{compiled.name} takes {kinds[0]} and gives {kinds[1]}; for {row.title} the firmware "
            "needs int8: leave --input-dtype and --output-dtype out"
        )
    sizes = [int(np.prod(e.shape)) for e in (compiled.inputs.ends[0], compiled.outputs.ends[0])]
    if row.scores and sizes[0] != sizes[1]:
        raise DataError(
            f"{compiled.name} takes {sizes[0]} numbers and gives {sizes[1]}; the score of "
            f"{row.title} is how far a model is off its own input: give an autoencoder"
        )


def takes_pixels(compiled: CompiledModel) -> bool:
    """Whether the model itself takes 0..255."""
    return bool(compiled.qgraph.interface_dtype(compiled.qgraph.inputs[0]) == "uint8")


def data_set(
    compiled: CompiledModel, benchmark: str, inputs: Any, labels: np.ndarray | None
) -> dict[str, bytes | str]:
    """Files of the runner's data set folder: one .bin for each input, and y_labels.csv.

    inputs: real [N, *input shape]; labels: class numbers [N] or one-hot [N, classes], for anomalies
    0 and 1. Bytes are what the device is sent: codes, pixels 0..255, or float32 (little endian).
    A line of y_labels.csv is file, number of classes, class; for anomalies also the bytes of a
    window and the step to the next, which is as long: each input is a file of one window.
    """
    row = BENCHMARKS[benchmark]
    x = np.asarray(inputs)
    if labels is None:
        raise DataError("the runner compares with classes: --inputs needs y beside x")
    y = np.asarray(labels)
    y = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(len(y), -1)[:, 0]
    classes = 2 if row.scores else int(np.prod(compiled.outputs.ends[0].shape))
    if np.any(y != np.floor(y)) or np.any(y < 0) or np.any(y >= max(classes, 2)):
        raise DataError(f"y must be class numbers 0 to {max(classes, 2) - 1} for {row.title}")
    if row.scores:
        if x.dtype == np.int8:
            raise DataError(f"{row.title} is sent real numbers: x must not be codes (int8)")
        each = [one.astype("<f4").tobytes() for one in x]
    else:
        codes = np.asarray(compiled.quantize(x))
        if row.pixels and not takes_pixels(compiled):
            codes = codes.view(np.uint8) ^ np.uint8(0x80)
        each = [one.tobytes() for one in codes]
    files: dict[str, bytes | str] = {}
    lines = []
    for i, (data, label) in enumerate(zip(each, y, strict=True)):
        name = f"{row.model}_{i:05d}.bin"
        files[name] = data
        more = f",{len(data)},{len(data)}" if row.scores else ""
        lines.append(f"{name},{classes},{int(label)}{more}")
    files["y_labels.csv"] = "\n".join(lines) + "\n"
    return files


#: Interface boards and meters the runner drives, as its own list has them (vendor: product).
_ENERGY = """\
- name: stm32h573i-dk
  type: interface
  preference: 2
  baud: 115200
  usb:
    0x0483: 0x374E
- name: arduino
  type: interface
  preference: 1
  baud: 115200
  usb:
    0x2341: [0x0043, 0x0001]
    0x2a03: [0x0043, 0x0243]
- name: lpm01a
  type: power
  preference: 2
  baud: 3686400
  voltage: {voltage}
  usb:
    0x0483: 0x5740
- name: js220
  type: power
  interface: direct_usb
  preference: 1
  raw_sampling_rate: 1000000
  virtual_sampling_rate: 1000
  usb:
    0x16D0: 0x10BA
"""


def devices(board: Board, energy: bool) -> str:
    """The runner's devices.yaml.

    In energy mode the device hangs on the interface board and is not in the list: the runner gives
    no meter to one that it reaches itself.
    """
    if energy:
        return _ENERGY.format(voltage=f"{board.power.voltage or 3.3:g}")
    by_vendor: dict[str, list[str]] = {}
    for usb in board.flasher.usb:
        vendor, product = usb.split(":")
        by_vendor.setdefault(vendor, []).append(f"0x{product}")
    lines = [
        f"- name: {board.id}", "  type: dut", "  baud:", "    energy: 9600",
        f"    performance: {board.uart.baud}", f"    accuracy: {board.uart.baud}",
    ]  # fmt: skip
    if by_vendor:
        lines.append("  usb:")
        lines += [f"    0x{v}: [{', '.join(p)}]" for v, p in by_vendor.items()]
    return "\n".join(lines) + "\n"
