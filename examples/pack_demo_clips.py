"""Make plugin/secateur/data/kws_train.npz and kws_test.npz from the full Speech Commands features.

    python examples/pack_demo_clips.py [FOLDER]     # default: ../shared/data, or $SECATEUR_DATA

The files are inputs like everybody's (`--calibration`, `--inputs`): int8 x [n, 49, 10, 1] with its
scale and zero point, and y. Their order in memory is Fortran's, in which they deflate better.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from secateur import data

CLIPS = 4000
SPLIT_SEED = 20


def choose(y: np.ndarray, speaker: np.ndarray, clips: int) -> np.ndarray:
    """Indices of about `clips` clips, classes as even as the speakers allow.

    Clips are taken speaker by speaker: clips of other speakers stay for choosing
    hyper-parameters.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    per_class = -(-clips // 12)
    taken: list[int] = []
    counts = np.zeros(12, int)
    for who in rng.permutation(np.unique(speaker)):
        for i in np.flatnonzero(speaker == who):
            if counts[y[i]] < per_class:
                counts[y[i]] += 1
                taken.append(int(i))
    return np.array(sorted(taken))


def pack(path: Path, q: np.ndarray, y: np.ndarray) -> None:
    """Write one file."""
    np.savez_compressed(
        path,
        x=np.asfortranarray(q[..., None]),
        y=y.astype(np.uint8),
        scale=np.float64(data.KWS_SCALE),
        zero_point=np.int64(data.KWS_ZERO_POINT),
    )
    print(f"{path}: {len(q)} clips, {path.stat().st_size:,} bytes")


def main() -> None:
    """Pack both files."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else data.full_data()
    if source is None:
        sys.exit("no folder with the full data: name it, or set SECATEUR_DATA.")
    train = np.load(source / "kws12_train_clean.npz")
    chosen = choose(train["y"], train["speaker"], CLIPS)
    pack(data.FOLDER / "kws_train.npz", train["q"][chosen], train["y"][chosen])
    test = np.load(source / "kws12_test.npz")
    pack(data.FOLDER / "kws_test.npz", test["q"], test["y"])


if __name__ == "__main__":
    main()
