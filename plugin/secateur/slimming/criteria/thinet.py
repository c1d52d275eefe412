"""ThiNet: Luo, Wu, Lin, "ThiNet: A Filter Level Pruning Method for Deep Neural Network
Compression", ICCV 2017, arXiv 1707.06342.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import observe
from ..network import ChannelGroup, LayerCall, Network
from ..trace import LayerView
from .activation import needed
from .base import Criterion, criterion


@criterion("thinet")
@dataclass(kw_only=True)
class ThiNet(Criterion):
    """A channel goes if the next layer's outputs hardly change without it.

    For sampled entries i of the next layer's output, x_ij is what input channel j contributes. The
    set T of removed channels grows by argmin over j of sum_i (sum over T and j of x_ij)^2; then
    least squares on what is kept, w = (X'X)^-1 X'y, scales the next layer's weights. Several layers
    that read a channel are sampled together and scaled each for itself. Residual blocks: all but
    the last convolution (shortcuts="skip"). What a removed channel would leave behind is part of
    what least squares makes up for (constants="drop").

    With `fit`, `prune_filters` does one layer at a time and fits between, as in the paper (about an
    epoch each); without, all layers are judged on the given network.

    Args:
        data: inputs to sample on; an array, a list or dict, or (x, labels).
        places: sampled output places of every map and sample; the paper's 10.
        rescale: whether to do the least squares.
        seed: of the sampling.
        batch_size: of the passes.
        Others: see `Criterion`.
    """

    shortcuts: str = "skip"
    constants: str = "drop"
    data: Any = field(default=None, repr=False)
    places: int = 10
    rescale: bool = True
    seed: int = 0
    batch_size: int = 32
    _samples: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    sequential: ClassVar[bool] = True

    def scores(self, network: Network) -> np.ndarray:
        """The step of the greedy search in which a unit would go, per group from 0 to 1."""
        self._samples = sampled(network, self)
        out = np.full(network.size, np.nan)
        for g in network.cuttable:
            if g.index in self.groups(network):
                continue
            gram = np.zeros((len(g), len(g)))
            for call in network.readers(g):
                x = _columns(network, call, g, self._samples[id(call)])
                gram += x.T @ x
            order = greedy(gram)
            out[g.units[order]] = np.arange(len(g)) / len(g)
        return out

    def scales(self, network: Network, kept: np.ndarray) -> dict[int, np.ndarray]:
        """w for every layer that reads, 1 where nothing of a group has gone."""
        if not self.rescale:
            return {}
        out: dict[int, np.ndarray] = {}
        for g in network.cuttable:
            if kept[g.units].all():
                continue
            stay = kept[g.units]
            for call in network.readers(g):
                view = call.visit.layer
                assert view is not None
                assert view.read is not None
                x = _columns(network, call, g, self._samples[id(call)])
                w = least_squares(x[:, stay], x.sum(1))
                factor = out.setdefault(id(view.op), np.ones(len(view.read)))
                of_unit = dict(zip(g.units[stay].tolist(), w.tolist(), strict=True))
                for i, unit in enumerate(network.units(view.read).tolist()):
                    if unit in of_unit:
                        factor[i] = of_unit[unit]
        return out


def greedy(gram: np.ndarray) -> np.ndarray:
    """The order of removal: each next adds the least to |sum of the removed columns|^2.

    gram: X'X, [n, n].
    """
    n = len(gram)
    total, left = np.zeros(n), np.ones(n, bool)
    order = []
    for _ in range(n):
        cost = np.where(left, 2 * total + np.diag(gram), np.inf)
        j = int(cost.argmin())
        order.append(j)
        left[j] = False
        total += gram[:, j]
    return np.array(order, int)


def least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """w = (X'X)^-1 X'y, the shortest one where it is not unique; 1 without any signal."""
    if not np.any(x) or not np.any(y):
        return np.ones(x.shape[1])
    return np.linalg.lstsq(x, y, rcond=1e-6)[0]


def sampled(network: Network, criterion: ThiNet) -> dict[int, np.ndarray]:
    """For every call that mixes channels: x, float64 [samples, channels read]."""
    rng = np.random.default_rng(criterion.seed)
    rows: dict[int, list[np.ndarray]] = {}
    free = {u for g in network.cuttable for u in g.units.tolist()}

    def look(call: LayerCall, inputs: list[Any]) -> list[Any]:
        view = call.visit.layer
        if view is None or view.read is None or not free & set(network.units(view.read).tolist()):
            return inputs
        x = observe.channels_last(call, inputs[0])
        rows.setdefault(id(call), []).append(_contributions(call, view, x, criterion.places, rng))
        return inputs

    for batch in observe.batches(needed(criterion, network), criterion.batch_size):
        observe.run(network, list(batch), look)
    return {key: np.concatenate(parts) for key, parts in rows.items()}


def _columns(network: Network, call: LayerCall, group: ChannelGroup, x: np.ndarray) -> np.ndarray:
    """The samples' columns by unit of a group: what a unit contributes in all its places."""
    view = call.visit.layer
    assert view is not None
    assert view.read is not None
    place = {u: i for i, u in enumerate(group.units.tolist())}
    out = np.zeros((len(x), len(group)))
    for j, unit in enumerate(network.units(view.read).tolist()):
        if unit in place:
            out[:, place[unit]] += x[:, j]
    return out


def _contributions(
    call: LayerCall, view: LayerView, x: np.ndarray, places: int, rng: np.random.Generator
) -> np.ndarray:
    """What each input channel adds to sampled entries of the output; [n x places, channels]."""
    layer = view.op
    if not hasattr(layer, "kernel_size"):  # dense, recurrent: a row of the kernel each
        kernel = np.asarray(getattr(layer, "cell", layer).kernel.value, np.float64)
        flat = x.reshape(len(x), -1, x.shape[-1])
        out = []
        for sample in flat:
            for _ in range(places):
                row = sample[rng.integers(len(sample))]
                out.append(row * kernel[:, rng.integers(kernel.shape[1])])
        return np.array(out)
    axis = call.visit.outputs[0]
    assert axis is not None
    shape = tuple(call.visit.node.outputs[0].shape)
    space = [n for a, n in enumerate(shape) if a not in (0, axis.axis)]
    sides = [n or int(x.shape[1 + a]) for a, n in enumerate(space)]
    weights = _kernels(layer)
    out = []
    for sample in x:
        for _ in range(places):
            at = [int(rng.integers(n)) for n in sides]
            channel = int(rng.integers(shape[axis.axis] or 1))
            out.append(_entry(layer, sample, weights, at, channel, sides))
    return np.array(out)


def _kernels(layer: Any) -> np.ndarray:
    """The kernel as float64 [space ..., inputs, outputs], zero between different groups."""
    kind = type(layer).__name__
    if kind.startswith("Separable"):
        deep = np.asarray(layer.depthwise_kernel.value, np.float64)
        mix = np.asarray(layer.pointwise_kernel.value, np.float64).reshape(*deep.shape[-2:], -1)
        return np.einsum("...im,imo->...io", deep, mix)
    kernel = np.asarray(layer.kernel.value, np.float64)
    if kind.endswith("Transpose"):
        return np.swapaxes(kernel, -1, -2)
    groups = layer.groups
    if groups == 1:
        return kernel
    *space, size, n = kernel.shape
    out = np.zeros((*space, groups * size, n))
    for g in range(groups):
        part = slice(g * n // groups, (g + 1) * n // groups)
        out[..., g * size : (g + 1) * size, part] = kernel[..., part]
    return out


def _entry(
    layer: Any, x: np.ndarray, kernel: np.ndarray, at: list[int], channel: int, sides: list[int]
) -> np.ndarray:
    """Contributions [channels] of one sample [space ..., channels] to output place `at`."""
    taps = [
        _taps(layer, d, p, x.shape[d], sides[d]) for d, p in enumerate(at)
    ]  # fmt: skip
    out = np.zeros(x.shape[-1])
    for combination in itertools.product(*taps):
        where = tuple(i for i, _ in combination)
        tap = tuple(k for _, k in combination)
        out += x[where] * kernel[tap][:, channel]
    return out


def _taps(layer: Any, d: int, p: int, size: int, out: int) -> list[tuple[int, int]]:
    """(input place, kernel place) pairs that output place p of dimension d is the sum of."""
    k, s, rate = layer.kernel_size[d], layer.strides[d], layer.dilation_rate[d]
    reach = (k - 1) * rate + 1
    if type(layer).__name__.endswith("Transpose"):
        total = max((size - 1) * s + reach - out, 0) if layer.padding == "same" else 0
        pairs = [(p + total // 2 - i * rate, i) for i in range(k)]
        return [(q // s, i) for q, i in pairs if q % s == 0 and 0 <= q // s < size]
    before = 0
    if layer.padding == "same":
        before = max((out - 1) * s + reach - size, 0) // 2
    elif layer.padding == "causal":
        before = reach - 1
    pairs = [(p * s - before + i * rate, i) for i in range(k)]
    return [(q, i) for q, i in pairs if 0 <= q < size]
