"""A Cortex-M4 without floating point, compiled for size: a core that the package does not know."""

from dataclasses import replace

from secateur import cores

M4 = cores.get("cortex-m4")

CORE = cores.register(
    replace(
        M4,
        name="soft-m4",
        machine=("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft", "-Os"),
        prices=M4.name,  # planned with the Cortex-M4's prices, until its own are fitted
    )
)
