"""What `optimize` may be, and what bounds it: facts that the command line reads without NumPy."""

from __future__ import annotations

#: What `optimize` may be: weight of bytes against cycles. "latency" is the fastest plan, "flash"
#: the smallest image that is not slower than a bound. The model knows no power that depends on the
#: plan, so that least energy is least time.
WEIGHTS = {"latency": 0.0, "energy": 0.0, "balanced": 0.5, "flash": 1.0}

#: How many times slower than the fastest plan any other may be, if nobody says otherwise.
MAX_SLOWDOWN = 8.0
