"""Writes model.keras and calibration.npz: a small classifier of two rings of points."""

import keras
import numpy as np

rng = np.random.default_rng(1)
angle = rng.uniform(0, 2 * np.pi, 2000)
label = rng.integers(0, 2, 2000)
radius = 0.5 + 0.7 * label + rng.normal(0, 0.08, 2000)
x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)

model = keras.Sequential(
    [
        keras.Input((2,)),
        keras.layers.Dense(24, activation="relu"),
        keras.layers.Dense(12, activation="relu"),
        keras.layers.Dense(2),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
model.fit(x, label, epochs=4, batch_size=32, verbose=2)
model.save("model.keras")
np.savez("calibration.npz", x=x[:256])
