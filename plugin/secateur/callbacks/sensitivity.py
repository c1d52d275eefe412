"""How much each layer can be pruned or quantized before accuracy falls: layer by layer.

Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks",
NeurIPS 2015, section 4 (figure 6): one layer is changed, all others stay as they are, and nothing
is retrained. The curves say which layers to prune hard; retraining then wins most of the loss back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from secateur import notebook, tasks
from secateur.callbacks.arguments import checked
from secateur.callbacks.cluster import kmeans
from secateur.callbacks.line_chart import line_chart
from secateur.callbacks.select import Pattern, select
from secateur.errors import DataError

SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99)
BITS = (1, 2, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class LayerPlan:
    """What to do with each layer: layer name -> share of zeros, layer name -> codebook bits."""

    sparsity: dict[str, float]
    bits: dict[str, int]

    def __repr__(self) -> str:
        mean = sum(self.sparsity.values()) / max(1, len(self.sparsity))
        return f"<LayerPlan for {len(self.sparsity)} layers: {mean:.0%} zeros on average>"

    def _repr_html_(self) -> str:
        rows = [[n, f"{s:.0%}", self.bits.get(n)] for n, s in self.sparsity.items()]
        return notebook.table(repr(self)[1:-1], ("layer", "zeros", "codebook bits"), rows)


@dataclass(frozen=True)
class Sensitivity:
    """The result of a scan. Accuracies are top-1, in percent."""

    baseline: float
    weights: dict[str, int]  #: layer -> number of weights
    sparsity: dict[str, dict[float, float]]  #: layer -> share of zeros -> accuracy
    bits: dict[str, dict[int, float]]  #: layer -> codebook bits -> accuracy

    def __repr__(self) -> str:
        return f"<Sensitivity of {len(self.weights)} layers, top-1 {self.baseline:.2f} % before>"

    def _repr_html_(self) -> str:
        parts = []
        for what, scan in (("zeros", self.sparsity), ("bits", self.bits)):
            first: Mapping[Any, float] = next(iter(scan.values()), {})
            heads = [f"{k:.0%}" if what == "zeros" else f"{k} bit" for k in first]
            rows = [
                [layer, self.weights[layer], *(f"{self.baseline - a:.2f}" for a in curve.values())]
                for layer, curve in scan.items()
            ]
            title = f"{repr(self)[1:-1]}: points lost by {what}"
            parts.append(notebook.table(title, ("layer", "weights", *heads), rows))
        return "".join(parts)

    def plan(self, drop: float, bits_drop: float | None = None) -> LayerPlan:
        """The most of everything that costs one layer alone at most `drop` points, untrained.

        Args:
            drop: points of accuracy; between two scanned sparsities the curve is a straight line.
            bits_drop: the same for the codebooks; `drop` if None.
        """
        floor = self.baseline - (drop if bits_drop is None else bits_drop)
        bits = {
            layer: min((b for b, a in curve.items() if a >= floor), default=max(curve))
            for layer, curve in self.bits.items()
        }
        sparsity = {
            layer: _furthest(curve, self.baseline, self.baseline - drop)
            for layer, curve in self.sparsity.items()
        }
        return LayerPlan(sparsity, bits)

    def plan_for_size(self, max_bytes: float, bits_drop: float = 1.0) -> LayerPlan:
        """The gentlest plan whose estimated weights fit in `max_bytes`.

        Raises:
            DataError: even the hardest plan of this scan is larger.
        """
        low, high = 0.0, self.baseline
        if self.estimate(self.plan(high, bits_drop)) > max_bytes:
            raise DataError(
                f"no plan of this scan stores the weights in {max_bytes:.0f} bytes (the smallest "
                f"takes about {self.estimate(self.plan(high, bits_drop)):.0f}); scan higher "
                "sparsities or raise the goal"
            )
        for _ in range(40):
            middle = (low + high) / 2
            if self.estimate(self.plan(middle, bits_drop)) > max_bytes:
                low = middle
            else:
                high = middle
        return self.plan(high, bits_drop)

    def estimate(self, plan: LayerPlan) -> float:
        """Bytes of the weights under `plan`: entropy of the positions, index bits, codebooks."""
        total = 0.0
        for layer, n in self.weights.items():
            kept = 1.0 - plan.sparsity[layer]
            total += n * (_entropy(kept) + kept * plan.bits[layer]) / 8 + 2 ** plan.bits[layer]
        return total

    def table(self) -> str:
        """Both scans as Markdown tables: points of accuracy lost."""
        parts = [f"Top-1 before: {self.baseline:.2f} %. Points lost when one layer alone is"]
        for what, scan in (("pruned to", self.sparsity), ("clustered to", self.bits)):
            first: Mapping[Any, float] = next(iter(scan.values()))
            heads = [f"{k:.0%}" if what == "pruned to" else f"{k} bit" for k in first]
            lines = [
                f"| {what} | weights | {' | '.join(heads)} |",
                "|---" * (len(heads) + 2) + "|",
            ]
            for layer, curve in scan.items():
                lost = " | ".join(f"{self.baseline - a:.2f}" for a in curve.values())
                lines.append(f"| {layer} | {self.weights[layer]:,} | {lost} |")
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"

    def picture(self, path: str | os.PathLike[str]) -> Path:
        """The pruning scan as an SVG chart, one line a layer."""
        return line_chart(
            path,
            {
                layer: [(0.0, self.baseline), *((100 * s, a) for s, a in sorted(curve.items()))]
                for layer, curve in self.sparsity.items()
            },
            "Sensitivity to pruning, one layer at a time, not retrained",
            "weights pruned (%)",
            "top-1 (%)",
            {"unpruned": self.baseline},
        )


@partial(checked, who="sensitivity")
def sensitivity(
    model: keras.Model,
    data: tuple[np.ndarray, np.ndarray],
    sparsities: Sequence[float] = SPARSITIES,
    bits: Sequence[int] = BITS,
    include: Sequence[Pattern] | None = None,
    exclude: Sequence[Pattern] = (),
    batch_size: int = 256,
) -> Sensitivity:
    """Scan every chosen layer of `model`; the model is unchanged afterwards.

    Args:
        model: a built classifier; it need not be compiled.
        data: (x float32 [n, ...], y): labels of a classifier, see `secateur.tasks`. Use data
            held out of the training set, never the test set.
        sparsities: shares of zeros to try, by magnitude, 0 <= s < 1.
        bits: codebook widths to try (linear k-means), 1..8.
        include, exclude: layers, as for the callbacks.
        batch_size: of the evaluations.

    Raises:
        DataError: data that do not fit.
        ModelError: a pattern that matches nothing.
    """
    x, y = _checked(data)
    _check_ranges(sparsities, bits)
    targets = select(model, include, exclude, True, "sensitivity")
    forward = tf.function(lambda batch: model(batch, training=False))

    def accuracy() -> float:
        parts = [
            forward(tf.convert_to_tensor(x[i : i + batch_size])).numpy()
            for i in range(0, len(x), batch_size)
        ]
        return _percent(model, np.concatenate(parts), y)

    baseline = accuracy()
    counts: dict[str, int] = {}
    by_share: dict[str, dict[float, float]] = {}
    by_bits: dict[str, dict[int, float]] = {}
    for target in targets:
        name, variable = target.layer.name, target.variable
        original = np.array(variable.numpy())
        counts[name] = original.size
        try:
            by_share[name] = {}
            for share in sorted(sparsities):
                variable.assign(_pruned(original, share))
                by_share[name][share] = accuracy()
            by_bits[name] = {}
            for width in sorted(bits):
                variable.assign(_clustered(original, width))
                by_bits[name][width] = accuracy()
        finally:
            variable.assign(original)
    return Sensitivity(baseline, counts, by_share, by_bits)


def top1(model: keras.Model, data: tuple[np.ndarray, np.ndarray], batch_size: int = 256) -> float:
    """Right answers of `model` on (x, y), in percent."""
    x, y = _checked(data)
    parts = [
        np.asarray(model.predict_on_batch(x[i : i + batch_size]))
        for i in range(0, len(x), batch_size)
    ]
    return _percent(model, np.concatenate(parts), y)


def _percent(model: keras.Model, outputs: np.ndarray, labels: np.ndarray) -> float:
    """Right answers in percent; DataError for labels that are not this classifier's."""
    last = getattr(model.layers[-1], "activation", None)
    sigmoid = last in (keras.activations.sigmoid, keras.activations.hard_sigmoid)
    task = tasks.read(labels, len(outputs), outputs.shape[1:], sigmoid)
    if task.kind == tasks.REGRESSION:
        raise DataError(
            "labels are targets of a regression, and a scan counts right answers; give the labels "
            "of a classifier"
        )
    return 100.0 * task.accuracy(outputs)


def _pruned(weight: np.ndarray, share: float) -> np.ndarray:
    out = weight.copy().reshape(-1)
    out[np.argsort(np.abs(out), kind="stable")[: round(share * out.size)]] = 0.0
    return out.reshape(weight.shape)


def _clustered(weight: np.ndarray, bits: int) -> np.ndarray:
    flat = tf.convert_to_tensor(weight.reshape(-1))
    centroids, index = kmeans(flat, min(1 << bits, 255), "linear", 0)
    values = centroids.numpy()[np.maximum(index.numpy(), 0)]
    return np.where(index.numpy() >= 0, values, 0.0).astype(np.float32).reshape(weight.shape)


def _furthest(curve: Mapping[float, float], at_zero: float, floor: float) -> float:
    """The largest share up to which the straight lines between the points stay above `floor`."""
    last_share, last = 0.0, at_zero
    for share, value in sorted(curve.items()):
        if value < floor:
            return last_share + (share - last_share) * (last - floor) / (last - value)
        last_share, last = share, value
    return last_share


def _entropy(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def _checked(data: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(data, tuple) or len(data) != 2:
        raise DataError(f"data must be a pair (x, y) of arrays, not {type(data).__name__}")
    x, y = np.asarray(data[0], np.float32), np.asarray(data[1])
    if len(x) == 0 or len(x) != len(y):
        raise DataError(f"data have {len(x)} inputs and {len(y)} labels; give one label an input")
    return x, y


def _check_ranges(sparsities: Iterable[float], bits: Iterable[int]) -> None:
    shares, widths = list(sparsities), list(bits)
    if not shares or not all(0 <= s < 1 for s in shares):
        raise DataError(f"sparsities {shares} are not shares; give some with 0 <= s < 1")
    if not widths or not all(1 <= b <= 8 for b in widths):
        raise DataError(f"bits {widths} are not codebook widths; give some from 1 to 8")
