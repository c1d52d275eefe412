"""Networks of a step on simulated cores: the same bytes as the reference, and what a step costs.

    python -m benchmarks.streaming [--frames 500] [--only NAME ...] [--cores cortex-m4 ...]

Each network reads the frames one by one in two instances that take turns (the second one drops
every third frame), and every output of the first is compared with the NumPy reference, which is
compared with the whole window where a network answers at every position. Weights are random: what
is counted here does not depend on them. Results: benchmarks/results/streaming.json, in which a
network and core that were counted before with the same library and frames are not counted again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from benchmarks.bench import BOARDS

from secateur import targets
from secateur.codegen.features import feature_files, state_bytes, table_bytes
from secateur.codegen.plan import Plan, make_plan
from secateur.frontend.ir import Graph
from secateur.frontend.layers import Builder
from secateur.frontend.ops.recurrent import GATES
from secateur.lowering import passes, reference
from secateur.lowering.mfcc import Mfcc, QMfcc
from secateur.lowering.qgraph import QGraph
from secateur.lowering.quantize import lower
from secateur.lowering.simplify import simplify
from secateur.lowering.streaming import lower_stream
from secateur.targets.base import Target
from secateur.targets.runners.host import Host
from secateur.targets.runners.qemu import Qemu
from secateur.targets.runners.sim import Sim

RESULTS = Path("benchmarks/results/streaming.json")
#: Board and what runs it; on the host bytes are compared and nothing is counted.
WHERE: dict[str, tuple[str, Callable[[], Target]]] = {
    **{core: (board, lambda: Sim(run_time=1800.0)) for core, board in BOARDS.items()},
    "cortex-m55": ("mps3_an547", lambda: Qemu(run_time=1800.0, reply_time=120.0, estimate=False)),
    "host": ("host", Host),
}
CORES = ("host", "cortex-m0plus", "cortex-m4", "rv32imac")


class Maker:
    """Builds a causal network with random weights."""

    def __init__(self, name: str, shape: tuple[int, ...], seed: int = 1) -> None:
        self.rng, self.b = np.random.default_rng(seed), Builder(name)
        self.top = self.b.add_input("x", shape)
        self.count = 0

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def _normal(self, shape: tuple[int, ...], fan: int) -> np.ndarray:
        return self.rng.normal(0, fan**-0.5, shape).astype(np.float32)

    def conv(
        self, size: tuple[int, int], channels: int = 0, strides: tuple[int, int] = (1, 1),
        dilation: int = 1, causal: bool = True,
    ) -> Maker:  # fmt: skip
        """A convolution and its ReLU; without channels depthwise. Time is the first axis of an
        image (T, F, C), the second of a sequence (1, T, C)."""
        sequence = self.b.shape(self.top)[0] == 1
        kernel, steps, dilations = size, strides, (dilation, 1)
        if sequence:
            kernel, steps, dilations = size[::-1], strides[::-1], (1, dilation)
        _, width, ci = self.b.shape(self.top)
        before = (size[0] - 1) * dilation if causal else 0
        side = max(0, (-(-width // steps[1]) - 1) * steps[1] + kernel[1] - width)
        pads = (0, before, 0, 0) if sequence else (before, side // 2, 0, side - side // 2)
        attrs = {"strides": steps, "pads": pads, "dilations": dilations}
        params = {"bias": self.rng.normal(0, 0.1, channels or ci).astype(np.float32)}
        if channels:
            params["kernel"] = self._normal((*kernel, ci, channels), kernel[0] * kernel[1] * ci)
        else:
            params["kernel"] = self._normal((*kernel, ci, 1), kernel[0] * kernel[1])
        kind = "conv2d" if channels else "depthwise_conv2d"
        name = self._name("conv" if channels else "depthwise")
        y = self.b.emit(kind, name, [self.top], None, attrs, params)
        self.top = self.b.emit("relu", f"{name}_relu", [y], None, {"max_value": None})
        return self

    def residual(self, inner: Callable[[Maker], Maker]) -> Maker:
        """`inner` of the top, added to it."""
        before = self.top
        inner(self)
        self.top = self.b.emit("add", self._name("add"), [self.top, before])
        return self

    def recurrent(self, cell: str, units: int) -> Maker:
        """A recurrent layer that gives the state at all times."""
        gates, size = GATES[cell] * units, self.b.shape(self.top)[2]
        params = {
            "kernel": self._normal((size, gates), size),
            "recurrent": self._normal((units, gates), units),
            "bias": self.rng.normal(0, 0.3, gates).astype(np.float32),
        }
        if cell == "gru":
            params["recurrent_bias"] = self.rng.normal(0, 0.3, gates).astype(np.float32)
        y = self.b.emit("recurrent", self._name(cell), [self.top], None, {"cell": cell}, params)
        self.b.name_shape(y, self.b.shape(y)[1:])
        self.top = y
        return self

    def mean(self) -> Maker:
        """The mean over all of a window but the channels."""
        axes = list(range(len(self.b.nominal(self.top)) - 1))
        self.top = self.b.reduce("mean", self._name("mean"), self.top, axes, False)
        return self

    def dense(self, outputs: int) -> Graph:
        """The last layer, channel by channel."""
        n = self.b.shape(self.top)[-1]
        params = {"kernel": self._normal((n, outputs), n)}
        return self.b.finish(
            self.b.emit("dense", self._name("dense"), [self.top], None, {}, params)
        )


def spotter(channels: int = 64, frames: int = 49, blocks: int = 4, causal: bool = True) -> Graph:
    """MLPerf Tiny's keyword spotter, causal in time: a DS-CNN on 49 frames of 10 MFCCs."""
    m = Maker("spotter", (frames, 10, 1)).conv((10, 4), channels, (2, 2), causal=causal)
    for _ in range(blocks):
        m.conv((3, 3), causal=causal).conv((1, 1), channels, causal=causal)
    return m.mean().dense(12)


def wake_word(frames: int = 500) -> Graph:
    """The shape of MLPerf Tiny's streaming wake word network: a 1-D DS-CNN on 40 log-mel channels,
    a strided convolution, then separable ones (filters and kernels as in its reference model's
    description: 128 and 96 to 32 filters, kernels 3 to 15)."""
    m = Maker("wake_word", (frames, 40)).conv((3, 1), 128, (2, 1))
    for size, channels in ((5, 128), (9, 128), (13, 96), (15, 32)):
        m.conv((size, 1)).conv((1, 1), channels)
    return m.dense(3)


def tcn(frames: int = 500) -> Graph:
    """Residual blocks of causal convolutions with dilations 1, 2, 4, 8 (Bai et al. 2018)."""
    m = Maker("tcn", (frames, 16)).conv((1, 1), 24)
    for d in (1, 2, 4, 8):
        m.residual(lambda n, d=d: n.conv((3, 1), 24, dilation=d).conv((3, 1), 24, dilation=d))
    return m.dense(5)


def stack(cell: str, units: int = 32, frames: int = 500) -> Graph:
    """Two recurrent layers."""
    return Maker(cell, (frames, 12)).recurrent(cell, units).recurrent(cell, units).dense(6)


#: Of the layer whose multiply-accumulates docs/recurrent.md counts by kind of weights.
UNITS, INPUTS, ZEROS = 64, 32, 0.8


def gates(block: tuple[int, int] | None, frames: int = 500) -> Graph:
    """One LSTM; of blocks (inputs, outputs) of weights the largest in the mean, the rest 0."""
    m = Maker("gates", (frames, INPUTS)).recurrent("lstm", UNITS)
    graph = m.b.finish(m.top)
    for key in ("kernel", "recurrent") if block else ():
        w = graph.nodes[-1].params[key]
        parts = w.reshape(len(w) // block[0], block[0], w.shape[1] // block[1], block[1])
        mean = np.abs(parts).mean(axis=(1, 3), keepdims=True)
        parts *= mean > np.quantile(mean, ZEROS)
    return graph


#: Network, and whether it answers at every position of a window of any length.
NETWORKS: dict[str, tuple[Callable[[], Graph], bool]] = {
    "spotter": (spotter, False),
    "wake_word": (wake_word, True),
    "tcn": (tcn, True),
    "lstm": (lambda: stack("lstm"), True),
    "gru": (lambda: stack("gru"), True),
    "gates": (lambda: gates(None), True),
    "gates_zeros": (lambda: gates((1, 1)), True),
    "gates_blocks": (lambda: gates((2, 4)), True),
}

_FRAMES = """
#include "{name}.h"
/* {n} frames in two arenas that take turns, or in one; behind each output whether there was one. */
int {name}_run_in(void *arena, const int8_t *in, int8_t *out);
int {name}_run(const int8_t *in, int8_t *out);
static uint32_t first[({upper}_ARENA_BYTES + 3) / 4], second[({upper}_ARENA_BYTES + 3) / 4];
int {name}_run_in(void *arena, const int8_t *in, int8_t *out)
{{
    int8_t other[{size}];
    {name}_reset_in(arena);
    {name}_reset_in(second);
    for (int i = 0; i < {n}; i++, in += {frame}, out += {size} + 1) {{
        for (int k = 0; k < {size}; k++) {{
            out[k] = 0;
        }}
        out[{size}] = (int8_t){name}_step_in(arena, in, out);
        if ({twice} && i % 3 != 0 && {name}_step_in(second, in - (i % 2) * {frame}, other) < 0) {{
            return -1;
        }}
    }}
    return 0;
}}
int {name}_run(const int8_t *in, int8_t *out)
{{
    return {name}_run_in(first, in, out);
}}
"""


def framed(plan: Plan, q: QGraph, frames: int, twice: bool = True) -> Plan:
    """`plan` whose library runs so many frames at once: input [frames, size], output
    [frames, outputs + 1], the last whether a step had none."""
    name, files = plan.library.name, plan.library.files
    size, frame = q.tensors[q.output].size, q.tensors[q.input].size
    files[f"src/{name}_frames.c"] = _FRAMES.format(
        name=name, upper=name.upper(), n=frames, size=size, frame=frame, twice=int(twice)
    )
    _stretch(plan, q, frame * frames, (size + 1) * frames)
    return plan


def _stretch(plan: Plan, q: QGraph, inputs: int, outputs: int) -> None:
    """Let the library's header name so many bytes, and the functions that `_FRAMES` defines."""
    name, files = plan.library.name, plan.library.files
    size, frame = q.tensors[q.output].size, q.tensors[q.input].size
    h = files[f"src/{name}.h"]
    h = h.replace(f"_INPUT_SIZE {frame} ", f"_INPUT_SIZE {inputs} ")
    h = h.replace(f"_OUTPUT_SIZE {size} ", f"_OUTPUT_SIZE {outputs} ")
    entries = (
        f"int {name}_run_in(void *arena, const int8_t *in, int8_t *out);\n"
        f"int {name}_run(const int8_t *in, int8_t *out);\n"
    )
    files[f"src/{name}.h"] = h.replace("#ifdef __cplusplus\n}", entries + "#ifdef __cplusplus\n}")


def expected(q: QGraph, codes: np.ndarray, axis: int) -> np.ndarray:
    """What `framed` gives for codes [n, H, W, C], time along `axis`: int8 [n, T, outputs + 1]."""
    stepper, n = reference.Stepper(q, len(codes)), len(codes)
    size, rows = q.tensors[q.output].size, []
    for t in range(codes.shape[axis]):
        y = stepper.step(np.take(codes, [t], axis=axis))
        out = np.zeros((n, size), np.int8) if y is None else y.reshape(n, size)
        rows.append(np.concatenate([out, np.full((n, 1), y is None, np.int8)], axis=1))
    return np.stack(rows, axis=1)


@dataclass
class Prepared:
    """A network: its step, its window, frames and what they give."""

    step: QGraph
    window: QGraph
    codes: np.ndarray  #: int8 [1, H, W, C] of all frames
    want: np.ndarray  #: int8 [T, outputs + 1]
    frames: int


def prepare(graph: Graph, frames: int, everywhere: bool) -> Prepared:
    """Lower a network both ways; raises AssertionError where its step is not its window."""
    shape = graph.node(graph.input).shape
    axis = 2 if shape[0] == 1 else 1
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (4, *shape)).astype(np.float32)
    step = passes.run(passes.INTEGER, lower_stream(graph, x))
    window = passes.run(passes.INTEGER, lower(simplify(graph), x, method="minmax"))
    long = list(shape)
    long[axis - 1] = frames
    codes = rng.integers(-128, 128, (1, *long)).astype(np.int8)
    want = expected(step, codes, axis)[0]
    if everywhere:
        whole = reference.run(window, codes).reshape(-1, want.shape[1] - 1)
        np.testing.assert_array_equal(want[want[:, -1] == 0, :-1], whole)
    return Prepared(step, window, codes, want, frames)


def _run(plan: Plan, core: str, x: np.ndarray) -> tuple[np.ndarray, int]:
    """Outputs and instructions of one inference; 0 where none are counted."""
    board, runner = WHERE[core]
    with tempfile.TemporaryDirectory() as tmp:
        folder = plan.library.save(Path(tmp) / "library")
        image = targets.build(folder, board, Path(tmp) / "firmware")
        result = runner().run(image, x.reshape(1, -1))
    return result.outputs, int(result.instructions or 0)


def _plan(q: QGraph, core: str) -> Plan:
    """The plan that is counted; on the host the portable C of the Cortex-M4's runs."""
    return make_plan(q, None, "balanced", None, "cortex-m4" if core == "host" else core)


def count(p: Prepared, core: str, plan: Plan, window: Plan) -> dict[str, float]:
    """Instructions of steps and of a window, and whether every byte is the reference's."""

    def steps(n: int, twice: bool) -> tuple[np.ndarray, int]:
        made = framed(_plan(p.step, core), p.step, n, twice)
        frames = p.codes.reshape(p.frames, -1)[:n]
        return _run(made, core, frames)

    out, _ = steps(p.frames, True)
    same = bool(np.array_equal(out.reshape(p.want.shape), p.want))
    if core == "host":
        return {"same": same, "frames": p.frames}
    base = max(d.offset for d in p.step.due.values()) + 2
    counts = [steps(n, False)[1] for n in range(base, base + 3)]
    shape = p.window.tensors[p.window.input].size
    _, whole = _run(window, core, p.codes.reshape(-1)[:shape])
    most = max(b - a for a, b in pairwise(counts))
    return {
        "same": same, "frames": p.frames, "step": most, "mean_step": (counts[2] - counts[0]) / 2,
        "window": whole, "arena": plan.arena, "window_arena": window.arena,
    }  # fmt: skip


_SOUND = """
#include <string.h>
#include "{name}_features.h"
/* {n} frames of features. */
int {name}_run_in(void *arena, const int8_t *in, int8_t *out);
int {name}_run(const int8_t *in, int8_t *out);
int {name}_run_in(void *arena, const int8_t *in, int8_t *out)
{{
    static uint32_t state[{upper}_FEATURES_BYTES / 4];
    static int16_t samples[{upper}_HOP];
    (void)arena;
    {name}_features_reset(state);
    for (int i = 0; i < {n}; i++, in += sizeof samples, out += {outputs}) {{
        memcpy(samples, in, sizeof samples);
        {name}_features(state, samples, out);
    }}
    return 0;
}}
int {name}_run(const int8_t *in, int8_t *out)
{{
    return {name}_run_in(0, in, out);
}}
"""


def count_features(core: str, frames: int = 3) -> dict[str, object]:
    """Instructions of a frame of MLPerf Tiny's features, and whether every code is the
    reference's."""
    p = prepare(spotter(8, blocks=1), 49, False)
    features = QMfcc(Mfcc(), 0.58, 83)
    outputs = features.definition.outputs
    rng = np.random.default_rng(2)
    samples = rng.normal(0, 3000, (frames + 1) * features.definition.hop).astype(np.int16)
    silence = np.zeros(features.definition.window - features.definition.hop, np.int16)
    want = features.codes(np.concatenate([silence, samples]))
    counts, same = [], True
    for n in (frames, frames + 1):
        plan = _plan(p.step, core)
        name, files = plan.library.name, plan.library.files
        files |= feature_files(name, features)
        files[f"src/{name}_sound.c"] = _SOUND.format(
            name=name, upper=name.upper(), n=n, outputs=outputs
        )
        heard = samples[: n * features.definition.hop].view(np.int8)
        _stretch(plan, p.step, heard.size, n * outputs)
        out, instructions = _run(plan, core, heard)
        same &= bool(np.array_equal(out.reshape(n, -1), want[:n]))
        counts.append(instructions)
    return {
        "same": same, "frame": counts[1] - counts[0], "tables": table_bytes(features),
        "state": state_bytes(features),
    }  # fmt: skip


def main() -> int:
    """Count, and write what was counted as soon as it is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument(
        "--only", nargs="*", default=[*NETWORKS, "features"], choices=[*NETWORKS, "features"]
    )
    parser.add_argument("--cores", nargs="*", default=list(CORES), choices=list(WHERE))
    args = parser.parse_args()
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    right = True
    for core in args.cores if "features" in args.only else ():
        if core == "host":
            continue
        known[f"features/{core}"] = r = count_features(core)
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        right &= bool(r["same"])
        print(
            f"features/{core:15} {'same' if r['same'] else 'DIFFERS'}; a frame of 30 ms "
            f"{r['frame']:,}, tables {r['tables']:,}, state {r['state']:,} bytes",
            flush=True,
        )
    for name in (n for n in args.only if n != "features"):
        make, everywhere = NETWORKS[name]
        p = prepare(make(), args.frames, everywhere)
        for core in args.cores:
            plan, window = _plan(p.step, core), _plan(p.window, core)
            digest = hashlib.sha256(p.codes.tobytes())
            for library in (plan.library, window.library):
                digest.update(json.dumps(library.files, sort_keys=True).encode())
            key = f"{name}/{core}"
            if known.get(key, {}).get("digest") != digest.hexdigest():
                known[key] = {**count(p, core, plan, window), "digest": digest.hexdigest()}
                RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            r = known[key]
            right &= r["same"]
            if "step" not in r:
                print(f"{key:24} {'same' if r['same'] else 'DIFFERS'} over {r['frames']} frames")
                continue
            print(
                f"{key:24} {'same' if r['same'] else 'DIFFERS'} over {r['frames']} frames; step "
                f"{r['step']:,} ({r['window'] / r['step']:.1f} to a window), mean "
                f"{r['mean_step']:,.0f} ({r['window'] / r['mean_step']:.1f}); arena {r['arena']:,} "
                f"of {r['window_arena']:,} ({r['arena'] / r['window_arena']:.1%})",
                flush=True,
            )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
