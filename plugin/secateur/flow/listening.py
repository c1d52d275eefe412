"""Features of sound in front of a network of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..codegen.features import feature_files, state_bytes, table_bytes
from ..codegen.tidy import wrapped
from ..errors import DataError
from ..lowering.mfcc import Mfcc, QMfcc

if TYPE_CHECKING:
    from .compiled import CompiledModel


def add(compiled: CompiledModel, definition: Mfcc) -> QMfcc:
    """Put the C of `definition` into the library of `compiled`. Raises DataError."""
    q = compiled.qgraph
    if q.step_due is None:
        raise DataError(
            f"'{compiled.name}' runs on whole windows; features are made for networks of a step: "
            "convert with streaming=True"
        )
    t = q.tensors[q.input]
    if q.interface_dtype(q.input) != "int8":
        raise DataError(f"'{compiled.name}' reads no int8 codes, which features are made as")
    if t.size != definition.outputs:
        raise DataError(
            f"'{compiled.name}' reads frames of {t.size} features, and {definition.outputs} are "
            "made: give `coefficients` (or `channels`) of the features it was trained on"
        )
    features = QMfcc(definition, t.scale, t.zero_point - 128)
    files = feature_files(compiled.plan.library.name, features)
    compiled.plan.library.files |= {path: wrapped(text) for path, text in files.items()}
    compiled.notes.append(
        f"features: {definition.outputs} of {definition.window} samples every {definition.hop}; "
        f"{table_bytes(features):,} bytes of tables, {state_bytes(features):,} bytes of RAM"
    )
    return features
