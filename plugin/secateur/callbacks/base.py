"""What all compression callbacks share: choosing weights, attaching, logs, checkpoints."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from secateur.callbacks.arguments import checked
from secateur.callbacks.company import arrange, callback_list
from secateur.callbacks.projection import Projection, as_float32
from secateur.callbacks.select import Pattern, Weight, select
from secateur.callbacks.state import ATTRIBUTE, CompressionState, read_state
from secateur.errors import ModelError, ToolError
from secateur.progress import tell

#: share of its length a weight may be moved by the very last projection before it is said
FAR = 0.05


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
    have the average projected once at the end, and `SwapEMAWeights` at every validation.

    The order of the callbacks in `fit` does not matter. Callbacks that look for the best epoch
    (`EarlyStopping`, `ModelCheckpoint(save_best_only=True)`, `ReduceLROnPlateau`) count from the
    first epoch at whose end every schedule has run its course: what they keep is compressed, and
    patience begins then. A fit that ends before a schedule began or ended is warned about, and so
    is a last projection that moved weights by more than 5 % of their length.

    A layer unfrozen between two fits of one callback begins its schedule in the second one; a
    layer frozen meanwhile stays as it is, with a warning if its schedule was not finished.

    Args:
        include: layer names (with * and ?), class names or classes; None for all with a kernel.
        exclude: the same, taken out again.
        resume: a checkpoint written during an earlier fit with the same callbacks.
    """

    depthwise_by_default: ClassVar[bool] = True
    #: Each weight's projection can go on when others join or leave; else all begin anew.
    independent: bool = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Hold the arguments of every method's constructor against their types."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__, cls.__name__)  # type: ignore[method-assign]

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
        self._resting: list[Projection] = []  #: of layers frozen since an earlier fit
        self._built_for: tuple[keras.Model, list[int]] | None = None
        self._ready = False  #: for the fit that is about to begin
        self._closed_by_list = False

    # What a method fills in ---------------------------------------------------------------

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        raise NotImplementedError

    def prepare(self, targets: list[Weight]) -> None:
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
        self._set_up()

    def _set_up(self) -> None:
        model = self.model
        targets = select(model, self.include, self.exclude, self.depthwise_by_default, self.name)
        chosen = [id(t.variable) for t in targets]
        if self._built_for is None or self._built_for[0] is not model:
            self.projections, self._resting = [], []
            self._build(targets)
        elif self._built_for[1] != chosen:
            self._build(targets)
        self._built_for = (model, chosen)
        state = getattr(model, ATTRIBUTE, None)
        if state is not None and state.started:  # left by a fit that was interrupted
            state.abandon()
            state = None
        if state is None:
            state = CompressionState()
            setattr(model, ATTRIBUTE, state)
        self._ready = True

    def _build(self, targets: list[Weight]) -> None:
        """A projection for each target: the one it had in an earlier fit, if it had one."""
        known = {id(p.variable): p for p in self._resting + self.projections}
        trained = {id(t.variable) for t in targets}
        frozen = [p for p in self.projections if id(p.variable) not in trained]
        unfinished = [p.path for p in frozen if p.steps < p.last_step]
        if unfinished:
            self._warn(
                f"{_listed(unfinished)} cannot be trained any more, frozen before the schedule's "
                "last step; the weights stay as they are: unfreeze them to finish"
            )
        self.prepare(targets)
        made = []
        for target in targets:
            projection = known.get(id(target.variable)) if self.independent else None
            made.append(projection or self.make(target))
            made[-1].path = target.path
        self.projections = made
        self._resting = [p for key, p in known.items() if key not in trained]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Attach to the weights and have the train step traced anew."""
        if not self._ready:  # a `CallbackList` of one's own calls set_model but once
            self._set_up()
        state = self._state
        for projection in self.projections:
            state.attach(projection)
        if self.model.compiled:
            self.model.make_train_function(force=True)
        if self.resume is not None:
            state.restore(read_state(self.resume), self.projections, str(self.resume))
            self.resume = None
        crowd = callback_list(self)
        self._closed_by_list = crowd is not None
        if crowd is not None and not state.arranged:
            arrange(crowd, [c for c in crowd.callbacks if isinstance(c, Compression)], state)
            state.arranged = True

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """The same for loops of one's own that know no epochs."""
        self._state.start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Before the first step, take up whatever the other callbacks loaded."""
        self._state.start()
        tell("training, rounds done", epoch, (self.params or {}).get("epochs"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """`sparsity` (share of zeros) and `bits` (mean index bits) of all compressed weights."""
        if logs is not None:
            logs.update(self._state.figures())

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave a plain model; in a list of callbacks that is done after the last of them."""
        if not self._closed_by_list:
            self.end()

    def end(self) -> None:
        """Project what has left the set, say what was not reached, detach."""
        state = self._state
        moved = state.settle(self.projections)
        self._say_what_is_missing(moved)
        self.finish()
        for projection in self.projections:
            state.detach(projection)
        if not state.chains:
            delattr(self.model, ATTRIBUTE)
        self.model.train_function = None  # it was traced with the projections in it
        self._ready = False

    @property
    def complete(self) -> bool:
        """Whether every schedule has run its course: from now on epochs can be compared."""
        return all(p.steps >= p.last_step for p in self.projections)

    def _say_what_is_missing(self, moved: dict[str, float]) -> None:
        idle = [p for p in self.projections if p.steps < p.begin_step]
        short = [p for p in self.projections if p.begin_step <= p.steps < p.last_step]
        missing = []
        if idle:
            missing.append(
                f"training ended after {idle[0].steps} steps, before step {idle[0].begin_step}, "
                f"where the schedule begins; {_listed([p.path for p in idle])} were left as they "
                "were: train longer or begin earlier"
            )
        if short:
            missing.append(
                f"training ended after {short[0].steps} steps, before the last step of the "
                f"schedule ({short[0].last_step}); what was promised is not reached in "
                f"{_listed([p.path for p in short])}: train longer or end earlier"
            )
        if missing:
            self._warn("; ".join(missing))
        far = {path: share for path, share in moved.items() if share > FAR}
        if far:
            self._warn(
                f"something changed the weights after the last step (averaged or restored them), "
                f"and projecting them again moved {_listed(list(far))} by up to "
                f"{max(far.values()):.0%} of their length; accuracy measured before that does not "
                "hold: evaluate again, or train on"
            )

    def _warn(self, sentence: str) -> None:
        warnings.warn(f"{self.name}: {sentence}", stacklevel=2)

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
        projections = self._resting + self.projections
        return {p.path: p.levels(as_float32(p.variable)) for p in projections}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def require(ok: bool, sentence: str) -> None:
    """ModelError(sentence) unless `ok`."""
    if not ok:
        raise ModelError(sentence)


def _as_list(patterns: Sequence[Pattern] | Pattern | None) -> list[Pattern] | None:
    if patterns is None:
        return None
    return [patterns] if isinstance(patterns, str | type) else list(patterns)
