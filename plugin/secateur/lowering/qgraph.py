"""The integer graph: what lowering produces, the reference executes and codegen prints.

docs/integer-spec.md defines the arithmetic. In short: an activation is an unsigned 8-bit code u
with real value scale * (u - zero_point); the interface of the generated model is int8 q = u - 128.
Tensors are planar (C, H, W) inside; the model's input and output are (H, W, C) like Keras'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from secateur.errors import ModelError
from secateur.lowering.factored import Factors

#: Types of a tensor's elements, and their bytes: codes, or (at the model's ends) plain numbers.
DTYPES = {"uint8": 1, "int16": 2, "int32": 4}


@dataclass(frozen=True)
class QTensor:
    """An activation tensor. `shape` is (C, H, W), or (N,) for vectors; where the float graph has
    another rank, its last axis comes first here, too."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int  #: 0..255, the code of real 0
    #: Integers q whose subset sums are the only codes of a low-bit tensor: bit k of an element's
    #: level stands for q[k]. () where every code 0..255 may occur.
    planes: tuple[int, ...] = ()
    packed: bool = False  #: stored as bit planes (docs/integer-spec.md, "Packed tensors")
    #: a key of DTYPES. int16: codes -32768..32767, zero point 0 ("wide"); int32: integers as they
    #: are (indices)
    dtype: str = "uint8"

    @property
    def wide(self) -> bool:
        """Whether its codes have 16 bits."""
        return self.dtype == "int16"

    @property
    def bits(self) -> int:
        """Bits of information an element holds."""
        return len(self.planes) or 8 * DTYPES[self.dtype]

    @property
    def top(self) -> int:
        """The largest code."""
        return sum(self.planes) or (32767 if self.wide else 255)

    @property
    def bottom(self) -> int:
        """The least code."""
        return -32768 if self.wide else 0

    @property
    def codes(self) -> tuple[int, ...]:
        """The codes of a low-bit tensor, ascending, 2**bits of them."""
        return level_codes(self.planes)

    @property
    def rows(self) -> tuple[int, int]:
        """(channels, pixels of one) of a packed tensor; a vector is one channel."""
        pixels = int(np.prod(self.shape[1:])) if len(self.shape) == 3 else 1
        return (1, self.size) if pixels == 1 else (self.shape[0], pixels)

    @property
    def pitch(self) -> int:
        """Bytes of one bit plane of one channel where packed: whole words."""
        return 4 * -(-self.rows[1] // 32)

    @property
    def stored_bytes(self) -> int:
        """Bytes in the arena."""
        if not self.packed:
            return self.size * DTYPES[self.dtype]
        return self.rows[0] * len(self.planes) * self.pitch

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Requant:
    """Accumulator to code, per output channel: see docs/integer-spec.md, "Requantization".

    u = clamp((((acc * multiplier) >> pre_shift) + offset) >> shift, 0, 255), floors all.

    pre_shift is 0 where every accumulator fits in 16 bits, else 16.
    """

    multiplier: np.ndarray  #: int16 [co], values in int16 range
    offset: np.ndarray  #: int32 [co], in units of 2**-shift codes
    pre_shift: int
    shift: int


@dataclass(frozen=True)
class WideRequant(Requant):
    """The same where an end of the operator has 16 bits ("16-bit activations" there).

    y = clamp((acc * multiplier + offset) >> shift, low, high) in int64. multiplier: int32 [co];
    offset: int64 [co], multiples of 2**unit_bits that it brings into int32; pre_shift is 0.
    """

    low: int  #: the output's least code, 0 behind a ReLU
    high: int
    unit_bits: int = 0


@dataclass(frozen=True)
class ShortRequant(Requant):
    """`Requant` to int16 around zero: v = clamp(..., -32768, 32767)."""


@dataclass(frozen=True)
class Thresholds:
    """Accumulator to the code of a low-bit tensor, per output channel; nothing is rounded.

    u = codes[number of t with (acc ^ flip) >= values[t]]; flip is 0, or -1 where the real value
    falls as the accumulator rises (acc ^ -1 is -acc - 1).
    """

    values: np.ndarray  #: int32 [co, 2**bits - 1], ascending along a row
    flip: np.ndarray  #: int32 [co], 0 or -1
    planes: tuple[int, ...]  #: those of the output tensor
    #: of three or more even levels: multipliers, offsets and a shift that give the same code for
    #: every accumulator the operator can have, clamped to 0 .. the largest code; None: there are
    #: none, or nobody looked
    line: Requant | None = None

    @property
    def codes(self) -> tuple[int, ...]:
        """The output's codes, ascending."""
        return level_codes(self.planes)


def level_codes(planes: tuple[int, ...]) -> tuple[int, ...]:
    """Every sum of a subset of `planes`, ascending."""
    return tuple(sorted(sum(q for k, q in enumerate(planes) if i >> k & 1)
                        for i in range(2 ** len(planes))))  # fmt: skip


@dataclass(frozen=True)
class RowsRead:
    """What row y of an operator's output reads of an operand (C, H, W): of the rows
    y * step - pad .. y * step - pad + size - 1 those that there are."""

    step: int
    pad: int
    size: int

    def first(self, y: int) -> int:
        """First row that output row `y` and all behind it read."""
        return max(0, y * self.step - self.pad)


SAME_ROW = RowsRead(1, 0, 1)


@dataclass
class QOp:
    """Base of all integer operators. `name` is the source layer's and is unique."""

    name: str
    inputs: tuple[str, ...]
    output: str
    kind: ClassVar[str] = ""
    #: whether the operator means the same, unchanged, on images stored as (C, W, H)
    turns: ClassVar[bool] = False
    #: whether each row of its output (C, H, W) is made of that row of its operands alone
    by_row: ClassVar[bool] = False

    def rows_read(self, i: int) -> RowsRead | None:
        """The rows of operand `i` that a row of the output reads; None: all of it, or no rows."""
        return SAME_ROW if self.by_row else None


@dataclass
class QConv(QOp):
    """Convolution, also pointwise, depthwise (groups == ci) and 1-D (height 1).

    weight: int8 [co, ci // groups, kh, kw]; 8-bit, ternary (-1, 0, 1) or codebook levels alike.
    residual: when set, inputs[1] is a tensor of the output's shape that is added before the
    clamp: (r * residual) >> 16 joins the offset.
    """

    weight: np.ndarray
    requant: Requant | Thresholds
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  #: top, left, bottom, right
    groups: int = 1
    residual: int | None = None
    weight_bits: float = 8.0  #: log2 of the number of levels the layer may hold
    factors: Factors | None = None  #: what the weights are made of, where training left that
    kind: ClassVar[str] = "conv"

    def rows_read(self, i: int) -> RowsRead:
        if i:  # the residual
            return SAME_ROW
        return RowsRead(self.stride[0], self.pads[0], self.weight.shape[2])


@dataclass
class QDense(QOp):
    """Fully connected. weight: int8 [out, in], columns in planar (C, H, W) order."""

    weight: np.ndarray
    requant: Requant | Thresholds
    weight_bits: float = 8.0
    factors: Factors | None = None
    kind: ClassVar[str] = "dense"


@dataclass
class QSums(QDense):
    """The same with an int16 output around zero (`WideRequant`): one part of a recurrent layer's
    pre-activations, which has a matrix, encodings and kernels like any fully connected layer."""

    kind: ClassVar[str] = "sums"


@dataclass
class QPool(QOp):
    """Max or mean over a window; padding takes no part. The mean requantizes the sum.

    For means, requant has one entry per possible number of valid pixels: counts[i] pixels use
    entry i (one entry where there is no padding).
    """

    mode: str  #: "max" | "avg"
    window: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    requant: Requant | None = None
    counts: tuple[int, ...] = ()
    kind: ClassVar[str] = "pool"

    def rows_read(self, i: int) -> RowsRead:
        return RowsRead(self.stride[0], self.pads[0], self.window[0])


@dataclass
class _OfTime(QOp):
    """An operator of a loop that works on another element of time (C, 1, T) each turn."""

    reverse: bool = False  #: the first turn works on the last element

    def column(self, turn: int, turns: int) -> int:
        """The element of a turn."""
        return turns - 1 - turn if self.reverse else turn


@dataclass
class QTakeTime(_OfTime):
    """An element of time (C,) of a sequence (C, 1, T)."""

    kind: ClassVar[str] = "take_time"


@dataclass
class QPutTime(_OfTime):
    """A vector (C,) as an element of time of the output (C, 1, T)."""

    kind: ClassVar[str] = "put_time"


@dataclass
class QAdd(QOp):
    """u = clamp((((a * ma) >> 16) + ((b * mb) >> 16) + offset) >> shift, 0, 255)."""

    multipliers: tuple[int, int]  #: int32
    offset: int
    shift: int
    kind: ClassVar[str] = "add"
    turns: ClassVar[bool] = True
    by_row: ClassVar[bool] = True


@dataclass
class QRescale(QOp):
    """Unary change of scale: `requant` (one entry) with the code as accumulator."""

    requant: Requant | Thresholds
    kind: ClassVar[str] = "rescale"
    turns: ClassVar[bool] = True
    by_row: ClassVar[bool] = True


@dataclass
class QPad(QOp):
    """Explicit padding with the zero point, where no convolution can absorb it."""

    pads: tuple[int, int, int, int]
    kind: ClassVar[str] = "pad"

    def rows_read(self, i: int) -> RowsRead:
        return RowsRead(1, self.pads[0], 1)


@dataclass
class QPack(QOp):
    """A low-bit tensor from bytes to bit planes, or back, by what the output is; same codes."""

    kind: ClassVar[str] = "pack"
    turns: ClassVar[bool] = True


@dataclass
class QSoftmax(QOp):
    """Softmax over a vector; output scale 1/256, zero point 0. `beta` is int32 (see the spec)."""

    beta: int
    kind: ClassVar[str] = "softmax"
    turns: ClassVar[bool] = True


@dataclass(frozen=True)
class TimeLoop:
    """Operators that stand one behind the other and run `turns` times."""

    name: str
    first: str  #: name of the first operator
    last: str
    turns: int


@dataclass(frozen=True)
class State:
    """A tensor that lasts from one turn of a loop to the next, or from one step to the next.

    It holds `initial` in every element before the first, then what tensor `next` was, which an
    operator writes in its place when nobody needs the state any more.
    """

    next: str
    initial: int
    loop: str = ""  #: name of the loop; "": it lasts from one step to the next


@dataclass(frozen=True)
class Due:
    """In which steps of a stream something happens: step `offset` and every `period` behind."""

    period: int
    offset: int

    def at(self, step: int) -> bool:
        """Whether in this step, counted from 0."""
        return step >= self.offset and (step - self.offset) % self.period == 0


@dataclass
class QGraph:
    """Integer operators in execution order, and every tensor they touch.

    inputs, outputs: names of the tensors at the model's ends (one may be given without a tuple).
    """

    name: str
    ops: list[QOp]
    tensors: dict[str, QTensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    float_bytes: int = 0  #: 4 x all float parameters of the source model
    parameters: dict[str, int] = field(default_factory=dict)  #: source layer -> float parameters
    #: images are stored as (C, W, H): the model's input and output keep their (H, W, C) order
    transposed: bool = False
    #: tensor -> how often each of its elements was code 0 on the calibration data, float [size];
    #: for tensors that a fully connected layer reads. Changes costs, never values.
    zero_share: dict[str, np.ndarray] = field(default_factory=dict)
    #: type of a model's end as the caller sees it, where it is not the tensor's own ("int8" for
    #: codes): "uint8" passes codes as they are, "float32" (outputs only) real numbers
    interface: dict[str, str] = field(default_factory=dict)
    #: inputs whose features (last axis) have scales of their own: what real ones are divided by,
    #: float64 [channels], before the tensor's scale is
    factors: dict[str, np.ndarray] = field(default_factory=dict)
    #: what the source calls an output, where that is not its tensor's name
    titles: dict[str, str] = field(default_factory=dict)
    #: tensors that lie in flash: name -> values as stored, of the tensor's dtype and size
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    observer: str = "minmax"  #: the calibration method whose ranges these are
    #: where methods were held against each other: output SQNR in dB by method, and the tensors that
    #: were the reason with how many times their usual range the extremes span
    measured: dict[str, float] = field(default_factory=dict)
    outliers: dict[str, float] = field(default_factory=dict)
    loops: tuple[TimeLoop, ...] = ()  #: in order, none inside another
    states: dict[str, State] = field(default_factory=dict)  #: by the name of their tensor
    #: a network of a step (lowering/streaming.py): when each operator runs, and when outputs come
    due: dict[str, Due] = field(default_factory=dict)
    step_due: Due | None = None
    hop: int = 1  #: frames of a stream from one answer that is wanted to the next

    def __post_init__(self) -> None:
        self.inputs = (self.inputs,) if isinstance(self.inputs, str) else tuple(self.inputs)
        self.outputs = (self.outputs,) if isinstance(self.outputs, str) else tuple(self.outputs)

    @property
    def input(self) -> str:
        """The input of a model that has one."""
        return _only(self.inputs, "input", self.name)

    @property
    def output(self) -> str:
        """The output of a model that has one."""
        return _only(self.outputs, "output", self.name)

    @output.setter
    def output(self, tensor: str) -> None:
        self.outputs = (tensor,)

    def __iter__(self) -> Iterator[QOp]:
        return iter(self.ops)

    def interface_dtype(self, tensor: str) -> str:
        """Type of the input or output as the caller sees it: a NumPy dtype's name."""
        own = self.tensors[tensor].dtype
        return self.interface.get(tensor, "int8" if own == "uint8" else own)

    def interface_bytes(self, tensor: str) -> int:
        """Bytes of an end as the caller sees it."""
        return self.tensors[tensor].size * np.dtype(self.interface_dtype(tensor)).itemsize

    def interface_shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of the input or output as the caller sees it: (H, W, C) or (N,)."""
        shape = self.tensors[tensor].shape
        if len(shape) == 1:
            return shape
        if len(shape) != 3:
            return (*shape[1:], shape[0])
        c, a, b = shape
        return (b, a, c) if self.transposed else (a, b, c)

    def op(self, name: str) -> QOp:
        """The operator called `name`."""
        for o in self.ops:
            if o.name == name:
                return o
        raise KeyError(name)

    @property
    def nexts(self) -> frozenset[str]:
        """Tensors that take a state's place."""
        return frozenset(s.next for s in self.states.values())

    def loop_of(self, op: str) -> TimeLoop | None:
        """The loop that an operator runs in."""
        return self.by_loop().get(op)

    def turns(self, op: str) -> int:
        """How often an operator runs in an inference."""
        loop = self.loop_of(op)
        return loop.turns if loop else 1

    def by_loop(self) -> dict[str, TimeLoop]:
        """The loop of every operator that runs in one."""
        names = [op.name for op in self.ops]
        return {
            n: loop
            for loop in self.loops
            for n in names[names.index(loop.first) : names.index(loop.last) + 1]
        }


def _only(names: tuple[str, ...], what: str, model: str) -> str:
    if len(names) != 1:
        raise ModelError(f"model '{model}' has {len(names)} {what}s; this needs a model with one")
    return names[0]
