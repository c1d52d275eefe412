"""PyTorch modules, through torch's own ONNX export."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Graph

#: Opset of the export: the newest that every torch since 2.1 writes.
_OPSET = 17
#: Opset of the exporter that captures instead of tracing; it writes 18 and later ones.
_CAPTURED = 18


def from_torch(
    module: Any, example: Any, name: str | None = None, *, tolerant: bool = False
) -> Graph:
    """The float graph of a `torch.nn.Module`.

    example: an input [N, ...] (array or tensor), a list of them, or a dictionary by argument name;
    the first sample is what the export is traced with. The module is exported in evaluation mode
    and left in the mode it was in. Raises ModelError where torch cannot export it.
    """
    import torch

    from secateur.frontend.onnxmodel import from_onnx

    if example is None:
        raise ModelError(
            f"a {type(module).__name__} of PyTorch is exported by running it once; give an example "
            "input [N, ...], as calibration data or example_input"
        )
    names: list[str] = []
    if isinstance(example, Mapping):
        names, parts = list(example), list(example.values())
    elif isinstance(example, list | tuple):
        parts = list(example)
    else:
        parts = [example]
    names = names or (["input"] if len(parts) == 1 else [f"input_{i}" for i in range(len(parts))])
    training = bool(module.training)
    module.eval()
    try:
        arguments = tuple(torch.as_tensor(_first(p)) for p in parts)
        with torch.no_grad(), _written_out(torch):
            content = _exported(torch, module, arguments, names)
    except Exception as e:  # whatever the tracer or the module trips over
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise ModelError(
            f"torch cannot export the {type(module).__name__} ({first}); check that it runs on the "
            "example input, and export it yourself with torch.onnx.export"
        ) from e
    finally:
        module.train(training)
    title = name or type(module).__name__
    return from_onnx(content, title, tolerant=tolerant)


def _exported(torch: Any, module: Any, arguments: tuple[Any, ...], names: list[str]) -> bytes:
    """The module as an ONNX file: by the exporter that traces, else by the one that captures."""
    keywords: dict[str, Any] = {"input_names": names, "opset_version": _OPSET}
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this exporter is the older one
            torch.onnx.export(
                module, arguments, buffer, dynamo=False, do_constant_folding=True, **keywords
            )
    except TypeError:  # before torch 2.5 there is one exporter
        torch.onnx.export(module, arguments, buffer, do_constant_folding=True, **keywords)
    except Exception as traced:
        if find_spec("onnxscript") is None:
            raise
        try:
            program = torch.onnx.export(
                module, arguments, dynamo=True, input_names=names, opset_version=_CAPTURED,
                verbose=False,
            )  # fmt: skip
        except Exception:
            raise traced from None  # the sentence of the exporter that knows the module's lines
        return bytes(program.model_proto.SerializeToString())
    return buffer.getvalue()


@contextmanager
def _written_out(torch: Any) -> Iterator[None]:
    """Attention as the operations it is made of: torch's fused form has no ONNX operator."""
    mha = getattr(torch.backends, "mha", None)
    if mha is None or not hasattr(mha, "set_fastpath_enabled"):
        yield
        return
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)


def _first(value: Any) -> np.ndarray:
    """The first sample, as an array [1, ...]."""
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    return value[:1].astype(np.float32) if value.dtype == np.float64 else value[:1]
