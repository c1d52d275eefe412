"""Instructions per multiply-accumulate of layers on bit planes, on an emulated Cortex-M4.

    python -m benchmarks.binary [--out build/bench/binary.json]

Each row is one layer of random weights and activations in the simulator, packed in and, where its
output has few levels, packed out; table building, thresholds and stores are in the figure.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from secateur.codegen.packing import pack
from secateur.codegen.plan import make_plan
from secateur.frontend.layers import Builder
from secateur.lowering.qgraph import QConv, QDense
from secateur.lowering.quantize import lower
from secateur.targets.runners.profile import profile

BOARD = "mps2_an386"
SIGN = (np.array([-1.0, 1.0]), np.zeros(1), np.array([2.0]))


def even(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, thresholds and basis of even steps."""
    values = np.arange(2**bits) * 0.5
    return values, (values[1:] + values[:-1]) / 2, 0.5 * 2.0 ** np.arange(bits)


LEARNED = (np.array([0, 0.41, 1.03, 1.44]), np.array([0.2, 0.7, 1.2]), np.array([0.41, 1.03]))


@dataclass(frozen=True)
class Row:
    """One layer's figures."""

    layer: str
    weights: str
    activations: str
    kernel: str
    macs: int
    instructions: int
    per_mac: float
    weight_bytes: int


def kernel_of(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights: signs, two-bit even ones, or sums of a channel's own basis of two."""
    free = rng.normal(size=shape)
    if kind == "sign":
        return np.sign(free).astype(np.float32)
    if kind == "2 bits":
        return (2 * np.clip(np.rint(free + 1.5), 0, 3) - 3).astype(np.float32)
    v = rng.integers(5, 60, (2, shape[-1])) / 100
    return (np.sign(free) * v[0] + np.sign(rng.normal(size=shape)) * v[1]).astype(np.float32)


def measure(shape: tuple[int, int], window: int, ci: int, co: int, weights: str, act: str) -> Row:
    """One layer between two activations of a kind; shape (1, 1) makes it a Dense layer."""
    rng = np.random.default_rng(0)
    levels = {"sign": SIGN, "2 bits": even(2), "4 bits": even(4), "learned": LEARNED}[act]
    b = Builder("bench")
    dense = shape == (1, 1)
    size: tuple[int, ...] = (ci,) if dense else (*shape, ci)
    t = b.add_input("x", size)
    t = b.emit("quant_activation", "act", [t], size, {"levels": levels})
    if dense:
        out: tuple[int, ...] = (co,)
        w = kernel_of(rng, weights, (ci, co))
        t = b.emit("dense", "layer", [t], out, {}, {"kernel": w})
    else:
        p = window // 2 if act != "sign" else 0
        out = (shape[0] + 2 * p - window + 1, shape[1] + 2 * p - window + 1, co)
        w = kernel_of(rng, weights, (window, window, ci, co))
        attrs = {"strides": (1, 1), "pads": (p, p, p, p)}
        t = b.emit("conv2d", "layer", [t], out, attrs, {"kernel": w})
    reach = np.sqrt(ci * window**2)
    norm = {"scale": rng.uniform(0.5, 1.5, co) / reach, "shift": rng.normal(0.5, 0.3, co)}
    t = b.emit("batch_norm", "norm", [t], out, {}, norm)
    t = b.emit("quant_activation", "act2", [t], out, {"levels": levels})
    graph = b.finish(t)
    x = rng.normal(0.5, 1, (4, *size)).astype(np.float32)
    q = pack(lower(graph, x))
    plan = make_plan(q, None, "latency")
    op = q.op("layer")
    assert isinstance(op, QConv | QDense)
    macs = int(op.weight.size * np.prod(out) // co)
    with tempfile.TemporaryDirectory() as tmp:
        folder = plan.library.save(Path(tmp) / "library")
        codes = rng.integers(-128, 128, (1, int(np.prod(size)))).astype(np.int8)
        found = profile(folder, BOARD, Path(tmp) / "build", codes)
    step = next(s for s in found.steps if s.layer == "layer")
    name = f"dense {ci} to {co}" if dense else f"{window}x{window} {ci} to {co}, {out[0]}x{out[1]}"
    bits = plan.library.arrays["layer"][0].size
    return Row(
        name, weights, act, plan.layers["layer"].kernel, macs, step.instructions,
        step.instructions / macs, bits,
    )  # fmt: skip


CASES = (
    ((8, 16), 1, 64, 64, "sign", "sign"),
    ((25, 5), 1, 64, 64, "sign", "sign"),
    ((8, 16), 1, 128, 128, "sign", "sign"),
    ((8, 8), 1, 256, 256, "sign", "sign"),
    ((4, 4), 1, 256, 256, "sign", "sign"),
    ((10, 10), 3, 64, 64, "sign", "sign"),
    ((8, 8), 3, 32, 32, "sign", "2 bits"),
    ((8, 16), 1, 64, 64, "sign", "2 bits"),
    ((8, 16), 1, 64, 64, "2 bits", "2 bits"),
    ((8, 16), 1, 64, 64, "sign", "4 bits"),
    ((8, 16), 1, 64, 64, "learned", "learned"),
    ((8, 16), 1, 128, 128, "learned", "learned"),
    ((1, 1), 1, 1024, 256, "sign", "sign"),
    ((1, 1), 1, 1024, 256, "sign", "2 bits"),
)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench/binary.json"))
    parser.add_argument("--only", type=int, default=len(CASES), help="the first ONLY cases")
    parser.add_argument("--skip", type=int, default=0)
    args = parser.parse_args()
    rows = []
    for case in CASES[args.skip : args.only]:
        r = measure(*case)
        rows.append(r)
        print(
            f"{r.layer:32} {r.weights:8} x {r.activations:8} {r.kernel:13}"
            f" {r.per_mac:6.3f} instructions a MAC, {r.weight_bytes:,} bytes of weights",
            flush=True,
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
