"""A point made ready: retrained, built, run in the emulator, measured once on the test rows."""

from __future__ import annotations

import pprint
from dataclasses import replace
from pathlib import Path
from typing import Any

from secateur import flow
from secateur.files import looks_like, write
from secateur.names import model as identifier

from .judge import Objective, Training, accuracy, compiled
from .points import Point
from .samples import Samples
from .training import CALIBRATION

#: Outputs compared with the reference, byte by byte, where a point is run.
COMPARED = 16
_RECIPE = '''"""Point {number} of an exploration: makes the network again. Written by secateur."""

import secateur as sc

# x_train, y_train: the rows the exploration trained on.
SETTINGS = {settings}


def network(model, x_train, y_train):
    """The Keras model, and its integers for {board}."""
    trained = sc.retrain(
        model, SETTINGS, (x_train, y_train), epochs={epochs!r}, seed={seed}, rate={rate!r},
        batch={batch},
    )
    compiled = sc.convert(
        trained, x_train[:{calibration}], board={board!r}, optimize={optimize!r}, name={name!r}
    )
    return trained, compiled
'''
OURS = looks_like(rb'"""Point \d+ of an exploration')


def finish(
    point: Point,
    objective: Objective,
    task: Training,
    test: Samples | None,
    folder: Path,
    name: str,
    emulator: Any,
    builder: Any,
) -> Point:
    """`point` retrained under `task`; its model, library, report and recipe are in `folder`."""
    from .training import packed

    model = objective.trained(task)
    judged = objective.judged(model, point.settings)
    made = compiled(model, objective.train.x, objective.board, point.settings, identifier(name))
    write(folder / "model.keras", packed(model), looks_like(rb"PK"))
    recipe = _RECIPE.format(
        number=point.number, settings=pprint.pformat(point.settings, sort_dicts=False),
        epochs=task.epochs, seed=task.seed, rate=objective.rate, batch=objective.batch,
        calibration=CALIBRATION, board=objective.board, name=identifier(name),
        optimize=point.settings.get("optimize", "balanced"),
    )  # fmt: skip
    write(folder / "recipe.py", recipe, OURS)
    part = objective.validation if test is None else test
    report = flow.deploy(
        made, objective.board, inputs=part.x[:COMPARED], labels=part.y[:COMPARED],
        emulator=emulator, build_dir=folder, builder=builder,
    )  # fmt: skip
    measured = {
        "accuracy": None if test is None else accuracy(made, test),
        "rows": None if test is None else len(test.x),
        "instructions": report.latency.instructions,
        "flash": report.flash.model + report.flash.runtime,
        "arena": report.ram.arena,
        "ram": report.ram.arena + report.ram.stack + report.ram.static,
        "stored": report.size.stored,
        "latency": report.latency.ms,
        "energy": report.energy.uj,
        "kind": report.latency.kind,
        "identical": report.outputs.identical,
        "total": report.outputs.total,
        "epochs": task.epochs,
    }
    layers = tuple(
        {k: v for k, v in x.to_dict().items() if k != "entropy_bytes"} for x in report.layers
    )
    return replace(
        point, figures=judged, rung=task.rung, measured=measured, folder=str(folder), layers=layers
    )
