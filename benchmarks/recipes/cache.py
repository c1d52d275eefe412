"""Trained networks on disk, so that an interrupted benchmark goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras


def digest(*recipes: Any) -> str:
    """Eight characters that change when a recipe does."""
    return hashlib.sha256(repr(recipes).encode()).hexdigest()[:8]


def timed(path: Path, train: Callable[[], keras.Model]) -> None:
    """Train and save to `path` unless it is there, and note how long it took beside it."""
    if path.is_file():
        return
    wall, cpu = time.monotonic(), time.process_time()
    model = train()
    seconds = {
        "seconds": round(time.monotonic() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }
    partial = path.with_name("partial-" + path.name)
    model.save(partial)
    write_json(path.with_suffix(".time.json"), seconds)
    partial.replace(path)
    print(f"{path.name}: {seconds['seconds']:.0f} s", flush=True)


def spent(path: Path) -> dict[str, float]:
    """What `timed` noted: "seconds" on the wall, "cpu_seconds"."""
    return json.loads(path.with_suffix(".time.json").read_text())


def write_json(path: Path, content: Any) -> None:
    """Write `content`, whole or not at all."""
    partial = path.with_name("partial-" + path.name)
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
