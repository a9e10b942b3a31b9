"""A recording is as long as what decoding yields, whatever its header says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound_files import (
    AIFF,
    AU,
    FLAC,
    LENGTHS,
    MP3,
    OGG,
    OPUS,
    WAV,
    encoded,
    patched,
    sound,
    tagged,
    with_sizes,
)

from musicgen.data_prep import limits
from musicgen.data_prep.audio import SAMPLE_RATE, AudioError, Level, read_audio, read_blocks
from musicgen.data_prep.sound.splice import Splice

TOLERANCE = 0.1  # seconds; what an MP3 is filled up with, twice


@pytest.mark.parametrize("name", LENGTHS)
def test_the_length_is_what_decoding_yields(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, seconds = LENGTHS[name]
    (tmp_path / "x").write_bytes(data)
    heard = read_audio(tmp_path / "x")
    assert len(heard) / SAMPLE_RATE == pytest.approx(seconds, abs=TOLERANCE)
    parts = heard[: len(heard) // 4800 * 4800].reshape(-1, 4800)  # of 0.2 s: none of them is silent
    assert np.abs(parts).max(axis=1).min() > 0.1
    assert capfd.readouterr() == ("", "")  # libsndfile's MP3 decoder has its own words for some of them


@pytest.mark.parametrize(
    ("data", "missing", "remark"),
    [
        (WAV, 1000, ": its header promises 1,000 bytes more"),
        (WAV + AIFF, 1000, ": its header promises 1,000 bytes more"),
        (AU, 1, ": its header promises 1 byte more"),
        (encoded(10.0, "OGG", "VORBIS"), 1, ""),
        (OPUS, 1, ""),
        (FLAC + MP3, 0, None),
        (MP3, 5000, ""),
        (MP3 + OGG, 0, None),
        (OGG + OGG, 0, None),
    ],
)
def test_a_missing_end_is_remarked(data: bytes, missing: int, remark: str | None, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data[: len(data) - missing])
    level = Level()
    list(read_blocks(tmp_path / "x", level))
    assert (remark is None and not level.missing and not level.cut) or level.remarks() == (
        f"its end is missing{remark}",
    )


KINDS = {
    "WAV": encoded(1.0, "WAV", "PCM_16"),
    "AIFF": encoded(1.0, "AIFF", "PCM_16"),
    "CAF": encoded(1.0, "CAF", "PCM_16"),
    "AU": encoded(1.0, "AU", "PCM_16"),
    "FLAC": encoded(1.0, "FLAC", "PCM_16"),
    "MP3": encoded(1.0, "MP3", "MPEG_LAYER_III"),
    "OGG": encoded(1.0, "OGG", "VORBIS"),
    "OPUS": encoded(1.0, "OGG", "OPUS"),
    "tagged MP3": tagged(encoded(1.0, "MP3", "MPEG_LAYER_III")),
    "WAV of unknown size": with_sizes(encoded(1.0, "WAV", "PCM_16"), 0, 0),
}


@pytest.mark.parametrize("first", KINDS)
def test_what_follows_is_read_whatever_kind_it_is(first: str, tmp_path: Path) -> None:
    """Of all pairs: both last a second, and nothing in them is noise or silence."""
    level = Level()
    for second, data in KINDS.items():
        (tmp_path / "x").write_bytes(KINDS[first] + data)
        heard = np.abs(read_audio(tmp_path / "x", level))
        assert len(heard) / SAMPLE_RATE == pytest.approx(2.0, abs=TOLERANCE), second
        assert heard[: len(heard) // 4800 * 4800].reshape(-1, 4800).max(axis=1).min() > 0.25, second
        assert heard.max() < 0.4, second  # a tone of 0.3
    assert level.remarks() == ()


def test_tags_behind_the_sound_are_no_sound(tmp_path: Path) -> None:
    """Their bytes would be a click: the size is believed if a chunk follows."""
    data = (
        with_sizes(WAV, len(WAV) + 40_000, len(WAV) - 44) + b"LIST" + (40_000).to_bytes(4, "little") + b"\x7f" * 40_000
    )
    (tmp_path / "x.wav").write_bytes(data)
    assert np.abs(read_audio(tmp_path / "x.wav")).max() < 0.5


@pytest.mark.parametrize("scale", [100.0, 32_768.0])
def test_another_scale_is_refused(tmp_path: Path, scale: float) -> None:
    soundfile.write(tmp_path / "x.wav", scale * 2 * sound(1.0), SAMPLE_RATE, "FLOAT")
    with pytest.raises(AudioError, match=r"x.wav has samples as large as [\d,]+, and 1 is full scale: export it again"):
        read_audio(tmp_path / "x.wav")


@pytest.mark.parametrize("right", [-1.0, -0.9, -0.8])
def test_channels_that_cancel_each_other_are_one(tmp_path: Path, right: float) -> None:
    soundfile.write(tmp_path / "x.wav", sound(12.0, channels=2) * [1.0, right], SAMPLE_RATE)
    level = Level()
    heard = np.concatenate(list(read_blocks(tmp_path / "x.wav", level)))
    np.testing.assert_allclose(heard, sound(12.0)[:, 0], atol=1e-3)
    assert level.remarks() == ("the two channels cancel each other for 12.0 seconds: there one is taken",)


def test_other_channels_are_averaged(tmp_path: Path) -> None:
    one, two = np.random.default_rng(0).uniform(-0.5, 0.5, (2, SAMPLE_RATE))
    for left, right in ((one, two), (one, 0 * one), (one, -0.3 * one + 0.3 * two)):
        soundfile.write(tmp_path / "x.wav", np.stack([left, right], axis=1), SAMPLE_RATE, "FLOAT")
        level = Level()
        heard = np.concatenate(list(read_blocks(tmp_path / "x.wav", level)))
        np.testing.assert_allclose(heard, (left + right) / 2, atol=1e-6)
        assert level.remarks() == ()


@pytest.mark.slow
def test_hours_in_few_bytes_are_refused_early(tmp_path: Path) -> None:
    """Eleven hours of nothing at 48 kHz, two channels, in FLAC."""
    with soundfile.SoundFile(tmp_path / "x.flac", "w", 48_000, 2, format="FLAC") as file:
        for _ in range(20):  # minutes; more of the same is more of the same bytes
            file.write(np.zeros((60 * 48_000, 2), np.int16))
    data = (tmp_path / "x.flac").read_bytes()
    (tmp_path / "x.flac").write_bytes(data * 33)
    level = Level()
    with pytest.raises(AudioError, match="x.flac unpacks to far more sound than a recording of so few bytes can hold"):
        list(read_blocks(tmp_path / "x.flac", level))
    assert level.seconds < 2000


def test_too_many_recordings_in_one(tmp_path: Path) -> None:
    (tmp_path / "x.flac").write_bytes(encoded(0.01, "FLAC", "PCM_16") * (limits.AUDIO_PIECES + 1))
    with pytest.raises(AudioError, match="x.flac is 1001 recordings in one, 1000 are the most"):
        read_audio(tmp_path / "x.flac")


def test_the_second_recording_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "x.ogg").write_bytes(OGG + patched(OGG, b"\1vorbis", bytes(16)))
    level = Level()
    assert len(read_audio(tmp_path / "x.ogg", level)) == pytest.approx(2 * SAMPLE_RATE, abs=TOLERANCE * SAMPLE_RATE)
    assert "it is damaged 2.0 seconds in (" in level.remarks()[0]


def test_a_file_of_parts_reads_like_a_file() -> None:
    splice = Splice(b"0123456789", [b"ab", slice(2, 5), b"", slice(9, 10), b"c"])
    assert (len(splice), splice.read()) == (7, b"ab2349c")
    for at in range(8):
        for size in range(9):
            splice.seek(at)
            assert (splice.read(size), splice.tell()) == (b"ab2349c"[at : at + size], min(at + size, 7))
    assert splice.seek(-2, os.SEEK_END) == 5 and splice.read(1) == b"9" and splice.seek(-1, os.SEEK_CUR) == 5


def test_a_flac_with_a_tag_in_front(tmp_path: Path) -> None:
    (tmp_path / "x.flac").write_bytes(b"ID3\4\0\0\0\0\1\0" + bytes(128) + FLAC)
    assert len(read_audio(tmp_path / "x.flac")) == 2 * SAMPLE_RATE


MP3_FRAME = b"\xff\xfb\x50\xc0".ljust(208, b"\0")
COSTLY = {
    "bytes that begin frames": b"\xff" * 20_000_000,
    "pairs of frames far apart": (MP3_FRAME * 2 + b"\xff" * 190_000) * 100,
    "tags": b"ID3\4\0\0\0\0\0\0" * 2_000_000,
    "links of a chain": (b"OggS\0\2" + bytes(21) + b"OggS\0\0" + bytes(21)) * 350_000,
    "chunks": b"RIFF\0\0\0\0WAVE" + b"LIST\0\0\0\0" * 2_500_000,
    "streams": (b"fLaC\0\0\0\x22" + bytes(34)) * 450_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COSTLY)
def test_what_costs_most_to_look_through_is_refused_in_time(name: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(COSTLY[name])
    began = time.process_time()
    with pytest.raises(AudioError):
        read_audio(tmp_path / "x")
    assert time.process_time() - began < 10
