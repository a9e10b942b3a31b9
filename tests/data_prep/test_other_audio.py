"""A phone's M4A and the like: read where PyAV is installed, else one line that says what would help."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from other_files import KINDS, other, silence_of_16_channels

from musicgen.data_prep.audio import SAMPLE_RATE, AudioError, read_audio


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_such_a_file_is_read(name: str, channels: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av")
    (tmp_path / "x").write_bytes(other(name, 12.0, channels))
    heard = read_audio(tmp_path / "x")
    assert len(heard) / SAMPLE_RATE == pytest.approx(12.0, abs=0.1)
    power = np.abs(np.fft.rfft(heard[: 10 * SAMPLE_RATE]))
    assert int(np.argmax(power)) == 4400 and np.abs(heard).max() == pytest.approx(0.3, abs=0.05)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["m4a", "webm", "aac"])
def test_a_damaged_one_is_sound_or_one_line(name: str, tmp_path: Path) -> None:
    pytest.importorskip("av")
    data = other(name, 2.0)
    for size in range(0, len(data), max(1, len(data) // 40)):
        (tmp_path / "x").write_bytes(data[:size])
        try:
            assert np.isfinite(read_audio(tmp_path / "x")).all()
        except AudioError as error:
            assert str(error).isprintable()


def test_of_many_channels_nothing_is_decoded(tmp_path: Path) -> None:
    """PyAV would read behind the end of a list of eight."""
    pytest.importorskip("av")
    (tmp_path / "x").write_bytes(silence_of_16_channels())
    with pytest.raises(AudioError, match="x has 16 channels"):
        read_audio(tmp_path / "x")


@pytest.mark.parametrize(
    ("beginning", "said"),
    [
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "x is an M4A file; to read it: pip install av, or save it as WAV or FLAC"),
        (b"\x1aE\xdf\xa3" + bytes(20), "x is a Matroska or WebM file; to read it"),
        (b"\xff\xf1P@\x1c\xbf\xfc\xde", "x is an AAC file; to read it"),
        (b"#!AMR\n" + bytes(20), "x is an AMR file; to read it"),
    ],
)
def test_without_pyav(beginning: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "x").write_bytes(beginning)
    with pytest.raises(AudioError, match=said):
        read_audio(tmp_path / "x")


def test_a_list_of_addresses_is_no_sound(tmp_path: Path) -> None:
    """FFmpeg would follow it, to other files and hosts."""
    (tmp_path / "x.m4a").write_bytes(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n" * 20)
    with pytest.raises(AudioError, match="x.m4a is no audio file"):
        read_audio(tmp_path / "x.m4a")
