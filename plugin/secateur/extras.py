"""The line that installs an optional part of this package, such that it works where it is printed.

The package is on no index, so `pip install secateur[train]` finds nothing. What was installed from
a checkout or a wheel is named by that; everywhere else the requirements of the part are listed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

_EXTRA = re.compile(r"""\s*extra\s*==\s*['"]([\w-]+)['"]\s*$""")


def install(*names: str) -> str:
    """The command for the extras `names`, quoted for this system's shell."""
    wanted = ",".join(names)
    checkout = Path(__file__).resolve().parents[2]
    if _is_checkout(checkout):
        return f"pip install -e {_quoted(f'{checkout}[{wanted}]')}"
    archive = _archive()
    if archive is not None:
        return f"pip install {_quoted(f'secateur[{wanted}] @ {archive}')}"
    found = [_quoted(r) for r in requirements(*names)]
    return f"pip install {' '.join(found)}" if found else f"pip install {_quoted(wanted)}"


def requirements(*names: str) -> list[str]:
    """What the extras ask for, as pip takes it, without markers."""
    try:
        declared = metadata.requires("secateur") or []
    except metadata.PackageNotFoundError:
        return []
    out: list[str] = []
    for line in declared:
        requirement, _, marker = line.partition(";")
        found = _EXTRA.search(marker)
        if found and found[1] in names and requirement.strip() not in out:
            out.append(requirement.strip())
    return out


def _is_checkout(folder: Path) -> bool:
    """Whether the package is used where its sources lie."""
    return (folder / "pyproject.toml").is_file() and (folder / "plugin" / "secateur").is_dir()


def _archive() -> str | None:
    """The URL of the wheel that was installed, if it still is there (PEP 610)."""
    try:
        text = metadata.distribution("secateur").read_text("direct_url.json")
        url = str(json.loads(text or "{}")["url"])
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        return None
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path.endswith(".whl"):
        path = unquote(parts.path)
        there = Path(path.lstrip("/") if os.name == "nt" else path).is_file()
        return url if there else None
    return None


def _quoted(text: str) -> str:
    return f'"{text}"' if os.name == "nt" else shlex.quote(text)
