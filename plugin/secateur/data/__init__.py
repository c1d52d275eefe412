"""The sample that comes with the package: a keyword spotter and real features for it.

See README.md in this folder for origin and licence.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from secateur.errors import DataError

FOLDER = Path(__file__).parent

#: float feature = (code - KWS_ZERO_POINT) * KWS_SCALE
KWS_SCALE = 0.5847029089927673
KWS_ZERO_POINT = 83
KWS_WORDS = [
    "down",
    "go",
    "left",
    "no",
    "off",
    "on",
    "right",
    "stop",
    "up",
    "yes",
    "silence",
    "unknown",
]
KWS_MODEL = FOLDER / "kws_dscnn.keras"


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """`kws_train` or `kws_test`: features float32 [n, 49, 10, 1] and labels uint8 [n] (0..11)."""
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        raise DataError(f"{path} is missing: install the package again, data included.")
    with np.load(path, allow_pickle=False) as z:
        x = (z["x"].astype(np.float32) - float(z["zero_point"])) * float(z["scale"])
        return np.ascontiguousarray(x, dtype=np.float32), z["y"]


def full_data() -> Path | None:
    """The folder with the complete data sets: $SECATEUR_DATA, or ../shared/data; None if absent."""
    named = os.environ.get("SECATEUR_DATA")
    folder = Path(named) if named else FOLDER.parents[3] / "shared" / "data"
    return folder if folder.is_dir() else None
