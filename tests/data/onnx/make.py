"""Writes the .onnx files beside it: small networks as torch exports them, weights random.

    pip install torch torchvision onnx onnxscript onnxruntime
    python tests/data/onnx/make.py

`expected.npz` holds for each an input and what onnxruntime makes of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn import functional

FOLDER = Path(__file__).parent


class TCN(nn.Module):
    """Causal dilated convolutions with residuals; the last step classifies."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            [nn.Conv1d(3 if i == 0 else 8, 8, 3, dilation=2**i) for i in range(3)]
        )
        self.last = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, step in enumerate(self.steps):
            y = torch.relu(step(functional.pad(x, (2 * 2**i, 0))))
            x = y + x if i else y
        return torch.softmax(self.last(x[:, :, -1]), -1)


class Attention(nn.Module):
    """A transformer's encoder layer, whose attention puts heads beside the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.last = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.encoder(self.embed(x)).mean(1))


def mobilenet() -> nn.Module:
    """torchvision's MobileNetV2, narrow and short."""
    from torchvision.models import MobileNetV2
    from torchvision.ops import Conv2dNormActivation

    blocks = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2], [6, 64, 2, 2]]
    model = MobileNetV2(5, width_mult=0.5, inverted_residual_setting=blocks)
    ends = model.features[-1][0].in_channels
    model.features[-1] = Conv2dNormActivation(ends, 96, kernel_size=1, activation_layer=nn.ReLU6)
    model.classifier[1] = nn.Linear(96, 5)
    return model


def cnn() -> nn.Module:
    """Convolution, grouped convolution, pooling, upsampling."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=8), nn.SiLU(), nn.ConvTranspose2d(8, 4, 2, 2), nn.PReLU(4),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 8, 3, stride=3), nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 4),
    )  # fmt: skip


def mlp() -> nn.Module:
    """Dense layers with GELU and LayerNorm."""
    return nn.Sequential(nn.Linear(10, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))


#: name: (module, input shape, opset, exporter that captures)
MODELS: dict[str, tuple[Any, tuple[int, ...], int, bool]] = {
    "mobilenet_v2": (mobilenet, (3, 48, 48), 17, False),
    "cnn": (cnn, (3, 16, 16), 13, False),
    "cnn_captured": (cnn, (3, 16, 16), 20, True),
    "tcn": (TCN, (3, 32), 11, False),
    "tcn_captured": (TCN, (3, 32), 18, True),
    "mlp": (mlp, (10,), 17, False),
    "mlp_captured": (mlp, (10,), 23, True),
    "attention": (Attention, (10, 6), 17, False),
}


def images(n: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Smooth random inputs."""
    x = rng.normal(0, 1, (n, *shape)).astype(np.float32)
    for axis in range(2, x.ndim):
        x = sum(np.roll(x, i, axis) for i in range(4)) / 2
    return np.asarray(x, np.float32)


def main() -> None:
    """Write every file."""
    expected = {}
    for name, (make, shape, opset, captured) in MODELS.items():
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        module = make()
        for m in module.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                m.momentum = None  # of all that is seen
                nn.init.uniform_(m.weight, 0.5, 1.5)
                nn.init.normal_(m.bias, 0, 0.1)
        with torch.no_grad():
            module(torch.tensor(images(64, shape, rng)))
        module.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        first = torch.zeros((1, *shape))
        path = FOLDER / f"{name}.onnx"
        if captured:
            dynamic = ({0: torch.export.Dim.DYNAMIC},)
            program = torch.onnx.export(
                module, (first,), dynamo=True, opset_version=opset, dynamic_shapes=dynamic
            )
            model = program.model_proto
            for node in model.graph.node:  # where it was captured: paths of a computer
                del node.metadata_props[:]
                node.doc_string = ""
            for f in model.functions:
                for node in f.node:
                    del node.metadata_props[:]
        else:
            single = name == "attention"
            axes = {} if single else {"input": {0: "batch"}, "output": {0: "batch"}}
            torch.onnx.export(
                module, (first,), str(path), dynamo=False, opset_version=opset, dynamic_axes=axes,
                input_names=["input"], output_names=["output"],
            )  # fmt: skip
            model = onnx.load(str(path))
        onnx.save(model, str(path))
        x = images(1 if name == "attention" else 4, shape, rng)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        expected[f"{name}_x"] = x
        (expected[f"{name}_y"],) = session.run(None, {session.get_inputs()[0].name: x})
        print(name, path.stat().st_size, "bytes")
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
