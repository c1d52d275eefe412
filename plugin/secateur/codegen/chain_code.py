"""The C of a chain: loops around its operators' calls, and where each finds its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..lowering.qgraph import QOp
from .arena import ArenaMap
from .chain import Chain, Link, reads_of
from .emit import Emission, render
from .kernels import Layer


@dataclass(frozen=True)
class LinkCode:
    """What chain.c.j2 knows of an operator."""

    name: str
    comment: str
    call: str
    y: str  #: counter of its rows
    rows: int  #: a call
    goal: str  #: condition under which rows are missing


def place(chain: Chain, arena: ArenaMap) -> list[Layer[QOp]]:
    """The operators' layers with the C expressions of their operands; names the chain's scratch."""
    at = {t: arena.expression(t) for t in (*chain.inputs, chain.output)}
    ends = sorted({*chain.rings.values(), *chain.kept.values(), chain.work})
    makers = {link.layer.op.output: link for link in chain.links}
    for t, o in chain.rings.items():
        link = makers[t]
        size = next(e for e in ends if e > o) - o if o < ends[-1] else 0
        what = f"{link.stripe.out} rows of the output of {link.layer.c_name}"
        at[t] = arena.part(chain.name, "RING", link.name, o, size, what).expression
    work = arena.part(
        chain.name, "SCRATCH", chain.name, chain.work, chain.scratch - chain.work,
        f"scratch of the layers {chain.links[0].layer.c_name} to {chain.links[-1].layer.c_name}",
    )  # fmt: skip
    for link in chain.links:
        layer, op, s = link.layer, link.layer.op, link.stripe
        layer.first = _counter(link)
        layer.inputs = [
            _rows(link, at, t, held, reads_of(op, i).step)
            if i or link.kernel.straight(layer)
            else at[t]
            for i, (t, held) in enumerate(zip(op.inputs, s.held, strict=True))
        ]
        layer.output = _rows(link, at, op.output, s.out, 1)
        layer.kept = layer.scratch = work.expression
        if kept := link.kernel.kept(layer):
            layer.kept = arena.part(
                chain.name, "KEPT", link.name, chain.kept[link.name], kept,
                f"unpacked weights of {link.layer.c_name}",
            ).expression  # fmt: skip
    return [link.layer for link in chain.links]


def _rows(link: Link, at: Mapping[str, str], t: str, held: int, step: int) -> str:
    """C pointer to the rows of tensor t, `held` of which its buffer holds, that belong to a call:
    `step` of them to each row of the operator's output."""
    _, h, w = link.layer.graph.tensors[t].shape
    if link.stripe.rows * step % held == 0:  # the call's rows fill the ring
        return at[t]
    row = _counter(link) + (f" * {step}" if step > 1 else "")
    return f"{at[t]} + {row if held == h else f'{row} % {held}'} * {w}"


def code(
    chain: Chain, emissions: Mapping[str, Emission], add: Callable[[Emission], tuple[str, str]],
    comments: Mapping[str, str],
) -> str:  # fmt: skip
    """C of the chain; add: takes in an emission's functions and returns its setup and its call."""
    last = chain.links[-1].layer
    end = last.graph.tensors[last.op.output].shape[1]
    links, setups = [], []
    for link in chain.links:
        setup, call = add(emissions[link.name])
        if setup:
            setups.append((link.layer.c_name, setup))
        height = link.layer.graph.tensors[link.layer.op.output].shape[1]
        mine = _counter(link)
        goal = f"{mine} < y{f' * {link.pace}' if link.pace > 1 else ''} + {link.lead}"
        if (end - chain.rows) * link.pace + link.lead > height:
            goal = f"{mine} < {height} && {goal}"
        comment = comments.get(link.name, link.layer.c_name)
        links.append(LinkCode(link.layer.c_name, comment, call, mine, link.stripe.rows, goal))
    return render("chain.c.j2", chain=chain, links=links, setups=setups, height=end).strip()


def _counter(link: Link) -> str:
    return f"y_{link.layer.c_name}"
