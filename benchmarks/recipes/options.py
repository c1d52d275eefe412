"""What the command lines of the training benchmarks have in common."""

from __future__ import annotations

import argparse

import tensorflow as tf


def parser(description: str, measured: bool = True) -> argparse.ArgumentParser:
    """A parser with `--threads` and, where there is something kept to measure, `--train-only`,
    `--trained` and `--measure`."""
    out = argparse.ArgumentParser(description=description)
    if measured:
        out.add_argument("--train-only", action="store_true", help="stop before measuring")
        out.add_argument("--trained", action="store_true", help="leave out what is not trained yet")
        out.add_argument("--measure", action="store_true", help="measure again what is trained")
    out.add_argument("--threads", type=int, default=0, help="threads of an operation; 0: all")
    return out


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; `--threads` is applied, before TensorFlow's first operation."""
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    return args
