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
    that mix along axis 0 (and have fixed shapes) as functions of whole arrays, one a sample; where
    axis 0 is 1 at all ends, as exporters write a batch of one sample, samples have no such axis.
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
        if not _fixed(model):
            raise
        try:
            return _read(model, title, False, tolerant, single=_single(model))
        except ModelError:
            raise e from None


def _read(model: Any, title: str, batch: bool, tolerant: bool, single: bool = False) -> Graph:
    reader = OnnxReader(model, title, batch, tolerant, single)
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
