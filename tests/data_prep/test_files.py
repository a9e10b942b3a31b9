"""What is left of processes that were killed while they wrote: the next one clears it, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from musicgen.data_prep.dataset import audio_prep, prep, splits
from musicgen.data_prep.dataset.shards import ShardError, ShardSet
from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.files import LEFT_FILE, LEFT_FOLDER, clear_abandoned, open_regular, replacing, temporary_folder

pytest.importorskip("fcntl")

WRITER = """
import sys, time
from pathlib import Path
from musicgen.data_prep.files import replacing, temporary_folder
with replacing(Path(sys.argv[1])) as file, temporary_folder() as folder:
    file.write_bytes(bytes(1000))
    (folder / "part").write_bytes(bytes(1000))
    print(file, folder, flush=True)
    time.sleep(600)
"""


def start(path: Path) -> tuple[subprocess.Popen[str], list[Path]]:
    """A process that writes, and what it has written so far."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, [Path(name) for name in process.stdout.readline().split()]


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() - 120, time.time() - 120))


def test_the_next_clears_what_a_killed_one_left_but_not_what_a_live_one_writes(tmp_path: Path) -> None:
    place = Path(tempfile.gettempdir())
    killed, lefts = start(tmp_path / "new.wav")
    with killed:
        killed.send_signal(signal.SIGKILL)
    live, kept = start(tmp_path / "other.wav")
    try:
        age(lefts[1], kept[1])
        with replacing(tmp_path / "third.wav") as file:  # in the same folder, of whatever name
            file.touch()
        clear_abandoned(place, LEFT_FOLDER)
        assert not any(path.exists() for path in lefts)
        assert all(path.exists() for path in kept)
    finally:
        with live:
            live.send_signal(signal.SIGKILL)
        age(*kept)
        clear_abandoned(tmp_path, LEFT_FILE)
        clear_abandoned(place, LEFT_FOLDER)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["third.wav"]
    assert not kept[1].exists()


def test_what_is_no_leftover_stays(tmp_path: Path) -> None:
    """Somebody's own files, however alike, and what another process may have begun a moment ago."""
    others = [".new.musicgen-1.wav", "new.musicgen-0123abcd.wav", ".new.0123abcd.wav", ".new.musicgen-0123abcd.wav.bak"]
    for name in [*others, ".young.musicgen-0123abcd.wav.new"]:
        (tmp_path / name).touch()
    age(*(tmp_path / name for name in others))
    (tmp_path / "away").write_text("mine")
    (tmp_path / ".link.musicgen-0123abcd.wav").symlink_to(tmp_path / "away")
    os.utime(tmp_path / ".link.musicgen-0123abcd.wav", (0, 0), follow_symlinks=False)
    before = sorted(tmp_path.iterdir())
    with replacing(tmp_path / "x.wav") as file:
        file.touch()
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "x.wav"])


def test_a_temporary_folder_goes() -> None:
    with temporary_folder() as folder:
        (folder / "a").touch()
        assert LEFT_FOLDER.fullmatch(folder.name)
    assert not folder.exists()


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a pipe or a device, not a file"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_a_pipe_in_a_data_set_does_not_hang(tmp_path: Path) -> None:
    """Nor in a folder that is prepared, nor in the place of its csv."""
    for folder in ("set", "music", "sound"):
        (tmp_path / folder).mkdir()
    for name in ("set/manifest.json", "music/x.mid", "sound/x.wav", "music/splits.csv"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(ShardError, match="it is a pipe or a device"):
        ShardSet(tmp_path / "set", "test")
    assert splits.find_table(tmp_path / "music") is None
    with pytest.raises(PrepError, match="it is a pipe or a device"):
        splits.read_splits(tmp_path / "music" / "splits.csv")
    for job, folder in ((prep, "music"), (audio_prep, "sound")):
        report = job.run(tmp_path / folder, tmp_path / f"out-{folder}", workers=0)
        assert "not a regular file" in {entry["name"][:1]: entry["reason"] for entry in report.rejected}["x"]
