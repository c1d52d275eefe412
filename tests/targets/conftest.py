"""A small model to build, and images of it, built once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secateur import cores, targets
from secateur.targets import Image, tools

ECHO = Path(__file__).parent / "fixtures" / "echo"
TABLE = np.array([(i * 37 + 11) % 256 for i in range(64)])


def echo(inputs: np.ndarray) -> np.ndarray:
    """What fixtures/echo computes: int8 [n, 490] -> int8 [n, 12]."""
    products = inputs.view(np.uint8).astype(np.int64) * TABLE[np.arange(490) % 64]
    sums = np.stack([products[:, k::12].sum(1) for k in range(12)], axis=1)
    return sums.astype(np.uint8).view(np.int8)


def samples(n: int, seed: int = 0) -> np.ndarray:
    """Inputs on which echo behaves: the first byte is at most 100."""
    return np.random.default_rng(seed).integers(-128, 100, (n, 490), dtype=np.int8)


def need(*programs: str) -> None:
    """Skip, by name, where a program is missing."""
    for program in programs:
        if why := tools.missing(program):
            pytest.skip(why)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Image]:
    """Builds (once) the image of echo for a board."""
    built: dict[str, Image] = {}

    def make(board: str) -> Image:
        if board not in built:
            need(*_compilers(board))
            built[board] = targets.build(ECHO, board, tmp_path_factory.mktemp(board))
        return built[board]

    return make


def _compilers(board: str) -> list[str]:
    core = targets.boards.load(board).core
    return [cores.get(core).compiler]
