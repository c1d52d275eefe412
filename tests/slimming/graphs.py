"""Random small Keras graphs over every kind of layer that channels can be followed through."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from hypothesis import strategies as st
from keras import layers as L  # noqa: N812


class Maker:
    """Grows a graph from drawn choices; every method takes and gives a map."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        #: removed channels leave nothing behind, so that every graph must come out exact
        self.quiet = draw(st.booleans())

    def int(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def one(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def coin(self) -> bool:
        return self.draw(st.booleans())

    def channels(self) -> int:
        return self.one(2, 3, 4, 6)

    # Pieces ------------------------------------------------------------------------------------

    def conv(self, x: Any, n: int | None = None, stride: int = 1) -> Any:
        act = self.one(None, "relu", "tanh" if self.quiet else "sigmoid", "relu6", "silu")
        size = self.one(1, 3, 2)
        y = L.Conv2D(
            n or self.channels(), size, strides=stride, activation=act, use_bias=self.coin(),
            padding="same",
        )(x)  # fmt: skip
        return self.after(y)

    def after(self, y: Any) -> Any:
        """Perhaps a norm and an activation."""
        kind = self.one("bn", "bn", "none", "gn", "plain bn")
        if kind == "bn":
            y = L.BatchNormalization(center=self.coin())(y)
        elif kind == "plain bn":
            y = L.BatchNormalization(scale=False)(y)
        elif kind == "gn":
            c = y.shape[-1]
            y = L.GroupNormalization(self.one(-1, 1 if c % 2 else c // 2, c))(y)
        return self.activation(y)

    def activation(self, y: Any) -> Any:
        kind = self.one("none", "relu", "prelu", "shared prelu", "leaky", "op", "gelu", "dropout")
        if kind == "relu":
            return L.ReLU(6.0)(y)
        if kind == "prelu":
            return L.PReLU()(y)
        if kind == "shared prelu":
            return L.PReLU(shared_axes=list(range(1, len(y.shape) - 1)) or None)(y)
        if kind == "leaky":
            return L.LeakyReLU()(y)
        if kind == "op":
            return keras.ops.tanh(y) * 0.5 + (0.0 if self.quiet else 0.25)
        if kind == "gelu":
            return L.Activation("gelu")(y)
        return L.Dropout(0.3)(y) if kind == "dropout" else y

    def step(self, x: Any) -> Any:
        """One piece on a map."""
        kinds = (
            "conv", "depthwise", "separable", "grouped", "residual", "concat", "se", "pool", "pad",
            "transposed", "split", "shared", "nested", "reshape", "permute", "spatial",
            "deep residual", "channel pad", "shuffle", "slice", "average",
        )  # fmt: skip
        return getattr(self, "_" + self.one(*kinds).replace(" ", "_"))(x)

    def _conv(self, x: Any) -> Any:
        return self.conv(x, stride=self.one(1, 1, 2))

    def _depthwise(self, x: Any) -> Any:
        y = L.DepthwiseConv2D(
            3, padding=self.one("same", "valid") if x.shape[1] > 3 else "same",
            depth_multiplier=self.one(1, 1, 2), use_bias=self.coin(),
        )(x)  # fmt: skip
        return self.after(y)

    def _separable(self, x: Any) -> Any:
        y = L.SeparableConv2D(
            self.channels(), 3, padding="same", depth_multiplier=self.one(1, 2),
            activation=self.one(None, "relu"),
        )(x)  # fmt: skip
        return self.after(y)

    def _grouped(self, x: Any) -> Any:
        groups = self.one(2, 3)
        y = self.conv(x, groups * self.one(1, 2))
        return self.after(L.Conv2D(groups * self.one(1, 2, 3), 3, padding="same", groups=groups)(y))

    def _residual(self, x: Any) -> Any:
        y = self.conv(self.conv(x), x.shape[-1])
        return self.activation(L.Add()([x, y]) if self.coin() else x + y)

    def _deep_residual(self, x: Any) -> Any:
        n = self.channels()
        y = z = self.conv(x, n)
        for _ in range(self.int(1, 3)):
            z = L.Add()([z, self.conv(z, n)])
        return self.one(L.Add(), L.Subtract(), L.Maximum())([y, z])

    def _concat(self, x: Any) -> Any:
        parts = [x, *(self.conv(x) for _ in range(self.int(1, 2)))]
        return L.Concatenate()(parts)

    def _average(self, x: Any) -> Any:
        n = self.channels()
        return L.Average()([self.conv(x, n), self.conv(x, n), self.conv(x, n)])

    def _se(self, x: Any) -> Any:
        x = self.conv(x)
        gate = L.GlobalAveragePooling2D(keepdims=self.coin())(x)
        gate = L.Dense(self.channels(), activation="relu")(gate)
        gate = L.Dense(x.shape[-1], activation="sigmoid")(gate)
        if len(gate.shape) == 2:
            gate = L.Reshape((1, 1, x.shape[-1]))(gate)
        return L.Multiply()([x, gate]) if self.coin() else x * gate

    def _spatial(self, x: Any) -> Any:
        gate = L.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
        return self.conv(x) * gate

    def _pool(self, x: Any) -> Any:
        if min(x.shape[1:3]) < 2:
            return x
        kind = self.one("max", "average", "up", "crop")
        if kind == "up":
            return L.UpSampling2D()(x) if x.shape[1] <= 8 else x
        if kind == "crop":
            return L.Cropping2D(((0, 1), (0, 1)))(x)
        pool = L.MaxPooling2D if kind == "max" else L.AveragePooling2D
        return pool(2, padding=self.one("same", "valid"))(x)

    def _pad(self, x: Any) -> Any:
        return L.Conv2D(self.channels(), 3)(L.ZeroPadding2D(1)(x)) if self.coin() else x

    def _transposed(self, x: Any) -> Any:
        if x.shape[1] > 8:
            return x
        size, stride = self.one((2, 2), (3, 2), (1, 1), (3, 1))
        return self.after(L.Conv2DTranspose(self.channels(), size, stride, padding="same")(x))

    def _split(self, x: Any) -> Any:
        y = self.conv(x, 4)
        a, b = keras.ops.split(y, 2, axis=-1)
        if self.coin():
            return a + b
        return L.Concatenate()([self.conv(a), b])

    def _slice(self, x: Any) -> Any:
        y = self.conv(x, 6)
        return L.Concatenate()([y[..., 1:4], self.conv(y[:, :, :, 3:])])

    def _shared(self, x: Any) -> Any:
        n = self.channels()
        both = L.Conv2D(n, 3, padding="same")
        norm = L.BatchNormalization()
        y = both(x)
        z = norm(both(self.conv(x, x.shape[-1])))
        return self.one(L.Add(), L.Concatenate())([norm(y), z])

    def _nested(self, x: Any) -> Any:
        entry = keras.Input(x.shape[1:])
        inner = keras.Model(entry, self.conv(self._conv(entry)))
        if self.coin():
            return inner(x)
        return L.Add()([inner(x), inner(self.conv(x, x.shape[-1]))])

    def _reshape(self, x: Any) -> Any:
        h, w, c = x.shape[1:]
        y = self.after(L.Conv1D(self.channels(), 3, padding="same")(L.Reshape((h * w, c))(x)))
        return L.Reshape((h, w, y.shape[-1]))(y)

    def _permute(self, x: Any) -> Any:
        return self.conv(L.Permute((2, 1, 3))(x))

    def _channel_pad(self, x: Any) -> Any:
        n = x.shape[-1]
        return keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 1]]) + self.conv(x, n + 2)

    def _shuffle(self, x: Any) -> Any:
        y = self.conv(x, 6)
        h, w = y.shape[1:3]
        y = L.Permute((1, 2, 4, 3))(L.Reshape((h, w, 2, 3))(y))
        return self.conv(L.Reshape((h, w, 6))(y))

    # Ends --------------------------------------------------------------------------------------

    def end(self, x: Any) -> Any:
        kind = self.one("pool", "flatten", "map", "mean", "lstm", "features")
        if kind == "flatten":
            x = L.Flatten()(x)
        elif kind == "pool":
            x = self.one(L.GlobalAveragePooling2D(), L.GlobalMaxPooling2D())(x)
        elif kind == "mean":
            x = keras.ops.mean(x, axis=(1, 2))
        elif kind == "lstm":
            h, w, c = x.shape[1:]
            x = self.one(L.LSTM(3), L.GRU(3))(L.Reshape((h * w, c))(x))
        elif kind == "map":
            return L.Conv2D(2, 1)(x)
        else:
            return x
        x = self.activation(L.Dense(self.channels(), activation=self.one(None, "relu"))(x))
        return L.Dense(3, activation=self.one(None, "softmax"))(x)


def settle(model: keras.Model, rng: np.random.Generator, quiet: bool = False) -> keras.Model:
    """Weights as after training: no norms that do nothing, and unless quiet no zero biases."""
    for v in model.weights:
        shape = tuple(v.shape)
        if v.name in ("moving_variance", "gamma"):
            v.assign(rng.uniform(0.5, 1.5, shape))
        elif v.name in ("bias", "beta") and quiet:
            v.assign(np.zeros(shape))
        elif len(shape) <= 1 or v.name == "alpha":
            v.assign(rng.normal(0, 0.5, shape))
        else:
            v.assign(rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape))
    return model


@st.composite
def models(draw: st.DrawFn) -> keras.Model:
    """One or two inputs, some pieces, one or two outputs."""
    keras.backend.clear_session()
    m = Maker(draw)
    inputs = [keras.Input((8, 8, m.one(1, 3)))]
    x = m.conv(inputs[0])
    if m.int(0, 3) == 0:
        inputs.append(keras.Input((8, 8, 2)))
        x = L.Concatenate()([x, m.conv(inputs[1])])
    outputs = []
    for i in range(m.int(1, 4)):
        x = m.step(x)
        if i == 0 and m.int(0, 4) == 0:
            outputs.append(m.end(x))
    outputs.append(m.end(x))
    model = settle(keras.Model(inputs, outputs), m.rng, m.quiet)
    model.quiet = m.quiet
    return model
