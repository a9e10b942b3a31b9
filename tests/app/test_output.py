"""Files appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from musicgen.app.errors import EnvironmentProblem
from musicgen.app.output import new_folder, numbered, replacing, write_bytes


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Whatever goes wrong while writing."""
    path = tmp_path / "new.mid"
    path.write_bytes(b"old")
    for error in (KeyboardInterrupt(), ValueError("no")):
        with pytest.raises(type(error)), replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise error
    assert [file.name for file in tmp_path.iterdir()] == ["new.mid"]
    assert path.read_bytes() == b"old"


def test_a_folder_for_nothing_goes_again(tmp_path: Path) -> None:
    """With those above it that were made for it, but not one that was there or has something in it."""
    (tmp_path / "there").mkdir()
    for name in ("new/run", "there"):
        with pytest.raises(ValueError, match="refused"), new_folder(str(tmp_path / name), "--out") as folder:
            assert folder.is_dir()
            raise ValueError("refused")
    with pytest.raises(ValueError, match="stopped"), new_folder(str(tmp_path / "half" / "run"), "--out") as folder:
        (folder / "log").touch()
        raise ValueError("stopped")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["half", "log", "run", "there"]


def test_os_errors_become_one_line(tmp_path: Path) -> None:
    """With the name of the file that was asked for, not the temporary one."""
    with (
        pytest.raises(EnvironmentProblem, match="cannot write .*new.mid: the disk is full"),
        replacing(tmp_path / "new.mid"),
    ):
        raise OSError(28, "No space left on device", "/tmp/.new.mid.123")
    assert list(tmp_path.iterdir()) == []


def test_the_result_is_an_ordinary_file(tmp_path: Path) -> None:
    """Readable by those the umask allows, not private like a temporary file."""
    before = os.umask(0o022)
    try:
        write_bytes(tmp_path / "new.mid", b"music")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.mid").stat().st_mode) == 0o644


def test_the_temporary_file_is_beside_and_keeps_the_suffix(tmp_path: Path) -> None:
    """Beside: a rename across file systems would not be atomic. Suffix: libraries choose the format by it."""
    with replacing(tmp_path / "new.flac") as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".flac"


def test_numbering() -> None:
    """One file keeps its name."""
    assert numbered(Path("a/new.mid"), 1) == [Path("a/new.mid")]
    assert numbered(Path("a/new.mid"), 2) == [Path("a/new-1.mid"), Path("a/new-2.mid")]
