"""The four networks of the benchmark as float graphs, and one-shot projections of their weights.

The projections stand for what the callbacks reach by training: the sets are the same, so sizes and
instruction counts are, too. Accuracy is not: nothing is retrained here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from secateur import data
from secateur.frontend.ir import Graph
from secateur.frontend.load import load

CALIBRATION = 64


@dataclass(frozen=True)
class Network:
    """A float graph, real inputs [n, ...] (the first ones calibrate), and where both come from."""

    name: str
    graph: Graph
    inputs: np.ndarray
    source: str
    more: np.ndarray | None = None  #: inputs after those, if there are any

    def unseen(self, n: int) -> np.ndarray:
        """Up to n inputs that do not calibrate."""
        rest = self.inputs[CALIBRATION:]
        return (rest if self.more is None else np.concatenate([rest, self.more]))[:n]


def all_networks() -> list[Network]:
    """KWS, ResNet-8, LeNet-5 and LeNet-300-100."""
    return [kws(), resnet8(), lenet("lenet5"), lenet("lenet300")]


def more_networks(names: Sequence[str]) -> Iterator[Network]:
    """Those of `names` among networks that nothing here was tuned for: MobileNets on 96x96 images
    ("vww", "mobilenetv2"), MLPerf Tiny's autoencoder ("ad") and streaming wake word ("sww"), all
    with seeded random weights and random inputs."""
    import keras

    makers: dict[str, Callable[[], Any]] = {
        "vww": lambda: keras.applications.MobileNet(
            alpha=0.25, input_shape=(96, 96, 3), weights=None, classes=2
        ),
        "mobilenetv2": lambda: keras.applications.MobileNetV2(
            alpha=0.35, input_shape=(96, 96, 1), weights=None, classes=2
        ),
        "ad": lambda: _autoencoder(keras),
        "sww": lambda: _wake_word(keras),
    }
    for name in names:
        if name in makers:
            keras.utils.set_random_seed(9)
            model = makers[name]()
            shape = (CALIBRATION + 8, *model.input_shape[1:])
            x = np.random.default_rng(9).uniform(-1, 1, shape).astype(np.float32)
            yield Network(name, load(model), x, "random weights; random inputs")


def _autoencoder(keras: Any) -> Any:
    """MLPerf Tiny's anomaly detector: 264,192 MACs."""
    layers = keras.layers
    x = y = keras.Input((640,))
    for n in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        y = layers.ReLU()(layers.BatchNormalization()(layers.Dense(n)(y)))
    return keras.Model(x, layers.Dense(640)(y), name="ad")


def _wake_word(keras: Any) -> Any:
    """MLPerf Tiny's streaming wake word on 30 frames of 40 features: 826,368 MACs."""
    layers = keras.layers
    x = y = keras.Input((30, 1, 40))
    for n, k in ((128, 3), (128, 5), (128, 10), (32, 15)):
        y = layers.DepthwiseConv2D((k, 1), use_bias=False)(y)
        y = layers.Conv2D(n, 1, use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.Flatten()(y)), name="sww")


def kws() -> Network:
    """The keyword spotter that comes with the package."""
    x, _ = data.load("kws_test")
    return Network("kws", load(data.KWS_MODEL), x[: CALIBRATION + 8], "trained; real features")


def resnet8() -> Network:
    """MLPerf Tiny's ResNet-8 where it lies beside the repository, else of random weights."""
    import keras

    folder = data.full_data()
    path = folder.parent / "models" / "mlperf_ic_resnet8.keras" if folder else None
    if path is not None and path.is_file():
        graph, what = load(path), "trained"
    else:
        keras.utils.set_random_seed(8)
        graph, what = load(_resnet8(keras)), "random weights (no ../shared/models)"
    x = np.random.default_rng(8).integers(0, 256, (CALIBRATION + 8, 32, 32, 3))
    return Network("resnet8", graph, x.astype(np.float32), f"{what}; random images")


def _resnet8(keras: Any) -> Any:
    """The architecture of MLPerf Tiny's image classifier: 78,666 parameters."""
    layers = keras.layers

    def conv(y: Any, n: int, k: int, s: int, relu: bool) -> Any:
        y = layers.Conv2D(n, k, strides=s, padding="same")(y)
        y = layers.BatchNormalization()(y)
        return layers.ReLU()(y) if relu else y

    x = keras.Input((32, 32, 3))
    y = conv(x, 16, 3, 1, True)
    for n, s in ((16, 1), (32, 2), (64, 2)):
        z = conv(conv(y, n, 3, s, True), n, 3, 1, False)
        y = layers.Conv2D(n, 1, strides=s, padding="same")(y) if s > 1 else y
        y = layers.ReLU()(layers.Add()([y, z]))
    y = layers.Flatten()(layers.AveragePooling2D(8)(y))
    return keras.Model(x, layers.Dense(10, activation="softmax")(y), name="resnet8")


def lenet(name: str) -> Network:
    """Caffe's LeNet-5 or LeNet-300-100 with seeded weights; MNIST where it is there."""
    import keras
    from benchmarks.recipes import lenet as recipes

    keras.utils.set_random_seed(5)
    graph = load(recipes.lenet5() if name == "lenet5" else recipes.lenet300())
    folder = data.full_data()
    path = folder / "mnist_test_0.npz" if folder else None
    if path is not None and path.is_file():
        with np.load(path, allow_pickle=False) as z:
            x, what = z["x"][: CALIBRATION + 64], "MNIST"
    else:
        x = np.random.default_rng(5).integers(0, 256, (CALIBRATION + 8, 28, 28))
        what = "random images (no ../shared/data)"
    images = (x.reshape(-1, 28, 28, 1) / 255).astype(np.float32)
    seen, more = np.split(images, [CALIBRATION + 8])
    return Network(name, graph, seen, f"random weights; {what}", more)


def pruned(w: np.ndarray, zeros: float = 0.8) -> np.ndarray:
    """The share `zeros` of smallest magnitude set to 0."""
    order = np.argsort(np.abs(w), axis=None, kind="stable")
    out = w.reshape(-1).copy()
    out[order[: round(zeros * w.size)]] = 0
    return out.reshape(w.shape)


def ternary(w: np.ndarray, zeros: float = 0.8) -> np.ndarray:
    """-a, 0, a with a per output channel (the last axis), a = mean |w| of what is kept."""
    kept = pruned(w, zeros)
    axes = tuple(range(w.ndim - 1))
    count = np.maximum(np.count_nonzero(kept, axis=axes), 1)
    scale = np.abs(kept).sum(axis=axes) / count
    return np.asarray(np.sign(kept) * scale).astype(np.float32)


def clustered(w: np.ndarray, levels: int = 16) -> np.ndarray:
    """Every weight at the nearest of `levels` values, by Lloyd's algorithm from equal steps."""
    flat = w.reshape(-1).astype(np.float64)
    centre = np.linspace(flat.min(), flat.max(), levels)
    for _ in range(30):
        index = np.searchsorted((centre[1:] + centre[:-1]) / 2, flat)
        count = np.bincount(index, minlength=levels)
        total = np.bincount(index, flat, minlength=levels)
        centre = np.sort(np.where(count > 0, total / np.maximum(count, 1), centre))
    index = np.searchsorted((centre[1:] + centre[:-1]) / 2, flat)
    return np.asarray(centre[index].reshape(w.shape), np.float32)


@dataclass(frozen=True)
class Encoding:
    """A column of the benchmark: what happens to the weights, which encodings are then forced."""

    name: str
    project: Callable[[np.ndarray], np.ndarray] | None
    depthwise: bool  #: whether depthwise layers are projected, too
    force: str | None  #: None: the planner chooses among all


ENCODINGS = (
    Encoding("dense int8", None, False, "dense"),
    Encoding("sparse int8 80 %", pruned, False, None),
    Encoding("clustered 4 bit", clustered, True, "codebook"),
    Encoding("ternary 80 %", ternary, True, None),
    Encoding("ternary 80 %, depthwise int8", ternary, False, None),
)


def encodings_of(graph: Graph) -> tuple[Encoding, ...]:
    """The columns that differ for `graph`: without depthwise layers nothing happens to them."""
    if any(node.op == "depthwise_conv2d" for node in graph):
        return ENCODINGS
    same = {(e.project, e.force): e for e in reversed(ENCODINGS)}
    return tuple(e for e in ENCODINGS if same[e.project, e.force] is e)


def projected(graph: Graph, encoding: Encoding) -> Graph:
    """A copy of `graph` with its weights in the encoding's set."""
    out = deepcopy(graph)
    if encoding.project is None:
        return out
    for node in out:
        if node.op in ("conv2d", "dense") or (node.op == "depthwise_conv2d" and encoding.depthwise):
            node.params["kernel"] = encoding.project(node.params["kernel"])
    return out


def converted(
    names: Sequence[str], optimize: str = "balanced"
) -> Iterator[tuple[Network, int, Encoding, Any]]:
    """Those of `names` in every encoding: the network, the encoding's number, the encoding, the
    converted model."""
    import secateur

    known = (n for n in all_networks() if n.name in names)
    for network in chain(known, more_networks(names)):
        print(f"{network.name}: {network.source}", flush=True)
        for i, encoding in enumerate(encodings_of(network.graph)):
            compiled = secateur.convert(
                projected(network.graph, encoding),
                network.inputs[:CALIBRATION],
                name=network.name,
                optimize=optimize,
                encodings=encoding.force,
            )
            yield network, i, encoding, compiled
