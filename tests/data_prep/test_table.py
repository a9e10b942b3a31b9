"""A table of values on the disk is a sorted dictionary, and says so when there is no room."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.table import Table


@given(st.lists(st.tuples(st.text(st.characters()), st.integers())))
def test_a_sorted_dictionary(rows: list[tuple[str, int]]) -> None:
    """Also of names that are not UTF-8."""
    table, first = Table[int](), Table[int]()
    last, earliest = dict(rows), dict(reversed(rows))
    for key, value in rows:
        table.put(key, value)
        assert first.first(key, value) == earliest[key]
    assert list(table) == [last[key] for key in sorted(last)] and len(table) == len(last)
    assert list(first) == [earliest[key] for key in sorted(earliest)]
    assert all(key in table for key in last) and "no such key of many letters" not in table


def test_names_of_files() -> None:
    table = Table[bytes]()
    names = [os.fsdecode(name) for name in (b"caf\xe9.mid", "café.mid".encode(), b"a\xff", b"\xf0\x9f\x8e\xb9")]
    for name in names:
        table.put(name, os.fsencode(name))
    assert list(table) == [os.fsencode(name) for name in sorted(names)]


def test_a_full_disk() -> None:
    table = Table[bytes]()
    table._run("PRAGMA max_page_count = 2")
    with pytest.raises(OSError, match=r"full.*the folder for temporary files \(TMPDIR\)"):
        table.put("a", bytes(100_000))
