"""Values by their keys in a temporary file, so that a list of a million pieces takes no memory for each of them."""

from __future__ import annotations

import errno
import pickle
import sqlite3
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Table(Generic[T]):
    """Values by their keys, in the order of the keys.

    SQLite keeps a few pages of them in memory and the others in a file without a name, which ends with the process. All
    of its methods raise OSError if the disk is full.
    """

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None)  # "" is such a file
        self._run("PRAGMA journal_mode = OFF")
        self._run("CREATE TABLE rows (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def put(self, key: str, value: T) -> None:
        """Add a value, or replace the one with this key."""
        self._run("INSERT OR REPLACE INTO rows VALUES (?, ?)", _bytes_of(key), pickle.dumps(value))

    def first(self, key: str, value: T) -> T:
        """The value with this key, which is `value` if there was none."""
        if self._run("INSERT OR IGNORE INTO rows VALUES (?, ?)", _bytes_of(key), pickle.dumps(value)).rowcount:
            return value
        ((there,),) = self._run("SELECT value FROM rows WHERE key = ?", _bytes_of(key))
        found: T = pickle.loads(there)
        return found

    def __contains__(self, key: str) -> bool:
        return self._run("SELECT 1 FROM rows WHERE key = ?", _bytes_of(key)).fetchone() is not None

    def __len__(self) -> int:
        ((count,),) = self._run("SELECT count(*) FROM rows")
        return int(count)

    def __iter__(self) -> Iterator[T]:
        for (value,) in self._run("SELECT value FROM rows ORDER BY key"):
            yield pickle.loads(value)

    def _run(self, command: str, *values: bytes) -> sqlite3.Cursor:
        try:
            return self._rows.execute(command, values)
        except sqlite3.OperationalError as error:
            raise OSError(errno.ENOSPC, str(error), "the folder for temporary files (TMPDIR)") from None


def _bytes_of(key: str) -> bytes:
    """In the order of strings; a file name that is not UTF-8 holds lone surrogates."""
    return key.encode("utf-8", "surrogatepass")
