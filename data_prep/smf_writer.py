"""The inverse of `smf`: events with their ticks -> the bytes of a Standard MIDI File of type 1."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

Event = tuple[int, bytes]  # tick, and a message as `smf.LongEvent` has it or a channel message

META, SYSEX = 0xFF, 0xF0
LONGEST_DELTA = 2**28 - 1  # what four bytes of a variable-length number hold
NOTHING = b"\xff\x7f"  # a meta event that says nothing: it stands in a pause that is longer
END = b"\xff\x2f"


def write_file(division: int, tracks: Sequence[Iterable[Event]], ends: Sequence[int] | None = None) -> bytes:
    """A whole file; the events of each track in order of their ticks, without its end-of-track event.

    ends: the ticks of these, with the last events of their tracks unless given, or not before these.
    """
    chunks = [track_bytes(track, end) for track, end in zip(tracks, ends or [0] * len(tracks), strict=True)]
    header = b"MThd" + struct.pack(">IHHH", 6, 1, len(chunks), division)
    return header + b"".join(b"MTrk" + struct.pack(">I", len(chunk)) + chunk for chunk in chunks)


def track_bytes(events: Iterable[Event], end: int = 0) -> bytes:
    """The content of a track's chunk, with running status, which lasts to the tick `end` at the least."""
    data = bytearray()
    now, running = 0, -1
    for tick, message in events:
        delta, now = tick - now, tick
        while delta > LONGEST_DELTA:
            data += variable_length(LONGEST_DELTA) + NOTHING + b"\0"
            delta, running = delta - LONGEST_DELTA, -1
        data += variable_length(delta) if delta > 0x7F else bytes((delta,))
        status = message[0]
        if status >= SYSEX:
            head = 2 if status == META else 1
            data += message[:head] + variable_length(len(message) - head) + message[head:]
            running = -1
        elif status == running:
            data += message[1:]
        else:
            data += message
            running = status
    while end - now > LONGEST_DELTA:
        data += variable_length(LONGEST_DELTA) + NOTHING + b"\0"
        now += LONGEST_DELTA
    return bytes(data + variable_length(max(end - now, 0)) + END + b"\0")


def variable_length(value: int) -> bytes:
    """A number of seven bits a byte, the highest first."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))
