"""What each technique gives, in the factors by which EIE (Han et al. 2016) accounts for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .layers import LayerFigures


@dataclass(frozen=True)
class Gains:
    """Each 1 where a technique does nothing.

    sparsity: weights per non-zero weight. sharing: 32 bits per bit that tells a layer's non-zero
    values apart, the mean over non-zero weights. skipping: in fully connected layers, non-zero
    weights per one that is executed, because columns whose input is 0 are passed over; possible:
    the same if all those layers did so (shares as seen in calibration). memory: bytes of float32
    parameters per stored byte, positions, codebooks and tables counted.
    """

    sparsity: float
    sharing: float
    skipping: float
    possible: float
    memory: float

    def __str__(self) -> str:
        skipping = f"zero inputs {self.skipping:.1f}x"
        if self.possible > 1.05 * self.skipping:
            skipping += f" (of {self.possible:.1f}x possible)"
        return (
            f"sparsity {self.sparsity:.1f}x, weight sharing {self.sharing:.1f}x, {skipping}, "
            f"memory {self.memory:.1f}x"
        )


def of(layers: Sequence[LayerFigures], float32: int, stored: int) -> Gains:
    """From a model's layers and its bytes in float32 and as stored."""
    weights = sum(x.parameters for x in layers)
    nonzeros = sum(x.nonzeros for x in layers)
    bits = sum(x.nonzeros * max(1, (x.levels - 1).bit_length()) for x in layers)
    dense = [x for x in layers if x.op == "dense"]
    connected = sum(x.nonzeros for x in dense)
    executed = sum(x.nonzeros * (x.live if x.skips else 1.0) for x in dense)
    least = sum(x.nonzeros * x.live for x in dense)

    def ratio(a: float, b: float) -> float:
        return a / b if a and b else 1.0

    found = (
        ratio(weights, nonzeros),
        ratio(32 * nonzeros, bits),
        ratio(connected, executed),
        ratio(connected, least),
        ratio(float32, stored),
    )
    return Gains(*(round(f, 3) for f in found))
