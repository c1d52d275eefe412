"""A new functional Keras model with the same layers, names and structure, and fewer channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.errors import ModelError

from .channels import Axis
from .constants import Folds
from .network import Network, functional, is_nested, nodes
from .trace import LayerView

#: what a layer's configuration is called in which a bias is asked for
_BIAS = "use_bias"


def rebuild(
    network: Network,
    kept: np.ndarray,
    fold: Folds | None = None,
    scales: dict[int, np.ndarray] | None = None,
    reinitialise: bool = False,
) -> Any:
    """The model with the units `kept`, bool [units].

    fold: constants for the biases. scales: by layer identity, a factor for every channel it reads
    (ThiNet's least squares). reinitialise: new weights from the layers' initializers.
    """
    work = _Surgery(network, kept, fold, scales or {})
    model = work.model(network.model)
    work.settle(network.model, model)
    if not reinitialise:
        work.fill()
    return model


class _Surgery:
    def __init__(
        self, network: Network, kept: np.ndarray, fold: Folds | None, scales: dict[int, np.ndarray]
    ) -> None:
        self.network = network
        self.kept = kept
        self.scales = scales
        self.rearrange = {
            id(c.visit.node): c.visit.rearrange for c in network.calls if c.visit.rearrange
        }
        self.made: dict[int, Any] = {}  # operation -> its copy
        self.old: dict[int, Any] = {}
        self.biases: dict[int, np.ndarray] = {}  # layer -> added to its outputs
        self.means: dict[int, np.ndarray] = {}  # batch norm -> taken off its mean
        for key, added in (fold.added if fold else {}).items():
            if np.any(added != 0):
                self._place(key, added)

    def _count(self, ids: np.ndarray) -> int:
        return int(self.kept[self.network.units(ids)].sum())

    def _place(self, key: int, added: np.ndarray) -> None:
        """A layer without bias gets one, unless a batch norm behind it can take the constant."""
        view = self.network.layers[key]
        if not getattr(view.op, _BIAS, True) and _is_linear(view.op):
            norm = self._norm_behind(view)
            if norm is not None:
                self.means[id(norm.op)] = added
                return
        self.biases[key] = added

    def _norm_behind(self, view: LayerView) -> LayerView | None:
        calls = self.network.calls
        mine = [c for c in calls if c.visit.op is view.op]
        if len(mine) != 1 or mine[0].outputs[0] in self.network.outputs:
            return None
        readers = [c for c in calls if mine[0].outputs[0] in c.inputs]
        if len(readers) != 1 or type(readers[0].visit.op).__name__ != "BatchNormalization":
            return None
        norm = readers[0].visit.layer
        if norm is None or not norm.norm or sum(c.visit.op is norm.op for c in calls) > 1:
            return None
        return norm

    # The graph ---------------------------------------------------------------------------------

    def model(self, model: Any) -> Any:
        """The new functional model for `model`, which may be nested."""
        import keras

        graph = functional(model)
        axes = self.network.nested_inputs.get(id(model), [None] * len(graph.inputs))
        tensors: dict[int, Any] = {}
        for t, axis in zip(graph.inputs, axes, strict=True):
            layer = t._keras_history.operation
            tensors[id(t)] = keras.Input(
                shape=self._shape(tuple(t.shape[1:]), axis), dtype=t.dtype, name=layer.name,
                batch_size=t.shape[0], sparse=t.sparse or None,
            )  # fmt: skip
        for node in nodes(graph):
            op = node.operation
            args, kwargs = node.arguments.fill_in(tensors)
            if (rearrange := self.rearrange.get(id(node))) is not None:
                args, kwargs = rearrange(args, kwargs, self._count)
            out = self._copy(op)(*args, **kwargs)
            for old, new in zip(node.outputs, keras.tree.flatten(out), strict=True):
                tensors[id(old)] = new
        inputs = keras.tree.map_structure(lambda t: tensors[id(t)], graph._inputs_struct)
        outputs = keras.tree.map_structure(lambda t: tensors[id(t)], graph._outputs_struct)
        return keras.Model(inputs, outputs, name=model.name)

    def settle(self, old: Any, new: Any) -> None:
        """What is frozen stays frozen: models first, since they pass it on to their layers."""
        new.trainable = old.trainable
        for layer in old.layers:
            copy = self.made.get(id(layer))
            if copy is None:
                continue
            if is_nested(layer):
                self.settle(layer, copy)
            else:
                copy.trainable = layer.trainable

    def _shape(self, shape: tuple[Any, ...], axis: Axis | None) -> tuple[Any, ...]:
        if axis is None:
            return shape
        out = list(shape)
        out[axis.axis - 1] = self._count(axis.ids)
        return tuple(out)

    def _copy(self, op: Any) -> Any:
        if id(op) not in self.made:
            self.old[id(op)] = op
            self.made[id(op)] = self.model(op) if is_nested(op) else self._layer(op)
        return self.made[id(op)]

    def _layer(self, op: Any) -> Any:
        config = op.get_config()
        view = self.network.layers.get(id(op))
        if view is not None:
            for name, size in view.sizes.items():
                config[name] = size(self._count) if callable(size) else self._count(size)
            if id(op) in self.biases and _BIAS in config:
                config[_BIAS] = True
        try:
            return type(op).from_config(config)
        except Exception as e:
            raise ModelError(
                f"{type(op).__name__} '{op.name}' cannot be made again from its configuration "
                f"({e}); give it a get_config or exclude the layers around it"
            ) from e

    # Weights -----------------------------------------------------------------------------------

    def fill(self) -> None:
        """Slice every weight into its place."""
        for key, new in self.made.items():
            old = self.old[key]
            if is_nested(old) or not getattr(new, "weights", None):
                continue
            view = self.network.layers.get(key)
            given = self._weights(old, view)
            if len(new.weights) > len(given):  # a bias it did not have
                assert view is not None
                assert view.made is not None
                at = next(i for i, v in enumerate(new.weights) if v is new.bias)
                given.insert(at, np.zeros(len(self.network.places(view.made, self.kept))))
            for variable, value in zip(new.weights, given, strict=True):
                if key in self.biases and variable.name == "bias":
                    value = value + self._bias(view, self.biases[key], value)
                variable.assign(value)

    def _bias(self, view: LayerView | None, added: np.ndarray, value: np.ndarray) -> np.ndarray:
        assert view is not None
        if len(added) != value.shape[-1]:
            assert view.made is not None
            added = added[self.network.places(view.made, self.kept)]
        if value.ndim == 2:  # GRU's two biases: the first is the input's
            return np.stack([added, np.zeros_like(added)])
        return added

    def _weights(self, old: Any, view: LayerView | None) -> list[np.ndarray]:
        """The sliced weights of a layer, in its order."""
        out = []
        known = {id(w.variable): (n, w) for n, w in view.weights.items()} if view else {}
        for variable in old.weights:
            value = np.asarray(variable.value)
            name, w = known.get(id(variable), ("", None))
            if w is not None:
                if id(old) in self.means and name == "moving_mean":
                    value = value - self.means[id(old)]
                if id(old) in self.scales and "kernel" in name:
                    value = _scaled(value, view, w.axes, self.scales[id(old)])
                for axis, ids in w.axes.items():
                    value = np.take(value, self.network.places(ids, self.kept), axis)
            out.append(value)
        return out


def _scaled(
    value: np.ndarray, view: LayerView | None, axes: dict[int, np.ndarray], scale: np.ndarray
) -> np.ndarray:
    """The kernel times `scale` along the axis of the channels it reads."""
    assert view is not None
    assert view.read is not None
    for axis, ids in axes.items():
        if ids is not view.made and len(ids) == len(scale):
            shape = [1] * value.ndim
            shape[axis] = len(scale)
            return value * scale.reshape(shape).astype(value.dtype)
    return value


def _is_linear(layer: Any) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "linear") == "linear"
