"""Print firmware/platform/cores.json."""

import json

from . import get, names

print(json.dumps({n: get(n).toolchain() for n in names() if not get(n).hosted}, indent=1))
