"""Shared by all tests. With it and __init__.py, `tests.strategies` can be imported anywhere."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
