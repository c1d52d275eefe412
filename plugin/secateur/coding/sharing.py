"""One code table for several layers, where that is smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .base import Encoded, get
from .huffman import CodeTable, coded_bits, quick_lengths
from .huffman_joint import ESCAPES, LARGEST, Joint


def total_bytes(layers: Sequence[Encoded]) -> int:
    """Bytes of all layers in flash, shared streams once."""
    stored = {}
    for i, layer in enumerate(layers):
        for s in layer.streams:
            stored[s.shared or f"{i}/{s.name}"] = len(s.data)
    return sum(stored.values())


def shareable(layer: Encoded) -> bool:
    """Whether a layer's code table may serve others, too."""
    return isinstance(get(layer.encoding), Joint) and bool(layer.meta["nnz"])


def share_tables(layers: Sequence[Encoded]) -> list[Encoded]:
    """The layers again, those coded with joint Huffman symbols on common tables if that pays.

    Layers of one encoding whose levels have equally many bits can share. The group starts with all
    of them and loses the layer that fits worst as long as the total shrinks.
    """
    out = list(layers)
    weights: dict[int, np.ndarray] = {}
    groups: dict[tuple[str, int], list[int]] = {}
    for i, layer in enumerate(layers):
        if shareable(layer):
            groups.setdefault((layer.encoding, layer.meta["width"]), []).append(i)
    for members in groups.values():
        if len(members) > 1:
            weights |= {i: get(layers[i].encoding).decode(layers[i]) for i in members}
    for (name, width), members in groups.items():
        best = total_bytes(out)
        group = members
        while len(group) > 1:
            trial = _share(out, {i: weights[i] for i in group}, name, width)
            size = total_bytes(trial)
            if size < best:
                out = trial
                break
            # Dropped first: the layer whose stream grows most.
            growth = [len(trial[i].streams[0].data) - len(layers[i].streams[0].data) for i in group]
            group = [i for i in group if i != group[int(np.argmax(growth))]]
    return out


def _share(
    layers: Sequence[Encoded], weights: dict[int, np.ndarray], name: str, width: int
) -> list[Encoded]:
    encoding = get(name)
    assert isinstance(encoding, Joint)
    found: tuple[int, int, CodeTable] | None = None
    for escape in ESCAPES:
        alphabet = (escape << width) + 1
        if alphabet > LARGEST:
            break
        counts = np.zeros(alphabet, np.int64)
        for w in weights.values():
            counts += np.bincount(encoding.symbols(w, escape)[0], minlength=alphabet)
        lengths = quick_lengths(counts)
        bits = coded_bits(counts, lengths) + 4 * alphabet
        if found is None or bits < found[0]:
            found = bits, escape, CodeTable(lengths)
    assert found is not None
    _, escape, table = found
    out = list(layers)
    for i, w in weights.items():
        shared = encoding.encode_with(w, escape, table, f"{name}_{width}")
        out[i] = replace(shared, meta=layers[i].meta | shared.meta)
    return out
