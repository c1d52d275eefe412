"""Cores: the registry, and one row for each that this project knows.

`python -m secateur.cores` prints what PlatformIO's builder needs of them where this package cannot
be imported (firmware/platform/cores.json; a test compares).

    from dataclasses import replace
    from secateur import cores

    cores.register(replace(cores.get("cortex-m4"), name="soft-m4", machine=(...)))
"""

from __future__ import annotations

from ..errors import TargetError
from . import arm, host, riscv
from .base import Architecture, Core, Isa, TimerKind
from .timing import CycleTable, Pipeline, Rule

__all__ = [
    "DEFAULT", "Architecture", "Core", "CycleTable", "Isa", "Pipeline", "Rule", "TimerKind", "get",
    "names", "register",
]  # fmt: skip

#: The core that is planned for where nobody names a board; the unit of estimates.
DEFAULT = "cortex-m4"

_REGISTERED: dict[str, Core] = {}


def register(core: Core) -> Core:
    """Make a core known to boards, planner, builders, emulators and estimates.

    Raises TargetError if the name is taken by another core, or `prices` names one that is unknown.
    """
    if _REGISTERED.get(core.name, core) != core:
        raise TargetError(f"a core named {core.name} is registered already: choose another name")
    if core.prices and core.prices not in _REGISTERED:
        raise TargetError(
            f"core {core.name}: prices names {core.prices}, which is no registered core: "
            f"{', '.join(_REGISTERED)}"
        )
    _REGISTERED[core.name] = core
    return core


def get(name: str) -> Core:
    """The core of this name. Raises TargetError listing all."""
    if name not in _REGISTERED:
        raise TargetError(f"core {name} is unknown: {', '.join(_REGISTERED)} are known")
    return _REGISTERED[name]


def names() -> list[str]:
    """Every registered core's."""
    return list(_REGISTERED)


for _core in sorted([*arm.CORES, *riscv.CORES, *host.CORES], key=lambda core: bool(core.prices)):
    register(_core)
