"""HDF5 files looked through before anybody reads them: no declared size is believed.

A dataset may declare petabytes and store nothing, lie in another file, or be a link to one; Keras
would follow and allocate.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from secateur import extras, reading
from secateur.errors import ModelError

#: Groups and datasets of a file.
MOST = 100_000


def library(path: str | Path) -> Any:
    """The module h5py. Raises ModelError, naming `path`, where it is not installed."""
    try:
        import h5py
    except ImportError as e:
        raise ModelError(
            f"{path} needs Keras' file format to be read ({e}); run: {extras.install('train')}"
        ) from e
    return h5py


def check(file: str | Path | IO[bytes], path: str | Path) -> None:
    """ModelError unless the HDF5 `file` (of the model `path`) holds bounded plain arrays itself."""
    h5py = library(path)
    with h5py.File(file, "r") as root:
        todo: list[Any] = [root]
        seen: set[Any] = set()
        count, size = 0, 0
        while todo:
            group = todo.pop()
            for name in group:
                count += 1
                if count > MOST:
                    raise ModelError(f"{path} holds more than {MOST:,} groups and arrays.")
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ModelError(f"{path} is not read: its {name!r} is a link, not an array.")
                item = group[name]
                if isinstance(item, h5py.Dataset):
                    size += _bytes(item, name, path)
                    if size > reading.LARGEST_MODEL:
                        raise ModelError(
                            f"{path} declares arrays of more than {reading.LARGEST_MODEL:,} bytes."
                        )
                elif isinstance(item, h5py.Group):
                    key = h5py.h5o.get_info(item.id).addr
                    if key not in seen:
                        seen.add(key)
                        todo.append(item)


def _bytes(array: Any, name: str, path: str | Path) -> int:
    """Bytes of a dataset in memory, if its storage is its own and accounts for them."""
    if array.is_virtual or array.external:
        raise ModelError(f"{path} is not read: its {name!r} lies in another file.")
    if array.shape is None:
        return 0
    size = int(array.size) * int(array.dtype.itemsize)
    stored = int(array.id.get_storage_size())
    if size > reading.STEEP and size > reading.STEEPEST * stored:
        raise ModelError(
            f"{path} is not read: its {name!r} declares {size:,} bytes and stores {stored:,}."
        )
    return size


def readable(path: Path) -> Path:
    """`path`, a model in a bounded, regular HDF5 file. Raises ModelError."""
    reading.regular(path, kind=ModelError)
    with reading.reading(path, ModelError):
        check(os.fspath(path), path)
    return path
