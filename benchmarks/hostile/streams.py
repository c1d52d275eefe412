"""Damaged weight streams: decoded within bounds, or refused; never another exception."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import Case, RefusedError


def _decode(name: str, damage: str, seed: int) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        from secateur import coding
        from secateur.errors import StreamError

        rng = np.random.default_rng(seed)
        encoding = coding.get(name)
        weight = _weights(name, rng)
        encoded = encoding.encode(weight)
        streams = []
        for s in encoded.streams:
            data = bytearray(s.data)
            if damage == "cut":
                data = data[: len(data) // 2]
            elif damage == "noise":
                data = bytearray(rng.bytes(len(data)))
            elif data:
                for at in rng.integers(0, 8 * len(data), 3):
                    data[at // 8] ^= 1 << at % 8
            streams.append(replace(s, data=bytes(data), bits=min(s.bits, 8 * len(data))))
        try:
            got = encoding.decode(replace(encoded, streams=tuple(streams)))
        except StreamError:
            raise RefusedError("the stream is refused") from None
        if damage == "cut" and np.array_equal(got, weight):
            raise AssertionError("half of the stream was never read")
        if got.shape != weight.shape or got.dtype != np.int8:
            raise AssertionError(f"{got.dtype} {got.shape}")
        raise RefusedError("decodes to other weights")

    return run


def _weights(name: str, rng: np.random.Generator) -> np.ndarray:
    """A matrix that the encoding holds."""
    from secateur import coding
    from secateur.coding.deal import FactoredMatrix
    from secateur.lowering.factored import Factors

    tried = [
        rng.integers(-1, 2, (24, 36)),
        np.where(rng.random((24, 36)) < 0.2, rng.integers(-9, 9, (24, 36)), 0),
        rng.choice([-1, 1], (24, 36)) << rng.integers(0, 6, (24, 36)),
        np.where(rng.random((24, 36)) < 0.3, 5, -2),
        rng.choice([-1, 1], (24, 36)),
    ]
    for w in tried:
        if coding.get(name).applies(w.astype(np.int8)):
            return w.astype(np.int8)
    coefficients = rng.choice([-1, 0, 1], (24, 9, 4)).astype(np.int8)
    basis = rng.integers(-20, 20, (24, 4, 4)).astype(np.int8)
    factors = Factors(coefficients, basis, (4, 3, 3), (9, 3, 1))
    return FactoredMatrix.of(factors.weights(), factors)


def cases() -> Iterator[Case]:
    from secateur import coding

    for encoding in coding.all_encodings():
        for damage, n in (("cut", 1), ("noise", 1), ("bits", 2)):
            for seed in range(n):
                yield Case(
                    "streams",
                    f"{encoding.name}, {damage} {seed}",
                    "refused|other weights",
                    _decode(encoding.name, damage, seed),
                )
