"""Deep Compression in one `fit`: prune in rounds, retrain, cluster, train the centroids.

Han, Mao, Dally, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained
Quantization and Huffman Coding", ICLR 2016. Coding, the last step, happens at conversion.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression
from secateur.callbacks.cluster import CodebookProjection
from secateur.callbacks.projection import Projection, Tensor, as_float32
from secateur.callbacks.prune import MagnitudeMask, check_layers
from secateur.callbacks.schedule import Schedule
from secateur.callbacks.select import Pattern, Weight
from secateur.callbacks.sensitivity import LayerPlan, Sensitivity, sensitivity, top1
from secateur.errors import DataError, ModelError

#: points one layer alone may lose, untrained, in the first and in the last round of `max_drop`
_FIRST_TOLERANCE, _LAST_TOLERANCE = 0.5, 50.0


class RoundMask(MagnitudeMask):
    """A mask whose share of zeros the callback raises from round to round."""

    def __init__(self, variable: keras.Variable, depthwise: bool = False):
        super().__init__(variable, Schedule(0.0, 0, 0, "constant"), depthwise)
        self.share = self.add_state("share", np.float32(0))

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """1 where `value` is kept; anew only when the share has risen."""
        kept_now = tf.reduce_mean(self.mask.value)
        fresh = tf.cond(
            1.0 - kept_now < self.share.value - 0.5 / self.mask.value.shape.num_elements(),
            lambda: self.choose(tf.abs(value) * self.mask.value, self.share.value),
            lambda: tf.convert_to_tensor(self.mask.value),
        )
        self.mask.assign(fresh)
        return fresh


@dataclass(frozen=True)
class Round:
    """One round under `max_drop`: what was tried and what came of it."""

    tolerance: float  #: points one layer alone was allowed to lose, untrained
    sparsity: float  #: share of zeros of all chosen weights
    accuracy: float  #: top-1 on `data` after retraining, percent
    kept: bool  #: within the floor


class DeepCompression(Compression):
    """The paper's pipeline as one callback for one `fit`.

    From the first step the share of zeros rises in `rounds` to the goal, each round followed by
    retraining (shares follow s_end (1 - (1 - r/rounds)^3)); at `prune_until` of the fit the masks
    are final and retraining goes on; at `cluster_from` 1-D k-means makes a codebook of the
    survivors of each layer, whose centroids train to the end: c_k moves by the mean (`update="sum"`
    the sum, as in the paper) of what the optimizer would have done to the weights of cluster k.

    What to prune is given in one of three ways:

    * `sparsity` and `bits`, for all layers or by layer;
    * `max_bytes` and `data`: the gentlest shares, by a sensitivity scan, whose estimated weights
      fit;
    * `max_drop` and `data`: in every round the scan's tolerance rises and accuracy on `data` is
      measured after retraining, at the end of an epoch; the first round that falls more than
      `max_drop` points below the start is taken back and pruning ends. Codebook widths come from
      the scan. `rounds_log` tells what happened, and a warning if the clustered model ends below
      the floor all the same.

    Args:
        sparsity: share of zeros, or layer name -> share (others are not pruned).
        bits: log2 of the codebook's size, 1..8, or layer name -> bits (others keep 8).
        rounds: number of times the masks are renewed.
        prune_until, cluster_from: shares of the fit, 0 < prune_until <= cluster_from < 1.
        steps: optimizer steps of the fit, where Keras cannot know (generators).
        init: "linear" (the paper's best), "density" or "random" centroids.
        update: "mean" or "sum".
        max_bytes: goal for the stored weights, bytes.
        max_drop: points of top-1 that may be lost on `data`.
        data: (x, y) held out of the training set; for `max_bytes` and `max_drop`.
        seed: of random initialisation.
        include, exclude, resume: see `Compression`. Default: every Conv, Dense and depthwise
            kernel.

    Raises:
        ModelError: arguments out of range or contradictory, or layers that are not there.
        DataError: `data` missing or unfit.
    """

    independent = False  #: one plan for all layers

    def __init__(
        self,
        sparsity: float | Mapping[str, float] | None = None,
        bits: int | Mapping[str, int] | None = None,
        rounds: int = 10,
        prune_until: float = 0.6,
        cluster_from: float = 0.8,
        steps: int | None = None,
        init: str = "linear",
        update: str = "mean",
        max_bytes: float | None = None,
        max_drop: float | None = None,
        data: tuple[np.ndarray, np.ndarray] | None = None,
        seed: int = 0,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        goals = [g is not None for g in (max_bytes, max_drop)]
        if sum(goals) > 1 or (any(goals) and (sparsity is not None or bits is not None)):
            raise ModelError(
                "DeepCompression: sparsity/bits, max_bytes and max_drop are three ways to say how "
                "much; give one of them"
            )
        if any(goals) and data is None:
            raise DataError("DeepCompression: max_bytes and max_drop need data=(x, y), held out")
        if not 0 < prune_until <= cluster_from < 1:
            raise ModelError(
                f"DeepCompression: prune_until={prune_until}, cluster_from={cluster_from} are not "
                "shares of the fit with 0 < prune_until <= cluster_from < 1"
            )
        if rounds < 1:
            raise ModelError(f"DeepCompression: rounds={rounds}; give 1 or more")
        if init not in ("linear", "density", "random"):
            raise ModelError(
                f"DeepCompression: init {init!r} is unknown; use linear, density or random"
            )
        if update not in ("mean", "sum"):
            raise ModelError(f"DeepCompression: update {update!r} is unknown; use mean or sum")
        if max_drop is not None and max_drop < 0:
            raise ModelError(f"DeepCompression: max_drop={max_drop} is negative; give 0 or more")
        self.sparsity = 0.9 if sparsity is None else sparsity
        self.bits = 5 if bits is None else bits
        self.rounds, self.prune_until, self.cluster_from = rounds, prune_until, cluster_from
        self.steps, self.init, self.update, self.seed = steps, init, update, seed
        self.max_bytes, self.max_drop, self.data = max_bytes, max_drop, data
        self.scan: Sensitivity | None = None  #: the sensitivity scan, if there was one
        self.plan: LayerPlan | None = None  #: what each layer gets (the last round's, so far)
        self.rounds_log: list[Round] = []
        self._targets: list[Weight] = []
        self._masks: dict[str, RoundMask] = {}
        self._good: list[tuple[keras.Variable, np.ndarray]] = []
        self._climbing = False
        self._tolerance = 0.0

    # Setting up -------------------------------------------------------------------------------

    def prepare(self, targets: list[Weight]) -> None:
        """Scan if a goal asks for it, and settle what each layer gets."""
        self._targets = targets
        for given in (self.sparsity, self.bits):
            if isinstance(given, Mapping):
                check_layers(given, targets, self.name)
        names = [t.layer.name for t in targets]
        if self.max_bytes is None and self.max_drop is None:
            self.plan = LayerPlan(
                {n: _of(self.sparsity, n, 0.0) for n in names},
                {n: _of(self.bits, n, 8) for n in names},
            )
        else:
            assert self.data is not None
            self.scan = sensitivity(self.model, self.data, include=names)
            if self.max_bytes is not None:
                self.plan = self.scan.plan_for_size(self.max_bytes)
            else:
                self.plan = self.scan.plan(_FIRST_TOLERANCE, bits_drop=self.max_drop)
        for name in names:
            if not 0 <= self.plan.sparsity[name] < 1:
                raise ModelError(
                    f"DeepCompression: sparsity {self.plan.sparsity[name]} of {name!r} is not in "
                    "0 <= sparsity < 1; give a share"
                )
            if not 1 <= self.plan.bits[name] <= 8:
                raise ModelError(
                    f"DeepCompression: bits {self.plan.bits[name]} of {name!r} is not in 1..8"
                )

    def make(self, target: Weight) -> Projection:
        """The mask for one weight; `on_train_begin` knows the fit's length and makes the rest."""
        return RoundMask(target.variable, target.depthwise)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Lay the pipeline over the steps of this fit, then attach."""
        assert self.plan is not None
        if len(self.projections) == len(self._targets):  # the first fit
            total, per_epoch = self._length()
            begin = round(self.cluster_from * total)
            if self.max_drop is not None:
                begin = max(1, round(begin / per_epoch)) * per_epoch
            self.cluster_step = begin
            masks = [self._mask(t, total) for t in self._targets]
            books = [self._codebook(t) for t in self._targets]
            self.projections = [*masks, *books]
            for projection, target in zip(self.projections, 2 * self._targets, strict=True):
                projection.path = target.path
        super().on_train_begin(logs)

    def _length(self) -> tuple[int, int]:
        """(steps of the fit, steps of an epoch)."""
        params = self.params or {}
        epochs, per_epoch = params.get("epochs") or 1, params.get("steps")
        if self.steps is not None:
            return self.steps, per_epoch or max(1, self.steps // epochs)
        if not per_epoch:
            raise ModelError(
                "DeepCompression cannot tell how many steps this fit has; give steps= (epochs "
                "times steps of an epoch)"
            )
        return epochs * per_epoch, per_epoch

    def _mask(self, target: Weight, total: int) -> MagnitudeMask:
        assert self.plan is not None
        if self.max_drop is not None:
            mask = RoundMask(target.variable, target.depthwise)
            mask.share.assign(self.plan.sparsity[target.layer.name])
            self._masks[target.layer.name] = mask
            self._climbing, self._tolerance = True, _FIRST_TOLERANCE
            return mask
        end = max(1, round(self.prune_until * total))
        every = max(1, end // self.rounds)
        share = self.plan.sparsity[target.layer.name]
        schedule = Schedule(share, 0, every * self.rounds, "polynomial", every)
        return MagnitudeMask(target.variable, schedule, target.depthwise)

    def _codebook(self, target: Weight) -> CodebookProjection:
        assert self.plan is not None
        clusters = min(1 << self.plan.bits[target.layer.name], 255)
        return CodebookProjection(
            target.variable, clusters, self.cluster_step, self.init, self.update, self.seed
        )

    # Under max_drop ---------------------------------------------------------------------------

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Judge a round that ends here and begin the next."""
        self._maybe_judge(epoch)
        super().on_epoch_end(epoch, logs)

    def _maybe_judge(self, epoch: int) -> None:
        if not self._climbing:
            return
        epochs = max(1, (self.params or {}).get("epochs") or 1)
        pruning = max(1, round(self.prune_until * epochs))
        length = max(1, pruning // self.rounds)
        if (epoch + 1) % length and epoch + 1 < pruning:
            return
        self._judge()
        if epoch + 1 >= pruning:
            self._climbing = False
        elif self._climbing:
            growth = _LAST_TOLERANCE / _FIRST_TOLERANCE
            self._tolerance *= growth ** (1 / max(1, pruning // length - 1))
            self._raise_shares()

    def _raise_shares(self) -> None:
        assert self.scan is not None
        self.plan = self.scan.plan(self._tolerance, bits_drop=self.max_drop)
        for name, mask in self._masks.items():
            mask.share.assign(max(self.plan.sparsity[name], float(mask.share.numpy())))

    def _judge(self) -> None:
        assert self.scan is not None
        assert self.data is not None
        assert self.max_drop is not None
        accuracy = top1(self.model, self.data)
        kept = accuracy >= self.scan.baseline - self.max_drop
        sizes = [float(np.prod(m.variable.shape)) for m in self._masks.values()]
        zeros = sum(
            n * (1 - float(np.mean(m.mask.numpy())))
            for n, m in zip(sizes, self._masks.values(), strict=True)
        )
        self.rounds_log.append(Round(self._tolerance, zeros / sum(sizes), accuracy, kept))
        if kept:
            variables = [*self.model.variables]
            for mask in self._masks.values():
                variables += [mask.mask, mask.share]
            variables += [chain.previous for chain in self._state.chains.values()]
            self._good = [(v, np.array(v.numpy())) for v in variables]
        else:
            self._climbing = False
            self._back()

    def _back(self) -> None:
        if not self._good:  # not even the first round: open the masks, keep the weights
            for mask in self._masks.values():
                mask.share.assign(0.0)
                mask.mask.assign(np.ones(mask.mask.shape, np.float32))
        for variable, value in self._good:
            variable.assign(value)

    @property
    def complete(self) -> bool:
        """Masks are final and clusters are made."""
        return super().complete and not self._climbing

    def finish(self) -> None:
        """Say so if the floor did not hold."""
        if self.max_drop is None:
            return
        assert self.scan is not None
        assert self.data is not None
        accuracy = top1(self.model, self.data)
        floor = self.scan.baseline - self.max_drop
        sparsity = float(
            np.mean(np.concatenate([np.ravel(m.mask.numpy()) for m in self._masks.values()]) == 0)
        )
        self.rounds_log.append(Round(self._tolerance, sparsity, accuracy, accuracy >= floor))
        if accuracy < floor:
            self._warn(
                f"top-1 on data is {accuracy:.2f} %, below the floor {floor:.2f} %; train longer "
                "or allow a larger max_drop"
            )

    def levels(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """After `fit`: variable path -> (codebook indices, codebook); see `Projection.levels`."""
        return {
            p.variable.path: p.levels(as_float32(p.variable))
            for p in self._resting + self.projections
            if p.quantizes
        }


def _of(given: Any, name: str, other: Any) -> Any:
    return given.get(name, other) if isinstance(given, Mapping) else given
