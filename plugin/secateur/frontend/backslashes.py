r"""`.keras` files of Keras 2 from Windows: weights under `layers\conv2d`, not `layers/conv2d`.

Keras joined the groups of model.weights.h5 with the system's separator, and finds none of them on
another system: it loads the model without its weights, or refuses.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WEIGHTS = "model.weights.h5"


@contextmanager
def with_slashes(path: Path) -> Iterator[Path]:
    """`path`, or a copy for the time being whose groups are separated by slashes."""
    renamed = _renamed(path) if path.suffix == ".keras" else None
    if renamed is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.keras"
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
            for name in source.namelist():
                if name in (_WEIGHTS, "config.json", "metadata.json"):
                    target.writestr(name, renamed if name == _WEIGHTS else source.read(name))
        yield copy


def _renamed(path: Path) -> bytes | None:
    """The weights with slashes; None where no name has a backslash."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        data = archive.read(_WEIGHTS)
    if b"\\" not in data:
        return None
    with h5py.File(io.BytesIO(data), "r") as source:
        names: list[str] = []
        source.visit(names.append)
        if not any("\\" in n for n in names):
            return None
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as target:
            for name in names:
                item: Any = source[name]
                new = name.replace("\\", "/")
                if isinstance(item, h5py.Dataset):
                    target[new] = item[()]
                else:
                    target.require_group(new)
                target[new].attrs.update(item.attrs)
            target.attrs.update(source.attrs)
        return buffer.getvalue()
