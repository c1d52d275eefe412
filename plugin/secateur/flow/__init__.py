"""From a model to a report: the pieces of the package in the order in which data flows."""

from .against import run_tflite, to_tflite
from .compiled import MANIFEST, CompiledModel
from .conversion import convert, load
from .deployment import deploy

__all__ = ["MANIFEST", "CompiledModel", "convert", "deploy", "load", "run_tflite", "to_tflite"]
