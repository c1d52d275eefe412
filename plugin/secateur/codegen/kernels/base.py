"""What a kernel family is, and the registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import ClassVar

import numpy as np

from ... import names
from ...coding.base import Encoded, Encoding
from ...lowering.qgraph import QGraph, QOp
from ..emit import Emission
from ..geometry import Stripe

#: Weight of bytes from which on a library is compiled for size.
SMALL = 0.9


@dataclass
class Layer:
    """One operator as a kernel sees it: the graph around it and where its operands lie."""

    op: QOp
    graph: QGraph
    encoded: Encoded | None = None
    weight: float = 0.0  #: of bytes against cycles in the plan, 0..1
    #: C expressions, set by the library writer once memory is planned
    inputs: list[str] = field(default_factory=list)
    output: str = ""
    kept: str = ""  #: scratch that lasts as long as the layer runs
    scratch: str = ""  #: the rest of it
    stripe: Stripe | None = None  #: set in a chain: the layer makes some rows at a time
    first: str = ""  #: C expression of the first of them

    def live_inputs(self) -> np.ndarray:
        """How often each element of the first input is not code 0, float [size], as calibrated.

        Ones where nobody has looked.
        """
        name = self.op.inputs[0]
        share = self.graph.zero_share.get(name)
        if share is None:
            return np.ones(self.graph.tensors[name].size)
        return 1.0 - share

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


class Kernel(ABC):
    """One way to execute an operator. Stateless; registered under `name`."""

    name: ClassVar[str]
    #: encoding forms it executes (coding.base.Encoding.form); empty for layers without weights
    forms: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def applies(self, layer: Layer) -> bool:
        """Whether this kernel executes `layer` exactly."""

    def takes(self, encoding: Encoding) -> bool:
        """Whether it executes this encoding, one of its `forms`."""
        return True

    def reads(self, layer: Layer) -> bool:
        """Whether it reads and writes the layer's tensors as they are stored: bytes, if no kernel
        says otherwise."""
        names = (*layer.op.inputs, layer.op.output)
        return not any(layer.graph.tensors[t].packed for t in names)

    def scratch(self, layer: Layer) -> int:
        """Bytes of scratch it needs during the layer."""
        return 0

    def kept(self, layer: Layer) -> int:
        """How many of them, the first ones, hold what `Emission.setup` has put there."""
        return 0

    def chains(self, layer: Layer) -> bool:
        """Whether it can make some rows of its output at a time: whether `emit` and all figures
        heed `layer.stripe`. (chain.py says what that means for it.)"""
        return False

    def straight(self, layer: Layer) -> bool:
        """In a chain: whether the rows that a call reads must lie in order, so that its input is
        a pointer to the first; else it looks for row y of a ring in slot y % held."""
        return False

    def overwrites(self, layer: Layer) -> tuple[int, ...]:
        """Indices of the inputs over which the output may lie."""
        return ()

    def order(self, layer: Layer) -> np.ndarray | None:
        """Order in which coded columns are stored for this kernel; None: as they are."""
        return None

    #: whether it passes over inputs of code 0, so that its time depends on the input
    skips_zeros: ClassVar[bool] = False
    #: about how many bytes of code it adds to a library, once per shape
    code_bytes: ClassVar[int] = 150
    #: the same on a core with neither the DSP extension nor Thumb-2, relative
    plain_code: ClassVar[float] = 1.0
    #: instructions on a core without the DSP extension, relative to one with it; only used for
    #: units of `work` that nobody has fitted yet
    plain_factor: ClassVar[float] = 1.0

    def work(self, layer: Layer) -> dict[str, float]:
        """What the layer does, in units whose price on each core codegen/costs.json holds.

        A unit without a price counts as one instruction of a Cortex-M4. "FAMILY.UNIT" names the
        price of another family, such as the decoders'.
        """
        return {"instructions": self.cost(layer)}

    def code(self, layer: Layer) -> int:
        """Bytes of code for a layer's shape, on a Cortex-M4."""
        return self.code_bytes

    def vector_work(self, layer: Layer) -> dict[str, float]:
        """The same for a core with Helium, where the layer has a form of its own for it."""
        return self.work(layer)

    def cost(self, layer: Layer) -> float:
        """Instructions on a Cortex-M4, roughly: the unit where `work` names no better ones."""
        return 8.0 * layer.graph.tensors[layer.op.output].size

    @abstractmethod
    def emit(self, layer: Layer) -> Emission:
        """The C of the layer."""


_REGISTRY: dict[str, Kernel] = {}


def register(cls: type[Kernel]) -> type[Kernel]:
    """Class decorator: make the kernel known under its name."""
    _REGISTRY[cls.name] = cls()
    return cls


def all_kernels() -> list[Kernel]:
    """Every kernel of this package, by name."""
    package = __name__.rpartition(".")[0]
    for module in iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")
    return [_REGISTRY[k] for k in sorted(_REGISTRY)]


def get(name: str) -> Kernel:
    """The kernel called `name`."""
    all_kernels()
    return _REGISTRY[name]
