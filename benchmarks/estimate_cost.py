"""What an estimate of cycles costs: a simulated inference with it and without.

    python -m benchmarks.estimate_cost [--runs 15] [--out benchmarks/results/estimate_cost.json]

The bundled keyword spotter, dense int8, in the simulator, from the start of the firmware to its
answer; both ways in turn, in CPU time of this computer, the least of all runs. docs/cycle-model.md
shows it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from secateur import convert, data, targets
from secateur.targets import Image
from secateur.targets.runners import sim
from secateur.targets.runners.sim import Machine
from secateur.targets.wire.client import Client

RESULTS = Path("benchmarks/results/estimate_cost.json")
BOARDS = ("pico", "nucleo_l4r5zi", "nucleo_h743zi", "nucleo_f446re", "pico2_riscv")


def seconds(image: Image, x: np.ndarray, counting: bool) -> float:
    """CPU seconds until the answer to `x` (int8 [features])."""
    begin = time.process_time()
    machine = Machine(image)
    machine.count(counting)
    client = Client(machine, retries=1)
    client.greet()
    client.infer(x, client.info())
    if counting:
        assert sim.estimated(image.board, machine, machine.runs()) is not None
    return time.process_time() - begin


def row(board: str, runs: int) -> dict[str, Any]:
    """Least CPU seconds with the estimate and without, and their ratio."""
    train, _ = data.load("kws_train")
    compiled = convert(data.KWS_MODEL, train[:256], name="kws", board=board, encodings="dense")
    x = np.asarray(compiled.quantize(train[:1])).reshape(-1)
    with tempfile.TemporaryDirectory() as folder:
        library = compiled.save(Path(folder) / "library")
        image = targets.build(library, board, Path(folder) / "firmware")
        both = [[seconds(image, x, counting) for counting in (False, True)] for _ in range(runs)]
    plain, counted = (min(found) for found in zip(*both, strict=True))
    return {
        "board": board, "runs": runs, "plain": round(plain, 3), "estimate": round(counted, 3),
        "times": round(counted / plain, 2),
    }  # fmt: skip


def page(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| board | simulated, CPU seconds | with cycles estimated | times |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| `{r['board']}` | {r['plain']:.2f} | {r['estimate']:.2f} | {r['times']:.2f} |"
        for r in rows
    ]
    return "\n".join([*lines, "", f"Least of {rows[0]['runs']} runs each."])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found = [row(board, args.runs) for board in BOARDS]
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(page(found))


if __name__ == "__main__":
    main()
