"""This computer, which runs a library as a program and is planned for as a Cortex-M4."""

from __future__ import annotations

from .base import Architecture, Core

CORES = (
    Core(
        "host", Architecture(name="host", prefix=""), (),
        timers=("systick", "dwt", "mcycle", "nrf", "none"), prices="cortex-m4", isa="dsp",
    ),
)  # fmt: skip
