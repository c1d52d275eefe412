"""A converted model: what it is made of, what it costs, how it is run and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import notebook
from ..codegen.ends import End, Ends, ends
from ..codegen.formats import save_as
from ..codegen.kernels import get as get_kernel
from ..codegen.optimize import MAX_SLOWDOWN
from ..codegen.plan import Budget, Plan, make_plan, matrix
from ..coding.entropy import entropy_bytes
from ..errors import BudgetError, DataError
from ..frontend.ir import Graph
from ..lowering import reference
from ..lowering.qgraph import QDense, QGraph, QOp
from ..names import cell, comment, shown
from ..progress import tell
from ..report import gains
from ..report.figures import Size
from ..report.gains import Gains
from ..report.layers import LayerFigures, layer_macs
from ..report.stream import StreamReport

if TYPE_CHECKING:
    from ..lowering.mfcc import Mfcc, QMfcc
    from ..targets import Board

#: Bytes that the serial harness takes beside the model's input, output and arena: its requests and
#: replies in RAM, its code and start-up in flash (an image's `static_ram` and `harness`).
HARNESS_RAM = 480
HARNESS_FLASH = 5120

#: Version of secateur.json, the manifest beside a saved library.
MANIFEST = 1


@dataclass(repr=False)
class CompiledModel:
    """A converted model: float graph, integer graph, plan and generated C.

    `optimize`, `encodings`, `budget` and `max_slowdown` are what the plan was asked for: a plan for
    another core is asked for the same.
    """

    name: str
    graph: Graph
    qgraph: QGraph
    plan: Plan
    optimize: str = "balanced"
    notes: list[str] = field(default_factory=list)
    encodings: Mapping[str, str] | str | None = None
    budget: Budget = field(default_factory=Budget)
    portable: bool = False  #: whether a plan for a board is written for all cores
    weights: str = "separate"  #: where the C defines the constants
    max_slowdown: float = MAX_SLOWDOWN  #: of a plan against the fastest one
    stream_report: StreamReport | None = None  #: of a network of a step: its costs and states

    def __repr__(self) -> str:
        return (
            f"<CompiledModel {shown(self.name)}: {len(self.plan.layers)} operators, "
            f"{self.size.stored:,} bytes stored ({self.size.ratio:.1f}x less than float32), "
            f"arena {self.plan.arena:,} bytes, planned for {self.plan.core}>"
        )

    def _repr_html_(self) -> str:
        rows: list[list[object]] = [
            [x.name, x.encoding or x.op, x.kernel, x.parameters, x.nonzeros, x.stored_bytes, x.macs]
            for x in self.layers
        ]
        columns = ("layer", "stored as", "kernel", "weights", "non-zero", "bytes", "MACs")
        return notebook.table(repr(self)[1:-1], columns, rows, self.notes)

    def summary(self, line_length: int = 110) -> None:
        """Print the layers, sizes and ends, as `keras.Model.summary` does."""
        print(self.text(line_length))

    def text(self, line_length: int = 110) -> str:
        """What `summary` prints: layers with what they are stored as, ends, estimates."""
        from ..report.terminal import layer_text

        ends = [
            f"{kind} {shown(e.title)}: {e.dtype} [{', '.join(map(str, e.shape))}], "
            f"real = {e.scale:.6g} * (q - {e.zero_point})"
            for kind, group in (("input", self.inputs), ("output", self.outputs))
            for e in group.ends
        ]
        figures = (
            f"{self.size.stored:,} bytes stored, {self.size.float32:,} in float32 "
            f"({self.size.ratio:.1f}x); arena {self.plan.arena:,} bytes; estimated for "
            f"{self.plan.core}: {self.plan.flash:,} bytes of flash, "
            f"{self.plan.instructions:,.0f} instructions"
        )
        notes = [f"note: {shown(note)}" for note in self.notes]
        table = layer_text(self.layers, shown(self.name), line_length)
        stream = [str(self.stream_report)] if self.stream_report else []
        return "\n".join([table.rstrip("\n"), *stream, *ends, figures, *notes])

    def planned_for(self, board: Board) -> CompiledModel:
        """This model with a plan for `board`: itself where core (and clock, if it counts) agree.

        The host runs every plan as it is. Encodings and kernels may differ, outputs do not. Raises
        BudgetError if no plan for the board keeps the budgets, or fits the board's memories.
        """
        if board.hosted:
            if self.plan.runs_on(board.core):
                return self
            plan = make_plan(
                self.qgraph, self.encodings, self.optimize, self.budget, self.plan.core,
                weights=self.weights, max_slowdown=self.max_slowdown,
            )  # fmt: skip
            return replace(self, plan=plan)
        timed = self.budget.latency_ms is not None
        budget = replace(self.budget, clock_hz=board.clock_hz) if timed else self.budget
        fits = board.cpu.priced_as == self.plan.core and self.plan.runs_on(board.core)
        if fits and budget == self.budget:
            return self._within(board)
        tell(f"planning for {board.core}")
        plan = make_plan(
            self.qgraph, self.encodings, self.optimize, budget, board.core,
            weights=self.weights, portable=self.portable,
            max_slowdown=self.max_slowdown,
        )  # fmt: skip
        return replace(self, plan=plan, budget=budget)._within(board)

    def with_slowdown(self, max_slowdown: float, board: Board) -> CompiledModel:
        """This model planned anew for `board`, within another bound on slowness."""
        core = self.plan.core if board.hosted else board.core
        timed = self.budget.latency_ms is not None and not board.hosted
        budget = replace(self.budget, clock_hz=board.clock_hz) if timed else self.budget
        plan = make_plan(
            self.qgraph, self.encodings, self.optimize, budget, core,
            weights=self.weights, portable=self.portable or board.hosted,
            max_slowdown=max_slowdown,
        )  # fmt: skip
        return replace(self, plan=plan, budget=budget, max_slowdown=max_slowdown)

    def _within(self, board: Board) -> CompiledModel:
        """This model with a plan that the board's memories hold beside stack and harness.

        What the linker would refuse is said before anything is built. Raises BudgetError naming the
        nearest plan.
        """
        ends_ = self.inputs.bytes + self.outputs.bytes
        ram = board.memory.ram.length - board.min_stack - ends_ - HARNESS_RAM
        flash = board.memory.flash.length - HARNESS_FLASH
        if self.plan.arena <= ram and self.plan.flash <= flash:
            return self
        b = self.budget
        room = replace(
            b,
            ram=max(0, ram if b.ram is None else min(b.ram, ram)),
            flash=max(0, flash if b.flash is None else min(b.flash, flash)),
        )
        tell(f"planning for the memories of {board.id}")
        try:
            plan = make_plan(
                self.qgraph, self.encodings, self.optimize, room, board.core,
                weights=self.weights, portable=self.portable,
                max_slowdown=self.max_slowdown,
            )  # fmt: skip
        except BudgetError as error:
            raise BudgetError(
                f"board {board.id} has {board.memory.ram.length} bytes of RAM, of which stack and "
                f"harness leave {max(0, ram)}, and {board.memory.flash.length} of flash, of which "
                f"the harness leaves {max(0, flash)}: {error}"
            ) from None
        return replace(self, plan=plan)

    @property
    def layers(self) -> list[LayerFigures]:
        """Figures of every operator, in execution order; bytes are those in the C arrays."""
        out = []
        for op in self.qgraph:
            p = self.plan.layers[op.name]
            w = matrix(op)
            shape = self.qgraph.tensors[op.output].shape
            size = int(w.size) if w is not None else 0
            nonzeros = int(np.count_nonzero(w)) if w is not None else 0
            macs, effectual = layer_macs(shape, size, nonzeros)
            ends_ = [self._extent(t) for t in (*op.inputs, op.output)]
            turns = self.qgraph.turns(op.name)
            out.append(
                LayerFigures(
                    name=op.name,
                    op=op.kind,
                    encoding=p.encoding,
                    parameters=size,
                    nonzeros=nonzeros,
                    stored_bytes=self.plan.library.bytes_of(op.name),
                    entropy_bytes=entropy_bytes(w) if w is not None else 0.0,
                    macs=macs * turns,
                    effectual_macs=effectual * turns,
                    kernel=p.kernel,
                    levels=int(np.unique(w[w != 0]).size) if w is not None else 0,
                    live=self._live(op),
                    skips=get_kernel(p.kernel).skips_zeros,
                    moved=sum(bytes_ for _, bytes_ in ends_),
                    values=sum(count for count, _ in ends_),
                )
            )
        return out

    def _extent(self, tensor: str) -> tuple[int, int]:
        """(numbers, bytes) of a tensor."""
        t = self.qgraph.tensors[tensor]
        count = int(np.prod(t.shape))
        if t.packed:
            return count, -(-count * len(t.planes) // 8)
        return count, count * np.dtype(t.dtype).itemsize

    def _live(self, op: QOp) -> float:
        """Share of a fully connected layer's non-zero weights whose input is not code 0."""
        share = self.qgraph.zero_share.get(op.inputs[0])
        if not isinstance(op, QDense) or share is None:
            return 1.0
        counts = np.count_nonzero(op.weight, axis=0)
        return float((counts * (1 - share)).sum() / max(1, counts.sum()))

    @property
    def factors(self) -> Gains:
        """EIE's factors: what sparsity, weight sharing, skipped inputs and coding each give."""
        return gains.of(self.layers, self.size.float32, self.size.stored)

    @property
    def size(self) -> Size:
        """Bytes of all parameters in float32, as plain int8, and as stored."""
        parameters = self.qgraph.float_bytes // 4
        return Size(self.qgraph.float_bytes, parameters, self.plan.library.constant_bytes)

    @property
    def inputs(self) -> Ends:
        """The inputs as the C takes them."""
        return ends(self.qgraph, self.qgraph.inputs, "input")

    @property
    def outputs(self) -> Ends:
        """The outputs as the C gives them."""
        return ends(self.qgraph, self.qgraph.outputs, "output")

    def quantize(self, inputs: Any) -> Any:
        """Real inputs as the model's codes (int8, or its own type); int8 inputs (int16 ones of a
        model that takes int16) are codes and pass unchanged.

        inputs: [N, *input shape]; of several inputs a list in the model's order or a mapping by
        name, and a list is returned. Indices (of an Embedding) stay whole numbers, int32.
        Raises DataError.
        """
        if len(self.qgraph.inputs) == 1 and not isinstance(inputs, Mapping | list | tuple):
            kind = self.qgraph.interface_dtype(self.qgraph.input)
            if np.asarray(inputs).dtype == (np.int16 if kind == "int16" else np.int8):
                return np.asarray(inputs)
            return reference.quantize_input(self.qgraph, inputs)
        return reference.quantize_input(self.qgraph, inputs)

    def run(self, inputs: Any) -> Any:
        """The NumPy reference's outputs, codes (int8), for real inputs or codes; a list for several
        outputs."""
        reference.whole_windows(self.qgraph)
        return reference.run(self.qgraph, self.quantize(inputs))

    def stream(self, n: int = 1) -> reference.Stepper:
        """The NumPy reference of a model converted with `streaming=True`: `step(frame)` takes codes
        [n, ...] of one frame for n streams side by side and gives output codes, or None in steps
        without; `reset()` begins anew.

        Raises DataError for a model of whole windows.
        """
        if self.qgraph.step_due is None:
            raise DataError(f"'{self.name}' runs on whole windows; convert with streaming=True")
        return reference.Stepper(self.qgraph, n)

    def add_features(self, definition: Mfcc) -> QMfcc:
        """Make a stream read samples: `save` writes NAME_features.c and .h, too, with
        `NAME_listen(state, arena, samples, output)` from `definition.hop` int16 samples to an
        answer (docs/streaming.md).

        Returns the NumPy reference: `codes(samples)` are the frames that the C makes, bit for bit.

        Raises DataError for a model of whole windows, and where it reads other frames than are
        made.
        """
        from .listening import add

        return add(self, definition)

    def predict(self, inputs: Any) -> Any:
        """Real numbers, as `keras.Model.predict` gives them, computed in the model's integers.

        Args:
            inputs: real [N, *input shape]; a list or mapping by name where there are several.

        Returns:
            float32 [N, *output shape] (class indices: int32); a list for several outputs.

        Raises:
            DataError: the inputs do not fit the model.
        """
        return reference.dequantize_output(self.qgraph, self.run(inputs))

    def save(self, folder: str | Path, form: str = "platformio") -> Path:
        """Write the library and its manifest `secateur.json`; replaces an earlier one whole.

        form: "platformio", "plain", "cmake", "arduino", "zephyr", "rust" or "cmsis-pack"
        (codegen/formats.py).
        """
        manifest = json.dumps(self.manifest(), indent=2) + "\n"
        self.plan.library.files["secateur.json"] = manifest
        plan = self.plan
        about = {
            "flash, estimated": f"{plan.flash:,} bytes, constants {plan.library.constant_bytes:,}",
            "RAM": f"{plan.arena:,} bytes of arena, {self.inputs.bytes + self.outputs.bytes:,} of "
            "input and output",
            "inference, estimated": f"{plan.instructions:,.0f} instructions on {plan.core}",
            "input": _in_words(self.inputs),
            "output": _in_words(self.outputs),
        }
        return save_as(plan.library, Path(folder), form, about)

    def manifest(self) -> dict[str, Any]:
        """What `inspect` and the build need to know of a saved library."""
        return {
            "secateur": MANIFEST,
            "name": self.name,
            "optimize": self.optimize,
            "others": {o: {"flash": a.flash, "cycles": round(a.cycles)}
                       for o, a in self.plan.others.items()},
            "size": {
                "float32": self.size.float32, "int8": self.size.int8, "stored": self.size.stored,
            },
            "arena": self.plan.arena,
            "factors": asdict(self.factors),
            **self._one_of_each(),
            "inputs": [_described(e) for e in self.inputs.ends],
            "outputs": [_described(e) for e in self.outputs.ends],
            "layers": [
                {**asdict(layer), "bits": self.plan.library.bits_of(layer.name)}
                for layer in self.layers
            ],
            "chains": [
                {"layers": [link.name for link in c.links], "rows": c.rows, "scratch": c.scratch}
                for c in self.plan.chains
            ],
        }  # fmt: skip

    def _one_of_each(self) -> dict[str, Any]:
        """`input` and `output` of a model that has one int8 input and output."""
        if not (self.inputs.plain and self.outputs.plain):
            return {}
        (first,), (last,) = self.inputs.ends, self.outputs.ends
        return {
            kind: {"size": e.size, "scale": e.scale, "zero_point": e.zero_point}
            for kind, e in (("input", first), ("output", last))
        }


def _in_words(group: Ends) -> str:
    return "; ".join(
        f"{comment(cell(e.title))}: {e.dtype}, {e.layout}, scale {e.scale:.6g}, "
        f"zero point {e.zero_point}"
        for e in group.ends
    )


def _described(end: End) -> dict[str, Any]:
    return {
        "name": end.title, "c_name": end.c_name, "dtype": end.dtype, "shape": list(end.shape),
        "scale": end.scale, "zero_point": end.zero_point,
        **({"scales": list(end.scales)} if end.scales else {}),
    }  # fmt: skip
