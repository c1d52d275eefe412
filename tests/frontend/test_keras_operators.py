"""Keras' other layers and operations on tensors, each against Keras itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.ir import verify
from secateur.frontend.keras3 import from_keras
from secateur.lowering.registry import obstacles
from secateur.lowering.simplify import simplify

from .test_keras3 import randomise

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.train
L, K = keras.layers, keras.ops

IMAGE, SEQUENCE, VECTOR = (9, 8, 4), (12, 3), (6,)


def check(model: Any, inputs: list[np.ndarray] | None = None, trained: bool = False) -> Any:
    """Every output within 1e-5 of its scale; returns the graph. Weights are made random before."""
    if not trained:
        randomise(model)
    rng = np.random.default_rng(1)
    x = inputs or [rng.normal(0, 1, (3, *t.shape[1:])).astype("f4") for t in model.inputs]
    want = model(x if len(x) > 1 else x[0], training=False)
    graph = from_keras(model)
    verify(graph)
    got = execute.run_outputs(graph, x)
    wanted = want if isinstance(want, list | tuple) else [want]
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        b = np.asarray(b)
        scale = max(float(np.abs(b).max()), 1e-3)
        np.testing.assert_allclose(a.reshape(b.shape) / scale, b / scale, atol=1e-5)
    return graph


LAYERS: dict[str, tuple[tuple[int, ...], Callable[[], Any]]] = {
    **{
        f"activation {name}": (IMAGE, lambda name=name: L.Activation(name))
        for name in (
            "sigmoid", "tanh", "hard_sigmoid", "hard_tanh", "silu", "hard_silu", "gelu", "elu",
            "celu", "selu", "mish", "softplus", "softsign", "exponential", "log_sigmoid",
            "leaky_relu", "log_softmax", "hard_shrink", "soft_shrink", "tanh_shrink",
        )
    },
    "relu of everything": (IMAGE, lambda: L.ReLU(2.0, negative_slope=0.1, threshold=0.3)),
    "leaky": (IMAGE, lambda: L.LeakyReLU(negative_slope=0.15)),
    "elu": (IMAGE, lambda: L.ELU(alpha=0.5)),
    "prelu": (IMAGE, lambda: L.PReLU(shared_axes=[1, 2])),
    "prelu everywhere": (IMAGE, lambda: L.PReLU()),
    "softmax axis": (IMAGE, lambda: L.Softmax(axis=2)),
    "softmax of a sequence": (SEQUENCE, lambda: L.Softmax(axis=1)),
    "dilated": (IMAGE, lambda: L.Conv2D(4, 3, dilation_rate=2, padding="same")),
    "dilated valid": (IMAGE, lambda: L.Conv2D(4, (2, 3), dilation_rate=(3, 2))),
    "groups": (IMAGE, lambda: L.Conv2D(6, 3, groups=2, padding="same", strides=2)),
    "groups of one": (IMAGE, lambda: L.Conv2D(8, 3, groups=4)),
    "causal dilated": (SEQUENCE, lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=4)),
    "kernel larger than the image": (IMAGE, lambda: L.Conv2D(3, 11, padding="same")),
    "multiplier": (IMAGE, lambda: L.DepthwiseConv2D(3, depth_multiplier=3, strides=2)),
    "multiplier of one channel": ((9, 8, 1), lambda: L.DepthwiseConv2D(3, depth_multiplier=5)),
    "dilated depthwise": (IMAGE, lambda: L.DepthwiseConv2D(3, dilation_rate=2, padding="same")),
    "depthwise1d": (SEQUENCE, lambda: L.DepthwiseConv1D(3, depth_multiplier=2, padding="same")),
    "separable multiplier": (IMAGE, lambda: L.SeparableConv2D(5, 3, depth_multiplier=2)),
    "transposed": (IMAGE, lambda: L.Conv2DTranspose(5, 3, strides=2, padding="same")),
    "transposed valid": (IMAGE, lambda: L.Conv2DTranspose(5, (2, 4), strides=(3, 2))),
    "transposed even": (IMAGE, lambda: L.Conv2DTranspose(5, 4, strides=2, padding="same")),
    "transposed dilated": (IMAGE, lambda: L.Conv2DTranspose(2, 3, dilation_rate=2)),
    "transposed extra": (
        IMAGE, lambda: L.Conv2DTranspose(2, 3, strides=2, padding="same", output_padding=1)),
    "transposed1d": (SEQUENCE, lambda: L.Conv1DTranspose(5, 3, strides=2, padding="same")),
    "einsum": (SEQUENCE, lambda: L.EinsumDense("abc,cd->abd", output_shape=(None, 5),
                                               bias_axes="d", activation="relu")),
    "einsum heads": (SEQUENCE, lambda: L.EinsumDense("abc,cde->abde", output_shape=(None, 2, 5),
                                                     bias_axes="de")),
    "einsum of positions": (SEQUENCE, lambda: L.EinsumDense("abc,bd->adc", output_shape=(5, 3),
                                                            bias_axes="d")),
    "einsum with dots": (IMAGE, lambda: L.EinsumDense("...x,xy->...y", output_shape=5)),
    "dense on four axes": ((2, 3, 4, 5), lambda: L.Dense(3)),
    "batch norm axis": (IMAGE, lambda: L.BatchNormalization(axis=1)),
    "layer norm": (IMAGE, lambda: L.LayerNormalization()),
    "layer norm of a vector": (VECTOR, lambda: L.LayerNormalization(epsilon=1e-6)),
    "layer norm axes": (IMAGE, lambda: L.LayerNormalization(axis=(1, 2, 3))),
    "layer norm axis": (SEQUENCE, lambda: L.LayerNormalization(axis=1)),
    "rms norm": (SEQUENCE, lambda: L.RMSNormalization()),
    "group norm": (IMAGE, lambda: L.GroupNormalization(2)),
    "instance norm": (IMAGE, lambda: L.GroupNormalization(-1)),
    "unit norm": (IMAGE, lambda: L.UnitNormalization(axis=-1)),
    "rescaling": (IMAGE, lambda: L.Rescaling(1 / 127.5, -1)),
    "rescaling of channels": (IMAGE, lambda: L.Rescaling([1, 2, 3, 4.0], [0, 1, 0, 1.0])),
    "normalization": (IMAGE, lambda: L.Normalization(mean=[1, 2, 3, 4.0],
                                                     variance=[1, 4, 9, 16.0])),
    "normalization of all": (IMAGE, lambda: L.Normalization(axis=None, mean=1.5, variance=4.0)),
    "normalization of rows": (IMAGE, lambda: L.Normalization(axis=1, mean=np.arange(9.0),
                                                             variance=np.arange(1, 10.0))),
    "center crop": (IMAGE, lambda: L.CenterCrop(4, 5)),
    "cropping": (IMAGE, lambda: L.Cropping2D(((1, 2), (0, 3)))),
    "cropping1d": (SEQUENCE, lambda: L.Cropping1D((2, 1))),
    "upsampling": (IMAGE, lambda: L.UpSampling2D((2, 3))),
    "upsampling bilinear": (IMAGE, lambda: L.UpSampling2D(2, interpolation="bilinear")),
    "upsampling1d": (SEQUENCE, lambda: L.UpSampling1D(3)),
    "resizing": (IMAGE, lambda: L.Resizing(13, 5)),
    "resizing nearest": (IMAGE, lambda: L.Resizing(13, 5, interpolation="nearest")),
    "permute": (IMAGE, lambda: L.Permute((3, 1, 2))),
    "repeat vector": (VECTOR, lambda: L.RepeatVector(4)),
    "reshape to more axes": (IMAGE, lambda: L.Reshape((3, 3, 2, 2, 8))),
    "reshape to a sequence": (IMAGE, lambda: L.Reshape((-1, 4))),
    "global max 1d": (SEQUENCE, lambda: L.GlobalMaxPooling1D()),
    "global average of a kept sequence": (SEQUENCE, lambda: L.GlobalAveragePooling1D(
        keepdims=True)),
    "adaptive": (IMAGE, lambda: L.AdaptiveAveragePooling2D((3, 2))),
    "channels first pool": (IMAGE, lambda: L.MaxPooling2D(2, data_format="channels_first")),
    "channels first pad": (IMAGE, lambda: L.ZeroPadding2D(1, data_format="channels_first")),
    "channels first flatten": (IMAGE, lambda: L.Flatten(data_format="channels_first")),
    "channels first global": (IMAGE, lambda: L.GlobalAveragePooling2D(
        data_format="channels_first")),
    "time distributed": (IMAGE, lambda: L.TimeDistributed(L.Dense(3, activation="relu"))),
    "random flip": (IMAGE, lambda: L.RandomFlip()),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYERS)
def test_layer_equals_keras(case: str) -> None:
    shape, make = LAYERS[case]
    check(keras.Sequential([keras.Input(shape), make()]))


OPERATIONS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "half": (IMAGE, lambda x: x * 0.5),
    "one minus": (IMAGE, lambda x: 1 - x),
    "by channel": (IMAGE, lambda x: x / np.array([1, 2, 3, 4], "f4") + 1),
    "by row": (IMAGE, lambda x: x + np.arange(9, dtype="f4").reshape(1, 9, 1, 1)),
    "over x": (IMAGE, lambda x: 2 / (K.abs(x) + 1)),
    "limits": (IMAGE, lambda x: K.minimum(K.maximum(x, -0.5), 0.25)),
    "clip": (IMAGE, lambda x: K.clip(x, -0.2, 0.7)),
    "power": (IMAGE, lambda x: x**2 + K.power(K.abs(x) + 1, 1.5)),
    "negative": (IMAGE, lambda x: -x),
    "roots": (IMAGE, lambda x: K.sqrt(K.square(x) + 1) + K.rsqrt(K.exp(x))),
    "gelu": (IMAGE, lambda x: K.gelu(x)),
    "self product": (IMAGE, lambda x: x * x),
    "slices": (IMAGE, lambda x: x[:, 1:-1, ::2, 1]),
    "row": (IMAGE, lambda x: x[:, -1]),
    "new axis": (SEQUENCE, lambda x: x[..., None]),
    "backwards": (SEQUENCE, lambda x: K.flip(x, 1)),
    "mean and variance": (IMAGE, lambda x: K.concatenate([K.mean(x, (1, 2)), K.var(x, (1, 2))], 1)),
    "reductions": (IMAGE, lambda x: K.max(x, -1, keepdims=True) - K.sum(x, 2, keepdims=True)),
    "transposed": (IMAGE, lambda x: K.transpose(x, (0, 3, 1, 2))),
    "reshaped": (IMAGE, lambda x: K.reshape(x, (-1, 36, 8))),
    "expanded": (VECTOR, lambda x: K.expand_dims(x, 1) * K.ones((1, 3, 1))),
    "moved": (IMAGE, lambda x: K.moveaxis(x, 1, -1)),
    "swapped": (IMAGE, lambda x: K.swapaxes(x, 2, 3)),
    "padded": (IMAGE, lambda x: K.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], "reflect")),
    "padded by a number": (SEQUENCE, lambda x: K.pad(x, [[0, 0], [1, 2], [0, 1]],
                                                     constant_values=0.5)),
    "split": (IMAGE, lambda x: K.multiply(*K.split(x, 2, -1))),
    "unstacked": (SEQUENCE, lambda x: K.stack(K.unstack(x, axis=2)[::-1], axis=1)),
    "repeated": (SEQUENCE, lambda x: K.repeat(x, 2, axis=1)),
    "tiled": (SEQUENCE, lambda x: K.tile(x, (1, 2, 2))),
    "taken": (SEQUENCE, lambda x: K.take(x, [2, 0, 2], axis=2)),
    "class index": (VECTOR, lambda x: K.argmax(x, -1)),
    "matmul with a constant": (SEQUENCE, lambda x: K.matmul(x, np.arange(12.0).reshape(3, 4))),
    "einsum": (SEQUENCE, lambda x: K.einsum("bij,jk->bki", x, np.arange(12.0).reshape(3, 4))),
    "gram": (SEQUENCE, lambda x: K.matmul(x, K.transpose(x, (0, 2, 1)))),
    "normalised": (IMAGE, lambda x: K.normalize(x, axis=-1)),
    "depth": ((4, 4, 8), lambda x: K.space_to_depth(K.depth_to_space(x, 2), 4)),
    "pooled": (IMAGE, lambda x: K.max_pool(x, 2) + K.average_pool(x, 2, padding="valid")),
    "best": (VECTOR, lambda x: K.top_k(x, 3)[0]),
    "resized": (IMAGE, lambda x: K.image.resize(x, (4, 4))),
}  # fmt: skip


@pytest.mark.parametrize("case", OPERATIONS)
def test_operation_equals_keras(case: str) -> None:
    shape, make = OPERATIONS[case]
    x = keras.Input(shape)
    check(keras.Model(x, make(x)))


def test_merges_broadcast_and_take_several() -> None:
    a, b, c = keras.Input(IMAGE), keras.Input((1, 1, 4)), keras.Input(IMAGE)
    outputs = [
        L.Add()([a, b, c]), L.Subtract()([a, c]), L.Multiply()([a, b]), L.Average()([a, c, a]),
        L.Maximum()([a, c]), L.Minimum()([a, b]), L.Concatenate(1)([a, c]),
        L.Concatenate()([a, c, a]),
    ]  # fmt: skip
    check(keras.Model([a, b, c], outputs))
    u, v = keras.Input(SEQUENCE), keras.Input((5, 3))
    w = keras.Input(VECTOR)
    outputs = [L.Dot((2, 2))([u, v]), L.Dot(1, normalize=True)([w, L.Dense(6)(w)])]
    check(keras.Model([u, v, w], outputs))


def test_attention() -> None:
    x, y = keras.Input((6, 8)), keras.Input((5, 8))
    outputs = [
        L.MultiHeadAttention(2, 3)(x, x),
        L.MultiHeadAttention(2, 3, value_dim=5, output_shape=7)(x, y),
        L.GroupQueryAttention(4, 4, 2)(x, y),
        L.Attention(use_scale=True)([x, y]),
    ]
    check(keras.Model([x, y], outputs))
    masked = L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    with pytest.raises(ModelError, match="use_causal_mask"):
        from_keras(keras.Model(x, masked))


def test_embedding_takes_whole_numbers() -> None:
    ids = keras.Input((5,))
    y = L.Embedding(10, 4)(ids) + L.Embedding(5, 4)(K.arange(5))
    model = keras.Model(ids, L.GlobalAveragePooling1D()(y))
    x = np.random.default_rng(0).integers(0, 10, (3, 5)).astype("f4")
    graph = check(model, [x])
    assert graph.dtype(graph.input) == "int32"
    with pytest.raises(ModelError, match="mask_zero"):
        from_keras(keras.Sequential([keras.Input((5,)), L.Embedding(10, 4, mask_zero=True)]))


def test_nested_shared_and_two_headed() -> None:
    image, extra = keras.Input(IMAGE, name="image"), keras.Input(VECTOR, name="extra")
    p, q = keras.Input(IMAGE), keras.Input(IMAGE)
    shared = L.Conv2D(4, 3, padding="same", name="twice")
    inner = keras.Model([p, q], [shared(p) + q, shared(q)], name="inner")
    first, second = inner([image, image[:, ::-1]])
    mixed, _ = inner([first, second])
    head = L.Concatenate()([L.GlobalAveragePooling2D()(mixed), extra])
    named = L.Dense(3, name="classes")(head)
    model = keras.Model([image, extra], [named, mixed, image])
    graph = check(model)
    assert graph.inputs == ("image", "extra")
    assert graph.output_names[0] == "classes"
    kernels = [n.params["kernel"] for n in graph if n.op == "conv2d"]
    assert len(kernels) == 4
    assert all(k is kernels[0] for k in kernels)
    assert sum(n.attrs.get("parameters", 0) for n in graph) == model.count_params()


def test_a_refusal_shows_the_expression() -> None:
    x = keras.Input(IMAGE, name="picture")
    y = keras.ops.mod(x, 2.0)
    y = y + L.Discretization([0.0])(y)
    model = keras.Model(x, y)
    with pytest.raises(ModelError, match=r"'mod\(picture, 2.0\)'"):
        from_keras(model)
    graph = from_keras(model, tolerant=True)
    verify(graph)
    sentences = [o.sentence for o in obstacles(simplify(graph))]
    assert any("Discretization" in s for s in sentences)
    assert any("mod(picture" in s for s in sentences)


def test_a_channels_first_convolution_is_the_channels_last_one() -> None:
    def network(first: bool) -> Any:
        layer = {"data_format": "channels_first" if first else "channels_last"}
        x = keras.Input((3, 9, 8) if first else (9, 8, 3))
        y = L.Conv2D(6, 3, strides=2, activation="relu", **layer)(x)
        y = L.DepthwiseConv2D(3, padding="same", **layer)(y)
        y = L.Conv2DTranspose(4, 2, strides=2, **layer)(y)
        return keras.Model(x, y)

    last = randomise(network(False))
    try:
        first = network(True)
    except Exception as e:  # a backend without channels-first kernels
        pytest.skip(str(e))
    first.set_weights(last.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype("f4")
    got = execute.run(from_keras(first), x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(got, np.asarray(last(x)), rtol=1e-4, atol=1e-4)


def test_channels_first_networks_have_transposes_at_their_ends_alone() -> None:
    layer = {"data_format": "channels_first"}
    x = keras.Input((3, 8, 8))
    y = L.BatchNormalization(axis=1)(L.ZeroPadding2D(1, **layer)(x))
    y = L.UpSampling2D(2, **layer)(L.MaxPooling2D(2, **layer)(y))
    graph = check(keras.Model(x, L.Dense(4)(L.GlobalAveragePooling2D(**layer)(y))))
    assert [n.op for n in graph].count("transpose") == 1
