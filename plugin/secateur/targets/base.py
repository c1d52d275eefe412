"""What can run a generated model: one contract for host, simulator, QEMU, Renode and boards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from .boards import Board


@dataclass(frozen=True)
class Sizes:
    """Bytes of the linked image, by owner. flash = .text + .rodata + the load image of .data."""

    total: int  #: whole flash image, harness included
    model: int  #: constant data of the generated model (weights, tables)
    runtime: int  #: code of the generated model and what only it pulls in (start-up, libc, libgcc)
    harness: int  #: serial harness
    static_ram: int  #: .data + .bss, arena excluded
    arena: int


@dataclass(frozen=True)
class Image:
    """A built firmware."""

    elf: Path
    board: Board
    sizes: Sizes


@dataclass(frozen=True)
class DrawnEnergy:
    """Energy of one inference: microjoules above idle, their standard deviation over windows."""

    uj: float
    spread_uj: float
    total_uj: float  #: idle included
    idle_ma: float
    active_ma: float
    seconds: float  #: of one inference
    windows: int
    source: str
    kind: str = "measured"


@dataclass(frozen=True)
class RunResult:
    """What came back from a target."""

    outputs: np.ndarray  #: int8 [n, *output shape]
    instructions: (
        int | None
    )  #: per inference (constant part of the harness removed), None if unknown
    cycles: float | None  #: per inference; see `cycles_kind`
    cycles_kind: str  #: "measured" (hardware counter) or "estimated" (cost table)
    stack: int  #: high-water mark in bytes during an inference
    arena: int  #: high-water mark in bytes
    per_run: list[int] = field(
        default_factory=list
    )  #: instructions (or cycles on hardware), each run
    energy: DrawnEnergy | None = None  #: measured, if a meter was there
    notes: tuple[str, ...] = ()  #: what a reader of the figures should know
    #: Between what estimated cycles are if the sources of their rules are right.
    between: tuple[float, float] | None = None


class Target(ABC):
    """Something that executes an Image and speaks the harness protocol."""

    name: ClassVar[str]  #: "host", "sim", "qemu", "renode", "board"

    @abstractmethod
    def available(self) -> str | None:
        """None if it can run here, else one sentence: what is missing and how to get it."""

    @abstractmethod
    def supports(self, board: Board) -> bool:
        """Whether this target can execute images for `board`."""

    @abstractmethod
    def run(self, image: Image, inputs: np.ndarray) -> RunResult:
        """Run every input (int8 [n, *input shape]). Raises TargetError on fault or timeout."""
