"""The figures of one layer, and their sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class LayerFigures:
    """One operator of the integer graph. Bytes and counts.

    `parameters` are the stored weights (biases ride in the requantization), `effectual_macs` the
    multiply-accumulates whose weight is not zero, `entropy_bytes` the first-order entropy of the
    weights, below which no code of single symbols gets.
    """

    name: str
    op: str
    encoding: str
    parameters: int
    nonzeros: int
    stored_bytes: int
    entropy_bytes: float
    macs: int
    effectual_macs: int
    #: not part of schema 1:
    kernel: str = ""
    levels: int = 0  #: distinct non-zero weights
    live: float = 1.0  #: share of the non-zero weights' inputs that are not 0, as calibrated
    skips: bool = False  #: whether the kernel passes over inputs of 0
    moved: int = 0  #: bytes of its inputs and its output
    values: int = 0  #: how many numbers those are

    def to_dict(self) -> dict[str, Any]:
        """Schema 1."""
        out = asdict(self)
        for name in ("kernel", "levels", "live", "skips", "moved", "values"):
            del out[name]
        return out

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LayerFigures:
        """From schema 1 or a superset; TypeError if a key is missing."""
        names = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in names})

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight, 0 where there are no weights."""
        return 8 * self.stored_bytes / self.parameters if self.parameters else 0.0


def layer_macs(shape: Sequence[int], weight_size: int, nonzeros: int) -> tuple[int, int]:
    """(MACs, effectual MACs) of a layer whose output is (C, H, W) or (N,).

    Every weight acts once per output pixel; taps that fall on padding are counted, as usual.
    """
    pixels = 1
    for extent in shape[1:]:
        pixels *= int(extent)
    return weight_size * pixels, nonzeros * pixels


def total(layers: Sequence[LayerFigures]) -> LayerFigures:
    """The sums over all layers, as one that is called "total"."""
    return LayerFigures(
        name="total",
        op="",
        encoding="",
        parameters=sum(x.parameters for x in layers),
        nonzeros=sum(x.nonzeros for x in layers),
        stored_bytes=sum(x.stored_bytes for x in layers),
        entropy_bytes=sum(x.entropy_bytes for x in layers),
        macs=sum(x.macs for x in layers),
        effectual_macs=sum(x.effectual_macs for x in layers),
    )
