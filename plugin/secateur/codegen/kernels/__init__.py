"""Kernel families, one a file; each registers itself with `@register`."""

from __future__ import annotations

from .base import Kernel, Layer, all_kernels, get, register

__all__ = ["Kernel", "Layer", "all_kernels", "get", "register"]
