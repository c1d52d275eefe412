"""Random small float graphs, for properties of lowering and of the generated C."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from secateur.frontend.ir import Graph
from secateur.frontend.layers import Builder, window_shape

WEIGHT_KINDS = (
    "free", "sparse", "ternary", "present", "two", "codebook", "powers", "dead", "binary", "basis",
)  # fmt: skip


def random_weights(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 kernel (output channels last) in one of the sets training can promise."""
    co = shape[-1]
    free = rng.normal(0, 0.5, shape)
    if kind == "sparse":
        free *= rng.random(shape) < 0.2
    elif kind == "ternary":
        free = np.sign(free) * (np.abs(free) > 0.4) * rng.uniform(0.1, 1, co)
    elif kind == "present":
        free = (free > 0.5) * rng.uniform(-1, 1, co)
    elif kind == "two":
        free = np.where(free > 0.5, rng.uniform(-1, 1, co), rng.uniform(-1, 1, co))
    elif kind == "codebook":
        levels = rng.normal(0, 0.5, int(rng.integers(3, 12)))
        free = levels[rng.integers(0, len(levels), shape)] * (rng.random(shape) < 0.5)
    elif kind == "powers":
        free = np.sign(free) * 2.0 ** -rng.integers(0, 5, shape)
    elif kind == "binary":
        free = np.sign(free) * rng.uniform(0.1, 1, co)
    elif kind == "basis":  # LQ-Nets: sums of +-v_i, v whole numbers of a unit of the channel's
        v = rng.integers(1, 60, (2, co)) * rng.uniform(0.001, 0.01, co)
        free = np.sign(free) * v[0] + np.sign(rng.normal(size=shape)) * v[1]
    elif kind == "dead":
        free[..., : co // 2 + 1] = 0
    return free.astype(np.float32)


class Maker:
    """Draws blocks of layers and emits them."""

    def __init__(self, draw: st.DrawFn, name: str) -> None:
        self.draw = draw
        self.b = Builder(name)
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.count = 0

    def name(self, op: str) -> str:
        self.count += 1
        return f"{op}{self.count}"

    def int(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def coin(self) -> bool:
        return self.draw(st.booleans())

    def bias(self, params: dict[str, np.ndarray], co: int) -> dict[str, np.ndarray]:
        if self.coin():
            params["bias"] = self.rng.normal(0, 0.5, co).astype(np.float32)
        return params

    def weights(self, shape: tuple[int, ...]) -> np.ndarray:
        return random_weights(self.rng, self.draw(st.sampled_from(WEIGHT_KINDS)), shape)

    def window(
        self, t: str, biggest: int, pool: bool
    ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
        """Window, strides and pads that leave at least one output pixel."""
        h, w, _ = self.b.shape(t)
        kh, kw = self.int(1, min(biggest, h)), self.int(1, min(biggest, w))
        strides = (self.int(1, 3), self.int(1, 3))
        # Behind folded zero padding a convolution may have windows of nothing but padding; a
        # pooling window must see a pixel.
        extra = 0 if pool else self.draw(st.sampled_from([0, 0, 0, 2]))
        pads = tuple(self.int(0, k - 1 + extra) for k in (kh, kw, kh, kw))
        if h == 1:
            pads = (0, pads[1], 0, pads[3])
        return (kh, kw), strides, (pads[0], pads[1], pads[2], pads[3])

    def conv(self, t: str, same_shape: bool = False) -> str:
        h, w, ci = self.b.shape(t)
        if same_shape:
            k = (1, 1) if h == 1 or self.coin() else (3, 3)
            strides, pads, co = (1, 1), (k[0] // 2, k[1] // 2) * 2, ci
        else:
            k, strides, pads = self.window(t, 4, pool=False)
            co = self.int(1, 9)
        attrs = {"strides": strides, "pads": pads}
        if self.draw(st.sampled_from([False, False, True])):
            op, co, params = "depthwise_conv2d", ci, {"kernel": self.weights((*k, 1, ci))}
            params["kernel"] = params["kernel"].transpose(0, 1, 3, 2)
        else:
            op, params = "conv2d", {"kernel": self.weights((*k, ci, co))}
        shape = (*window_shape((h, w), k, strides, pads), co)
        return self.b.emit(op, self.name(op), [t], shape, attrs, self.bias(params, co))

    def norm(self, t: str) -> str:
        c = self.b.shape(t)[-1]
        params = {
            "scale": self.rng.normal(0.5, 0.7, c).astype(np.float32),
            "shift": self.rng.normal(0, 0.5, c).astype(np.float32),
        }
        return self.b.emit("batch_norm", self.name("norm"), [t], self.b.shape(t), {}, params)

    def relu(self, t: str) -> str:
        cap = self.draw(st.sampled_from([None, None, 6.0, 1.0]))
        return self.b.emit("relu", self.name("relu"), [t], self.b.shape(t), {"max_value": cap})

    def pool(self, t: str) -> str:
        op = self.draw(st.sampled_from(["max_pool", "avg_pool"]))
        window, strides, pads = self.window(t, 3, pool=True)
        h, w, c = self.b.shape(t)
        # Every window must hold a pixel; the last ones are the critical ones.
        oh, ow = window_shape((h, w), window, strides, pads)
        if (oh - 1) * strides[0] - pads[0] >= h or (ow - 1) * strides[1] - pads[1] >= w:
            pads = (0, 0, 0, 0)
            oh, ow = window_shape((h, w), window, strides, pads)
        attrs = {"window": window, "strides": strides, "pads": pads}
        return self.b.emit(op, self.name(op), [t], (oh, ow, c), attrs)

    def pad(self, t: str) -> str:
        h, w, c = self.b.shape(t)
        pads = (0 if h == 1 else self.int(0, 2), self.int(0, 2), 0, self.int(0, 2))
        shape = (h + pads[0], w + pads[1] + pads[3], c)
        return self.b.emit("zero_pad", self.name("pad"), [t], shape, {"pads": pads})

    def block(self, t: str) -> str:
        kind = self.draw(
            st.sampled_from(
                ["conv", "conv", "conv", "pool", "pad", "residual", "branch", "fork", "norm"]
            )
        )
        if kind == "conv":
            t = self.conv(t)
            if self.coin():
                t = self.norm(t)
            return self.activation(t)
        if kind == "residual":
            t = self.add(self.conv(t, same_shape=True), t)
        elif kind == "branch":
            t = self.add(self.relu(self.conv(t, same_shape=True)), self.norm(t))
        elif kind == "fork":  # both the sum and the ReLU need the convolution's result
            t = self.conv(t)
            t = self.add(self.relu(t), t)
        else:
            return getattr(self, kind)(t)
        return self.activation(t)

    def activation(self, t: str) -> str:
        kind = self.draw(st.sampled_from(["none", "relu", "relu", "sign", "quant"]))
        if kind == "sign":
            return self.b.emit("sign", self.name("sign"), [t], self.b.shape(t))
        if kind == "quant":
            bits = self.draw(st.sampled_from([1, 2, 2, 4]))
            basis = self.rng.uniform(0.5, 1, bits) * 2.0 ** np.arange(bits)
            if self.coin():  # even steps
                basis = 0.3 * 2.0 ** np.arange(bits)
            values = np.sort((np.arange(2**bits)[:, None] >> np.arange(bits) & 1) @ basis)
            levels = (values, (values[1:] + values[:-1]) / 2, np.sort(basis))
            name = self.name("quant")
            return self.b.emit("quant_activation", name, [t], self.b.shape(t), {"levels": levels})
        return self.relu(t) if kind == "relu" else t

    def add(self, a: str, b: str) -> str:
        pair = [a, b] if self.coin() else [b, a]
        return self.b.emit("add", self.name("add"), pair, self.b.shape(a))

    def head(self, t: str) -> str:
        n = int(np.prod(self.b.shape(t)))
        t = self.b.emit("flatten", self.name("flatten"), [t], (n,))
        for last in (False, True) if self.coin() else (True,):
            co = self.int(2, 9)
            params = self.bias({"kernel": self.weights((n, co))}, co)
            t, n = self.b.emit("dense", self.name("dense"), [t], (co,), {}, params), co
            if not last and self.coin():
                t = self.relu(t)
        return self.b.emit("softmax", self.name("softmax"), [t], (n,)) if self.coin() else t


@st.composite
def random_graphs(draw: st.DrawFn) -> Graph:
    """Graphs of one to five blocks: branches, strides, pads, 1-D, all kinds of weights."""
    m = Maker(draw, "random")
    h = m.draw(st.sampled_from([1, 2, 5, 8]))
    t = m.b.add_input("input", (h, m.int(2, 9), m.int(1, 5)))
    for _ in range(m.int(1, 5)):
        t = m.block(t)
    if m.coin():
        t = m.head(t)
    return m.b.finish(t)


def random_inputs(graph: Graph, n: int, seed: int = 0) -> np.ndarray:
    """Float inputs [n, H, W, C] of a range that differs from seed to seed."""
    rng = np.random.default_rng(seed)
    shape = graph.node(graph.input).shape
    return (rng.normal(rng.normal(), 1, (n, *shape)) * rng.uniform(0.5, 8)).astype(np.float32)
