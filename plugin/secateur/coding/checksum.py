"""CRC-32 of the stored streams, for the check in the generated model (coding/c/sc_crc32.h)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable


def crc32(parts: Iterable[bytes]) -> int:
    """CRC-32 (reflected 0xEDB88320, as in zlib) of the concatenated parts."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc
