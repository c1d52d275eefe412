"""The metrics of the surveys at three levels; docs/metrics.md defines each with its source.

Sze et al., "How to Evaluate Deep Neural Network Processors", 2020; Roth et al., "Resource-Efficient
Neural Networks for Embedded Systems", 2024; Williams et al., "Roofline", 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .layers import LayerFigures, total
from .units import show

if TYPE_CHECKING:
    from .figures import Report

#: Multiply-accumulates of 8 bits, and bytes of data, that an instruction set can do in a cycle: DSP
#: multiplies two pairs of 16 bits (SMLAD), Helium sixteen bytes in two beats.
CEILINGS = {"plain": (1.0, 4.0), "dsp": (2.0, 4.0), "mve": (8.0, 8.0)}


@dataclass(frozen=True)
class Metrics:
    """Of one inference, None where unknown. Bytes, counts, microjoule-milliseconds.

    `kinds` says of every figure of the implementation level "measured", "counted" or "estimated".
    """

    parameters: int
    nonzeros: int
    macs: int
    effectual_macs: int
    accuracy: float | None
    bits_per_weight: float  #: stored, of all parameters
    bits_per_activation: float | None
    bit_operations: int | None  #: effectual MACs x bits of a weight x bits of an activation
    flash: float | None
    peak_ram: float | None
    flash_moved: int  #: bytes of weights, each read once
    ram_moved: int | None  #: bytes of every layer's inputs and output, each moved once
    instructions: int | None
    cycles: float | None
    latency_ms: float | None
    throughput: float | None  #: inferences a second
    energy_uj: float | None
    energy_delay: float | None  #: uJ x ms
    intensity: float | None  #: effectual MACs a byte moved
    #: ceilings of the core: 8-bit multiply-accumulates and bytes a cycle
    peak_macs: float | None
    peak_bytes: float | None
    kinds: dict[str, str]


def of(report: Report, isa: str = "") -> Metrics:
    """The metrics of a report, from its figures and layers; isa: a key of CEILINGS, or unknown."""
    layers = report.layers
    whole = total(layers)
    latency, energy = report.latency, report.energy
    moved = sum(x.moved for x in layers) or None
    flash_moved = whole.stored_bytes
    bits = _bits(layers)
    product = None
    if latency.ms is not None and energy.uj is not None:
        product = latency.ms * energy.uj
    every = flash_moved + (moved or 0)
    device = report.emulator is None
    return Metrics(
        parameters=whole.parameters,
        nonzeros=whole.nonzeros,
        macs=whole.macs,
        effectual_macs=whole.effectual_macs,
        accuracy=report.accuracy.headline,
        bits_per_weight=whole.bits_per_weight,
        bits_per_activation=bits,
        bit_operations=None if bits is None else round(bits * _weight_bits(layers)),
        flash=report.flash.headline,
        peak_ram=report.ram.headline,
        flash_moved=flash_moved,
        ram_moved=moved,
        instructions=latency.instructions,
        cycles=latency.cycles,
        latency_ms=latency.ms,
        throughput=1e3 / latency.ms if latency.ms else None,
        energy_uj=energy.uj,
        energy_delay=product,
        peak_macs=CEILINGS[isa][0] if isa in CEILINGS else None,
        peak_bytes=CEILINGS[isa][1] if isa in CEILINGS else None,
        intensity=whole.effectual_macs / every if moved and every else None,
        kinds={
            "flash": "measured", "peak_ram": "measured", "flash_moved": "estimated",
            "ram_moved": "estimated", "instructions": "measured" if device else "counted",
            "cycles": latency.kind, "latency_ms": latency.kind, "throughput": latency.kind,
            "energy_uj": energy.kind, "energy_delay": _weaker(latency.kind, energy.kind),
            "intensity": "estimated",
        },
    )  # fmt: skip


def _weaker(a: str, b: str) -> str:
    return "measured" if a == b == "measured" else "estimated"


def _bits(layers: Sequence[LayerFigures]) -> float | None:
    """Mean bits of the activations that are moved; None where layers do not say."""
    values = sum(x.values for x in layers)
    return 8.0 * sum(x.moved for x in layers) / values if values else None


def _weight_bits(layers: Sequence[LayerFigures]) -> float:
    """Effectual MACs, each as many times as its weight has bits: levels and zero told apart."""
    out = 0.0
    for x in layers:
        bits = max(1, x.levels.bit_length()) if x.levels else 8
        out += x.effectual_macs * bits
    return out


def levels(m: Metrics) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """For people: by level, rows of name, value and whether it was measured, counted, estimated."""

    def count(value: float | None, form: str = "{:,.0f}") -> str:
        return "-" if value is None else form.format(value)

    def row(name: str, value: str, figure: str = "") -> tuple[str, str, str]:
        return (name, value, m.kinds.get(figure, "") if value != "-" else "")

    return [
        ("Model", [
            row("parameters", count(m.parameters)),
            row("not zero", count(m.nonzeros)),
            row("MACs", count(m.macs)),
            row("effectual MACs", count(m.effectual_macs)),
            row("accuracy", show(m.accuracy, "fraction")),
        ]),
        ("Arithmetic", [
            row("bits a weight, stored", count(m.bits_per_weight, "{:.2f}")),
            row("bits an activation", count(m.bits_per_activation, "{:.2f}")),
            row("bit operations", count(m.bit_operations)),
        ]),
        ("Implementation", [
            row("flash", show(m.flash, "bytes"), "flash"),
            row("peak RAM", show(m.peak_ram, "bytes"), "peak_ram"),
            row("moved from flash", show(m.flash_moved, "bytes"), "flash_moved"),
            row("moved in RAM", show(m.ram_moved, "bytes"), "ram_moved"),
            row("instructions", count(m.instructions), "instructions"),
            row("cycles", count(m.cycles), "cycles"),
            row("latency", show(m.latency_ms, "ms"), "latency_ms"),
            row("inferences a second", count(m.throughput, "{:,.1f}"), "throughput"),
            row("energy", show(m.energy_uj, "uj"), "energy_uj"),
            row("energy-delay product, uJ ms", count(m.energy_delay, "{:,.1f}"), "energy_delay"),
            row("MACs a byte moved", count(m.intensity, "{:.2f}"), "intensity"),
        ]),
    ]  # fmt: skip
