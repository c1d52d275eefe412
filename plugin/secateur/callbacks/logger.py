"""What compression does while a model trains, for TensorBoard and as a table."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from secateur.callbacks.arguments import checked
from secateur.callbacks.state import ATTRIBUTE, CompressionState
from secateur.errors import ModelError, ToolError
from secateur.extras import install
from secateur.files import check, looks_like, write

_COLUMNS = ("epoch", "weight", "sparsity", "bits", "levels", "threshold", "largest")
_OURS = looks_like(",".join(_COLUMNS).encode())
_WIDEST = 512  #: pixels of a mask's picture; what is larger is shown in blocks


class CompressionLogger(keras.callbacks.Callback):
    """Writes, after each epoch, what the compression callbacks of the same `fit` have made.

    For every compressed weight: `sparsity` (share of zeros), `bits` (of an index into its
    codebook; 32 while there is none), `levels` (distinct values), `threshold` (the smallest
    magnitude that is left) and `largest`. The place in the list of callbacks does not matter.

    TensorBoard also gets the histogram of the weights that are left and a picture of the mask
    (white: kept), so that its slider shows masks over time: rows are outputs, columns inputs.

    Args:
        log_dir: a folder, as for `keras.callbacks.TensorBoard`; the table is
            `log_dir`/compression.csv, which an earlier run's is replaced by.
        tensorboard: write event files; needs the package tensorboard.
        masks: write pictures of the masks, too.
        every: epochs from one picture and histogram to the next.

    Raises:
        ModelError: an argument is of another type, or nothing compresses in this `fit`.
        ToolError: TensorBoard is asked for and not installed.
        FileError: compression.csv is there and is another's.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        tensorboard: bool = True,
        masks: bool = True,
        every: int = 1,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ModelError(
                f"CompressionLogger: every={every} is below 1; give a number of epochs"
            )
        self.folder = Path(log_dir)
        self.tensorboard, self.masks, self.every = tensorboard, masks, every
        self.rows: list[dict[str, Any]] = []  #: of the last `fit`, by the table's columns
        self._writer: Any = None

    __init__ = checked(__init__, "CompressionLogger")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the files; an event writer that cannot be had is said now."""
        self.rows = []
        check(self.folder / "compression.csv", _OURS)
        if not self.tensorboard:
            return
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise ToolError(
                f"CompressionLogger writes for TensorBoard, which is not installed: "
                f"{install('train')}, or tensorboard=False"
            ) from error
        import tensorflow as tf

        self._writer = tf.summary.create_file_writer(str(self.folder))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """One row a weight; see the class."""
        state: CompressionState | None = getattr(self.model, ATTRIBUTE, None)
        if state is None or not state.chains:
            raise ModelError(
                "CompressionLogger: no callback of this fit compresses the model; add one such as "
                "sc.Prune(0.8), or leave the logger out"
            )
        for chain in state.chains.values():
            weight = np.array(chain.variable.numpy(), np.float32)
            kept = np.abs(weight[weight != 0])
            bits = chain.quantizer.bits(weight) if chain.quantizer else 32.0
            row = {
                "epoch": epoch,
                "weight": chain.members[0].path,
                "sparsity": 1.0 - kept.size / weight.size,
                "bits": float(bits),
                "levels": int(np.unique(weight).size),
                "threshold": float(kept.min()) if kept.size else 0.0,
                "largest": float(kept.max()) if kept.size else 0.0,
            }
            self.rows.append(row)
            if self._writer is not None:
                self._write(row, weight)
        text = io.StringIO()
        table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write(self.folder / "compression.csv", text.getvalue(), _OURS)

    def _write(self, row: dict[str, Any], weight: np.ndarray) -> None:
        import tensorflow as tf

        step, path = row["epoch"], row["weight"]
        with self._writer.as_default(step=step):
            for name in ("sparsity", "bits", "levels", "threshold"):
                tf.summary.scalar(f"compression/{path}/{name}", row[name])
            if step % self.every == 0:
                left = weight[weight != 0]
                tf.summary.histogram(f"weights/{path}", left if left.size else np.zeros(1))
                if self.masks:
                    tf.summary.image(f"masks/{path}", mask_picture(weight)[None])
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the event files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def mask_picture(weight: np.ndarray) -> np.ndarray:
    """The mask of a kernel [..., outputs] as float32 [outputs, inputs, 1], 1 where kept.

    Above 512 pixels a side a pixel is the share kept of a block.
    """
    mask = (weight.reshape(-1, weight.shape[-1]) != 0).astype(np.float32).T
    for axis in (0, 1):
        block = -(-mask.shape[axis] // _WIDEST)
        if block > 1:
            starts = np.arange(0, mask.shape[axis], block)
            sizes = np.diff([*starts, mask.shape[axis]])
            shape = [1, 1]
            shape[axis] = len(starts)
            mask = np.add.reduceat(mask, starts, axis=axis) / sizes.reshape(shape)
    return mask[..., None].astype(np.float32)
