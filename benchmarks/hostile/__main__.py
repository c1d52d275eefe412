"""python -m benchmarks.hostile [CATEGORY...]: try every case; benchmarks/results/hostile.json."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from . import all_cases, attempt

RESULTS = Path(__file__).parent.parent / "results" / "hostile.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="*", help="only these; nothing is written then")
    wanted = parser.parse_args().categories
    import keras  # noqa: F401  imported once, so that no case pays for it

    outcomes = []
    for case in all_cases():
        if wanted and case.category not in wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            before = Path.cwd()
            os.chdir(folder)
            try:
                outcome = attempt(case, Path(folder))
                outcome = replace(outcome, said=outcome.said.replace(folder, "DIR"))
            finally:
                os.chdir(before)
        outcomes.append(outcome)
        if not outcome.fine:
            print(f"not fine: {case.category}, {case.name}: {outcome.said}", flush=True)
    tried = Counter(o.case.category for o in outcomes)
    fine = Counter(o.case.category for o in outcomes if o.fine)
    for category, n in tried.items():
        print(f"{category:12} {n:4} tried {fine[category]:4} fine {n - fine[category]:4} not fine")
    total = sum(fine.values())
    print(f"{'all':12} {len(outcomes):4} tried {total:4} fine {len(outcomes) - total:4} not fine")
    if not wanted:
        document = {
            "tried": len(outcomes),
            "fine": total,
            "not_fine": len(outcomes) - total,
            "categories": {c: {"tried": n, "fine": fine[c]} for c, n in tried.items()},
            "cases": [
                {
                    "category": o.case.category,
                    "name": o.case.name,
                    "fine": o.fine,
                    "said": o.said,
                }
                for o in outcomes
            ],
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if total == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
