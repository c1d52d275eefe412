"""ONNX models (the extra `onnx`): float, QDQ and QOperator, opsets 11 to 23.

Models of PyTorch come this way, too: `sc.convert(module, example_input)` exports them.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from secateur import extras, reading
from secateur.errors import ModelError
from secateur.frontend.ir import Graph

from .reader import BatchError, OnnxReader, supported

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def from_onnx(
    model_or_path: Any,
    name: str | None = None,
    *,
    batch: bool | None = None,
    tolerant: bool = False,
) -> Graph:
    """The float graph of an ONNX model, a file of one, or its bytes.

    The graph takes and gives arrays as the model does, images (C, H, W); inside, they are
    (H, W, C). batch: whether axis 0 of every tensor is the batch; None finds out, and takes models
    that mix along axis 0 (and have fixed shapes, or an open axis 0 alone, which is 1 then) as
    functions of whole arrays, one a sample; where axis 0 is 1 at all ends, as exporters write a
    batch of one sample, samples have no such axis.
    Raises ModelError for damaged files and for operators outside `supported()`; `tolerant` puts an
    `opaque` node in their place.
    """
    model, title = _loaded(model_or_path)
    title = name or title
    if batch is not None:
        return _read(model, title, batch, tolerant)
    try:
        return _read(model, title, True, tolerant)
    except BatchError as e:
        whole = model if _fixed(model) else _of_one(model)
        if whole is None:
            raise
        single, of_one = _single(whole), whole is not model
        try:
            return _read(whole, title, False, tolerant, single, of_one)
        except ModelError as second:
            # a recurrent node along axis 0 is as it should be; what the second reading found is not
            timed = any(n.op_type in ("LSTM", "GRU", "RNN", "Loop") for n in model.graph.node)
            raise (second if timed else e) from None


def _read(
    model: Any, title: str, batch: bool, tolerant: bool, single: bool = False, of_one: bool = False
) -> Graph:
    reader = OnnxReader(model, title, batch, tolerant, single, of_one)
    try:
        return reader.read()
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, AttributeError) as e:
        at = f", at node '{reader.at}'" if reader.at else ""
        raise ModelError(
            f"model '{title}' does not keep to ONNX ({type(e).__name__}: {e}{at}); check it with "
            "onnx.checker, and export it again"
        ) from e


def _fixed(model: Any) -> bool:
    """Whether every input has a fixed shape."""
    known = {t.name for t in model.graph.initializer}
    return all(
        d.HasField("dim_value") and d.dim_value > 0
        for i in model.graph.input
        if i.name not in known
        for d in i.type.tensor_type.shape.dim
    )


def _of_one(model: Any) -> Any | None:
    """The model with a batch of one sample, where axis 0 of its inputs has no length and all other
    axes have one; None where that is not all."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    known = {t.name for t in made.graph.initializer}
    for end in [i for i in made.graph.input if i.name not in known] + list(made.graph.output):
        dims = end.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_value = 1
    if not _fixed(made):
        return None
    del made.graph.value_info[:]
    try:
        return onnx.shape_inference.infer_shapes(made)
    except onnx.shape_inference.InferenceError:
        return None


def _single(model: Any) -> bool:
    """Whether every input and output is a batch of one sample."""
    known = {t.name for t in model.graph.initializer}
    ends = [i for i in model.graph.input if i.name not in known] + list(model.graph.output)
    shapes = [list(e.type.tensor_type.shape.dim) for e in ends]
    return all(len(s) > 1 and s[0].dim_value == 1 for s in shapes)


def _loaded(model_or_path: Any) -> tuple[Any, str]:
    """The model, checked, its functions written out, and a name for it."""
    try:
        import onnx
        from onnx import inliner
    except ImportError as e:
        raise ModelError(
            f"reading ONNX models needs the onnx package ({e}); run: {extras.install('onnx')}"
        ) from e
    source: Any = model_or_path
    try:
        if isinstance(source, str | Path):
            model = onnx.load(
                str(reading.regular(source, kind=ModelError))
            )  # weights beside the file lie in its folder or below
            title = Path(source).stem
        else:
            model = onnx.load_from_string(source) if isinstance(source, bytes) else source
            title = model.graph.name or "model"
            source = f"model '{title}'"
        if not model.graph.node:
            raise ModelError(f"{source} has no nodes; export the model again")
        model = onnx.shape_inference.infer_shapes(model)  # of outputs that state none, too
        onnx.checker.check_model(model)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except ModelError:
        raise
    except OSError as e:
        raise ModelError(f"{source} cannot be read ({e}); give an .onnx file") from e
    except Exception as e:  # protobuf's, the checker's and the inliner's own
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise ModelError(f"{source} is not an intact ONNX model ({first}); export it again") from e
    if model.opset_import and not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        raise ModelError(f"{source} uses no standard ONNX operators; export the model again")
    return model, title


__all__ = ["from_onnx", "supported"]
