"""The contract of passes, and the verifier of integer graphs: what it accepts, what it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings

from secateur.errors import ModelError
from secateur.flow.conversion import STORED
from secateur.frontend.ir import Graph
from secateur.lowering import passes
from secateur.lowering.qgraph import QConv, QDense, QGraph, QTensor, Requant, Thresholds
from secateur.lowering.quantize import lower
from secateur.lowering.verify import InvalidGraphError, verify
from tests.strategies import random_graphs, random_inputs


@settings(max_examples=25, deadline=None)
@given(random_graphs())
def test_every_pass_leaves_a_sound_graph_and_its_argument_alone(graph: Graph) -> None:
    """Float and integer passes on random models; `run` checks, because tests set the variable."""
    try:
        q = lower(graph, random_inputs(graph, 6))
    except ModelError:
        assume(False)
    verify(q)
    before = passes.fingerprint(q)
    passes.run(STORED, q)
    assert passes.fingerprint(q) == before


def test_a_pass_that_breaks_the_contract_is_named() -> None:
    def mutates(graph: QGraph) -> QGraph:
        graph.ops[0].weight[0, 0] += 1  # type: ignore[attr-defined]
        return graph

    def forgets(graph: QGraph) -> QGraph:
        return replace(graph, ops=graph.ops[1:])

    with pytest.raises(InvalidGraphError, match="pass mutates changed its argument"):
        passes.run((mutates,), sound())
    with pytest.raises(InvalidGraphError, match="behind pass forgets: operator 'd' reads 'y'"):
        passes.run((forgets,), sound())


def sound() -> QGraph:
    """A convolution of two filters on 4x4x3, then a dense layer."""
    constants = Requant(np.full(2, 300, np.int16), np.zeros(2, np.int32), 16, 4)
    conv = QConv("c", ("x",), "y", np.ones((2, 3, 3, 3), np.int8), constants, (1, 1), (1, 1, 1, 1))
    dense = QDense("d", ("y",), "z", np.ones((2, 32), np.int8), constants)
    tensors = {
        "x": QTensor("x", (3, 4, 4), 0.1, 128),
        "y": QTensor("y", (2, 4, 4), 0.1, 0),
        "z": QTensor("z", (2,), 0.1, 7),
    }
    return QGraph("g", [conv, dense], tensors, ("x",), ("z",))


def _tensor(name: str, /, **change: Any) -> Callable[[QGraph], None]:
    def edit(g: QGraph) -> None:
        g.tensors[name] = replace(g.tensors[name], **change)

    return edit


def _op(i: int, /, **change: Any) -> Callable[[QGraph], None]:
    def edit(g: QGraph) -> None:
        g.ops[i] = replace(g.ops[i], **change)

    return edit


def _constants(**change: Any) -> Callable[[QGraph], None]:
    def edit(g: QGraph) -> None:
        g.ops[1] = replace(g.ops[1], requant=replace(g.ops[1].requant, **change))  # type: ignore

    return edit


def test_the_sound_graph_is_sound() -> None:
    verify(sound())


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (_tensor("x", name="w"), "tensor 'x' calls itself 'w'"),
        (_tensor("y", scale=0.0), "tensor 'y': scale 0.0"),
        (_tensor("y", zero_point=256), "tensor 'y': zero point 256"),
        (_tensor("y", packed=True), "tensor 'y' is packed and has no planes"),
        (_tensor("y", shape=(2, 3, 4)), r"operator 'c' \(conv\): output \(2, 3, 4\), computed"),
        (_op(1, name="c"), "two operators are called 'c'"),
        (_op(0, inputs=("q",)), "reads 'q', which is no tensor"),
        (_op(0, inputs=("z",)), "reads 'z' before it is written"),
        (_op(1, output="y"), "tensor 'y' is written twice"),
        (_op(0, groups=2), "3 x 2 channels"),
        (_op(0, residual=5), "residual without its tensor"),
        (_op(0, stride=(2, 2)), r"computed \(2, 2, 2\)"),
        (_op(1, weight=np.ones((2, 31), np.int8)), r"operator 'd' \(dense\): \(2, 31\) for 32"),
        (_op(1, weight=np.ones((2, 32), np.int16)), "weights are int16"),
        (_constants(multiplier=np.ones(3, np.int16)), r"multipliers of shape \(3,\)"),
        (_constants(multiplier=np.ones(2, np.int32)), "constants' types"),
        (_constants(pre_shift=8), "pre_shift 8"),
        (_constants(pre_shift=0), None),
        (_constants(shift=31), "shift 31"),
        (_constants(offset=np.full(2, 2**31 - 1, np.int32)), "sums beyond 32 bits"),
    ],
)
def test_what_is_wrong_is_named(edit: Callable[[QGraph], None], says: str | None) -> None:
    graph = sound()
    edit(graph)
    if says is None:  # 32 codes of up to 255 fit in 16 bits
        verify(graph)
        return
    with pytest.raises(InvalidGraphError, match=says):
        verify(graph)


def test_thresholds_and_wide_accumulators() -> None:
    graph = sound()
    graph.tensors["z"] = replace(graph.tensors["z"], planes=(1, 2))
    values = np.array([[-5, 0, 9], [1, 1, 2]], np.int32)
    flip = np.array([0, -1], np.int32)
    graph.ops[1] = replace(graph.ops[1], requant=Thresholds(values, flip, (1, 2)))  # type: ignore
    verify(graph)
    falling = Thresholds(values[:, ::-1], flip, (1, 2))
    graph.ops[1] = replace(graph.ops[1], requant=falling)  # type: ignore[call-arg]
    with pytest.raises(InvalidGraphError, match="thresholds descend"):
        verify(graph)
    wide = replace(sound().ops[1].requant, pre_shift=0)  # type: ignore[attr-defined]
    graph = sound()
    heavy = np.full((2, 32), 127, np.int8)
    graph.ops[1] = replace(graph.ops[1], weight=heavy, requant=wide)  # type: ignore[call-arg]
    with pytest.raises(InvalidGraphError, match="with pre_shift 0"):
        verify(graph)
