"""Random float graphs of all operators: any of them on a tensor of any shape that it takes.

Left out are `opaque` (nothing to execute) and what streaming alone makes (`last_rows` and
`mean_of_last` keep a state: tests/recurrent/test_streaming.py draws those).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from secateur.frontend.build import Builder
from secateur.frontend.ir import Graph
from secateur.frontend.ops.activation import FUNCTIONS
from tests.recurrent.graphs import KINDS, layer
from tests.strategies import Maker

Make = Callable[[Builder, str], str]

#: Elements of a tensor from which on nothing grows.
LARGE = 600

#: Functions that take or stand a part of the line alone: what comes before them.
DOMAINS = {
    **dict.fromkeys(("log", "sqrt", "rsqrt", "reciprocal", "power", "log1p"), (0.5, 2.0)),
    **dict.fromkeys(("arcsin", "arccos", "arctanh", "tan"), (-0.9, 0.9)),
    **dict.fromkeys(("sinh", "cosh", "exponential", "expm1"), (-2.0, 2.0)),
    "arccosh": (1.2, 4.0),
}


def within(function: str, low: float, high: float, name: str = "y") -> Make:
    """A function of values that a sigmoid has brought between two ends."""

    def make(b: Builder, x: str) -> str:
        inside = b.activation(f"{name}_inside", x, "sigmoid")
        y = b.affine(f"{name}_ends", inside, high - low, low)
        more = {"exponent": 1.5} if function == "power" else {}
        return b.activation(name, y, function, **more)

    return make


class Operators(Maker):
    """Draws operators for tensors of any shape; each method emits one and returns its output."""

    def put(self, op: str, inputs: list[str], params: dict[str, Any] | None = None,
            **attrs: Any) -> str:  # fmt: skip
        return self.b.emit(op, self.name(op), inputs, None, attrs, params)

    def pick(self, *among: Any) -> Any:
        return self.draw(st.sampled_from(among))

    def axis(self, x: str) -> int:
        return self.int(0, len(self.b.shape(x)) - 1)

    def axes(self, x: str) -> tuple[int, ...]:
        some = self.draw(st.sets(st.integers(0, len(self.b.shape(x)) - 1), min_size=1))
        return tuple(sorted(some))

    def normal(self, *shape: int, mean: float = 0.0, spread: float = 0.5) -> np.ndarray:
        return self.rng.normal(mean, spread, shape).astype(np.float32)

    # whatever the shape is

    def function(self, x: str) -> str:
        f = self.pick(*FUNCTIONS)
        name = self.name(f)
        make = within(f, *DOMAINS[f], name) if f in DOMAINS else None
        return make(self.b, x) if make else self.b.activation(name, x, f)

    def cut(self, x: str) -> str:
        return self.relu(x) if self.coin() else self.activation(x)

    def slopes(self, x: str) -> str:
        return self.put("prelu", [x], {"alpha": self.normal(self.b.shape(x)[-1])})

    def grid(self, x: str) -> str:
        low = self.pick(-128, -8, 0)
        return self.put("fake_quant", [x], scale=self.rng.uniform(0.01, 0.2),
                        zero_point=self.int(low, low + 15), low=low, high=low + 15 if low == -8
                        else low + 255)  # fmt: skip

    def soft(self, x: str) -> str:
        return self.put(self.pick("softmax", "softmax", "log_softmax"), [x], axis=self.axis(x))

    def turn(self, x: str) -> str:
        return self.put("transpose", [x], perm=tuple(self.draw(
            st.permutations(range(len(self.b.shape(x)))))))  # fmt: skip

    def part(self, x: str) -> str:
        begin, size, strides = [], [], []
        for n in self.b.shape(x):
            stride = self.pick(1, 1, 1, 2, 3, -1, -2)
            count = self.int(1, -(-n // abs(stride)))
            room = n - (count - 1) * abs(stride)
            first = self.int(0, room - 1)
            begin.append(first if stride > 0 else n - 1 - first)
            size.append(count)
            strides.append(stride)
        return self.put("slice", [x], begin=tuple(begin), size=tuple(size), strides=tuple(strides))

    def again(self, x: str) -> str:
        shape = self.b.shape(x)
        at = self.axis(x)
        repeats = tuple(self.int(2, 3) if i == at and np.prod(shape) < LARGE else 1
                        for i in range(len(shape)))  # fmt: skip
        return self.put("tile", [x], repeats=repeats)

    def rows(self, x: str) -> str:
        axis = self.axis(x)
        n = self.b.shape(x)[axis]
        found = self.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n + 1))
        return self.put("gather", [x], axis=axis, indices=tuple(found))

    def border(self, x: str) -> str:
        mode = self.pick("constant", "reflect", "symmetric", "edge", "wrap")
        most = [n - 1 if mode == "reflect" else n for n in self.b.shape(x)]
        pads = tuple((self.int(0, min(m, 2)), self.int(0, min(m, 2))) for m in most)
        more = {"value": self.pick(0.0, 1.5, -0.3)} if mode == "constant" else {}
        return self.put("pad", [x], pads=pads, mode=mode, **more)

    def over_axes(self, x: str) -> str:
        return self.put("reduce", [x], function=self.pick("mean", "sum", "max", "min"),
                        axes=self.axes(x))  # fmt: skip

    def most(self, x: str) -> str:
        axis = self.axis(x)
        return self.put("top_k", [x], axis=axis, k=self.int(1, self.b.shape(x)[axis]),
                        smallest=self.coin())  # fmt: skip

    def normalized(self, x: str) -> str:
        shape = self.b.shape(x)
        op = self.pick("layer_norm", "rms_norm", "l2_norm", "batch_norm")
        if op == "batch_norm":
            return self.norm(x)
        last = tuple(range(self.int(0, len(shape) - 1), len(shape)))
        if op == "l2_norm":
            return self.put(op, [x], axes=last)
        size = tuple(shape[a] for a in last)
        params = {"scale": self.normal(*size, mean=1), "shift": self.normal(*size)}
        return self.put(op, [x], params, axes=last, epsilon=self.pick(1e-3, 1e-6))

    def dense(self, x: str) -> str:
        co = self.int(1, 9)
        kernel = self.weights((self.b.shape(x)[-1], co))
        return self.put("dense", [x], self.bias({"kernel": kernel}, co))

    def constant(self, x: str) -> str:
        shape = tuple(n if self.coin() else 1 for n in self.b.shape(x))
        shape = shape[self.int(0, len(shape) - 1) :]
        op = self.pick("add", "sub", "mul", "div", "maximum", "minimum")
        value = self.rng.uniform(0.5, 2, shape).astype(np.float32)
        value *= self.rng.choice([-1, 1], shape)
        pair = [x, self.put("constant", [], {"value": value})]
        return self.put(op, pair if op == "div" or self.coin() else pair[::-1])

    def other_shape(self, x: str) -> str:
        size = int(np.prod(self.b.shape(x)))
        if self.coin():
            return self.put("flatten", [x])
        shape = []
        for _ in range(self.int(1, 3)):
            shape.append(self.pick(*(d for d in range(1, 31) if size % d == 0)))
            size //= shape[-1]
        return self.put("reshape", [x], shape=(*shape, size))

    def looked_up(self, x: str) -> str:
        at = self.put("arg_max", [x], axis=self.axis(x), smallest=self.coin(), last=self.coin())
        if self.coin():
            at = self.put("cast", [at], dtype="int32")
        at = self.put("reshape", [at], shape=(int(np.prod(self.b.shape(at))),))
        return self.put("embedding", [at], {"table": self.normal(self.int(2, 9), self.int(1, 4))})

    # images and sequences

    def wide_conv(self, x: str) -> str:
        """Dilated, grouped, or with a depth multiplier."""
        h, w, ci = self.b.shape(x)
        kh, kw = self.int(1, min(3, h)), self.int(1, min(3, w))
        dilations = tuple(
            self.int(1, 1 if k == 1 else max(1, min(3, (n - 1) // (k - 1))))
            for k, n in ((kh, h), (kw, w))
        )
        strides = (1, 1) if max(dilations) > 1 else (self.int(1, 2), self.int(1, 2))
        attrs = {"dilations": dilations, "pads": (0, 0, 0, 0), "strides": strides}
        if self.coin():
            m = self.int(1, 3)
            kernel = self.weights((kh, kw, m, ci)).transpose(0, 1, 3, 2)
            return self.put("depthwise_conv2d", [x], self.bias({"kernel": kernel}, ci * m), **attrs)
        groups = self.pick(*(g for g in range(1, ci + 1) if ci % g == 0))
        co = groups * self.int(1, 3)
        kernel = self.weights((kh, kw, ci // groups, co))
        return self.put("conv2d", [x], self.bias({"kernel": kernel}, co), groups=groups, **attrs)

    def upward(self, x: str) -> str:
        """A transposed convolution."""
        ci = self.b.shape(x)[2]
        groups = self.pick(*(g for g in range(1, ci + 1) if ci % g == 0))
        kh, kw, co = self.int(1, 3), self.int(1, 3), self.int(1, 3)
        kernel = self.weights((kh, kw, ci, co)).transpose(0, 1, 3, 2)
        small = np.prod(self.b.shape(x)) < LARGE
        strides = (self.int(1, 2), self.int(1, 2)) if small else (1, 1)
        pads = (self.int(0, (kh - 1) // 2), self.int(0, (kw - 1) // 2)) * 2
        params = self.bias({"kernel": kernel}, co * groups)
        return self.put("conv2d_transpose", [x], params, strides=strides, pads=pads, groups=groups)

    def resized(self, x: str) -> str:
        h, w, _ = self.b.shape(x)
        size = (self.int(1, 2 * h), self.int(1, 2 * w))
        grid = self.pick("half_pixel", "asymmetric", "align_corners")
        mode = self.pick("nearest", "bilinear")
        rounding = {"rounding": self.pick("floor", "ceil", "round", "round_down")}
        return self.put("resize", [x], size=size, mode=mode, grid=grid,
                        **(rounding if mode == "nearest" else {}))  # fmt: skip

    def blocks(self, x: str) -> str:
        """Depth to space, or back, where a block of 2 goes."""
        h, w, c = self.b.shape(x)
        if c % 4 == 0:
            return self.put("depth_to_space", [x], block=2, order=self.pick("dcr", "crd"))
        if self.coin():
            many = self.put("dense", [x], {"kernel": self.weights((c, 4))})
            return self.put("depth_to_space", [many], block=2, order=self.pick("dcr", "crd"))
        even = self.put("slice", [x], begin=(0, 0, 0), size=(max(h // 2 * 2, 1), max(w // 2 * 2, 1),
                        c), strides=(1, 1, 1))  # fmt: skip
        return self.put("space_to_depth", [even], block=2 if min(h, w) > 1 else 1)

    def groups(self, x: str) -> str:
        c = self.b.shape(x)[2]
        params = {"scale": self.normal(c, mean=1), "shift": self.normal(c)}
        groups = self.pick(*(g for g in range(1, c + 1) if c % g == 0))
        return self.put("group_norm", [x], params, groups=groups, epsilon=1e-3)

    def gate(self, x: str) -> str:
        """Squeeze and excite."""
        h, w, c = self.b.shape(x)
        s = self.put("avg_pool", [x], window=(h, w), strides=(1, 1), pads=(0, 0, 0, 0))
        s = self.put("dense", [s], {"kernel": self.weights((c, c))})
        return self.put("mul", [x, self.b.activation(self.name("gate"), s, "sigmoid")])

    def attend(self, x: str) -> str:
        """Attention of an image's pixels on themselves, in one or two heads."""
        h, w, c = self.b.shape(x)
        heads = 2 if h * w % 2 == 0 else 1
        q = self.put("transpose", [x], perm=(1, 0, 2))
        q, k = (self.put("reshape", [t], shape=(heads, h * w // heads, c)) for t in (q, x))
        s = self.put("matmul", [q, k], transpose_b=True)
        return self.put("matmul", [self.put("softmax", [s], axis=-1), k])

    def recurrent(self, x: str) -> str:
        h, w, c = self.b.shape(x)
        x = self.put("reshape", [x], shape=(1, h, w * c) if h > 1 else (1, w, c))
        cell = self.pick("lstm", "gru", "rnn")
        attrs = {"sequence": self.coin(), "reverse": self.coin(), "reset_after": self.coin()}
        kinds = (self.pick(*KINDS), self.pick(*KINDS))
        y = layer(self.b, self.rng, x, self.name(cell), cell, self.int(1, 6), kinds, **attrs)
        if cell != "lstm" or attrs["sequence"]:
            return y
        made = self.b.maker(y)
        state = self.put("cell_state", [x], made.params, **made.attrs, of=made.name)
        return self.put("concat", [y, state], axis=0)

    def image(self, x: str) -> str:
        """What wants an image, or a sequence, which is one of height 1."""
        kind = self.pick("conv", "conv", "wide_conv", "wide_conv", "upward", "pool", "pool", "pad",
                         "resized", "blocks", "groups", "gate", "attend", "recurrent")  # fmt: skip
        if kind == "conv" and self.coin():
            return self.activation(self.norm(self.conv(x)))
        if kind == "pad":  # of zeros: with what reads it, into which it goes
            return self.conv(self.pad(x))
        return str(getattr(self, kind)(x))

    def any(self, x: str) -> str:
        """What takes any shape."""
        kinds = ("function", "function", "function", "cut", "cut", "slopes", "grid", "soft", "turn",
                 "part", "again", "rows", "border", "over_axes", "most", "normalized", "dense",
                 "constant", "constant", "other_shape", "looked_up")  # fmt: skip
        return str(getattr(self, self.pick(*kinds))(x))

    def two(self, x: str, tensors: list[str]) -> str:
        """Two tensors of one shape, or one with what broadcasts against it."""
        shape = self.b.shape(x)
        op = self.pick("add", "sub", "mul", "maximum", "minimum", "concat", "broadcast")
        other = self.pick(*(t for t in tensors if self.b.shape(t) == shape))
        if op == "concat":
            return self.put(op, self.pick([x, other], [x, other, x]), axis=self.axis(x))
        if op == "broadcast":
            op = self.pick("add", "sub", "mul", "maximum", "minimum")
            other = self.put("reduce", [other], function="mean", axes=self.axes(x))
        return self.put(op, [x, other] if self.coin() else [other, x])


@st.composite
def graphs_of_operators(draw: st.DrawFn) -> Graph:
    """Three to eight operators of any kind on one to three inputs: branches, tensors read many
    times, results joined, one to four outputs, indices among them."""
    m = Operators(draw, "random")
    b = m.b
    shape = m.pick((5, 6, 4), (5, 6, 4), (4, 4, 3), (1, 12, 3), (7, 5, 1))
    sources = [b.add_input(f"x{i}", shape) for i in range(m.int(1, 3))]
    tensors = list(sources)
    for _ in range(m.int(3, 8)):
        x = m.pick(*tensors[-4:], *tensors)  # chains more often than bushes
        size = int(np.prod(b.shape(x)))
        if m.int(0, 4) == 0 and size < LARGE:
            tensors.append(m.two(x, tensors))
        elif len(b.shape(x)) == 3 and size < 2 * LARGE and m.coin():
            tensors.append(m.image(x))
        else:
            tensors.append(m.any(x))
    read = {t for node in b.nodes for t in node.inputs}
    for t in (x for x in sources if x not in read):  # a model reads all its inputs
        tensors.append(m.function(t))
        read.add(t)
    loose = [t for t in tensors if t not in read and t not in sources]
    outputs = loose[-3:]
    if loose[3:]:  # what nothing reads joins the last output
        flat = [m.put("reshape", [t], shape=(int(np.prod(b.shape(t))),))
                for t in (*loose[:-3], outputs[-1])]  # fmt: skip
        outputs[-1] = m.put("concat", flat, axis=0)
    if m.coin():  # indices, which are int32
        x = m.pick(*tensors)
        if m.coin():
            outputs.append(m.put("arg_max", [x], axis=m.axis(x), last=m.coin()))
        else:
            outputs.append(m.put("top_k_indices", [x], axis=m.axis(x), k=1))
    return b.finish(outputs)
