"""Plans: for every layer an encoding and a kernel, for every byte of RAM a place.

Every layer has a handful of candidates (encoding x kernel), each with stored bytes, scratch and
estimated cycles. A plan minimises a weighted sum of bytes and cycles; budgets are met
by walking the weights from the user's wish towards the budget that binds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .. import coding, cores
from ..coding.base import Encoded, Encoding, coded_form, is_ternary
from ..coding.deal import FactoredMatrix
from ..coding.sharing import share_tables
from ..errors import BudgetError, ModelError
from ..lowering.qgraph import QConv, QDense, QGraph, QOp
from ..names import comment
from .chain import Chain
from .chain_plan import COST_SHARE, RAM_WORTH, ChainChoice, Way
from .choose import Option, PlanSearch, ternary_kept
from .code_size import library_bytes, startup_bytes
from .costs import NO_COST, Cost, cost, price_of
from .emit import ISAS
from .ends import end_work
from .geometry import Thrift
from .kernels import AnyKernel, Layer, kernels_of
from .kernels.base import COMPACT
from .library import WEIGHTS_IN, Form, Library, write
from .memory import MemoryPlan
from .optimize import MAX_SLOWDOWN, WEIGHTS

#: What a byte of flash is worth in a budget of RAM to who wishes for speed alone, at least, and to
#: who wishes for few bytes alone, at most: as a weight of bytes against cycles.
LEAST_WORTH = 0.1

#: The core that is planned for where no board is given.
DEFAULT_CORE = cores.DEFAULT


@dataclass(frozen=True)
class Budget:
    """Hard limits; None: no limit. Bytes of flash (constants and code), of arena; milliseconds."""

    flash: int | None = None
    ram: int | None = None
    latency_ms: float | None = None
    clock_hz: int = 0  #: needed for latency


@dataclass(frozen=True)
class Wanted:
    """Chains and thrift that are asked for (see `make_plan`)."""

    chains: Sequence[tuple[str, str, int, int]] | None = None
    thrift: Mapping[str, Thrift] | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to store and execute one operator."""

    kernel: AnyKernel
    layer: Layer[QOp]
    bytes: int  #: of its table, as it lies in flash
    instructions: float  #: estimated
    cycles: float  #: estimated

    @property
    def encoding(self) -> str:
        """Name of the encoding, "" without weights."""
        return self.layer.encoded.encoding if self.layer.encoded else ""

    @property
    def decoded(self) -> Encoding | None:
        """How its weights are encoded, if a decoder gives the kernel rows of them."""
        if (
            self.layer.encoded is None
            or coded_form(self.layer.encoding.form) not in self.kernel.forms
        ):
            return None
        return self.layer.encoding if self.layer.encoding.coded else None

    @property
    def decoder(self) -> str:
        """Family of its decoder, "" if it has none."""
        return self.decoded.family if self.decoded else ""


@dataclass(frozen=True)
class PlannedLayer:
    """How one operator is stored and executed."""

    op: str
    kernel: str
    encoding: str  #: "" for operators without weights
    instructions: float = 0.0  #: the cost model's estimate
    cycles: float = 0.0  #: the cost model's estimate


@dataclass(frozen=True)
class Other:
    """What another `optimize` would give, estimated."""

    flash: int  #: bytes of constants and code
    cycles: float


@dataclass
class Plan:
    """The whole model."""

    layers: dict[str, PlannedLayer]
    memory: MemoryPlan
    library: Library
    encoded: dict[str, Encoded] = field(default_factory=dict)
    code_bytes: int = 0  #: estimated, start-up code of an image included
    ends: Cost = NO_COST  #: of the copies at both ends, estimated
    core: str = DEFAULT_CORE  #: whose costs the choices were made with (Core.priced_as)
    weight: float = 0.0  #: of bytes against cycles, as kernels were told (`Layer.weight`)
    chains: tuple[Chain, ...] = ()  #: layers that run some rows at a time, none of them whole
    #: what any other `optimize` would give, where that is another plan
    others: dict[str, Other] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"<Plan of {len(self.layers)} operators for {self.core}: {self.flash:,} bytes, "
            f"arena {self.arena:,}, {self.instructions:,.0f} instructions>"
        )

    def runs_on(self, core: str) -> bool:
        """Whether the library holds code for a core; one that is richer executes it, too."""
        order = list(ISAS)
        return any(order.index(executed(core)) <= order.index(i) for i in self.library.isas)

    @property
    def arena(self) -> int:
        """Bytes of RAM for activations and scratch."""
        return self.memory.arena

    @property
    def instructions(self) -> float:
        """Estimated instructions of an inference."""
        return self.ends.instructions + sum(p.instructions for p in self.layers.values())

    @property
    def cycles(self) -> float:
        """Estimated cycles of an inference on `core`."""
        return self.ends.cycles + sum(p.cycles for p in self.layers.values())

    @property
    def flash(self) -> int:
        """Constants and estimated code, bytes."""
        return self.library.constant_bytes + self.code_bytes


def executed(core: str) -> str:
    """The instruction set (`emit.ISAS`) of a core's code; this computer has that of C alone."""
    row = cores.get(core)
    return "plain" if row.hosted else row.isa


def matrix(op: QOp) -> np.ndarray | None:
    """The weights of `op` as int8 [rows, cols]; None for operators without."""
    if isinstance(op, (QConv, QDense)):
        w = np.ascontiguousarray(op.weight.reshape(op.weight.shape[0], -1), np.int8)
        return w if op.factors is None else FactoredMatrix.of(w, op.factors)
    return None


def candidates(
    op: QOp, graph: QGraph, core: str = DEFAULT_CORE, only: str | None = None, exact: bool = True
) -> list[Candidate]:
    """Every way to execute `op` exactly; `exact`: with its weights coded, not sketched.

    `only` keeps one encoding, if a kernel takes it; "ENCODING/KERNEL" also one of its kernels.
    """
    w = matrix(op)
    only, _, kernel = (only or "").partition("/")
    bare = Layer(op, graph)
    fits = [k for k in kernels_of(op) if k.reads(bare) and k.applies(bare)]
    if w is None:
        return [_candidate(k, bare, core) for k in fits if not k.forms]
    ways = frozenset[str]().union(*(k.forms for k in fits))
    encodings = [e for e in coding.all_encodings() if e.readings & ways and e.applies(w)]
    if any(e.name == only for e in encodings):
        encodings = [e for e in encodings if e.name == only]
    out = []
    cache: dict[tuple[str, bytes], Encoded] = {}
    for e in encodings:
        for k in fits:
            if not e.readings & k.forms:
                continue
            if kernel and e.name == only and k.name != kernel:
                continue
            order = k.order(bare) if e.coded else None
            key = (e.name, b"" if order is None else order.tobytes())
            if key not in cache:
                code = e.encode if exact else e.sketch
                cache[key] = code(w if order is None else np.ascontiguousarray(w[:, order]))
            layer = Layer(op, graph, cache[key])
            if k.applies(layer):
                out.append(_candidate(k, layer, core))
    if not out and only and not kernel:  # those that read it do not take this layer
        return candidates(op, graph, core, exact=exact)
    return out


def _candidate(kernel: AnyKernel, layer: Layer[QOp], core: str) -> Candidate:
    estimate = cost(kernel, layer, core)
    size, turns = kernel.table(layer).bytes, layer.graph.turns(layer.op.name)
    return Candidate(kernel, layer, size, turns * estimate.instructions, turns * estimate.cycles)


def make_plan(
    graph: QGraph,
    encodings: Mapping[str, str] | str | None = None,
    optimize: str = "balanced",
    budget: Budget | None = None,
    core: str = DEFAULT_CORE,
    chains: Sequence[tuple[str, str, int, int]] | None = None,
    weights: str = "separate",
    portable: bool = True,
    max_slowdown: float = MAX_SLOWDOWN,
    thrift: Mapping[str, Thrift] | None = None,
) -> Plan:
    """Plan `graph`.

    encodings: one encoding name for all layers or a mapping from operator name; layers it does
    not fit (or does not name) are chosen freely. optimize: a key of WEIGHTS. core: a board's
    core, whose costs count. chains: those that there shall be (chain.py), as (first operator, last
    operator, rows of its output a step, most rows of any of them a call); None: where they lower
    the arena. weights: where the constants are defined, one of library.WEIGHTS_IN ("separate": in
    files of their own; "static": beside the layers, file-local). portable: whether the library
    holds the code of all cores, else that of `core` alone. max_slowdown: how many times the fewest
    cycles, and the fewest instructions, any plan but the fastest may take, by estimate.
    thrift: how layers, by name, save scratch where they run alone; None: as the budget wants it.
    Raises ModelError if an operator has no kernel or cannot be in a chain, BudgetError if no plan
    fits the budget.
    """
    if not max_slowdown >= 1:
        raise ModelError(f"max_slowdown is {max_slowdown:g}; give a number of at least 1")
    if weights not in WEIGHTS_IN:
        raise ModelError(f"weights is {weights!r}; choose one of {', '.join(WEIGHTS_IN)}")
    if optimize not in WEIGHTS:
        raise ModelError(f"optimize is {optimize!r}; choose one of {', '.join(WEIGHTS)}")
    options: dict[str, list[Candidate]] = {}
    for op in graph:
        only = encodings if isinstance(encodings, str) else (encodings or {}).get(op.name)
        options[op.name] = candidates(op, graph, core, only, exact=False)
        if not options[op.name]:
            raise ModelError(f"no kernel executes layer {op.name!r} ({op.kind}); please report it")
        w = matrix(op)
        if w is not None and is_ternary(w) and not only:
            options[op.name] = ternary_kept(options[op.name], w.size)
    form = Form(weights, tuple(ISAS) if portable else (executed(core),))
    budget = budget or Budget()
    search = PlanSearch(graph, options, core, budget.flash)
    if budget == Budget():
        option = search.best(WEIGHTS[optimize], max_slowdown)
        plan = _build(graph, option, optimize, core, budget, Wanted(chains, thrift), form, {})
    else:
        wanted = Wanted(chains, thrift)
        option, plan = _within(graph, search, optimize, max_slowdown, budget, core, wanted, form)
    plan.others = {
        o: Other(round(found.bytes), found.cycles)
        for o, w in WEIGHTS.items()
        for found in (search.best(w, max_slowdown),)
        if o != optimize and found is not option
    }
    return plan


def _within(
    graph: QGraph, search: PlanSearch, optimize: str, slowdown: float, budget: Budget, core: str,
    wanted: Wanted, form: Form,
) -> tuple[Option, Plan]:  # fmt: skip
    """The plan nearest to the wish that keeps every budget, and what it was made from."""
    nearest: tuple[float, str] | None = None
    lean = {n: [c for c in o if not c.decoder] or o for n, o in search.options.items()}
    for options in (search.options, lean):  # lean: nothing is unpacked to RAM
        found = (
            search if options is search.options else PlanSearch(graph, options, core, search.most)
        )
        for option in found.ranked(WEIGHTS[optimize], slowdown):
            plan = _build(graph, option, optimize, core, budget, wanted, form, search.options)
            over = _excess(plan, budget)
            if not over:
                return option, plan
            worst = max(over.items(), key=lambda x: x[1][0])
            text = f"{worst[0]}: the nearest plan needs {worst[1][1]}"
            if nearest is None or worst[1][0] < nearest[0]:
                nearest = (worst[1][0], text)
    assert nearest is not None
    raise BudgetError(
        f"no plan for '{graph.name}' keeps the budget for {nearest[1]}; raise it, or prune or "
        "quantize the model further"
    )


def _excess(plan: Plan, b: Budget) -> dict[str, tuple[float, str]]:
    """Budgets the plan breaks: name -> (how many times over, the figure it needs)."""
    out = {}
    if b.flash is not None and plan.flash > b.flash:
        out["flash"] = (plan.flash / max(1, b.flash), f"{plan.flash} of {b.flash} bytes")
    if b.ram is not None and plan.arena > b.ram:
        out["ram"] = (plan.arena / max(1, b.ram), f"{plan.arena} of {b.ram} bytes")
    if b.latency_ms is not None:
        ms = 1e3 * plan.cycles / max(1, b.clock_hz)
        if ms > b.latency_ms:
            out["latency"] = (ms / b.latency_ms, f"about {ms:.3g} of {b.latency_ms:g} ms")
    return out


def _build(
    graph: QGraph, option: Option, optimize: str, core: str, budget: Budget, wanted: Wanted,
    form: Form, options: Mapping[str, Sequence[Candidate]],
) -> Plan:  # fmt: skip
    """The plan of an option; `options`: of every operator, for a budget of RAM."""
    chosen, weight = option.chosen, option.weight
    layers = {n: replace(c.layer, weight=weight) for n, c in chosen.items()}
    for n, thrift in (wanted.thrift or {}).items():
        layers[n].thrift = thrift
    layers = _sharing(layers)
    by_op = {n: c.kernel for n, c in chosen.items()}
    others: dict[str, list[Way]] = {}
    if budget.ram is not None:
        others = {
            n: [_way(c, weight) for c in some if c is not chosen[n] and not c.decoder]
            for n, some in options.items()
        }
    choice = ChainChoice(graph, layers, by_op, core, others, _byte_worth(option, optimize))
    chains, ways = _chains(choice, optimize, budget, wanted.chains)
    if ways:
        layers = _sharing({**layers, **{n: w.layer for n, w in ways.items()}})
        by_op |= {n: w.kernel for n, w in ways.items()}
        chains = tuple(c.storing(layers) for c in chains)
        choice = ChainChoice(graph, layers, by_op, core)
    kernels = {n: k.name for n, k in by_op.items()}
    memory = choice.memory(chains)
    layers |= {link.name: link.layer for c in chains for link in c.links}
    comments = {op.name: describe(op, layers[op.name], kernels[op.name]) for op in graph}
    library = write(graph, layers, kernels, memory, comments, weight >= COMPACT, chains, form)
    encoded = {n: la.encoded for n, la in layers.items() if la.encoded is not None}
    plans = {}
    for n, kernel in by_op.items():
        estimate, turns = cost(kernel, layers[n], core), graph.turns(n)
        encoding = encoded[n].encoding if n in encoded else ""
        plans[n] = PlannedLayer(
            n, kernels[n], encoding, turns * estimate.instructions, turns * estimate.cycles
        )
    code = startup_bytes(core) + round(library_bytes(library, core))
    ends = price_of(end_work(graph), "ends", core, library.small)
    priced_as = cores.get(core).priced_as
    return Plan(plans, memory, library, encoded, code, ends, priced_as, weight, chains)


def _sharing(layers: Mapping[str, Layer[QOp]]) -> dict[str, Layer[QOp]]:
    """Layers whose weights are coded with the tables that they share."""
    coded = {n: la.weights.exact for n, la in layers.items() if la.encoded}
    stored = dict(zip(coded, share_tables(list(coded.values())), strict=True))
    return {n: replace(la, encoded=stored.get(n)) for n, la in layers.items()}


def _way(c: Candidate, weight: float) -> Way:
    encoded = c.layer.weights.exact if c.layer.encoded else None
    return Way(c.kernel, replace(c.layer, weight=weight, encoded=encoded), c.bytes)


def _byte_worth(option: Option, optimize: str) -> float:
    """Cycles that a byte of flash is worth to who wishes for `optimize`."""
    weight = min(max(WEIGHTS[optimize], LEAST_WORTH), 1 - LEAST_WORTH)
    return weight / (1 - weight) * option.cycles / option.bytes


def _chains(
    choice: ChainChoice,
    optimize: str,
    budget: Budget,
    wanted: Sequence[tuple[str, str, int, int]] | None,
) -> tuple[tuple[Chain, ...], Mapping[str, Way]]:
    """The chains asked for, or those that lower the arena and cost little, or, where a budget of
    RAM wants it, what they cost, together with other ways to execute operators. Where time is all
    that counts, those that are faster than whole tensors (some tiles fit rows better); where flash
    is, only those for a budget."""
    if wanted is not None:
        return tuple(choice.make(*w) for w in wanted), {}
    chains: tuple[Chain, ...] = ()
    if choice.graph.step_due is not None:  # rows are kept from step to step already
        return chains, {}
    if budget.flash is None and WEIGHTS[optimize] == 0.0:
        chains = choice.faster(COST_SHARE)
    elif budget.flash is None and optimize == "balanced":
        chains = choice.best(COST_SHARE * choice.cycles, RAM_WORTH)
    if budget.ram is not None and choice.memory(chains).arena > budget.ram:
        cut = choice.within(budget.ram)
        return cut.chains, cut.others
    return chains, {}


def describe(op: QOp, layer: Layer[QOp], kernel: str) -> str:
    """The comment above a layer's call: shape, density, encoding."""
    t = layer.graph.tensors
    shape = (
        f"{'x'.join(map(str, t[op.inputs[0]].shape))} -> {'x'.join(map(str, t[op.output].shape))}"
    )
    s = layer.stripe
    rows = f", {s.rows} row{'s' if s.rows > 1 else ''} a call" if s else ""
    called = f"{layer.c_name}:"
    if op.name != layer.c_name:
        called += f" ({comment(op.name)})"
    w = matrix(op)
    if w is None:
        return f"{called} {kernel}, {shape}{rows}"
    density = np.count_nonzero(w) / w.size
    name = layer.encoded.encoding if layer.encoded else "dense"
    return f"{called} {shape}, {name}, density {density:.1%}{rows}"
