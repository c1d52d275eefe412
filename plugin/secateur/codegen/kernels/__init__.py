"""Kernel families, one a file; each registers itself with `@register`."""

from __future__ import annotations

from .base import AnyKernel, Kernel, Layer, Plain, all_kernels, get, kernels_of, register

__all__ = [
    "AnyKernel", "Kernel", "Layer", "Plain", "all_kernels", "get", "kernels_of", "register",
]  # fmt: skip
