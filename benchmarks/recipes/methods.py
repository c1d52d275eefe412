"""Every compression method on two networks: what `make bench-methods` trains.

One short fit a method, from the trained float network, with the same data, steps, rate, labels and
order of batches for all; nothing is tuned to a method. KWS: pointwise and dense layers take the
method, the first convolution and the depthwise layers stay 8 bit. LeNet-5: conv2, ip1 and ip2 take
it, conv1 stays 8 bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from benchmarks.recipes import kws, lenet, mnist

import secateur.callbacks as sc

#: steps of a fit: 30,000 clips, 15,360 images
STEPS = {"kws": 300, "lenet5": 60}
LENET_RATE, LENET_TEACHER = 1.5e-3, 0.5
SEEDS = (0, 1, 2)
TITLES = {"kws": "KWS, DS-CNN", "lenet5": "MNIST, LeNet-5"}


@dataclass(frozen=True)
class At:
    """A step, as a share of the fit."""

    share: float


@dataclass(frozen=True)
class By:
    """A setting that differs between the networks."""

    kws: Any
    lenet5: Any


@dataclass(frozen=True)
class Method:
    """Callbacks with their arguments, and the activations they need.

    activations: (bits, kind, levels) of the inputs of the layers that take the method; None for
    8-bit ones.
    """

    name: str
    what: str  #: in a few words, for the table
    callbacks: tuple[tuple[type[sc.Compression], dict[str, Any]], ...]
    activations: tuple[int, str, str] | None = None
    ternary: bool = False
    norm: bool = False  #: LeNet-5 gets batch norm behind its layers, as with low-bit activations


def _ternarize(zeros: float) -> tuple[tuple[type[sc.Compression], dict[str, Any]], ...]:
    return ((sc.Ternarize, {"sparsity": zeros, "end_step": At(0.5)}),)


def _hyperspherical(zeros: float) -> tuple[tuple[type[sc.Compression], dict[str, Any]], ...]:
    arguments = {
        "sparsity": zeros, "initial_sparsity": 0.5, "ternary_step": At(0.25), "end_step": At(0.5),
        "train_radius": By(kws=False, lenet5=True),
    }  # fmt: skip
    return ((sc.HypersphericalTernary, arguments),)


METHODS = (
    Method("Prune", "80 % zeros, 8 bits", ((sc.Prune, {"sparsity": 0.8, "end_step": At(0.5)}),)),
    Method("Cluster", "16 values a layer", ((sc.Cluster, {"bits": 4, "begin_step": At(0.4)}),)),
    Method(
        "DeepCompression",
        "80 % zeros, 16 values",
        ((sc.DeepCompression, {"sparsity": 0.8, "bits": 4, "prune_until": 0.5}),),
    ),
    Method("Ternarize", "70 % zeros", _ternarize(0.7), ternary=True),
    Method("TernaryTWN", "threshold 0.7 mean", ((sc.TernaryTWN, {}),), ternary=True),
    Method("TernaryTTQ", "two trained scales", ((sc.TernaryTTQ, {}),), ternary=True),
    Method("HypersphericalTernary", "70 % zeros", _hyperspherical(0.7), ternary=True),
    Method("LQNet", "2-bit weights", ((sc.LQNet, {"weight_bits": 2}),)),
    Method(
        "LQNet 2/2",
        "2-bit weights and activations",
        ((sc.LQNet, {"weight_bits": 2, "activation_bits": 2}),),
        (2, "relu", "learned"),
    ),
    Method("Binary", "±a", ((sc.Binary, {}),)),
    Method("XNOR", "±a on signs", ((sc.XNOR, {}),), (1, "sign", "uniform")),
    Method(
        "QuantizedNN",
        "2-bit weights and activations",
        ((sc.QuantizedNN, {"weight_bits": 2, "activation_bits": 2}),),
        (2, "relu", "uniform"),
    ),
    Method(
        "SparseBinary",
        "10 % present",
        ((sc.SparseBinary, {"max_density": 0.1, "end_step": At(0.5)}),),
        norm=True,
    ),
    Method("SmartDeal", "basis of 3, 4-bit powers", ((sc.SmartDeal, {}),)),
    Method("PowerOfTwo", "4 bits", ((sc.PowerOfTwo, {"bits": 4}),)),
    Method("Uniform", "4 bits", ((sc.Uniform, {"bits": 4}),)),
    Method("Logarithmic", "4 bits, base √2", ((sc.Logarithmic, {"bits": 4}),)),
)
#: More points for the ternary methods' curves, on the keyword spotter.
CURVE = tuple(
    Method(f"{name} {zeros:.0%}", f"{zeros:.0%} zeros", make(zeros), ternary=True)
    for zeros in (0.85,)
    for name, make in (("Ternarize", _ternarize), ("HypersphericalTernary", _hyperspherical))
)


#: the float network of (x, y)
Baseline = Callable[[np.ndarray, np.ndarray], keras.Model]


class Bench:
    """One network: its data and how a method is trained on it."""

    def __init__(self, network: str, baseline: Baseline) -> None:
        self.network, self._baseline = network, baseline
        if network == "kws":
            (self.x, self.y), (self.x_test, self.y_test) = kws.load(augmented=False)
            self.calibration = self.x[:1000]
        else:
            (self.x, self.y), (x_test, self.y_test) = mnist.load()
            self.x_test, self.calibration = mnist.images(x_test), mnist.images(self.x[:1000])

    def methods(self) -> tuple[Method, ...]:
        """What is trained on this network."""
        return METHODS + (CURVE if self.network == "kws" else ())

    def baseline(self) -> keras.Model:
        """The float network every fit starts from."""
        return self._baseline(self.x, self.y)

    def train(self, method: Method, seed: int, times: int = 1) -> keras.Model:
        """The network under `method`; `times`: so many times the steps of the table."""
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        model = self._prepared(self.baseline(), method)
        steps = times * STEPS[self.network]
        callbacks = [
            kind(**{k: self._value(v, steps) for k, v in arguments.items()}, include=self.main())
            for kind, arguments in method.callbacks
        ]
        data = self.x, self._labels
        if self.network == "kws":
            return kws.fit(model, callbacks, data, steps, seed)
        return lenet.fit(model, callbacks, data, LENET_RATE, steps, seed)

    def main(self) -> list[str]:
        """Names of the layers that take the method."""
        return _KWS_MAIN if self.network == "kws" else ["conv2", "ip1", "ip2"]

    @cached_property
    def _labels(self) -> np.ndarray:
        if self.network == "kws":
            return kws.taught(self.x, self.y)
        return lenet.taught(self.baseline(), LENET_TEACHER, self.x, self.y)

    def _prepared(self, model: keras.Model, method: Method) -> keras.Model:
        if self.network == "lenet5" and (method.activations or method.norm):
            model = lenet.lenet5_blocks(model)
        if method.activations is None:
            return model
        before = ["*_relu"]
        if self.network == "kws":
            before = [a.name for a, b in pairwise(model.layers) if b.name in _KWS_MAIN[:-1]]
        bits, kind, levels = method.activations
        return sc.quantize_activations(model, bits, kind, levels, include=before)

    def _value(self, value: Any, steps: int) -> Any:
        if isinstance(value, At):
            return round(value.share * steps)
        return getattr(value, self.network) if isinstance(value, By) else value


_KWS_MAIN = [f"conv2d_{i}" for i in range(1, 5)] + ["dense"]
