"""What a trained network costs and scores once it is integers: stored bytes, error, layer table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from secateur import coding
from secateur.codegen.plan import Plan, candidates, make_plan, matrix
from secateur.coding.base import Encoded
from secateur.coding.entropy import layer_entropy
from secateur.frontend.load import load
from secateur.lowering import reference
from secateur.lowering.align import align
from secateur.lowering.qgraph import QConv, QDense, QGraph
from secateur.lowering.quantize import lower
from secateur.report import Report

#: bytes of a layer that generated code holds as literals: shared multiplier, shifts
LITERALS = 4


@dataclass(frozen=True)
class Layer:
    """One layer with weights. Bits are means over the non-zeros; bytes are as stored."""

    name: str
    weights: int
    kept: int
    levels: int  #: distinct non-zero values
    value_bits: float  #: of an index into the codebook, plain
    value_huffman: float
    gap_bits: float  #: of a gap, plain, fillers included
    gap_huffman: float
    packed: int  #: bytes: prune + quantize without Huffman coding, codebook included
    huffman: int  #: bytes with Huffman coding, tables and codebook included
    encoding: str  #: the smallest of all encodings that a kernel executes
    stored: int  #: bytes under it
    entropy: float  #: bytes, the lowest zeroth-order bound
    rest: int  #: bytes of everything else: offsets (the biases), multipliers, literals


def integers(model: keras.Model | Path, calibration: np.ndarray) -> QGraph:
    """The integer graph of a model or file, as `secateur convert` makes it."""
    return align(lower(load(model), calibration))


def layers_of(graph: QGraph) -> list[Layer]:
    """The layers with weights, each coded every way, as a library made for flash stores them."""
    weighted = [op for op in graph if isinstance(op, QConv | QDense)]
    smallest = {
        op.name: min(candidates(op, graph), key=lambda c: (c.bytes, c.encoding)).encoding
        for op in weighted
    }
    plan = make_plan(graph, smallest, "flash")
    return [_layer(op, plan) for op in weighted]


def top1(graph: QGraph, x: np.ndarray, y: np.ndarray) -> float:
    """Top-1 of the integer model's reference execution on real inputs, percent."""
    out = reference.run(graph, reference.quantize_input(graph, x), batch=250)
    return 100.0 * float((out.reshape(len(out), -1).argmax(1) == y).mean())


def float_top1(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Top-1 of the float network, percent."""
    return 100.0 * float((model.predict(x, batch_size=500, verbose=0).argmax(1) == y).mean())


def counted(report: Report) -> dict[str, Any]:
    """Figures of a firmware in the simulator: instructions of an inference, bytes of model and
    runtime in the linked image, outputs that are the reference's."""
    return {
        "flash": report.flash.headline, "instructions": report.latency.instructions,
        "identical": report.outputs.identical, "total": report.outputs.total,
    }  # fmt: skip


def _layer(op: QConv | QDense, plan: Plan) -> Layer:
    w = matrix(op)
    assert w is not None
    kept = int(np.count_nonzero(w))
    packed = coding.get("gap_sparse").encode(w)
    huffman = coding.get("huffman_sparse").encode(w)
    best = plan.encoded[op.name]
    bits = {
        (e.encoding, kind): _bits(e, kind) / max(1, kept)
        for e in (packed, huffman)
        for kind in ("value", "gap")
    }
    return Layer(
        op.name,
        int(w.size),
        kept,
        int(np.unique(w[w != 0]).size),
        bits[packed.encoding, "value"],
        bits["huffman_sparse", "value"],
        bits[packed.encoding, "gap"],
        bits["huffman_sparse", "gap"],
        packed.stored_bytes,
        huffman.stored_bytes,
        best.encoding,
        best.stored_bytes,
        layer_entropy(w).least,
        plan.library.bytes_of(op.name) - best.stored_bytes + LITERALS,
    )


def _bits(encoded: Encoded, kind: str) -> int:
    return encoded.bits_by_kind().get(kind, 0)
