"""Compression beside Keras' other callbacks, in whatever order a user lists them.

What a fit needs is an order: the logs `sparsity` and `bits` before whoever reads logs, and the last
word about the weights after whoever restores some. And callbacks that look for the best epoch must
not find it among the epochs before the compression was complete: uncompressed weights are better
nearly always.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras

from secateur.callbacks.state import CompressionState, Saved

if TYPE_CHECKING:
    from secateur.callbacks.base import Compression


def callback_list(callback: keras.callbacks.Callback) -> keras.callbacks.CallbackList | None:
    """The list that is calling `callback` right now; Keras tells a callback of no other way."""
    frame = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList) and any(
            c is callback for c in caller.callbacks
        ):
            return caller
        frame = frame.f_back  # type: ignore[assignment]
    return None


def arrange(
    crowd: keras.callbacks.CallbackList,
    compressions: Sequence[Compression],
    state: CompressionState,
) -> Last:
    """Put the callbacks of `crowd` in order; `Last.on_train_end` restores the user's.

    The list is replaced, not changed: Keras may be going through it.
    """
    others = [c for c in crowd.callbacks if all(c is not x for x in compressions)]
    first, last = First(compressions, others), Last(crowd, compressions, state)
    ordered: list[keras.callbacks.Callback] = [first, *compressions]
    for callback in others:
        if isinstance(callback, keras.callbacks.SwapEMAWeights):
            after = AfterSwap(callback, state)
            first.swaps.append(after)
            ordered += [BeforeSwap(after), callback, after]
            continue
        ordered.append(callback)
        if getattr(callback, "restore_best_weights", False):
            keep = Keep(callback, first, state)
            last.keeps.append(keep)
            ordered.append(keep)
    ordered.append(last)
    crowd.callbacks = ordered
    return last


class First(keras.callbacks.Callback):
    """Stands before all others: tells those that look for the best epoch which ones count.

    An epoch counts if at its end every schedule has run its course. Until then `EarlyStopping`
    and `ReduceLROnPlateau` lose their patience and memory after each epoch, and at the first one
    that counts `ModelCheckpoint(save_best_only=True)` forgets the best it saw, too. They are known
    by what they have (`monitor` and `best`), so that other people's are, too.
    """

    def __init__(
        self, compressions: Sequence[Compression], others: Sequence[keras.callbacks.Callback]
    ) -> None:
        super().__init__()
        self.compressions = compressions
        self.judges = [c for c in others if hasattr(c, "best") and hasattr(c, "monitor")]
        self.by_batch = any(isinstance(getattr(c, "save_freq", None), int) for c in self.judges)
        self.best: list[Any] = []  #: of each judge, before the first epoch
        self.counted = False
        self.swaps: list[AfterSwap] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """All callbacks have begun by now."""
        if not self.best:
            self.best = [judge.best for judge in self.judges]

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checkpoints may be written between epochs."""
        if self.by_batch and not self.counted and self._complete():
            self._begin_counting()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See the class."""
        if self.counted:
            return
        if self._complete():
            self._begin_counting()
            return
        for judge, best in self._judges():
            if not hasattr(judge, "save_best_only"):
                _forget(judge, best)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Nothing counted: nothing is remembered."""
        for swap in self.swaps:
            swap.undo()
        if not self.counted:
            for judge, best in self._judges():
                _forget(judge, best)

    def _judges(self) -> list[tuple[keras.callbacks.Callback, Any]]:
        best = self.best or [None] * len(self.judges)
        return list(zip(self.judges, best, strict=True))

    def _complete(self) -> bool:
        return all(c.complete for c in self.compressions)

    def _begin_counting(self) -> None:
        self.counted = True
        for judge, best in self._judges():
            _forget(judge, best)


class Keep(keras.callbacks.Callback):
    """Stands behind a callback that restores the best weights: keeps the state they go with."""

    def __init__(self, restorer: Any, first: First, state: CompressionState) -> None:
        super().__init__()
        self.restorer, self.first, self.state = restorer, first, state
        self.saved: Saved | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See the class."""
        if self.first.counted and getattr(self.restorer, "best_epoch", epoch) == epoch:
            self.saved = self.state.snapshot()


class Last(keras.callbacks.Callback):
    """Stands behind all others: has the last word about the weights, then leaves a plain model."""

    def __init__(
        self,
        crowd: keras.callbacks.CallbackList,
        compressions: Sequence[Compression],
        state: CompressionState,
    ) -> None:
        super().__init__()
        self.crowd, self.users = crowd, crowd.callbacks
        self.compressions, self.state = compressions, state
        self.keeps: list[Keep] = []

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Weights that were restored go with their state; all others are projected."""
        self.crowd.callbacks = self.users
        if not self.state.take_loaded():
            for keep in self.keeps:
                if keep.saved is not None and keep.saved.still_in_the_model():
                    keep.saved.restore()
                    break
        for compression in self.compressions:
            compression.end()


class AfterSwap(keras.callbacks.Callback):
    """Stands behind `SwapEMAWeights`: averaged weights are projected as the end of the fit would.

    So validation and checkpoints see the weights that would come out, not an average of them.
    """

    def __init__(self, swap: keras.callbacks.SwapEMAWeights, state: CompressionState) -> None:
        super().__init__()
        self.swap, self.state = swap, state
        self.saved: Saved | None = None

    def project(self) -> None:
        """Project, if the averages are in the model now."""
        if self.saved is None and self.swap._ema_weights_in_model:
            self.saved = self.state.snapshot()
            self.state.settle()

    def undo(self) -> None:
        """The averages again, as `SwapEMAWeights` put them there."""
        if self.saved is not None:
            self.saved.restore()
            self.saved = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `project`."""
        self.project()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See `project`."""
        self.project()

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See `project`."""
        self.project()


class BeforeSwap(keras.callbacks.Callback):
    """Stands before `SwapEMAWeights`: it swaps back what it put there."""

    def __init__(self, after: AfterSwap) -> None:
        super().__init__()
        self.after = after

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See the class."""
        self.after.undo()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """A validation ends before its epoch does."""
        self.after.undo()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """See the class."""
        self.after.undo()

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """See the class."""
        self.after.undo()


def _forget(judge: Any, best: Any) -> None:
    judge.best = best
    if hasattr(judge, "best_weights"):
        judge.best_weights = None
    if hasattr(judge, "wait"):
        judge.wait = 0
