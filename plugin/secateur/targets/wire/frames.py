"""Frames on the serial line, version 1: firmware/src/harness_frame.c in Python.

00 | COBS( version, command, sequence, status, payload 0..224, CRC-32 little endian ) | 00
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

VERSION = 1
PAYLOAD = 224  #: most bytes of payload in one frame
CODED = PAYLOAD + 10  #: most bytes between a frame's delimiters: FRAME_CODED
INFO, LOAD, RUN, READ, MEMORY, NAK, FAULT, REPLY = 1, 2, 3, 4, 5, 0x15, 0x7E, 0x80


@dataclass(frozen=True)
class Frame:
    """One frame without its checksum."""

    command: int
    sequence: int
    status: int = 0
    payload: bytes = b""
    version: int = VERSION


def encode(frame: Frame) -> bytes:
    """The bytes that go over the line, delimiters included."""
    if len(frame.payload) > PAYLOAD:
        raise ValueError(f"a frame carries at most {PAYLOAD} bytes, not {len(frame.payload)}")
    raw = bytes([frame.version, frame.command, frame.sequence, frame.status]) + frame.payload
    raw += zlib.crc32(raw).to_bytes(4, "little")
    coded = b"".join(bytes([len(part) + 1]) + part for part in raw.split(b"\0"))
    return b"\0" + coded + b"\0"


def decode(coded: bytes) -> Frame | None:
    """The frame between two delimiters, or None if the line has damaged it."""
    if len(coded) > CODED:
        return None
    raw = bytearray()
    at = 0
    while at < len(coded):
        code = coded[at]
        if code == 0 or at + code > len(coded):
            return None
        raw += coded[at + 1 : at + code]
        at += code
        if at < len(coded):
            raw.append(0)
    if len(raw) < 8 or zlib.crc32(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        return None
    return Frame(raw[1], raw[2], raw[3], bytes(raw[4:-4]), raw[0])
