"""One conversation with a harness: every input through, counters and marks collected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...errors import TargetError
from ...progress import tell
from ..base import Image
from ..builders import elf
from . import fault
from .client import Client, DeviceFaultError, Info, Run, wrong


@dataclass(frozen=True)
class Conversation:
    """What came back: outputs int8 [n, output size], counters of every run, marks in bytes."""

    info: Info
    outputs: np.ndarray
    runs: list[Run]
    stack: int
    arena: int


def converse(
    image: Image,
    client: Client,
    inputs: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> Conversation:
    """Run every input (int8 [n, ...]). Raises TargetError with the fault decoded."""
    if inputs.dtype != np.int8:
        raise TargetError(f"inputs of {image.board.id} must be int8, not {inputs.dtype}")
    try:
        client.greet()
        info = client.info()
        check(image, info)
        outputs = np.zeros((len(inputs), info.output_size), dtype=np.int8)
        runs: list[Run] = []
        stack = arena = 0
        for i, one in enumerate(inputs):
            outputs[i], run = client.infer(one, info)
            runs.append(run)
            if i == 0:
                stack, arena = client.memory()
            if progress:
                progress(i + 1, len(inputs))
            else:
                tell(f"running on {image.board.id}", i + 1, len(inputs))
    except DeviceFaultError as report:
        raise fault.error(image, report) from None
    return Conversation(info, outputs, runs, stack, arena)


def check(image: Image, info: Info) -> None:
    """Raise TargetError if the device's buffers are not those of `image`.

    They come from its symbols; what a device says is otherwise a size that the host would allocate.
    """
    symbols = elf.symbols(image.elf)
    ours = (
        ("input size", "harness_input", info.input_size),
        ("output size", "harness_output", info.output_size),
    )
    for name, symbol, size in ours:
        expected = symbols.get(symbol, (0, 0))[1]
        if expected and size != expected:
            raise wrong("info", name, f"{size} bytes, but the image has {expected}")
    if image.sizes.arena and info.arena != image.sizes.arena:
        raise wrong("info", "arena", f"{info.arena} bytes, but the image has {image.sizes.arena}")
