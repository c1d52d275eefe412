"""Callbacks that are told what cannot be."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import Case, RefusedError, WarnedError


def _make(name: str, kwargs: dict[str, Any], fit: bool) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        import keras

        import secateur

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                callback = getattr(secateur, name)(**kwargs)
                if fit:
                    keras.utils.set_random_seed(0)
                    net = keras.Sequential(
                        [
                            keras.Input((4,)),
                            keras.layers.Dense(8, name="a"),
                            keras.layers.Dense(3, name="b"),
                        ]
                    )
                    net.compile("sgd", "mse")
                    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
                    net.fit(x, x[:, :3], batch_size=16, epochs=2, verbose=0, callbacks=[callback])
            except (
                ValueError,
                TypeError,
            ) as e:  # Python's own errors are what a training script expects
                raise RefusedError(" ".join(f"{type(e).__name__}: {e}".split())) from None
        ours = [
            str(w.message)
            for w in said
            if name.lower()[:4] in str(w.message).lower() or "step" in str(w.message)
        ]
        if ours:
            raise WarnedError(" ".join(" ".join(ours).split()))

    return run


BAD: dict[str, dict[str, tuple[Any, ...]]] = {
    "Prune": {
        "sparsity": (-0.1, 1.0, 1.5, float("nan"), "half", None),
        "begin_step": (-1, "x", 1.5),
        "end_step": (-1, "x"),
        "schedule": ("cubic-ish", 3),
        "scope": ("world",),
        "every": (0, -1),
        "pattern": ((2, 1), (0, 0), "2:4"),
        "l2": (-1.0,),
        "per_layer": ({"a": 2.0}, {"nobody": 0.5}),
        "include": (["nobody"], [3]),
        "exclude": (["nobody"],),
        "typo": (1,),
    },
    "Cluster": {
        "bits": (0, -1, 17, "x", None),
        "clusters": (0, 1, -4),
        "begin_step": (-1,),
        "init": ("best",),
        "update": ("median",),
        "per_layer": ({"a": 0}, {"nobody": 4}),
        "include": (["nobody"],),
    },
    "Ternarize": {
        "threshold": (-1.0, float("nan"), "x"),
        "sparsity": (-0.1, 1.0, 2.0),
        "begin_step": (-1,),
        "end_step": (-5,),
        "scale": ("world",),
        "rank": ("general",),
        "include": (["nobody"],),
    },
    "Uniform": {"bits": (0, 1, 9, "x"), "scale": ("world",), "include": (["nobody"],)},
    "Logarithmic": {"bits": (0, 99), "include": (["nobody"],)},
    "PowerOfTwo": {"include": (["nobody"],), "begin_step": (-1,)},
    "LQNet": {"bits": (0, 9), "include": (["nobody"],)},
    "Binary": {"include": (["nobody"],)},
    "XNOR": {"include": (["nobody"],)},
    "TernaryTWN": {"include": (["nobody"],)},
    "TernaryTTQ": {"include": (["nobody"],)},
    "SparseBinary": {"include": (["nobody"],)},
    "QuantizedNN": {"include": (["nobody"],)},
    "HypersphericalTernary": {"include": (["nobody"],)},
}
#: In 8 steps, these do nothing or not all of it.
LATE: list[tuple[str, dict[str, Any]]] = [
    ("Ternarize", {"begin_step": 800}),
    ("Cluster", {"begin_step": 800}),
    ("Prune", {"begin_step": 800, "end_step": 900}),
    ("Prune", {"sparsity": 0.9, "end_step": 900}),
    ("Uniform", {"begin_step": 800}),
    ("PowerOfTwo", {"begin_step": 800}),
    ("Logarithmic", {"begin_step": 800}),
    ("LQNet", {"begin_step": 800}),
    ("Binary", {"begin_step": 800}),
    ("TernaryTWN", {"begin_step": 800}),
]


def cases() -> Iterator[Case]:
    for name, arguments in BAD.items():
        for key, values in arguments.items():
            for value in values:
                yield Case(
                    "callbacks",
                    f"{name}({key}={value!r})",
                    rf"{key}|nobody|layer|{value!r}|'a'|sparsity 2",
                    _make(name, {key: value}, True),
                )
    for name, kwargs in LATE:
        yield Case(
            "callbacks",
            f"{name}({kwargs}) in 8 steps",
            r"step|began|begin|schedule",
            _make(name, kwargs, True),
        )
