"""A Keras model as channels: every call, the units that stay or go together, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from secateur.errors import ModelError

from . import rules  # noqa: F401  registers the rules
from .channels import Axis, Ids
from .trace import LayerView, Tracer, Visit, rule_for

#: (calls of nested models around it, identity of the symbolic tensor)
Key = tuple[tuple[int, ...], int]


@dataclass(frozen=True)
class ChannelGroup:
    """Units that are in the same tensors, equally often: any of them may go instead of another."""

    index: int
    name: str  #: the first layer that makes them
    makers: tuple[str, ...]  #: layers whose filters they are
    layers: tuple[str, ...]  #: all layers that have weights for them
    units: np.ndarray  #: int64 [n]
    why: str = ""  #: the reason why all stay; "" if they may go

    def __len__(self) -> int:
        return len(self.units)


@dataclass(frozen=True)
class Costs:
    """What an inference of a float model takes.

    memory is the peak of live activations in elements (bytes once they are int8), with norms and
    activations in place; flops are multiply-accumulates, as everywhere in this package.
    """

    parameters: int
    flops: int
    memory: int
    channels: int


@dataclass(frozen=True, eq=False)
class LayerCall:
    """A visit with the keys of its tensors, which tell calls of a nested model apart."""

    visit: Visit
    inputs: tuple[Key, ...]
    outputs: tuple[Key, ...]


def functional(model: Any) -> Any:
    """The functional graph behind a model; ModelError if it has none."""
    import keras
    from keras.src.models.functional import Functional

    if not isinstance(model, keras.Model):
        raise ModelError(
            f"channels are cut in Keras 3 models, not in a {type(model).__name__} of "
            f"{type(model).__module__.split('.')[0]}; load it with keras.models.load_model first"
        )
    if isinstance(model, Functional):
        return model
    inner = getattr(model, "_functional", None)
    if inner is None:
        raise ModelError(
            f"the graph of model '{model.name}' cannot be read; build it with the functional API, "
            "or as a Sequential that starts with keras.Input(shape)"
        )
    return inner


def is_nested(op: Any) -> bool:
    """Whether an operation is a model with a graph of its own."""
    return hasattr(op, "_nodes_by_depth") or hasattr(op, "_functional")


def nodes(model: Any) -> list[Any]:
    """The calls of a functional model in execution order, without its inputs."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [n for d in depths for n in model._nodes_by_depth[d] if not n.is_input]


class Network:
    """The channels of a built functional or Sequential Keras model. Raises ModelError.

    Units are numbered 0..n-1; `kept`, bool [n], is a choice among them everywhere in this package.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.ids = Ids()
        self.layers: dict[int, LayerView] = {}
        self.calls: list[LayerCall] = []
        self.tensors: dict[Key, Axis | None] = {}
        self.shapes: dict[Key, tuple[int | None, ...]] = {}
        self.nested_inputs: dict[int, list[Axis | None]] = {}
        graph = functional(model)
        self.inputs = [((), id(t)) for t in graph.inputs]
        for t in graph.inputs:
            axis = None
            if len(t.shape) > 1 and t.shape[-1]:
                axis = Axis(len(t.shape) - 1, self.ids.fresh(t.shape[-1]))
                self.ids.freeze(axis.ids, "an input of the model")
            self.tensors[(), id(t)] = axis
            self.shapes[(), id(t)] = tuple(t.shape)
        self.outputs = self._walk(graph, (), {}, "")
        for key in self.outputs:
            axis = self.tensors[key]
            if axis is not None:
                self.ids.freeze(axis.ids, "an output of the model")
        self._number()
        self._find_groups()

    # Walking -----------------------------------------------------------------------------------

    def _walk(
        self, graph: Any, scope: tuple[int, ...], fed: dict[int, Key], prefix: str
    ) -> list[Key]:
        """Visit every call; `fed` says which tensors are given from outside under other keys."""
        keys = dict(fed)

        def key(t: Any) -> Key:
            return keys.get(id(t), (scope, id(t)))

        for node in nodes(graph):
            op = node.operation
            inputs = tuple(key(t) for t in node.input_tensors)
            if is_nested(op):
                inner = functional(op)
                axes = [self.tensors[k] for k in inputs]
                known = self.nested_inputs.setdefault(id(op), axes)
                for old, new in zip(known, axes, strict=True):
                    if old is not None and new is not None and old is not new:
                        self.ids.unite(old.ids, new.ids)
                given = {id(t): k for t, k in zip(inner.inputs, inputs, strict=True)}
                outputs = self._walk(inner, (*scope, id(node)), given, f"{prefix}{op.name}/")
                for t, k in zip(node.outputs, outputs, strict=True):
                    keys[id(t)] = k
                continue
            t = Tracer(self.ids, self.layers, op, node, [self.tensors[k] for k in inputs], prefix)
            rule_for(op)(t)
            outs = tuple((scope, id(x)) for x in node.outputs)
            for k, axis, x in zip(outs, t.outputs, node.outputs, strict=True):
                self.tensors[k], self.shapes[k] = axis, tuple(x.shape)
            self.calls.append(LayerCall(t.visit(), inputs, outs))
        return [key(t) for t in graph.outputs]

    # Units and groups --------------------------------------------------------------------------

    def _number(self) -> None:
        roots = self.ids.roots()
        self._unit_of_id = np.unique(roots, return_inverse=True)[1] if len(roots) else roots
        self.size = int(self._unit_of_id.max()) + 1 if len(roots) else 0
        self.frozen: list[str | None] = [None] * self.size
        for i, unit in enumerate(self._unit_of_id.tolist()):
            if self.frozen[unit] is None:
                self.frozen[unit] = self.ids.frozen(i)
        self.free = np.array([why is None for why in self.frozen], bool)

    def units(self, ids: np.ndarray) -> np.ndarray:
        """The unit of every id."""
        return self._unit_of_id[ids]

    def places(self, ids: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Which elements along `ids` stay, ascending."""
        return np.flatnonzero(kept[self.units(ids)])

    def all(self) -> np.ndarray:
        """Every unit kept."""
        return np.ones(self.size, bool)

    def _find_groups(self) -> None:
        vectors: dict[bytes, np.ndarray] = {}
        for axis in self.tensors.values():
            if axis is not None:
                units = self.units(axis.ids)
                vectors.setdefault(units.tobytes(), units)
        seen: list[list[tuple[int, int]]] = [[] for _ in range(self.size)]
        for k, units in enumerate(vectors.values()):
            for unit, count in zip(
                *map(np.ndarray.tolist, np.unique(units, return_counts=True)), strict=True
            ):
                seen[unit].append((k, count))
        makers: list[list[str]] = [[] for _ in range(self.size)]
        holders: list[list[str]] = [[] for _ in range(self.size)]
        for view in self.layers.values():
            for ids, lists in ((view.made, (makers, holders)), (view.held, (holders,))):
                if ids is not None:
                    for unit in set(self.units(ids).tolist()):
                        for names in lists:
                            names[unit].append(view.name)
        cells: dict[Any, list[int]] = {}
        for unit in range(self.size):
            if makers[unit]:
                cell = (tuple(seen[unit]), tuple(makers[unit]), self.frozen[unit])
                cells.setdefault(cell, []).append(unit)
        self.groups = [
            ChannelGroup(i, m[0], m, tuple(holders[units[0]]), np.array(units), why or "")
            for i, ((_, m, why), units) in enumerate(cells.items())
        ]
        made = {int(u) for g in self.groups for u in g.units}
        self.free &= np.array([u in made for u in range(self.size)], bool)

    @property
    def cuttable(self) -> list[ChannelGroup]:
        """Groups of which something may go."""
        return [g for g in self.groups if not g.why]

    def group_of(self) -> np.ndarray:
        """The group of every unit, -1 for none; int64 [units]."""
        out = np.full(self.size, -1)
        for g in self.groups:
            out[g.units] = g.index
        return out

    def readers(self, group: ChannelGroup) -> list[LayerCall]:
        """The calls that mix channels of `group`."""
        units = set(group.units.tolist())
        return [c for c in self.calls if units & self._read.get(id(c), frozenset())]

    @cached_property
    def _read(self) -> dict[int, frozenset[int]]:
        out = {}
        for c in self.calls:
            view = c.visit.layer
            if view is not None and view.read is not None:
                out[id(c)] = frozenset(self.units(view.read).tolist())
        return out

    @cached_property
    def added(self) -> np.ndarray:
        """Units that more than one layer makes: joined by additions and the like; bool [units]."""
        count = np.zeros(self.size, int)
        for view in self.layers.values():
            if view.made is not None:
                count[np.unique(self.units(view.made))] += 1
        return count > 1

    def views(self) -> list[LayerView]:
        """Layers with weights, in the order of their first call."""
        return [v for v in self.layers.values() if v.weights]

    # Costs -------------------------------------------------------------------------------------

    @cached_property
    def _bill(self) -> _Bill:
        return _Bill(self)

    def costs(self, kept: np.ndarray) -> Costs:
        """What the network takes with these units."""
        return self._bill.costs(kept)

    def by_layer(self, kept: np.ndarray) -> dict[str, Costs]:
        """The same for every layer; memory is the size of its output."""
        return self._bill.by_layer(kept)

    def counts(self, kept: np.ndarray) -> dict[str, tuple[int, int]]:
        """Layer -> channels it makes or has weights for, before and after."""
        out = {}
        for view in self.views():
            ids = view.made if view.made is not None else view.held
            if ids is not None:
                out[view.name] = (len(ids), len(self.places(ids, kept)))
        return out


class _Bill:
    """Products of counts along axes: parameters, multiply-accumulates, sizes of tensors."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._axes: dict[bytes, int] = {}
        self._vectors: list[np.ndarray] = []
        first, second, static, macs, owner = [], [], [], [], []
        names: list[str] = []
        known = set()
        for n, view in enumerate(network.layers.values()):
            names.append(view.name)
            for w in view.weights.values():
                shape = w.variable.shape
                axes = sorted(w.axes)
                index = [self._axis(w.axes[a]) for a in axes]
                rest = int(np.prod([s for a, s in enumerate(shape) if a not in w.axes]))
                first.append(index[0] if index else -1)
                second.append(index[1] if len(index) > 1 else -1)
                static.append(rest)
                macs.append(rest * w.macs)
                owner.append(n)
                known.add(id(w.variable))
        for op in {id(c.visit.op): c.visit.op for c in network.calls}.values():
            for variable in getattr(op, "weights", []):
                if id(variable) not in known:
                    known.add(id(variable))
                    names.append(op.name)
                    owner.append(len(names) - 1)
                    first.append(-1)
                    second.append(-1)
                    static.append(int(np.prod(variable.shape)))
                    macs.append(0)
        self._names = names
        self._owner = np.array(owner, int)
        self._first, self._second = np.array(first, int), np.array(second, int)
        self._static, self._macs = np.array(static, float), np.array(macs, float)
        self._find_tensors()
        entries = [np.unique(v, return_counts=True) for v in self._vectors]
        self._entry_axis = np.repeat(np.arange(len(entries)), [len(u) for u, _ in entries])
        nothing = [np.zeros(0, int)]
        self._entry_unit = np.concatenate([u for u, _ in entries] or nothing)
        self._entry_count = np.concatenate([c for _, c in entries] or nothing).astype(float)

    def _axis(self, ids: np.ndarray) -> int:
        units = self.network.units(ids)
        key = units.tobytes()
        if key not in self._axes:
            self._axes[key] = len(self._vectors)
            self._vectors.append(units)
        return self._axes[key]

    def _find_tensors(self) -> None:
        """Buffers (tensors that do not share another's memory) and when they are live."""
        net = self.network
        buffer: dict[Key, Key] = {k: k for k in net.inputs}
        last: dict[Key, int] = {}
        born: dict[Key, int] = dict.fromkeys(net.inputs, 0)
        for step, c in enumerate(net.calls):
            for k in c.inputs:
                last[buffer[k]] = step
            for k in c.outputs:
                same = c.visit.inplace and bool(c.inputs)
                buffer[k] = buffer[c.inputs[0]] if same else k
                born.setdefault(buffer[k], step)
                last[buffer[k]] = max(step, last.get(buffer[k], step))
        for k in net.outputs:
            last[buffer.get(k, k)] = len(net.calls)
        keys = list(born)
        self._tensor_axis, self._tensor_static = [], []
        for k in keys:
            axis, sides = net.tensors[k], [n or 1 for n in net.shapes[k][1:]]
            if axis is not None:
                sides.pop(axis.axis - 1)
            self._tensor_axis.append(-1 if axis is None else self._axis(axis.ids))
            self._tensor_static.append(int(np.prod(sides)))
        self._live = [
            np.array(
                [i for i, k in enumerate(keys) if born[k] <= step <= last.get(k, born[k])], int
            )
            for step in range(max(1, len(net.calls)))
        ]
        where = {k: i for i, k in enumerate(keys)}
        self._made_by: dict[str, list[int]] = {}
        for c in net.calls:
            made = [where[buffer[k]] for k in c.outputs if buffer[k] == k]
            name = c.visit.layer.name if c.visit.layer is not None else c.visit.op.name
            self._made_by.setdefault(name, []).extend(made)

    def _counts(self, kept: np.ndarray) -> np.ndarray:
        """Kept elements along every axis, and 1 for "no axis" at the end."""
        weights = self._entry_count * kept[self._entry_unit]
        counts = np.bincount(self._entry_axis, weights, minlength=len(self._vectors))
        return np.append(counts, 1.0)

    def _sizes(self, counts: np.ndarray) -> np.ndarray:
        return np.array(self._tensor_static, float) * counts[np.array(self._tensor_axis, int)]

    def costs(self, kept: np.ndarray) -> Costs:
        counts = self._counts(kept)
        each = counts[self._first] * counts[self._second]
        sizes = self._sizes(counts)
        peak = max((sizes[live].sum() for live in self._live), default=0)
        channels = int((kept & self.network.free).sum())
        return Costs(
            round(float(self._static @ each)),
            round(float(self._macs @ each)),
            round(peak),
            channels,
        )

    def by_layer(self, kept: np.ndarray) -> dict[str, Costs]:
        counts = self._counts(kept)
        each = counts[self._first] * counts[self._second]
        n = len(self._names)
        parameters = np.bincount(self._owner, self._static * each, minlength=n)
        flops = np.bincount(self._owner, self._macs * each, minlength=n)
        sizes = self._sizes(counts)
        channels = self.network.counts(kept)
        out: dict[str, Costs] = {}
        for i, name in enumerate(self._names):
            known = out.get(name, Costs(0, 0, 0, 0))
            out[name] = Costs(
                known.parameters + round(parameters[i]),
                known.flops + round(flops[i]),
                round(sum(sizes[j] for j in self._made_by.get(name, []))),
                channels.get(name, (0, 0))[1],
            )
        return out


def names(groups: Sequence[ChannelGroup]) -> str:
    """For messages."""
    return ", ".join(f"'{g.name}'" for g in groups)
