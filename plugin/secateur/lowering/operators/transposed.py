"""Transposed convolution as a convolution that makes every phase of the output at once.

Output pixel o + pad = q * s + phase is the sum over taps j of x[q - j] * kernel[phase + s * j]: a
plain convolution over x with ceil(k / s) taps and a set of channels for each of the s * s phases,
whose pixels are then laid side by side. No zero is multiplied, and every encoding applies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering
from secateur.lowering.operators.weighted import block_diagonal, convolve, dilated
from secateur.lowering.registry import lowers


@lowers("conv2d_transpose", wide=True)
def _conv2d_transpose(lo: Lowering, node: Node) -> None:
    groups, strides = int(node.attr("groups")), node.attrs["strides"]
    # as that of a convolution from ci to co channels: [kh, kw, ci / groups, co]
    k = node.params["kernel"]
    kh, kw, each, ci = k.shape
    inner = k.reshape(kh, kw, each, groups, ci // groups)
    kernel = inner.transpose(0, 1, 4, 3, 2).reshape(kh, kw, ci // groups, groups * each)
    kernel = dilated(block_diagonal(kernel, groups), node.attr("dilations"))
    co = kernel.shape[3]
    (h, w, _), (oh, ow, _) = lo.shape(node.inputs[0]), node.shape
    cut = node.attrs["pads"][:2]
    first, pads, grid, taps = [], [], [], []
    for n, out, s, t, size in zip((h, w), (oh, ow), strides, cut, kernel.shape, strict=False):
        j = -(-size // s)
        low, high = min(t // s, j - 1), max((t + out - 1) // s, n - 1)
        first.append(low)
        pads.append((j - 1 - low, high - (n - 1)))
        grid.append(high - low + 1)
        taps.append(j)
    sy, sx = strides
    phases = np.zeros((taps[0], taps[1], ci, sy, sx, co), kernel.dtype)
    for y in range(kernel.shape[0]):
        for x in range(kernel.shape[1]):
            place = (taps[0] - 1 - y // sy, taps[1] - 1 - x // sx)
            phases[place[0], place[1], :, y % sy, x % sx] = kernel[y, x]
    shape = (grid[0], grid[1], sy * sx * co)
    params = {"kernel": phases.reshape(taps[0], taps[1], ci, sy * sx * co)}
    params |= {p: np.tile(v, sy * sx) for p, v in node.params.items() if p != "kernel"}
    attrs = {k: v for k, v in node.attrs.items() if k in ("clamp", "levels", "range", "parameters")}
    attrs |= {"strides": (1, 1), "pads": (pads[0][0], pads[1][0], pads[0][1], pads[1][1])}
    made = Node("conv2d", node.name, node.inputs, f"{node.output}_phases", shape, attrs, params)
    lo.shapes[made.output] = shape
    lo.ranges[made.output] = lo.ranges[node.output]
    if node.output in lo.wide:
        lo.wide.add(made.output)
    convolve(lo, made, params["kernel"].transpose(3, 2, 0, 1), groups=1)
    at = lo.addresses(made.output).reshape(grid[0], grid[1], sy, sx, co)
    whole = at.transpose(0, 2, 1, 3, 4).reshape(grid[0] * sy, grid[1] * sx, co)
    y0, x0 = cut[0] - first[0] * sy, cut[1] - first[1] * sx
    window = whole[y0 : y0 + oh, x0 : x0 + ow]
    lo.view(replace(node, inputs=(made.output,)), window.reshape(-1))
