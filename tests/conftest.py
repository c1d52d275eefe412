"""Shared by all tests. With it and __init__.py, `tests.strategies` can be imported anywhere."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("SECATEUR_VERIFY", "1")  # passes keep their contract: lowering/passes.py

from hypothesis import settings

# The same examples in every run of continuous integration; new ones at every desk.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
