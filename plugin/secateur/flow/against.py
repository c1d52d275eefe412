"""TensorFlow Lite beside the device: the same model, the same calibration, the same inputs.

Conversion and inference run in a process of their own (`tflite_worker`): what a foreign file does
to an interpreter does not end this one, and TensorFlow and its runtimes do not meet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .. import extras, reading, tasks
from ..errors import DataError, ModelError, ToolError
from ..files import looks_like, write
from ..frontend import execute
from ..lowering import reference
from ..names import shown
from ..progress import tell
from ..report import peer
from ..report.peer import Peer
from ..tasks import Task
from .compiled import CompiledModel

#: Seconds a conversion, or all inputs, may take.
TIMEOUT = 900.0
#: Whether a file is a .tflite, which another one may replace.
OURS = looks_like(rb".{4}TFL3")
#: Exit code of the worker where what is needed is not installed.
MISSING = 3


def to_tflite(model: Any, calibration: Any, path: str | Path) -> Path:
    """Write the int8 .tflite that TensorFlow's converter makes of a model: inputs and outputs int8.

    Args:
        model: a Keras 3 model, or the path of a `.keras` file.
        calibration: real inputs [N, *input shape], the representative data set.
        path: the file to write; another .tflite is replaced.

    Raises:
        ModelError: TensorFlow's converter does not take the model.
        DataError: the model has several inputs.
        ToolError: TensorFlow is not installed.
        FileError: another file is there.
    """
    if isinstance(calibration, dict | list | tuple):
        raise DataError("to_tflite takes models of one input; give its calibration array")
    x = np.asarray(calibration, np.float32)
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        here = Path(folder)
        source = Path(model) if isinstance(model, str | Path) else here / "model.keras"
        if source.suffix != ".keras":
            raise DataError(f"{source} is no .keras file, from which a .tflite could be made")
        if not isinstance(model, str | Path):
            model.save(source)
        np.savez(here / "x.npz", x=x)
        tell("converting with TensorFlow Lite")
        _work("make", str(source.resolve()), str(here / "x.npz"), str(here / "out.tflite"))
        return write(path, (here / "out.tflite").read_bytes(), OURS)


def run_tflite(path: str | Path, inputs: np.ndarray) -> tuple[np.ndarray, str]:
    """Real outputs float32 [N, ...] of a .tflite file for real inputs, and the runtime's name.

    Raises ModelError for what is no .tflite of one input and one output, ToolError where neither
    LiteRT nor tflite-runtime is installed.
    """
    file = reading.regular(path, reading.LARGEST_MODEL, ModelError)
    with file.open("rb") as opened:
        if not OURS(opened.read(8)):
            raise ModelError(f"{path} is no TensorFlow Lite model")
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        here = Path(folder)
        np.savez(here / "x.npz", x=np.asarray(inputs, np.float32))
        tell(f"running {len(inputs)} inputs in TensorFlow Lite")
        said = _work("run", str(file.resolve()), str(here / "x.npz"), str(here / "y.npz"))
        with np.load(here / "y.npz", allow_pickle=False) as found:
            return found["y"], said


def compare(
    compiled: CompiledModel,
    path: str | Path,
    inputs: np.ndarray,
    asked: Task | None,
    device: np.ndarray,
    figures: str | Path | None = None,
) -> Peer:
    """A .tflite file beside the device's outputs (codes [N, ...]) for the same real inputs."""
    if len(compiled.qgraph.inputs) != 1 or len(compiled.qgraph.outputs) != 1:
        raise DataError(
            f"model '{compiled.name}' has several inputs or outputs; a .tflite is held against one "
            "of each: leave `against` out"
        )
    x = np.asarray(inputs)
    if x.dtype == np.int8 and compiled.qgraph.interface_dtype(compiled.qgraph.input) == "int8":
        raise DataError("a .tflite is run with real inputs, and these are int8 codes; give reals")
    x = execute.as_input(compiled.graph, x)
    shape = (len(device), *compiled.qgraph.interface_shape(compiled.qgraph.output))
    ours = reference.dequantize_output(compiled.qgraph, device.reshape(shape))
    theirs, runtime = run_tflite(path, x)
    if theirs.size != ours.size:
        raise ModelError(
            f"{path} gives {theirs.size // len(x)} outputs an input and model '{compiled.name}' "
            f"{ours.size // len(x)}; give the .tflite of the same network"
        )
    theirs = theirs.reshape(ours.shape)
    right = None
    if asked is not None and asked.kind != tasks.REGRESSION:
        right = asked.accuracy(theirs)
    extra: dict[str, Any] = {} if figures is None else dict(peer.figures(figures, compiled.name))
    return Peer(
        file=Path(path).name,
        runtime=runtime,
        bytes=Path(path).stat().st_size,
        inputs=len(x),
        accuracy=right,
        equal=_equal(ours, theirs, asked),
        **extra,
    )


def _equal(ours: np.ndarray, theirs: np.ndarray, asked: Task | None) -> float | None:
    if asked is not None and asked.kind == tasks.REGRESSION:
        return None
    if ours.reshape(len(ours), -1).shape[1] > 1 and (asked is None or asked.kind == tasks.TOP1):
        return float(np.mean(ours.argmax(axis=-1) == theirs.argmax(axis=-1)))
    limit = 0.5 if asked is None else asked.threshold
    return float(np.mean((ours > limit) == (theirs > limit)))


def _work(*arguments: str) -> str:
    """The worker's last line. Raises with its own sentence."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "secateur.flow.tflite_worker", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT,
            env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"TensorFlow Lite did not finish in {TIMEOUT:g} s; give fewer inputs"
        ) from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    try:
        said = json.loads(lines[-1]) if lines else {}
    except ValueError:
        said = {}
    if done.returncode == 0 and "done" in said:
        return shown(str(said["done"]))
    if done.returncode == MISSING:
        extra = "train" if arguments[0] == "make" else "tflite"
        raise ToolError(
            f"{said.get('error', 'a package is missing')}; run: {extras.install(extra)}"
        )
    why = said.get("error") or f"it ended with exit code {done.returncode}"
    doing = "converting" if arguments[0] == "make" else "running"
    raise ModelError(
        f"TensorFlow Lite failed {doing} {Path(arguments[1]).name} ({shown(str(why))})"
    )
