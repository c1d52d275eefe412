"""From a model to a report: the pieces of the package in the order in which data flows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .codegen.formats import save_as
from .codegen.kernels import get as get_kernel
from .codegen.library import c_identifier
from .codegen.packing import pack
from .codegen.plan import DEFAULT_CORE, Budget, Plan, make_plan, matrix
from .coding.entropy import entropy_bytes
from .errors import DataError, ModelError
from .frontend import execute
from .frontend.ir import Graph
from .frontend.load import load as load_graph
from .lowering import reference
from .lowering.align import align
from .lowering.observe import observe_zeros
from .lowering.orient import orient
from .lowering.qgraph import QDense, QGraph, QOp
from .lowering.quantize import lower
from .progress import tell
from .report import factors
from .report.factors import Factors
from .report.figures import (
    Accuracy,
    Energy,
    Flash,
    LayerFigures,
    Outputs,
    Ram,
    Report,
    Size,
    estimate_energy,
    estimate_latency,
    layer_macs,
    write_text,
)
from .report.units import parse

if TYPE_CHECKING:
    from .targets import Board, RunResult, Target

#: Version of secateur.json, the manifest beside a saved library.
MANIFEST = 1


@dataclass
class CompiledModel:
    """A converted model: float graph, integer graph, plan and generated C.

    `optimize`, `encodings` and `budget` are what the plan was asked for: a plan for another core
    is asked for the same.
    """

    name: str
    graph: Graph
    qgraph: QGraph
    plan: Plan
    optimize: str = "balanced"
    notes: list[str] = field(default_factory=list)
    encodings: Mapping[str, str] | str | None = None
    budget: Budget = field(default_factory=Budget)

    def planned_for(self, board: Board) -> CompiledModel:
        """This model with a plan for `board`: itself where core (and clock, if it counts) agree.

        The host runs every plan as it is. Encodings and kernels may differ, outputs do not. Raises
        BudgetError if no plan for the board keeps the budgets.
        """
        if board.hosted:
            return self
        timed = self.budget.latency_ms is not None
        budget = replace(self.budget, clock_hz=board.clock_hz) if timed else self.budget
        if board.cpu.priced_as == self.plan.core and budget == self.budget:
            return self
        tell(f"planning for {board.core}")
        plan = make_plan(self.qgraph, self.encodings, self.optimize, budget, board.core)
        return replace(self, plan=plan, budget=budget)

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
            out.append(
                LayerFigures(
                    name=op.name,
                    op=op.kind,
                    encoding=p.encoding,
                    parameters=size,
                    nonzeros=nonzeros,
                    stored_bytes=self.plan.library.bytes_of(op.name),
                    entropy_bytes=entropy_bytes(w) if w is not None else 0.0,
                    macs=macs,
                    effectual_macs=effectual,
                    kernel=p.kernel,
                    levels=int(np.unique(w[w != 0]).size) if w is not None else 0,
                    live=self._live(op),
                    skips=get_kernel(p.kernel).skips_zeros,
                )
            )
        return out

    def _live(self, op: QOp) -> float:
        """Share of a fully connected layer's non-zero weights whose input is not code 0."""
        share = self.qgraph.zero_share.get(op.inputs[0])
        if not isinstance(op, QDense) or share is None:
            return 1.0
        counts = np.count_nonzero(op.weight, axis=0)
        return float((counts * (1 - share)).sum() / max(1, counts.sum()))

    @property
    def factors(self) -> Factors:
        """EIE's factors: what sparsity, weight sharing, skipped inputs and coding each give."""
        return factors.of(self.layers, self.size.float32, self.size.stored)

    @property
    def size(self) -> Size:
        """Bytes of all parameters in float32, as plain int8, and as stored."""
        parameters = self.qgraph.float_bytes // 4
        return Size(self.qgraph.float_bytes, parameters, self.plan.library.constant_bytes)

    def quantize(self, inputs: np.ndarray) -> np.ndarray:
        """Real inputs as the model's int8; int8 inputs pass unchanged."""
        if np.asarray(inputs).dtype == np.int8:
            return np.asarray(inputs)
        return reference.quantize_input(self.qgraph, inputs)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """The NumPy reference's int8 outputs for real or int8 inputs."""
        return reference.run(self.qgraph, self.quantize(inputs))

    def save(self, folder: str | Path, form: str = "platformio") -> Path:
        """Write the library and its manifest `secateur.json`; replaces an earlier one whole.

        form: "platformio", "plain", "cmake", "arduino" or "zephyr" (codegen/formats.py).
        """
        manifest = json.dumps(self.manifest(), indent=2) + "\n"
        self.plan.library.files["secateur.json"] = manifest
        return save_as(self.plan.library, Path(folder), form)

    def manifest(self) -> dict[str, Any]:
        """What `inspect` and the build need to know of a saved library."""
        t_in, t_out = (self.qgraph.tensors[t] for t in (self.qgraph.input, self.qgraph.output))
        return {
            "secateur": MANIFEST,
            "name": self.name,
            "optimize": self.optimize,
            "size": {
                "float32": self.size.float32, "int8": self.size.int8, "stored": self.size.stored,
            },
            "arena": self.plan.arena,
            "factors": asdict(self.factors),
            "input": {"size": t_in.size, "scale": t_in.scale, "zero_point": t_in.zero_point - 128},
            "output": {
                "size": t_out.size, "scale": t_out.scale, "zero_point": t_out.zero_point - 128,
            },
            "layers": [
                {**asdict(layer), "bits": self.plan.library.bits_of(layer.name)}
                for layer in self.layers
            ],
            "chains": [
                {"layers": [link.name for link in c.links], "rows": c.rows, "scratch": c.scratch}
                for c in self.plan.chains
            ],
        }  # fmt: skip


def load(model_or_path: Any, name: str | None = None) -> Graph:
    """Read a model (Keras 3 in memory or a file) into the float graph."""
    return load_graph(model_or_path, name)


def convert(
    model: Any,
    calibration: np.ndarray,
    name: str | None = None,
    optimize: str = "balanced",
    encodings: Mapping[str, str] | str | None = None,
    calibration_method: str = "minmax",
    flash: str | int | None = None,
    ram: str | int | None = None,
    latency: str | float | None = None,
    board: str | None = None,
) -> CompiledModel:
    """Convert a trained model.

    model: a Keras model or the path of a `.keras` file. calibration: real inputs, float
    [N, *input shape]; a few hundred typical ones. name: prefix of the generated C. encodings:
    force a weight encoding, for all layers or by layer name. optimize: "latency", "energy",
    "balanced" or "flash". flash, ram, latency: hard budgets ("64 kB" of constants and code, "16 kB"
    of arena, "20 ms"; the planner's estimates keep them). board: whose core and clock the plan is
    for; `deploy` plans again for a board with another core.
    Raises ModelError, DataError, BudgetError if no plan keeps the budgets.
    """
    core, clock = _core(board)
    budget = Budget(
        None if flash is None else int(parse(flash, "bytes")),
        None if ram is None else int(parse(ram, "bytes")),
        None if latency is None else parse(latency, "ms"),
        clock,
    )
    if latency is not None and not clock:
        raise DataError(
            "a latency budget needs the board whose clock it is for: give board=... (--board)"
        )
    tell("reading the model")
    graph = load_graph(model, name)
    tell(f"calibrating with {len(calibration)} inputs")
    graph.name = c_identifier(name or graph.name)
    qgraph = lower(graph, np.asarray(calibration), method=calibration_method)  # type: ignore[arg-type]
    qgraph = pack(align(orient(qgraph)))
    qgraph.name = graph.name
    observe_zeros(qgraph, np.asarray(calibration))
    tell("choosing encodings and kernels")
    plan = make_plan(qgraph, encodings, optimize, budget, core)
    return CompiledModel(
        graph.name, graph, qgraph, plan, optimize, encodings=encodings, budget=budget
    )


def _core(board: str | None) -> tuple[str, int]:
    """(core, clock in Hz) of a board; (the default core, 0) without."""
    if board is None:
        return DEFAULT_CORE, 0
    from .targets import boards

    b = boards.load(board)
    return b.core, b.clock_hz


def deploy(
    compiled: CompiledModel,
    board: str = "mps2_an386",
    inputs: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    emulator: str | Target | None = None,
    build_dir: str | Path | None = None,
    builder: str = "platformio",
    port: str | None = None,
    power: str | None = None,
) -> Report:
    """Build `compiled` for a board, run `inputs` there (or in its emulator), and report.

    With `port` (serial port, or "auto") the board itself is flashed and run, and with `power`
    ("ppk2", "joulescope", "lpm01a:PORT", "ina2xx:PORT", "csv:FILE") its energy is measured.
    `emulator` may be a Target that is ready to run.
    inputs: real [N, *input shape] or int8; labels: class indices [N], for accuracy. The library is
    written to `build_dir`/library and built beside it (default build/NAME/BOARD). If `compiled`
    was planned for another core, the library that is built has a plan for the board's.
    Raises ToolError, TargetError, DataError, BudgetError.
    """
    from . import targets

    b = targets.boards.load(board)
    if isinstance(emulator, targets.Target):
        target = emulator
    else:
        target = targets.pick(b, emulator, port, power)
    compiled = compiled.planned_for(b)
    if inputs is None:
        x = np.zeros((1, *compiled.qgraph.interface_shape(compiled.qgraph.input)), np.int8)
    else:
        x = compiled.quantize(inputs)
    if labels is not None and len(labels) != len(x):
        raise DataError(f"{len(labels)} labels for {len(x)} inputs; give one label an input")
    folder = Path(build_dir) if build_dir else Path("build") / compiled.name / board
    library = compiled.save(folder / "library")
    tell(f"building for {board}")
    image = targets.build(library, b, folder / "firmware", builder=builder)
    tell(f"running on {board} ({target.name})", 0, len(x))
    result = target.run(image, x)
    tell("comparing with the reference")
    expected = reference.run(compiled.qgraph, x).reshape(len(x), -1)
    same = int(np.all(result.outputs.reshape(len(x), -1) == expected, axis=1).sum())
    s = image.sizes
    latency = estimate_latency(
        result.instructions,
        result.cycles,
        result.cycles_kind,
        b.clock_hz,
    )
    report = Report(
        model=compiled.name,
        board=board,
        emulator=None if target.name == "board" else target.name,
        accuracy=_accuracy(compiled, inputs, labels, expected, result.outputs),
        outputs=Outputs(same, len(x)),
        size=compiled.size,
        flash=Flash(s.total, s.model, s.runtime, s.harness),
        ram=Ram(s.arena, result.stack, s.static_ram),
        latency=latency,
        energy=_energy(result, latency.ms, b),
        layers=tuple(compiled.layers),
        factors=compiled.factors,
    )
    write_text(folder / "report.json", report.to_json())
    return report


def _energy(result: RunResult, ms: float | None, board: Board) -> Energy:
    """What a meter measured above idle; else the estimate from the manifest's current."""
    if result.energy is not None:
        e = result.energy
        spread = f" (+-{round(e.spread_uj, 6):.3g} uJ)" if e.windows > 1 else ""  # to a picojoule
        source = f"{e.source}, {e.windows} windows{spread}, idle {e.idle_ma:.3g} mA subtracted"
        return Energy(e.uj, "measured", source)
    p = board.power
    return estimate_energy(ms, p.active_ma, p.voltage, p.source)


def _top1(outputs: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(outputs.reshape(len(labels), -1).argmax(axis=1) == labels))


def _accuracy(
    compiled: CompiledModel,
    inputs: np.ndarray | None,
    labels: np.ndarray | None,
    expected: np.ndarray,
    device: np.ndarray,
) -> Accuracy:
    if labels is None or inputs is None:
        return Accuracy()
    y = np.asarray(labels).reshape(-1)
    if np.issubdtype(np.asarray(inputs).dtype, np.integer):
        t = compiled.qgraph.tensors[compiled.qgraph.input]
        x = (np.asarray(inputs, np.float32) + 128 - t.zero_point) * np.float32(t.scale)
    else:
        x = np.asarray(inputs, np.float32)
    try:
        real = execute.run(compiled.graph, x)
    except ModelError:
        return Accuracy(None, _top1(expected, y), _top1(device, y))
    return Accuracy(_top1(real, y), _top1(expected, y), _top1(device, y))
