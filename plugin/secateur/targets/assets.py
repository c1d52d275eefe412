"""Where the firmware's sources and the boards' manifests are: the checkout, or share/secateur."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import ToolError


def root() -> Path:
    """The folder that holds `firmware/` and `boards/`."""
    checkout = Path(__file__).resolve().parents[3]
    installed = Path(sys.prefix) / "share" / "secateur"
    for candidate in (checkout, installed):
        if (candidate / "firmware" / "src" / "harness_main.c").is_file():
            return candidate
    raise ToolError(
        f"the firmware's sources are neither in {checkout} nor in {installed}: "
        "install secateur from a checkout with 'pip install -e .'"
    )


def firmware() -> Path:
    """The folder of the firmware: src/, ld/, platform/."""
    return root() / "firmware"
