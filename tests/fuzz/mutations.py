"""Files that nobody would write, made from files that somebody would: the same ones for the same seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

Mutation = Callable[[random.Random, bytearray, Sequence[bytes]], bytes | bytearray]

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
# In the place of a number, a word or a bracket of a text such as JSON.
VALUES = (
    *(b"0", b"-1", b"1e9", b"1e400", b"NaN", b"Infinity", b"9" * 400, b"0.5", b"null", b"true", b"[]", b"{}", b'""'),
    *(b'"\\u001b[31m\\n"', b'"\\ud800"', b"[" * 3000, b'{"a":' * 3000, b"[[1,2],3]", b'"' + b"a" * 5000 + b'"'),
)
PART = re.compile(rb'-?\d+(?:\.\d+)?|"[^"]{0,80}"|[\[\]{},:]|true|false|null')


def mutate(rng: random.Random, corpus: Sequence[bytes], most: int, text: bool) -> bytes:
    """A file of the corpus after a few changes, of `most` bytes at the most.  text: it is JSON and mostly stays so."""
    data = bytearray(rng.choice(corpus))
    for _ in range(1 + int(rng.expovariate(0.6))):
        data = bytearray(rng.choice(OF_TEXT if text else OF_BYTES)(rng, data, corpus))[:most]
    return bytes(data)


def _range(rng: random.Random, data: bytes | bytearray) -> slice:
    """A part of it: mostly short, and near the beginning half of the time, where headers are."""
    start = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(min(len(data), 200) + 1)
    return slice(start, min(len(data), start + int(rng.expovariate(1 / 64)) + 1))


def _flip(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8, 32))):
        if data:
            at = _range(rng, data).start
            data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
    return data


def _noise(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytearray:
    part = _range(rng, data)
    data[part] = rng.randbytes(part.stop - part.start)
    return data


def _number(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytearray:
    size, at = rng.choice((1, 2, 4, 8)), _range(rng, data).start
    value = rng.choice(NUMBERS) % 256**size
    data[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))
    return data


def _drop(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytearray:
    del data[_range(rng, data)]
    return data


def _repeat(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytearray:
    part = _range(rng, data)
    data[part] = data[part] * rng.choice((2, 3, 100))
    return data


def _cut(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def _move(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytearray:
    """A part of another file, in the place of a part or between two."""
    other = rng.choice(corpus)
    part = _range(rng, data)
    data[part if rng.random() < 0.5 else slice(part.start, part.start)] = other[_range(rng, other)]
    return data


def _join(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytes:
    return bytes(data) + rng.choice(corpus)


def _value(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> bytearray:
    """Another value where a text has one."""
    found = list(PART.finditer(data[:20_000]))
    if found:
        chosen = rng.choice(found)
        data[chosen.start() : chosen.end()] = rng.choice(VALUES)
    return data


OF_BYTES: tuple[Mutation, ...] = (_flip, _flip, _noise, _number, _number, _drop, _repeat, _cut, _move, _join, _value)
OF_TEXT: tuple[Mutation, ...] = (*[_value] * 12, _drop, _repeat, _cut, _move)
