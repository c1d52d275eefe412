"""The onnx package's own backend tests through our reader and float executor.

    python -m benchmarks.onnx_backend            prints the counts
    python -m benchmarks.onnx_backend --write    writes docs/onnx.md as well
    python -m benchmarks.onnx_backend --c        a random half of the node cases in C, on this
                                                 computer: results/onnx_c.json

Every case holds a model, inputs and what must come out. Inputs that an operator needs at
conversion (axes, weights) are bound as initializers, nothing else is changed. A case counts as
passed when every output agrees within the case's own tolerance.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import SecateurError
from secateur.frontend import execute
from secateur.frontend.ir import Graph, verify
from secateur.frontend.onnxmodel import from_onnx, supported
from secateur.frontend.onnxmodel.reader import BatchError, ConstantError

KINDS = ("node", "pytorch-operator", "pytorch-converted")
DOCS = Path(__file__).resolve().parents[1] / "docs" / "onnx.md"
_FLOATS = ("float16", "float32", "float64", "bfloat16")


@dataclass
class Case:
    """A backend test: its model and one set of arrays."""

    kind: str
    name: str
    ops: tuple[str, ...]
    model: Any
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]
    rtol: float
    atol: float

    @property
    def floating(self) -> bool:
        """Whether its first input and first output are of a floating type."""
        arrays = [*self.inputs[:1], *self.outputs[:1]]
        return all(getattr(a, "dtype", np.dtype(object)).name in _FLOATS for a in arrays)


@dataclass
class Result:
    """What became of a case; `reason` is empty where it passed."""

    case: Case
    reason: str
    graph: Graph | None = None
    batch: bool = True
    feed: dict[str, np.ndarray] = field(default_factory=dict)


def cases(kind: str = "node") -> Iterator[Case]:
    """All tests of a kind."""
    import onnx
    from onnx import numpy_helper
    from onnx.backend.test import loader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = loader.load_model_tests(kind=kind)
    for c in found:
        folder = Path(c.model_dir) if c.model_dir else None
        model = c.model
        if model is None and folder is not None:
            model = onnx.load(str(folder / "model.onnx"))
        inputs, outputs = [], []
        if c.data_sets:
            inputs, outputs = (list(x) for x in c.data_sets[0])
        elif folder is not None:
            inputs, outputs = (
                [
                    onnx.TensorProto.FromString(p.read_bytes())
                    for p in sorted(
                        (folder / "test_data_set_0").glob(f"{end}_*.pb"),
                        key=lambda p: int(p.stem.split("_")[1]),
                    )
                ]
                for end in ("input", "output")
            )
        inputs, outputs = (
            [numpy_helper.to_array(a) if isinstance(a, onnx.TensorProto) else a for a in side]
            for side in (inputs, outputs)
        )
        ops = tuple(sorted({n.op_type for n in model.graph.node}))
        rtol, atol = float(c.rtol or 1e-3), float(c.atol or 1e-7)
        yield Case(kind, c.name, ops, model, inputs, outputs, rtol, max(atol, 1e-6))


def _bound(
    model: Any, names: dict[str, np.ndarray], given: dict[str, np.ndarray], batch: bool
) -> Any:
    from onnx import numpy_helper

    copy = type(model)()
    copy.CopyFrom(model)
    if copy.ir_version >= 4:  # before, initializers are listed as inputs
        kept = [i for i in copy.graph.input if i.name not in names]
        del copy.graph.input[:]
        copy.graph.input.extend(kept)
    for i in copy.graph.input:  # open dimensions are those of the case
        sizes = getattr(given.get(i.name), "shape", ())
        for d, n in zip(i.type.tensor_type.shape.dim, sizes, strict=False):
            if not batch and not d.dim_value:
                d.dim_value = n
    copy.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in names.items())
    return copy


def _read(case: Case, batch: bool) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph, and the inputs that are left to feed."""
    known = {t.name for t in case.model.graph.initializer}
    declared = [i.name for i in case.model.graph.input]
    if len(declared) != len(case.inputs):  # older models list initializers as inputs
        declared = [i for i in declared if i not in known]
    given = dict(zip(declared, case.inputs, strict=True))
    bound: dict[str, np.ndarray] = {}
    while True:
        try:
            graph = from_onnx(_bound(case.model, bound, given, batch), case.name, batch=batch)
        except ConstantError as e:
            if e.tensor not in given or e.tensor in bound:
                raise
            bound[e.tensor] = given[e.tensor]
        else:
            return graph, {k: v for k, v in given.items() if k not in bound}


def run(case: Case) -> Result:
    """Read and execute one case."""
    reason, unread = "", False
    for batch in (True, False):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph, feed = _read(case, batch)
                verify(graph)
                x = {k: (v if batch else v[None]).astype(np.float32) for k, v in feed.items()}
                if not x or any(v.size == 0 for v in x.values()):
                    return Result(case, "has an empty input, or none")
                if any(not np.isfinite(v).all() for v in x.values()):
                    return Result(case, "has infinite inputs")
                got = execute.run_outputs(graph, x, batch=max(len(v) for v in x.values()))
        except SecateurError as e:
            if not reason or unread:
                reason = str(e)
            unread = isinstance(e, BatchError)
            continue
        wrong = _compare(case, graph, got)
        if not wrong:
            return Result(case, "", graph, batch, x)
        reason = wrong
    return Result(case, reason)


def _compare(case: Case, graph: Graph, got: list[np.ndarray]) -> str:
    for want, have in zip(case.outputs, got, strict=True):
        if want.size != have.size:
            return f"gives shape {have.shape} in place of {want.shape}"
        if want.dtype.kind in "iub" and graph.dtype(graph.outputs[0]) == "float32" and any(
            o in ("QuantizeLinear", "QLinearConv", "QLinearMatMul") for o in case.ops
        ):  # fmt: skip
            return "gives codes; this package gives the real numbers they stand for"
        a, b = (np.asarray(v, np.float64).reshape(want.shape) for v in (have, want))
        if np.isnan(a).any() != np.isnan(b).any():
            return "masks every key of a row, of which float32 makes NaN"
        rtol = max(case.rtol, 2**-7) if want.dtype.name == "bfloat16" else case.rtol
        if not np.allclose(a, b, rtol=rtol, atol=case.atol, equal_nan=True):
            return f"differs from what the case expects by up to {np.nanmax(np.abs(a - b)):.2g}"
    return ""


#: What integers may cost an output, of its largest value: 13 of 255 codes, as the steepest
#: operators take (the inverse hyperbolic cosine at 1, softmax of scores far apart).
C_ERROR = 0.05
#: Why cases are further off: by a pattern of their names.
FAR = (
    ("thresholdedrelu|^round", "a value lies on a step, and half a code off takes it to the other "
     "side"),
    ("large_number", "values that differ by 3 among 10,000, of which a code of the input is 39"),
    ("log_sum_exp", "the file itself writes out the exponentials, of which the largest leaves the "
     "others no code; as one operator it is within the error"),
    ("lppool", "a root of sums of powers, steep near 0 where a sum has few codes"),
    ("reduce_min", "the least of values up to 60, of which a code is a quarter"),
    ("layer_normalization", "rows of few elements and little spread, by which half a code of the "
     "input is divided"),
    ("acosh", "infinitely steep at 1, the least value it takes"),
)  # fmt: skip
C_RESULTS = Path(__file__).resolve().parent / "results" / "onnx_c.json"


def half(results: list[Result], share: float = 0.5, seed: int = 13) -> list[Result]:
    """A random share of the node cases of a floating type that pass."""
    fit = [r for r in results if not r.reason and r.case.floating and r.case.kind == "node"]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(fit))[: int(np.ceil(share * len(fit)))]
    return [fit[i] for i in sorted(chosen)]


def in_c(results: list[Result], together: int = 40) -> list[dict[str, Any]]:
    """Cases quantized with their own inputs, in C on this computer, `together` in a program.

    A row for each: `error` is the largest difference from the case's floats relative to the
    output's largest value, `identical` whether C gave the reference's bytes, `reason` why there
    is no integer form.
    """
    rows: list[dict[str, Any]] = []
    for at in range(0, len(results), together):
        rows += _program(results[at : at + together])
        print(f"{len(rows)} of {len(results)}", flush=True)
    return rows


def _program(results: list[Result]) -> list[dict[str, Any]]:
    from tests.codegen import run_c

    from secateur.codegen.ends import ends, joined, split
    from secateur.lowering import reference
    from secateur.lowering.quantize import lower

    rows, plans, given, wanted = [], [], [], []
    for i, r in enumerate(results):
        assert r.graph is not None
        row: dict[str, Any] = {"case": r.case.name.removeprefix("test_")}
        rows.append(row)
        n = max(len(v) for v in r.feed.values())
        x = {k: np.broadcast_to(v, (n, *v.shape[1:])) for k, v in r.feed.items()}
        try:
            q = lower(r.graph, x)
            codes = reference.quantize_input(q, x)
            plan = run_c.plan(q, f"case{i}")
        except SecateurError as e:
            row["reason"] = str(e)
            continue
        raw = codes if isinstance(codes, list) else [codes]
        made = reference.run(q, codes)
        plans.append(plan)
        given.append(joined(ends(q, q.inputs, "input"), raw))
        wanted.append((row, q, made))
        real = reference.dequantize_output(q, made)
        outputs = real if isinstance(real, list) else [real]
        exact = execute.run_outputs(r.graph, x)
        row["error"] = max(
            float(np.abs(a.reshape(b.shape) - b).max() / max(np.abs(b).max(), 1e-6))
            for a, b in zip(outputs, exact, strict=True)
        )
    if not plans:
        return rows
    with tempfile.TemporaryDirectory() as folder:
        got = run_c.on_host(plans, given, Path(folder), flags=["-O0"])
    for raw_out, (row, q, made) in zip(got, wanted, strict=True):
        many = made if isinstance(made, list) else [made]
        parts = split(ends(q, q.outputs, "output"), raw_out)
        row["identical"] = all(
            np.array_equal(a.reshape(b.shape), b) for a, b in zip(parts, many, strict=True)
        )
    return rows


def c_summary(rows: list[dict[str, Any]]) -> str:
    """A few sentences on rows of `in_c`, and the cases that are not within the error."""
    ran = [r for r in rows if "error" in r]
    far = sorted((r for r in ran if r["error"] > C_ERROR), key=lambda r: -float(r["error"]))
    unlike = [r["case"] for r in ran if not r["identical"]]
    none: dict[str, list[str]] = {}
    for r in rows:
        if "reason" in r:
            text = re.sub(r"'[^']*'", "...", r["reason"]).split(";")[0]
            none.setdefault(text, []).append(r["case"])
    lines = [
        f"Of {len(rows)} random node cases (half of those that pass) {len(ran)} have an integer "
        f"form; C gives the reference's bytes in {len(ran) - len(unlike)} of them, and "
        f"{len(ran) - len(far)} are within {C_ERROR:.0%} of the output's largest value "
        f"(median {np.median([r['error'] for r in ran]):.2%}).",
        "",
    ]
    if unlike:
        lines.append(f"- **other bytes in C** ({len(unlike)}): {', '.join(unlike)}")
    if far:
        lines.append(f"- **further from the floats** ({len(far)}), because of what 8 bits are:")
        reasons: dict[str, list[str]] = {}
        for r in far:
            why = next((w for pattern, w in FAR if re.search(pattern, r["case"])), "unknown")
            reasons.setdefault(why, []).append(f"{r['case']} ({r['error']:.0%})")
        lines += [f"  - {why}: {', '.join(names)}" for why, names in reasons.items()]
    lines += [f"- **{text}** ({len(names)}): {', '.join(names)}" for text, names in none.items()]
    return "\n".join(lines)


def main() -> None:
    """Print the counts; with --write, render docs/onnx.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/onnx.md")
    parser.add_argument("--verbose", action="store_true", help="print every case that fails")
    parser.add_argument("--c", action="store_true", help="run half of the node cases in C")
    parser.add_argument("--kind", choices=KINDS)
    args = parser.parse_args()
    results = [run(c) for kind in ([args.kind] if args.kind else KINDS) for c in cases(kind)]
    passed = Counter(r.case.kind for r in results if not r.reason)
    floats = Counter(r.case.kind for r in results if r.case.floating)
    for kind in KINDS:
        total = sum(r.case.kind == kind for r in results)
        print(f"{kind}: {passed[kind]} of {total} pass ({floats[kind]} are of a floating type)")
    if args.verbose:
        for r in results:
            if r.reason and r.case.floating:
                print(f"{r.case.kind} {r.case.name} {','.join(r.case.ops)[:60]}: {r.reason[:200]}")
    if args.c:
        rows = in_c(half(results))
        C_RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
        print(c_summary(rows))
    if args.write:
        DOCS.write_text(render(results))


def render(results: list[Result]) -> str:
    """docs/onnx.md."""
    by_op: dict[str, list[int]] = {}
    for r in results:
        if r.case.kind == "node" and r.case.floating and len(r.case.ops) == 1:
            count = by_op.setdefault(r.case.ops[0], [0, 0])
            count[0] += not r.reason
            count[1] += 1
    known = set(supported())
    rows = [f"| {op} | {a} of {b} |" for op, (a, b) in sorted(by_op.items()) if op in known]
    counts = []
    for kind in KINDS:
        mine = [r for r in results if r.case.kind == kind]
        floats = sum(r.case.floating for r in mine)
        passed = sum(not r.reason for r in mine)
        counts.append(f"| {kind} | {len(mine):,} | {floats:,} | {passed:,} |")
    reasons: dict[str, list[str]] = {}
    for r in results:
        if r.reason and r.case.floating:
            reasons.setdefault(_grouped(r), []).append(r.case.name.removeprefix("test_"))
    listed = [
        f"- **{reason}** ({len(names)}): {', '.join(sorted(names))}"
        for reason, names in sorted(reasons.items(), key=lambda x: (-len(x[1]), x[0]))
    ]
    others = ", ".join(sorted(known - set(by_op)))
    import onnx

    return TEXT.format(
        version=onnx.__version__,
        counts="\n".join(counts),
        rows="\n".join(rows),
        others=others,
        listed="\n".join(listed),
        in_c=c_summary(json.loads(C_RESULTS.read_text(encoding="utf-8"))),
    )


def _grouped(r: Result) -> str:
    """The reason without the names of the case."""
    text = r.reason
    operator = re.search(r"is the operator (\w+)", text)
    if operator:
        return f"operator {operator[1]} has no float operator here"
    if "needs '" in text:
        return "something is computed from the input that must be known at conversion"
    if "differs from what" in text:
        return "the result differs by more than the case's tolerance"
    if "cannot be computed at conversion" in text:
        return "control flow"
    if "open shape" in text:
        return "the shape of an input is open"
    text = re.sub(r"^(node|model|the input|layer) '[^']*'( \((\w+)\))?( of model '[^']*')?",
                  lambda m: m[3] or m[1], text)  # fmt: skip
    return re.sub(r"\(\d[\d, ]*\)|\[[\d, ]*\]", "(...)", text.split(", which is")[0].split(";")[0])


TEXT = """\
# ONNX and PyTorch

`pip install -e '.[onnx]'` in a checkout, and an `.onnx` file stands wherever a `.keras` file does:

```
secateur convert model.onnx --calibration calibration.npz --out build/library
secateur check-model model.onnx
```

A `torch.nn.Module` is converted by `sc.convert(module, example_input)` where torch is installed: it
is exported by `torch.onnx.export` with the first sample, and the whole array calibrates.
Attention is written out; where the tracing exporter fails and onnxscript is there, the
capturing one is asked.

- Opsets 11 to 23; older ones where their operators mean the same. Float, QDQ and QOperator models.
  Weights are taken as the real numbers they stand for: what is sparse, clustered or ternary stays
  so.
- Axis 0 is the batch. Models without one (fixed shapes) are taken as functions of whole arrays;
  where axis 0 is 1 at every end, samples have no such axis.
  The model takes and gives arrays of the same shape as in onnxruntime, images (C, H, W); inside,
  images are (H, W, C), and the transposes that this takes cancel but for those at the two ends.
- Shapes are fixed at conversion; constant subgraphs are folded by the onnx package's evaluator. An
  attribute that a reader does not know is refused, never ignored.

## The onnx package's backend tests

Every case holds a model, inputs and what must come out; inputs that an operator needs at conversion
are bound as initializers. Rendered by
`python -m benchmarks.onnx_backend --write` with onnx {version}.

| kind | cases | of a floating type | pass |
|---|---:|---:|---:|
{counts}

| operator | node cases of a floating type |
|---|---|
{rows}

Read as well, and part of larger cases or without cases of their own: {others}.

## In integers and C

`python -m benchmarks.onnx_backend --c`; each case is its own calibration data.

{in_c}

## Cases of a floating type that do not pass

{listed}
"""


if __name__ == "__main__":
    main()
