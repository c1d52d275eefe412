"""These tests need the [train] extra; without Keras there is nothing to collect."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if find_spec("keras") is None or find_spec("tensorflow") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import keras

    keras.utils.set_random_seed(7)
