"""What all compression callbacks share: choosing weights, attaching, logs, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from secateur.callbacks.projection import Projection
from secateur.callbacks.select import Pattern, Target, select
from secateur.callbacks.state import ATTRIBUTE, CompressionState, read_state
from secateur.errors import ModelError, ToolError
from secateur.progress import tell


class Compression(keras.callbacks.Callback):
    """Base of the callbacks: one `Projection` for each selected weight of the model in `fit`.

    Steps are optimizer steps, counted from 1 in the callback's first `fit` and on through later
    ones: `begin_step=800` acts first at the end of the 800th step, 0 and 1 at the first. With
    gradient accumulation every micro-batch counts, as in `optimizer.iterations`.

    While fitting, the state (masks, codebooks, latent weights, step) is part of what
    `ModelCheckpoint` and `BackupAndRestore` write, and `BackupAndRestore` reads it back by itself.
    To continue from a `.keras` or `.weights.h5` checkpoint in a new process, load the model and
    give the file as `resume`. At the end of `fit` the model is a plain Keras model again.

    Weight decay and L2 act on the stored weight; optimizers that average weights (`use_ema`)
    have the average projected once at the end. `EarlyStopping(restore_best_weights=True)` goes
    before these callbacks in the list, so that what it restores is in the set, too.

    Args:
        include: layer names (with * and ?), class names or classes; None for all with a kernel.
        exclude: the same, taken out again.
        resume: a checkpoint written during an earlier fit with the same callbacks.
    """

    depthwise_by_default: ClassVar[bool] = True

    def __init__(
        self,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.include = _as_list(include)
        self.exclude = _as_list(exclude) or []
        self.resume = resume
        self.projections: list[Projection] = []
        self._built_for: int | None = None

    # What a method fills in ---------------------------------------------------------------

    def make(self, target: Target) -> Projection:
        """The projection for one weight."""
        raise NotImplementedError

    def prepare(self, targets: list[Target]) -> None:
        """Look at all chosen weights before the projections are made (checks, mostly)."""

    def finish(self) -> None:
        """Called when the fit has ended, before detaching."""

    # Keras' hooks ---------------------------------------------------------------------------

    def set_model(self, model: keras.Model) -> None:
        """Make the projections; Keras calls this before any `on_train_begin`."""
        super().set_model(model)
        if not isinstance(model, keras.Model):
            raise ModelError(
                f"{self.name} needs a Keras 3 model and got {type(model).__name__}; rebuild it "
                "with `keras` (tf_keras models are converted, not trained)"
            )
        if keras.backend.backend() != "tensorflow":
            raise ToolError(
                f"{self.name} needs Keras' TensorFlow backend, not {keras.backend.backend()}; "
                "set KERAS_BACKEND=tensorflow"
            )
        if self._built_for != id(model):
            targets = select(
                model, self.include, self.exclude, self.depthwise_by_default, self.name
            )
            self.prepare(targets)
            self.projections = [self.make(t) for t in targets]
            for projection, target in zip(self.projections, targets, strict=True):
                projection.path = target.path
            self._built_for = id(model)
        state = getattr(model, ATTRIBUTE, None)
        if state is not None and state.started:  # left by a fit that was interrupted
            state.abandon()
            state = None
        if state is None:
            state = CompressionState()
            setattr(model, ATTRIBUTE, state)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Attach to the weights and have the train step traced anew."""
        state = self._state
        for projection in self.projections:
            state.attach(projection)
        self.model.make_train_function(force=True)
        if self.resume is not None:
            state.restore(read_state(self.resume), self.projections, str(self.resume))
            self.resume = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Before the first step, take up whatever the other callbacks loaded."""
        self._state.start()
        tell("training, rounds done", epoch, self.params.get("epochs"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """`sparsity` (share of zeros) and `bits` (mean index bits) of all compressed weights."""
        if logs is not None:
            logs.update(self._state.figures())

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave a plain model."""
        state = self._state
        state.settle(self.projections)
        self.finish()
        for projection in self.projections:
            state.detach(projection)
        if not state.chains:
            delattr(self.model, ATTRIBUTE)
        self.model.train_function = None  # it was traced with the projections in it

    # ------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The class' name, for messages."""
        return type(self).__name__

    @property
    def _state(self) -> CompressionState:
        return getattr(self.model, ATTRIBUTE)

    def levels(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """After `fit`: "layer/weight" -> (integer levels, scale); see `Projection.levels`."""
        return {p.path: p.levels(np.array(p.variable.numpy())) for p in self.projections}


def require(ok: bool, sentence: str) -> None:
    """ModelError(sentence) unless `ok`."""
    if not ok:
        raise ModelError(sentence)


def _as_list(patterns: Sequence[Pattern] | Pattern | None) -> list[Pattern] | None:
    if patterns is None:
        return None
    return [patterns] if isinstance(patterns, str | type) else list(patterns)
