"""The operators of the float graph: `OPS`, every one declared once.

A declaration (`@declare`) holds an operator's attributes with their defaults, its parameters, its
shape rule and its float reference in NumPy; readers, `verify`, the executor and lowering find it by
name. Every file of this folder is a family. Conventions:

- Shapes omit the batch. Images are (H, W, C), sequences (L, C) are carried as (1, L, C), vectors
  (N,), a single number (1,); more axes are allowed. No tensor of the graph has rank 2.
- Axes count without the batch, from 0, in the carried shape: channel of an image or a sequence 2.
- Constant operands are nodes of their own (`constant`); constants of one value a channel (or one
  for all) that multiply or add are `batch_norm`.
- An operator has one output. What gives several (Split, TopK) is several nodes.
- Reductions keep their axes with size 1.
- Shared weights are one array: `a.params["kernel"] is b.params["kernel"]`.
- int32 tensors (indices: inputs of `embedding`, outputs of `arg_max`) are told by `Graph.dtype`.
"""

from importlib import import_module
from pkgutil import iter_modules

from .base import COMMON, OPS, REQUIRED, Op, ShapeError, declare

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["COMMON", "OPS", "REQUIRED", "Op", "ShapeError", "declare"]
