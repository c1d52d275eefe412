"""Images as flashing tools take them: one block of bytes, Intel HEX."""

from __future__ import annotations


def flat(segments: list[tuple[int, bytes]]) -> tuple[int, bytes]:
    """Start address and bytes from the first to the last, gaps filled with 0xFF."""
    start = min(address for address, _ in segments)
    end = max(address + len(data) for address, data in segments)
    out = bytearray(b"\xff" * (end - start))
    for address, data in segments:
        out[address - start : address - start + len(data)] = data
    return start, bytes(out)


def intel_hex(segments: list[tuple[int, bytes]]) -> str:
    """Intel HEX of an image."""

    def record(kind: int, address: int, data: bytes) -> str:
        body = bytes([len(data), address >> 8 & 0xFF, address & 0xFF, kind]) + data
        return ":" + (body + bytes([-sum(body) & 0xFF])).hex().upper()

    lines, upper = [], -1
    for start, data in segments:
        at = 0
        while at < len(data):
            address = start + at
            if address >> 16 != upper:
                upper = address >> 16
                lines.append(record(4, 0, upper.to_bytes(2, "big")))
            size = min(16, len(data) - at, 0x10000 - (address & 0xFFFF))
            lines.append(record(0, address & 0xFFFF, data[at : at + size]))
            at += size
    return "\n".join([*lines, record(1, 0, b"")]) + "\n"
