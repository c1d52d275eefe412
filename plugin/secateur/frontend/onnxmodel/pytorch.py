"""PyTorch modules, through torch's own ONNX export."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Graph

#: Opset of the export: the newest that every torch since 2.1 writes.
_OPSET = 17


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
    buffer, training = io.BytesIO(), bool(module.training)
    keywords: dict[str, Any] = {
        "input_names": names, "opset_version": _OPSET, "do_constant_folding": True,
    }  # fmt: skip
    module.eval()
    try:
        arguments = tuple(torch.as_tensor(_first(p)) for p in parts)
        with torch.no_grad():
            try:
                torch.onnx.export(module, arguments, buffer, dynamo=False, **keywords)
            except TypeError:  # before torch 2.5 there is one exporter
                torch.onnx.export(module, arguments, buffer, **keywords)
    except Exception as e:  # whatever the tracer or the module trips over
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise ModelError(
            f"torch cannot export the {type(module).__name__} ({first}); check that it runs on the "
            "example input, and export it yourself with torch.onnx.export"
        ) from e
    finally:
        module.train(training)
    title = name or type(module).__name__
    return from_onnx(buffer.getvalue(), title, batch=True, tolerant=tolerant)


def _first(value: Any) -> np.ndarray:
    """The first sample, as an array [1, ...]."""
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    return value[:1].astype(np.float32) if value.dtype == np.float64 else value[:1]
