"""Small networks of every kind people deploy, with weights as training leaves them.

`SMALL` are written here and have random weights; `APPLICATIONS` are those of keras.applications at
small width and image, briefly trained. Batch normalisations have the statistics of data (`settle`):
without them activations grow or vanish and no comparison of integers means anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

L, K, A = keras.layers, keras.ops, keras.applications


def unet() -> Any:
    """Two levels, transposed convolutions upward, a sigmoid a pixel."""
    x = y = keras.Input((16, 16, 2))
    skips = []
    for width in (4, 8):
        y = L.Conv2D(width, 3, padding="same", activation="relu")(y)
        skips.append(y)
        y = L.MaxPooling2D()(y)
    y = L.Conv2D(16, 3, padding="same", activation="relu")(y)
    for width, skip in ((8, skips[1]), (4, skips[0])):
        y = L.Conv2DTranspose(width, 2, strides=2)(y)
        y = L.Conv2D(width, 3, padding="same", activation="relu")(L.Concatenate()([y, skip]))
    return keras.Model(x, L.Conv2D(1, 1, activation="sigmoid")(y))


def tcn() -> Any:
    """Causal dilated convolutions with residuals."""
    x = y = keras.Input((40, 3))
    for dilation in (1, 2, 4):
        z = L.Conv1D(8, 3, dilation_rate=dilation, padding="causal", activation="relu")(y)
        z = L.BatchNormalization()(z)
        y = L.ReLU()(L.Add()([z, L.Conv1D(8, 1)(y)]))
    return keras.Model(x, L.Dense(4, activation="softmax")(y[:, -1]))


def fomo() -> Any:
    """Object centres: a softmax for each cell of a coarse grid."""
    x = y = keras.Input((32, 32, 3))
    y = L.Rescaling(1 / 127.5, offset=-1)(y)
    for width in (8, 16):
        y = L.SeparableConv2D(width, 3, strides=2, padding="same", activation="relu6")(y)
    return keras.Model(x, L.Softmax()(L.Conv2D(3, 1)(y)))


def squeeze_and_excite() -> Any:
    """Two blocks whose channels are gated."""
    x = y = keras.Input((12, 12, 4))
    for _ in range(2):
        z = L.Conv2D(8, 3, padding="same", activation="swish")(y)
        s = L.GlobalAveragePooling2D(keepdims=True)(z)
        s = L.Conv2D(8, 1, activation="hard_sigmoid")(L.Conv2D(2, 1, activation="relu")(s))
        y = L.Multiply()([z, s])
    return keras.Model(x, L.Dense(3)(L.GlobalMaxPooling2D()(y)))


def siamese() -> Any:
    """One tower twice; the difference and the cosine of what it gives."""
    a, b = keras.Input((12, 12, 1)), keras.Input((12, 12, 1))
    tower = keras.Sequential([keras.Input((12, 12, 1)), L.Conv2D(4, 3, activation="relu"),
                              L.Flatten(), L.Dense(8), L.UnitNormalization()])  # fmt: skip
    p, q = tower(a), tower(b)
    return keras.Model([a, b], [K.abs(p - q), L.Dot(1)([p, q])])


def keyword_transformer() -> Any:
    """Two blocks of attention on spectrogram frames."""
    x = keras.Input((20, 10))
    y = L.Dense(16)(x) + np.random.default_rng(0).normal(size=(20, 16)).astype("f4")
    for _ in range(2):
        y = L.LayerNormalization()(y + L.MultiHeadAttention(2, 8)(y, y))
        y = L.LayerNormalization()(y + L.Dense(16)(L.Dense(32, activation="gelu")(y)))
    return keras.Model(x, L.Dense(5)(K.mean(y, axis=1)))


def autoencoder() -> Any:
    """Strided convolutions down, transposed ones up."""
    x = y = keras.Input((16, 16, 1))
    for width in (8, 4):
        y = L.Conv2D(width, 3, strides=2, padding="same", activation="elu")(y)
    for width in (4, 8):
        y = L.Conv2DTranspose(width, 3, strides=2, padding="same", activation="elu")(y)
    return keras.Model(x, L.Conv2D(1, 3, padding="same", activation="tanh")(y))


def fusion() -> Any:
    """An image and motion, two answers."""
    image, motion = keras.Input((16, 16, 3), name="image"), keras.Input((25, 6), name="motion")
    a = L.GlobalAveragePooling2D()(L.Conv2D(8, 3, strides=2, activation="relu")(image))
    b = L.GlobalMaxPooling1D()(L.Conv1D(8, 5, activation="relu")(motion))
    y = L.Concatenate()([a, b, L.Maximum()([a, b])])
    return keras.Model([image, motion], [L.Dense(4, activation="softmax")(y), L.Dense(1)(y)])


SMALL: dict[str, Callable[[], Any]] = {
    f.__name__: f
    for f in (unet, tcn, fomo, squeeze_and_excite, siamese, keyword_transformer, autoencoder,
              fusion)
}  # fmt: skip


def _inner(module: str) -> Any:
    """The module behind a family, which takes widths that the public functions do not."""
    return importlib.import_module(f"keras.src.applications.{module}")


def narrow(model: Any, by: int) -> Any:
    """The same network with every convolution's channels divided."""
    config = model.get_config()
    for layer in config["layers"]:
        inner = layer["config"]
        layer.pop("build_config", None)  # with the shapes that the wide network has
        if "filters" in inner:
            inner["filters"] = max(inner["filters"] // by, 2)
    return keras.Model.from_config(config)


#: Five classes as logits: a softmax that is sure gives 0 and 1, whatever comes before it.
_END: dict[str, Any] = {"weights": None, "classes": 5, "classifier_activation": None}
_IMAGE = (32, 32, 3)

APPLICATIONS: dict[str, Callable[[], Any]] = {
    "MobileNet": lambda: A.MobileNet(_IMAGE, alpha=0.25, **_END),
    "MobileNetV2": lambda: A.MobileNetV2(_IMAGE, alpha=0.35, **_END),
    "MobileNetV3Small": lambda: A.MobileNetV3Small(
        _IMAGE, alpha=0.35, include_preprocessing=True, **_END),
    "MobileNetV3Large": lambda: A.MobileNetV3Large(_IMAGE, alpha=0.25, minimalistic=True, **_END),
    "EfficientNetB0": lambda: _inner("efficientnet").EfficientNet(
        0.4, 0.5, 32, input_shape=_IMAGE, **_END),
    "EfficientNetV2B0": lambda: _inner("efficientnet_v2").EfficientNetV2(
        0.3, 0.4, 32, blocks_args=_inner("efficientnet_v2").DEFAULT_BLOCKS_ARGS[
            "efficientnetv2-b0"], input_shape=_IMAGE, **_END),
    "DenseNet": lambda: _inner("densenet").DenseNet([2, 2, 2, 2], input_shape=_IMAGE, **_END),
    "NASNetMobile": lambda: _inner("nasnet").NASNet(
        _IMAGE, penultimate_filters=96, num_blocks=1, stem_block_filters=8, default_size=32,
        **_END),
    "ResNet": lambda: _inner("resnet").ResNet(
        lambda x: _inner("resnet").stack_residual_blocks_v1(x, 8, 2, stride1=1, name="s"),
        False, True, input_shape=_IMAGE, **_END),
    "ResNetV2": lambda: _inner("resnet").ResNet(
        lambda x: _inner("resnet").stack_residual_blocks_v2(x, 8, 2, name="s"),
        True, True, input_shape=_IMAGE, **_END),
    "Xception": lambda: narrow(A.Xception(input_shape=(71, 71, 3), **_END), 8),
    "ConvNeXt": lambda: _inner("convnext").ConvNeXt(
        [1, 1, 2, 1], [8, 16, 24, 32], drop_path_rate=0.1, layer_scale_init_value=0.3,
        input_shape=_IMAGE, **_END),
}  # fmt: skip

NETWORKS = {**SMALL, **APPLICATIONS}

#: Networks that take pixels 0..255.
_PIXELS = ("fomo", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0",
           "ConvNeXt")  # fmt: skip


#: Steps of training, of 32 samples each, and how often each sample is seen.
_STEPS, _EPOCHS = 80, 2


def samples(name: str, model: Any, n: int, seed: int) -> list[np.ndarray]:
    """Smooth random inputs, float32 [n, ...] each, of the range the network takes; those of the
    networks that classify show one of as many scenes as there are classes."""
    return labelled(name, model, n, seed)[0]


def labelled(name: str, model: Any, n: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """`samples` and the class of each, int64 [n]."""
    rng = np.random.default_rng(seed)
    classes = model.output_shape[-1] if name in APPLICATIONS else 1
    labels = rng.integers(0, classes, n)
    found = []
    for t in model.inputs:
        x = _waves(tuple(t.shape[1:]), n, rng)
        if classes > 1:
            scenes = _waves(tuple(t.shape[1:]), classes, np.random.default_rng(99))
            x = 0.5 * x + 0.5 * scenes[labels]
        if name in _PIXELS:
            x = np.clip(np.rint(x * 127.5 + 127.5), 0, 255)
        found.append(x.astype(np.float32))
    return found, labels


def _waves(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise, a level, and waves a few pixels long, as scenes and sounds have: [n, *shape]."""
    x = rng.normal(0, 0.3, (n, *shape)) + rng.normal(0, 0.4, (n, *(1 for _ in shape)))
    for length in (4, 12):
        for _ in range(3):
            phase = rng.uniform(0, 6.3, (n, *(1 for _ in shape[:-1]), shape[-1]))
            for axis, size in enumerate(shape[:-1]):
                at = np.arange(size).reshape([-1, *(1 for _ in shape[axis + 1 :])])
                turns = rng.normal(0, 6.3 / length, (n, *(1 for _ in shape)))
                phase = phase + at * turns
            x = x + rng.uniform(0, 0.5, (n, *(1 for _ in shape))) * np.sin(phase)
    # as pictures and sounds are scaled: no sample is far outside what the others show
    peak = np.abs(x).max(axis=tuple(range(1, x.ndim)), keepdims=True)
    return np.asarray(x / peak * rng.uniform(0.5, 1, peak.shape))


def randomise(model: Any, seed: int = 0) -> None:
    """Give `model` random weights."""
    rng = np.random.default_rng(seed)
    for v in model.weights:
        shape = tuple(int(n) for n in v.shape)
        if "gamma" in v.name:
            v.assign(rng.uniform(0.5, 1.5, shape))
        elif "depthwise" in v.name or "depthwise" in v.path.split("/")[-2]:
            v.assign(rng.normal(0, 1 / np.sqrt(np.prod(shape[:2])), shape))
        elif "kernel" in v.name and len(shape) > 1:
            v.assign(rng.normal(0, np.sqrt(1.5 / np.prod(shape[:-1])), shape))
        elif v.name in ("bias", "beta"):
            v.assign(rng.normal(0, 0.1, shape))


def train(name: str, model: Any) -> None:
    """A short training to tell scenes apart. Random weights behind batch normalisations amplify
    what is small layer by layer, as no trained network does: after twenty layers rounding, to
    float32 too, is what they show."""
    x, labels = labelled(name, model, 32 * _STEPS, 5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(x[0], labels, batch_size=32, epochs=_EPOCHS, verbose=0)


def settle(name: str, model: Any, seed: int = 1) -> None:
    """Give the batch normalisations of `model` the statistics of inputs."""
    found = list(model._flatten_layers())
    if not any(type(x) is L.BatchNormalization for x in found):
        return
    kept = [(x, a, getattr(x, a)) for x in found for a in ("rate", "momentum") if hasattr(x, a)
            and isinstance(getattr(x, a), float)]  # fmt: skip
    for x, a, _ in kept:
        setattr(x, a, 0.0)
    data = samples(name, model, 64, seed)
    model(data if len(data) > 1 else data[0], training=True)
    for x, a, value in kept:
        setattr(x, a, value)


def made(name: str) -> Any:
    """A network of `NETWORKS` with its weights: random ones, or briefly trained where it is one of
    keras.applications."""
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    if name in APPLICATIONS:
        train(name, model)
    else:
        randomise(model)
    settle(name, model)
    return model
