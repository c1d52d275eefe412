"""Low-bit weights and activations, from training to the simulated Cortex-M4."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur import cores, targets
from secateur.flow import CompiledModel, convert
from secateur.frontend import execute
from secateur.lowering import reference
from secateur.lowering.qgraph import QConv, QDense
from secateur.targets import tools

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.train, pytest.mark.emulator]

DIGITS = Path(__file__).parent / "data" / "mnist_sample.npz"


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,000 MNIST digits, 14x14."""
    data = np.load(DIGITS)
    x = data["x"].astype(np.float32).reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 255
    return x[..., None], data["y"].astype(np.int64)


def network(bits: int, kind: str = "relu", levels: str = "uniform") -> keras.Model:
    """First convolution, pointwise, 3x3 and a hidden dense layer on low-bit activations."""
    import secateur.callbacks as sc

    layers = keras.layers
    keras.utils.set_random_seed(1)

    def block(*made: Any) -> list[Any]:
        norm = layers.BatchNormalization(momentum=0.8)
        return [*made, norm, sc.QuantActivation(bits, kind, levels=levels)]

    model = keras.Sequential(
        [
            layers.Input((14, 14, 1)),
            *block(layers.Conv2D(32, 3, strides=2, use_bias=False, name="first")),
            *block(layers.Conv2D(64, 1, use_bias=False, name="pointwise")),
            *block(layers.Conv2D(24, 3, use_bias=False, name="window")),
            layers.Flatten(),
            *block(layers.Dense(40, use_bias=False, name="hidden")),
            layers.Dense(10, name="last"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss, jit_compile=False)
    return model


def trained(model: keras.Model, callback: Any, epochs: int = 3) -> keras.Model:
    x, y = digits()
    history = model.fit(x, y, batch_size=50, epochs=epochs, verbose=0, callbacks=[callback])
    assert history.history["loss"][-1] < 2.0
    return model


def accuracy(outputs: np.ndarray) -> float:
    return float((outputs.reshape(len(outputs), -1).argmax(axis=1) == digits()[1]).mean())


def identical(compiled: CompiledModel, x: np.ndarray, folder: Path) -> None:
    """The same bytes from the reference, the host and the simulated Cortex-M4."""
    q = compiled.quantize(x)
    want = compiled.run(q).reshape(len(q), -1)
    for board, n in (("host", len(q)), ("mps2_an386", 4)):
        core = targets.boards.load(board).core
        if core != "host" and (why := tools.missing(cores.get(core).compiler)):
            pytest.skip(why)
        image = targets.build(compiled.save(folder / "library"), board, folder / board)
        target = targets.get("host" if board == "host" else "sim")
        got = target.run(image, q[:n]).outputs.reshape(n, -1)
        np.testing.assert_array_equal(got, want[:n], err_msg=board)


def xnor() -> Any:
    import secateur.callbacks as sc

    return sc.XNOR(exclude=["first"])


def qnn(weight_bits: int, bits: int) -> Callable[[], Any]:
    def make() -> Any:
        import secateur.callbacks as sc

        return sc.QuantizedNN(weight_bits, bits, exclude=["first"])

    return make


def lq() -> Any:
    import secateur.callbacks as sc

    return sc.LQNet(2, 2, exclude=["first"])


#: name: activations, callback, magnitudes a channel's integer weights may have (at most)
CASES: dict[str, tuple[dict[str, Any], Callable[[], Any], int]] = {
    "XNOR": ({"bits": 1, "kind": "sign"}, xnor, 1),
    "QNN 1,1": ({"bits": 1}, qnn(1, 1), 1),
    "QNN 1,2": ({"bits": 2}, qnn(1, 2), 1),
    "QNN 2,2": ({"bits": 2}, qnn(2, 2), 2),
    "QNN 1,4": ({"bits": 4}, qnn(1, 4), 1),
    "LQNet 2,2": ({"bits": 2, "levels": "learned"}, lq, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_trained_and_converted(case: str, tmp_path: Path) -> None:
    options, make, magnitudes = CASES[case]
    model = trained(network(**options), make())
    x, _ = digits()
    compiled = convert(model, x[:200], name="digits")
    for op in compiled.qgraph:
        if isinstance(op, QConv | QDense) and op.name != "first":
            for row in op.weight.reshape(len(op.weight), -1):
                assert len(np.unique(np.abs(row))) <= magnitudes, op.name
    real = execute.run(compiled.graph, x)
    predicted = model.predict(x, verbose=0)
    # float32's rounding next to a threshold is all that may differ
    assert np.isclose(real, predicted, atol=1e-3).all(axis=1).mean() > 0.9
    # the first layer's int8 flips some levels: other bytes, but as good a network
    got = reference.dequantize_output(compiled.qgraph, compiled.run(x))
    assert accuracy(got) > accuracy(predicted) - 0.06
    identical(compiled, x[:64], tmp_path)


@pytest.mark.parametrize("kind", ["sign", "relu"])
def test_a_depthwise_layer_ends_in_thresholds(kind: str, tmp_path: Path) -> None:
    """Its fast form on cores with DSP instructions requantizes; thresholds need the other one."""
    import secateur.callbacks as sc

    layers = keras.layers
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            layers.Input((14, 14, 1)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            sc.QuantActivation(1 if kind == "sign" else 2, kind),
            layers.Conv2D(8, 1),
            layers.GlobalAveragePooling2D(),
        ]
    )
    x, _ = digits()
    identical(convert(model, x[:64], name="m"), x[:16], tmp_path)
