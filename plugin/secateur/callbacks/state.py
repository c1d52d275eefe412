"""The state of a fit's projections: who is attached where, and what checkpoints carry of it.

The state hangs on the model as a Keras saveable, so `model.save` and `save_weights` write it beside
the weights under its own name. A plain Keras reading such a file does not look there: checkpoints
load without this package.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable
from typing import Any

import h5py
import keras
import numpy as np
from keras.src.saving.keras_saveable import KerasSaveable

from secateur.callbacks.projection import Projection, ProjectionChain
from secateur.errors import ModelError

ATTRIBUTE = "_secateur_state"  #: of the model


class Saved:
    """Compressed weights and the state that belongs to them, at one moment."""

    def __init__(self, chains: Iterable[ProjectionChain]) -> None:
        chains = list(chains)
        self.weights = [(c.variable, np.array(c.variable.numpy())) for c in chains]
        inner = [v for c in chains for p in c.members for v in p.state.values()]
        inner += [c.previous for c in chains]
        self.inner = [(v, np.array(v.numpy())) for v in inner]

    def still_in_the_model(self) -> bool:
        """Whether the model has exactly these weights."""
        return all(np.array_equal(v.numpy(), value) for v, value in self.weights)

    def restore(self) -> None:
        """Give it all back."""
        for variable, value in self.weights + self.inner:
            variable.assign(value)


class CompressionState(KerasSaveable):
    """All chains of one model during one fit."""

    def __init__(self) -> None:
        self.chains: dict[int, ProjectionChain] = {}
        self.started = False
        self.arranged = False  #: the fit's callbacks have been put in order
        self._loaded: dict[str, np.ndarray] = {}

    def _obj_type(self) -> str:
        return "Layer"

    def attach(self, projection: Projection) -> None:
        """Make `projection` part of its variable's constraint."""
        variable = projection.variable
        chain = self.chains.get(id(variable))
        if chain is None:
            chain = ProjectionChain(variable, variable.constraint)
            self.chains[id(variable)] = chain
        if projection in chain.members:
            return
        chain.add(projection)
        variable.constraint = chain

    def detach(self, projection: Projection) -> None:
        """Undo `attach`; the last one gives the variable its own constraint back."""
        variable = projection.variable
        chain = self.chains[id(variable)]
        chain.remove(projection)
        if not chain.members:
            variable.constraint = chain.base
            del self.chains[id(variable)]

    def abandon(self) -> None:
        """Detach everything."""
        for chain in list(self.chains.values()):
            for projection in chain.members:
                self.detach(projection)

    def start(self) -> None:
        """Before a fit's first step: take up loaded state and changed weights."""
        if self.started:
            return
        self.started = True
        if self._loaded:
            members = [p for chain in self.chains.values() for p in chain.members]
            self.restore(self._loaded, members, "the restored checkpoint")
            self._loaded = {}
        for chain in self.chains.values():
            chain.sync()

    def take_loaded(self) -> bool:
        """At the end of a fit: take up a checkpoint loaded since the last step, if it has state."""
        if not self._loaded:
            return False
        self.started = False
        self.start()
        return True

    def snapshot(self) -> Saved:
        """The weights and their state, to come back to."""
        return Saved(self.chains.values())

    def settle(self, projections: list[Projection] | None = None) -> dict[str, float]:
        """See `ProjectionChain.settle`; by path how far weights moved, in shares of their length.

        Args:
            projections: those whose chains are meant; None for all.
        """
        chains = self.chains
        if projections is not None:
            chains = {id(p.variable): self.chains[id(p.variable)] for p in projections}
        return {chain.members[0].path: chain.settle() for chain in list(chains.values())}

    def restore(
        self, saved: dict[str, np.ndarray], projections: list[Projection], source: str
    ) -> None:
        """Give `projections` the variables of `saved`; ModelError if they are not all there."""
        for projection in projections:
            for name, variable in projection.state.items():
                value = saved.get(_key(projection, name))
                if value is None or value.shape != tuple(variable.shape):
                    raise ModelError(
                        f"{source} has no {projection.method} state for "
                        f"{projection.path}; resume with the callbacks it was written with"
                    )
                variable.assign(value)
            self.chains[id(projection.variable)].restored = True

    def figures(self) -> dict[str, float]:
        """Share of zeros and mean bits of all attached weights."""
        zeros = total = 0
        bits = 0.0
        for chain in self.chains.values():
            weight = np.array(chain.variable.numpy())
            zeros += int(np.count_nonzero(weight == 0))
            total += weight.size
            bits += weight.size * (chain.quantizer.bits(weight) if chain.quantizer else 32.0)
        return {"sparsity": zeros / total, "bits": bits / total}

    def save_own_variables(self, store: Any) -> None:
        """Keras' hook: write every projection's variables."""
        for chain in self.chains.values():
            for projection in chain.members:
                for name, variable in projection.state.items():
                    store[_key(projection, name)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Keras' hook: what the file has is applied when the fit starts."""
        self._loaded = {key: np.array(store[key]) for key in store.keys()}  # noqa: SIM118
        self.started = False


def of(model: keras.Model) -> CompressionState:
    """The state `model` carries during a fit."""
    return getattr(model, ATTRIBUTE)


def read_state(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The state in a `.keras` or `.weights.h5` checkpoint, by key.

    Raises:
        ModelError: the file is missing, damaged or was written without compression callbacks.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                source: Any = io.BytesIO(archive.read("model.weights.h5"))
        else:
            source = path
        with h5py.File(source, "r") as file:
            group = file[f"{ATTRIBUTE}/vars"]
            return {key: np.array(group[key]) for key in group}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path} holds no compression state ({error}); give a checkpoint that was saved "
            "during a fit with these callbacks, or leave resume out"
        ) from error


def _key(projection: Projection, name: str) -> str:
    return f"{projection.path}|{projection.method}|{name}".replace("/", "|")
