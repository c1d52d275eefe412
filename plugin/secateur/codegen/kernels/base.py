"""What a kernel is, and the registry.

A kernel is one file: a class marked `@register` that names the operators it executes.

    @register
    class Negate(Kernel[QNegate, Table]):
        name = "negate"

        def emit(self, layer: Layer[QNegate], table: Table) -> Emission:
            ...

What lies in flash for a layer is its `Table`. The planner scores the table that the library then
writes, so a candidate's bytes are the emitted ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

import numpy as np

from ... import coding, names
from ...coding.base import Encoded, Encoding
from ...lowering.qgraph import DTYPES, QGraph, QOp, QSums
from ..emit import CTYPES, Emission
from ..geometry import NO_THRIFT, Stripe, Thrift
from ..tables import Table

#: Weights of bytes from which on a library is compiled for size, and its kernels written so, too.
COMPACT, SMALL = 0.8, 0.9


def cast(place: str, ctype: str, const: bool = False) -> str:
    """C expression of a place of the arena as a pointer to `ctype`; bytes as they are."""
    if ctype == "uint8_t":
        return place
    const_ = "const " if const else ""
    return f"({const_}{ctype} *)({const_}void *)({place})"


Op = TypeVar("Op", bound=QOp)
AnyOp = TypeVar("AnyOp", bound=QOp, covariant=True)
Flash = TypeVar("Flash", bound=Table)


@dataclass
class Layer(Generic[AnyOp]):
    """One operator as a kernel sees it: the graph around it and where its operands lie."""

    op: AnyOp
    graph: QGraph
    encoded: Encoded | None = None
    weight: float = 0.0  #: of bytes against cycles in the plan, 0..1
    #: C expressions, set by the library writer once memory is planned
    inputs: list[str] = field(default_factory=list)
    output: str = ""
    in_place: bool = False  #: the output lies where the first input lies
    joined: frozenset[int] = frozenset()  #: inputs that lie where they go in the output
    kept: str = ""  #: scratch that lasts as long as the layer runs
    scratch: str = ""  #: the rest of it
    stripe: Stripe | None = None  #: set in a chain: the layer makes some rows at a time
    first: str = ""  #: C expression of the first of them
    thrift: Thrift = NO_THRIFT  #: set where RAM is short

    def live_inputs(self) -> np.ndarray:
        """How often each element of the first input is not code 0, float [size], as calibrated.

        Ones where nobody has looked.
        """
        name = self.op.inputs[0]
        share = self.graph.zero_share.get(name)
        if share is None:
            return np.ones(self.graph.tensors[name].size)
        return 1.0 - share

    def ctype(self, tensor: str) -> str:
        """C type of an element of one of its tensors."""
        return CTYPES[self.graph.tensors[tensor].dtype]

    @property
    def pointers(self) -> list[str]:
        """Its inputs, then its output, each as a pointer to the tensor's own type."""
        names = (*self.op.inputs, self.op.output)
        places = zip(names, (*self.inputs, self.output), strict=True)
        return [cast(place, self.ctype(t), t != self.op.output) for t, place in places]

    @property
    def shrinks(self) -> bool:
        """Whether an element of the output takes no more bytes than one of the first input, so
        that one may be written where the other was read."""
        t = self.graph.tensors
        return DTYPES[t[self.op.output].dtype] <= DTYPES[t[self.op.inputs[0]].dtype]

    @property
    def weights(self) -> Encoded:
        """The encoded weights of a layer that has them."""
        assert self.encoded is not None
        return self.encoded

    @property
    def encoding(self) -> Encoding:
        """How they are encoded."""
        return coding.get(self.weights.encoding)

    @property
    def index_bits(self) -> int:
        """Bits of the packed indices that stand for its weights; 0 where there are none."""
        return self.encoding.index_bits(self.weights) if self.encoded else 0

    @property
    def compact(self) -> bool:
        """It is compiled for size."""
        return self.weight >= COMPACT

    @property
    def small(self) -> bool:
        """Code size matters more than the last instruction."""
        return self.weight >= SMALL

    @property
    def prefix(self) -> str:
        """Prefix of the layer's arrays."""
        return f"{names.model(self.graph.name)}_{self.c_name}"

    @property
    def c_name(self) -> str:
        """What stands for the layer in C identifiers: no other layer of the model has it."""
        return names.layer(self.op.name, (op.name for op in self.graph))

    @property
    def out_size(self) -> int:
        """Elements of its output."""
        return self.graph.tensors[self.op.output].size


class Kernel(ABC, Generic[Op, Flash]):
    """One way to execute an operator. Stateless; registered under `name`.

    Op: the operators it executes, Flash: what it keeps of a layer in flash.
    """

    name: ClassVar[str]
    #: operators it executes: the first argument of `Kernel[...]`
    ops: ClassVar[tuple[type[QOp], ...]] = ()
    #: what it reads of encodings (coding.base.Encoding.readings); empty for layers without weights
    forms: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Kernel):
                op = get_args(base)[0]
                if not isinstance(op, TypeVar):
                    cls.ops = get_args(op) or (op,)

    def applies(self, layer: Layer[Op]) -> bool:
        """Whether this kernel executes `layer`, whose operator is one of `ops`, exactly."""
        return True

    @abstractmethod
    def table(self, layer: Layer[Op]) -> Flash:
        """What lies in flash for the layer: the same whenever it is asked."""

    @abstractmethod
    def emit(self, layer: Layer[Op], table: Flash) -> Emission:
        """The C of the layer, which reads `table`."""

    #: whether it has a form for tensors of 16 bits
    wide: ClassVar[bool] = False

    def reads(self, layer: Layer[Op]) -> bool:
        """Whether it reads and writes the layer's tensors as they are stored: bytes, if no kernel
        says otherwise."""
        tensors = [layer.graph.tensors[t] for t in (*layer.op.inputs, layer.op.output)]
        if any(t.packed for t in tensors):
            return False
        if isinstance(layer.op, QSums):  # `RequantTable.out` is the output's type
            return not self.wide and not tensors[0].wide
        return self.wide or not any(t.wide for t in tensors)

    def scratch(self, layer: Layer[Op]) -> int:
        """Bytes of scratch it needs during the layer."""
        return 0

    def kept(self, layer: Layer[Op]) -> int:
        """How many of them, the first ones, hold what `Emission.setup` has put there."""
        return 0

    def chains(self, layer: Layer[Op]) -> bool:
        """Whether it can make some rows of its output at a time: whether `emit` and all figures
        heed `layer.stripe`. (chain.py says what that means for it, `QOp.rows_read` what rows of
        its operands a row is made of.)"""
        return False

    def straight(self, layer: Layer[Op]) -> bool:
        """In a chain: whether the rows that a call reads of its first operand must lie in order,
        as those of the others always do, so that it gets a pointer to the first of them; else it
        looks for row y of a ring in slot y % held."""
        return False

    def thrifty(self, layer: Layer[Op]) -> Iterator[Thrift]:
        """The ways in which the layer takes less scratch where it runs alone, or fewer bytes."""
        return iter(())

    def overwrites(self, layer: Layer[Op]) -> tuple[int, ...]:
        """Indices of the inputs over which the output may lie."""
        return ()

    def joins(self, layer: Layer[Op]) -> Mapping[int, int]:
        """Inputs that it copies unchanged and whole, each to which byte of its output: where the
        memory plan has them written there at once (`layer.joined`), it leaves them alone."""
        return {}

    def order(self, layer: Layer[Op]) -> np.ndarray | None:
        """Order in which coded columns are stored for this kernel; None: as they are."""
        return None

    #: whether it passes over inputs of code 0, so that its time depends on the input
    skips_zeros: ClassVar[bool] = False
    #: instructions on a core without the DSP extension, relative to one with it; only used for
    #: units of `work` that nobody has fitted yet
    plain_factor: ClassVar[float] = 1.0
    #: instruction sets for which its inner loop is written in assembler
    assembler: ClassVar[frozenset[str]] = frozenset()

    def work(self, layer: Layer[Op]) -> dict[str, float]:
        """What the layer does, in units whose price on each core codegen/costs.json holds.

        A unit without a price counts as one instruction of a Cortex-M4. "FAMILY.UNIT" names the
        price of another family, such as the decoders'.
        """
        return {"instructions": self.cost(layer)}

    def dsp_work(self, layer: Layer[Op]) -> dict[str, float]:
        """The same for a core with the DSP extension, where the layer has a form of its own."""
        return self.work(layer)

    def vector_work(self, layer: Layer[Op]) -> dict[str, float]:
        """The same for a core with Helium, where the layer has a form of its own for it."""
        return self.dsp_work(layer)

    def cost(self, layer: Layer[Op]) -> float:
        """Instructions on a Cortex-M4, roughly: the unit where `work` names no better ones."""
        return 8.0 * layer.out_size


class Plain(Kernel[Op, Table]):
    """A kernel whose layers need nothing in flash."""

    def table(self, layer: Layer[Op]) -> Table:
        return Table()


AnyKernel = Kernel[Any, Any]

_REGISTRY: dict[str, AnyKernel] = {}


K = TypeVar("K", bound=type[AnyKernel])


def register(cls: K) -> K:
    """Class decorator: make the kernel known under its name."""
    add(cls())
    return cls


def add(kernel: AnyKernel) -> None:
    """Make a kernel known under its name. Raises ValueError where there is another one of it."""
    if kernel.name in _REGISTRY:
        raise ValueError(f"kernel {kernel.name!r} is registered twice")
    _REGISTRY[kernel.name] = kernel


def all_kernels() -> list[AnyKernel]:
    """Every kernel of this package, and those that others have registered, by name."""
    package = import_module(__name__.rpartition(".")[0])
    for module in walk_packages(package.__path__, f"{package.__name__}."):
        import_module(module.name)
    return [_REGISTRY[k] for k in sorted(_REGISTRY)]


def kernels_of(op: QOp) -> list[AnyKernel]:
    """Those that execute operators of this type."""
    return [k for k in all_kernels() if isinstance(op, k.ops)]


def get(name: str) -> AnyKernel:
    """The kernel called `name`."""
    all_kernels()
    return _REGISTRY[name]
