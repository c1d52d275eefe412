"""tf_keras models and TFMOT's wrappers, in a process of their own.

Importing TFMOT switches a process to legacy Keras; a forked-off interpreter keeps that from the
other tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.train, pytest.mark.slow]

_COMMON = """
import sys
import numpy as np, pytest
k = pytest.importorskip("tf_keras")
L = k.layers
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.load import load

rng = np.random.default_rng(0)
X = rng.normal(0, 1, (4, 9, 8, 3)).astype(np.float32)

def randomise(m):
    for v in m.weights:
        value = rng.normal(0, 0.5, v.shape)
        v.assign(np.abs(value) + 0.1 if "variance" in v.name else value)
    return m

def check(graph, model, tol=1e-4):
    want = model(X, training=False).numpy()
    got = execute.run(graph, X).reshape(want.shape)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=tol)

def small():
    return k.Sequential([
        k.Input((9, 8, 3)), L.Conv2D(8, 3, activation="relu", name="c1"),
        L.DepthwiseConv2D(3, padding="same", strides=2), L.BatchNormalization(), L.ReLU(6.0),
        L.SeparableConv2D(6, 3, padding="same"), L.AveragePooling2D(2, padding="same"),
        L.Flatten(), L.Dense(5, activation="softmax", name="fc")], name="small")
"""

_PLAIN = r"""
m = randomise(small())
check(load(m), m)
i = k.Input((9, 8, 3))
inner = k.Sequential([k.Input((9, 8, 3)), L.Conv2D(3, 3, padding="same")])
y = inner(i) + i
import tensorflow as tf
y = tf.nn.relu(L.Add()([y, i, L.ZeroPadding2D(1)(L.Conv2D(3, 3)(i))]))
f = randomise(k.Model(i, L.GlobalAveragePooling2D()(y)))
check(load(f), f)
out = sys.argv[1]
for name in ("m.keras", "m.h5"):
    m.save(f"{out}/{name}")
    check(load(f"{out}/{name}"), m)

import h5py, io, zipfile
nested = randomise(k.Sequential([k.Input((9, 8, 3)), L.Conv2D(2, 3), L.BatchNormalization(),
                                 L.Dense(2)]))
nested.save(f"{out}/there.keras")
with zipfile.ZipFile(f"{out}/there.keras") as a, zipfile.ZipFile(f"{out}/windows.keras", "w") as b:
    for name in a.namelist():
        data = a.read(name)
        if name.endswith(".h5"):
            buffer = io.BytesIO()
            with h5py.File(io.BytesIO(data)) as f, h5py.File(buffer, "w") as g:
                def visit(n, item):
                    if n == "vars":
                        g.require_group(n)
                    folder, _, rest = n.partition("/vars")
                    new = folder.replace("/", "\\") + "/vars" + rest
                    if isinstance(item, h5py.Dataset):
                        g[new] = item[()]
                    elif n.endswith("/vars"):
                        g.require_group(new)
                f.visititems(visit)
            data = buffer.getvalue()
            assert b"layers\\conv2d" in data
        b.writestr(name, data)
check(load(f"{out}/windows.keras"), nested)

two = k.Input((9, 8, 3))
y = L.Concatenate()([i[:, 1:, ::2], 0.5 * tf.reshape(two, (-1, 8, 9, 3))[:, :, :4]])
y = tf.nn.leaky_relu(tf.math.reduce_mean(y, axis=1), 0.3) / 2 - 1
z = L.LSTM if False else L.Dense(4, activation="hard_sigmoid")(tf.transpose(y, [0, 2, 1]))
w = tf.image.resize(i, (18, 16)) * L.Dense(3, activation="gelu")(L.Flatten()(z))[:, None, None]
z = L.PReLU(shared_axes=[1])(L.Conv1DTranspose(3, 2, strides=2, padding="same")(z))
z = L.MultiHeadAttention(2, 3)(z, z)
several = randomise(k.Model([i, two], [y, z, L.UpSampling2D(2, interpolation="bilinear")(w)]))
several.save(f"{out}/several.h5")
for source in (several, f"{out}/several.h5"):
    g = load(source)
    want = several([X, X[::-1]], training=False)
    for a, b in zip(execute.run_outputs(g, [X, X[::-1]]), want):
        b = b.numpy()
        np.testing.assert_allclose(a.reshape(b.shape), b, atol=2e-5 * np.abs(b).max())

def refused(model, pattern):
    with pytest.raises(ModelError, match=pattern):
        load(model)
refused(k.Sequential([L.Dense(3)], name="late"), "'late'.*not been built")
bins = L.Discretization([0.0], name="bins")
refused(k.Sequential([k.Input((4, 3)), bins]), "'bins'.*Discretization.*supported")
refused(k.Sequential([k.Input((3,)), L.Lambda(lambda x: x, name="f")]), "'f'.*Lambda")
refused(k.Model(i, tf.math.lgamma(i)), "tf.math.lgamma")
class Own(k.Model):
    def call(self, x):
        return x
own = Own(name="own"); own.build((None, 3))
refused(own, "'own'.*subclassed")
bad = small(); bad.get_layer("fc").kernel.assign(bad.get_layer("fc").kernel * np.inf)
refused(bad, "'kernel'.*'fc'.*NaN")
k.Sequential([k.Input((3,)), L.Lambda(lambda x: x, name="sneaky")]).save(f"{out}/l.h5")
refused(f"{out}/l.h5", "'sneaky'.*Lambda.*never executed")
open(f"{out}/bad.h5", "wb").write(open(f"{out}/m.h5", "rb").read()[:3000])
refused(f"{out}/bad.h5", "bad.h5.*(not an intact|cannot be read).*truncated")
m.save_weights(f"{out}/w.h5")
refused(f"{out}/w.h5", "weights alone")
"""

_TFMOT = """
tfmot = pytest.importorskip("tensorflow_model_optimization")
k.utils.set_random_seed(1)
from secateur.lowering.quantize import lower
Y = np.eye(5)[rng.integers(0, 5, len(X))]

def trained(m, callbacks=()):
    m.compile("adam", "categorical_crossentropy")
    m.fit(X, Y, epochs=2, verbose=0, callbacks=list(callbacks))
    return m

schedule = tfmot.sparsity.keras.ConstantSparsity(0.75, 0, frequency=1)
base = randomise(small())
p = tfmot.sparsity.keras.prune_low_magnitude(base, schedule)
trained(p, [tfmot.sparsity.keras.UpdatePruningStep()])
g = load(p)
check(g, tfmot.sparsity.keras.strip_pruning(p))
assert np.mean(g.node("c1").params["kernel"] == 0) >= 0.7
p.save(sys.argv[1] + "/pruned.keras")
check(load(sys.argv[1] + "/pruned.keras"), tfmot.sparsity.keras.strip_pruning(p))

c = trained(tfmot.clustering.keras.cluster_weights(
    randomise(small()), number_of_clusters=6,
    cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS))
g = load(c)
check(g, tfmot.clustering.keras.strip_clustering(c))
q = lower(g, X)
assert len(np.unique(q.op("c1").weight)) <= 6

def plain():
    return k.Sequential([k.Input((9, 8, 3)), L.Conv2D(8, 3, activation="relu", name="c1"),
                         L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(name="r1"), L.Flatten(),
                         L.Dense(5, activation="softmax", name="fc")])
a = trained(tfmot.quantization.keras.quantize_model(plain()))
want = a(X, training=False).numpy()
assert np.abs(execute.run(load(a), X) - want).max() < 0.05  # its activations are rounded
q = lower(load(a), X)
assert q.op("c1").weight_bits <= 8

# Ranges stay where training has put them, though calibration sees three times as much.
from secateur.lowering import reference as ref
def answers(graph):
    made = lower(graph, 3 * X)
    return made, ref.dequantize_output(made, ref.run(made, ref.quantize_input(made, 3 * X)))
kept, got = answers(load(a))
own = {v.name.split("/")[-1]: float(v) for layer in a.layers for v in layer.weights
       if v.shape.rank == 0}
for tensor, name, low in (
    ("c1_relu", "post_activation", 0), ("r1", "output", 0), ("fc", "pre_activation", None)
):
    low = own[f"{name}_min:0"] if low is None else low
    np.testing.assert_allclose(kept.tensors[tensor].scale, (own[f"{name}_max:0"] - low) / 255, 1e-3)
moved = load(a)
for n in moved.nodes:
    n.attrs.pop("range", None)
_, recalibrated = answers(moved)
want = a(3 * X, training=False).numpy()
assert np.abs(got - want).max() < min(0.05, np.abs(recalibrated - want).max())

# Clusters stay clusters, through a convolution's grids by channel.
c = trained(tfmot.clustering.keras.cluster_weights(
    randomise(plain()), number_of_clusters=8,
    cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS))
c = tfmot.quantization.keras.quantize_apply(
    tfmot.quantization.keras.quantize_annotate_model(tfmot.clustering.keras.strip_clustering(c)),
    tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme())
trained(c)
g = load(c)
for name in ("c1", "fc"):
    assert len(np.unique(g.node(name).params["kernel"])) <= 8
assert len(np.unique(lower(g, X).op("c1").weight)) <= 8
_, got = answers(g)
assert np.abs(got - c(3 * X, training=False).numpy()).max() < 0.1
"""

_LARQ = """
lq = pytest.importorskip("larq")
from secateur.lowering import reference as ref
from secateur.lowering.quantize import lower
Q = lq.layers
binary = dict(input_quantizer="ste_sign", kernel_quantizer="ste_sign",
              kernel_constraint="weight_clip", use_bias=False)
m = randomise(k.Sequential([
    k.Input((9, 8, 3)),
    Q.QuantConv2D(8, 3, kernel_quantizer="ste_sign", kernel_constraint="weight_clip",
                  use_bias=False),
    L.BatchNormalization(scale=False),
    Q.QuantConv2D(16, 3, padding="same", name="b1", **binary), L.MaxPooling2D(2),
    L.BatchNormalization(),
    Q.QuantDepthwiseConv2D(3, input_quantizer="approx_sign", depthwise_quantizer="ste_sign",
                           padding="same", use_bias=False), L.BatchNormalization(),
    L.Flatten(), Q.QuantDense(5, name="b2", **binary), L.Activation("softmax")]))
g = load(m)
check(g, m)
m.save(sys.argv[1] + "/larq.keras")
check(load(sys.argv[1] + "/larq.keras"), m)
X = rng.normal(0, 1, (256, 9, 8, 3)).astype(np.float32)
q = lower(g, X)
for name in ("b1", "b2"):
    assert q.op(name).weight_bits == 1 and set(np.unique(q.op(name).weight)) == {-1, 1}
y = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, X)))
# Only the input is rounded; near a threshold that flips a sign, and random weights do not care.
assert np.mean(y.argmax(1) == execute.run(g, X).argmax(1)) > 0.8
i = k.Input((4, 4, 2))
for layer, pattern in (
    (Q.QuantConv2D(2, 3, input_quantizer="dorefa_quantizer"), "DoReFa.*SteSign"),
    (Q.QuantConv2D(2, 3, padding="same", pad_values=1.0), "pads with 1.0"),
    (Q.QuantSeparableConv2D(2, 3), "QuantSeparableConv2D.*QuantConv2D"),
):
    with pytest.raises(ModelError, match=pattern):
        load(k.Model(i, layer(i)))
"""


def _in_own_process(body: str, folder: Path) -> None:
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, "-c", _COMMON + body, str(folder)],
        capture_output=True,
        text=True,
        env=env,
        timeout=600,
        check=False,
    )
    if "Skipped" in done.stderr and "importorskip" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-3000:]


def test_tf_keras_models_and_refusals(tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    _in_own_process(_PLAIN, tmp_path)


def test_larq_layers_are_binary(tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    _in_own_process(_LARQ, tmp_path)


def test_tfmot_wrappers_are_taken_off(tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    _in_own_process(_TFMOT, tmp_path)
