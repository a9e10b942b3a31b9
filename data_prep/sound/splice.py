"""A sound file as it should have been: ranges of the file there is, with bytes of ours between them."""

from __future__ import annotations

import bisect
import io
import mmap
from collections.abc import Callable, Sequence
from typing import NamedTuple

Data = bytes | mmap.mmap  # of a file
Next = Callable[[int], int]  # where the next sound file begins, from this byte on; the end of the data if none does
Part = bytes | slice


class Found(NamedTuple):
    """A sound file in parts, and from which byte on the next one may begin.

    missing: bytes that its header promises and that are not there.  cut: whether its end is missing, nobody knows how
    much of it.
    """

    parts: list[Part]
    stop: int
    missing: int = 0
    cut: bool = False


class Splice:
    """The parts one after the other, to be read like a file."""

    def __init__(self, data: Data, parts: Sequence[Part]) -> None:
        """Slices of the parts are of data, with whole numbers for start and stop."""
        self._data, self._parts = data, parts
        self._ends = [0]
        for part in parts:
            self._ends.append(self._ends[-1] + (len(part) if isinstance(part, bytes) else part.stop - part.start))
        self._at = 0

    def __len__(self) -> int:
        """Bytes of all parts."""
        return self._ends[-1]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of every file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """As of every file."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """As of every file."""
        stop = len(self) if size < 0 else min(len(self), self._at + size)
        read = []
        while self._at < stop:
            number = bisect.bisect_right(self._ends, self._at) - 1
            first, last = self._at - self._ends[number], min(stop, self._ends[number + 1]) - self._ends[number]
            part = self._parts[number]
            if isinstance(part, bytes):
                read.append(part[first:last])
            else:
                read.append(self._data[part.start + first : part.start + last])
            self._at = self._ends[number] + last
        return b"".join(read)
