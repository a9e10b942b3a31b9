"""Reading audio: what comes out, what is refused and how, and how much memory it takes."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep import audio
from musicgen.data_prep.audio import SAMPLE_RATE, AudioError, Level, read_audio, read_blocks, to_float, to_int16


def tone(seconds: float, rate: int = SAMPLE_RATE, frequency: float = 440.0, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [8_000, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_a_tone_at_any_rate_is_the_same_tone_at_24_khz(tmp_path: Path, rate: int) -> None:
    if rate != SAMPLE_RATE:
        pytest.importorskip("soxr")
    soundfile.write(tmp_path / "a.wav", np.stack([tone(1.2, rate), tone(1.2, rate)], axis=1), rate, "FLOAT")
    heard = read_audio(tmp_path / "a.wav")
    assert heard.dtype == np.float32
    assert abs(len(heard) - 1.2 * SAMPLE_RATE) <= 1
    middle = slice(2400, -2400)
    np.testing.assert_allclose(heard[middle], tone(1.2)[: len(heard)][middle], atol=2e-3)


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.ogg", "a.WAV"])
def test_every_format(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, tone(2.0), SAMPLE_RATE, format=name[2:].upper())
    heard = read_audio(tmp_path / name)
    assert len(heard) >= 2.0 * SAMPLE_RATE
    power = np.abs(np.fft.rfft(heard[: 2 * SAMPLE_RATE]))
    assert abs(int(np.argmax(power)) / 2 - 440) <= 1  # half a hertz a bin


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(1.0), tone(1.0, frequency=600.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), SAMPLE_RATE, "FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


def test_blocks_join_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("soxr")
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", rng.uniform(-0.5, 0.5, 44_100 * 5), 44_100, "FLOAT")
    whole = read_audio(tmp_path / "a.wav")
    monkeypatch.setattr(audio, "BLOCK_SECONDS", 1)
    level = Level()
    blocks = list(read_blocks(tmp_path / "a.wav", level))
    assert len(blocks) >= 5
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-5)
    assert level.samples == len(whole)
    assert level.rms_db == pytest.approx(20 * np.log10(np.sqrt(np.mean(whole.astype(np.float64) ** 2))), abs=1e-3)
    assert level.remarks() == ()


def test_loud_recordings_get_a_remark_and_stay_in_range(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 4 * tone(1.0), SAMPLE_RATE, "FLOAT")
    level = Level()
    heard = np.concatenate(list(read_blocks(tmp_path / "a.wav", level)))
    assert np.abs(heard).max() == 1.0
    assert level.remarks()[0].endswith("of the samples are at full scale: recorded too loud?")


def write_bad(path: Path, kind: str) -> None:
    samples = tone(2.0)
    if kind == "silent":
        soundfile.write(path, np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    elif kind == "hiss":
        soundfile.write(path, 1e-4 * samples, SAMPLE_RATE, "FLOAT")
    elif kind == "one sample":
        soundfile.write(path, np.array([0.5]), SAMPLE_RATE)
    elif kind == "no sample":
        soundfile.write(path, np.zeros(0), SAMPLE_RATE)
    elif kind == "channels":
        soundfile.write(path, np.tile(samples[:400, None], 8), 192_000)
    elif kind == "rate":
        soundfile.write(path, samples, 4_000)
    elif kind == "nan":
        samples[30_000] = np.nan
        soundfile.write(path, samples, SAMPLE_RATE, "FLOAT")
    elif kind == "infinite":
        samples[-1] = np.inf
        soundfile.write(path, samples, SAMPLE_RATE, "DOUBLE")
    elif kind == "text":
        path.write_text("This is a shopping list.\n" * 20)
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("silent", "x.wav is silent: nothing in it is louder than -60 dBFS"),
        ("hiss", "x.wav is silent"),
        ("one sample", "x.wav lasts 0.0000 seconds, at least 0.5 are needed"),
        ("no sample", "x.wav lasts 0.0000 seconds"),
        ("channels", r"x.wav has 8 channels \(192000 Hz\): mix it down to one or two"),
        ("rate", "x.wav has 4000 samples a second: it must have 8000 to 192000"),
        ("nan", "x.wav holds samples that are no numbers, the first 1.250 seconds in"),
        ("infinite", "x.wav holds samples that are no numbers, the first 2.000 seconds in"),
        (
            "text",
            r"x.wav is no audio file \(Format not recognised\): give a WAV, FLAC, MP3, Ogg, Opus, AIFF or CAF file",
        ),
        ("empty", "x.wav is no audio file"),
        ("folder", "x.wav is not a regular file"),
        ("pipe", "x.wav is not a regular file"),
        ("missing", "x.wav cannot be read: No such file"),
    ],
)
def test_what_is_no_music_is_refused_in_one_line(tmp_path: Path, kind: str, message: str) -> None:
    write_bad(tmp_path / "x.wav", kind)
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(tmp_path / "x.wav")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("harm", ["cut off", "zeros from the middle on"])
def test_a_damaged_flac_is_read_up_to_there(tmp_path: Path, harm: str) -> None:
    """To the sample, and not in blocks of ten seconds; a remark says where and why."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 25 * SAMPLE_RATE)
    soundfile.write(tmp_path / "x.flac", wave, SAMPLE_RATE)
    data = (tmp_path / "x.flac").read_bytes()
    half = len(data) // 2
    (tmp_path / "x.flac").write_bytes(data[:half] if harm == "cut off" else data[:half] + bytes(half))
    level = Level()
    heard = read_audio(tmp_path / "x.flac", level)
    assert 12.0 < level.seconds < 12.6
    np.testing.assert_allclose(heard, wave[: len(heard)], atol=1e-4)
    assert [f"it is damaged {level.seconds:.1f} seconds in (" in remark for remark in level.remarks()] == [True]


def test_what_is_damaged_at_once_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.flac", np.random.default_rng(0).uniform(-0.5, 0.5, SAMPLE_RATE), SAMPLE_RATE)
    data = (tmp_path / "x.flac").read_bytes()
    (tmp_path / "x.flac").write_bytes(data[: len(data) // 5] + bytes(len(data)))
    with pytest.raises(AudioError, match=r"x.flac is damaged 0\.\d seconds in"):
        read_audio(tmp_path / "x.flac")


@pytest.mark.parametrize("sizes", ["right", "unknown"])
def test_joined_wavs(tmp_path: Path, sizes: str) -> None:
    """As by cat: each is read, at its own rate, also where a pipe left no sizes in their headers."""
    data = []
    for number, rate in enumerate((SAMPLE_RATE, SAMPLE_RATE // 2, SAMPLE_RATE)):
        soundfile.write(tmp_path / "one.wav", tone(1 + number, rate), rate)
        one = (tmp_path / "one.wav").read_bytes()
        at = one.index(b"data") + 4
        data.append(one if sizes == "right" else one[:4] + b"\xff" * 4 + one[8:at] + b"\xff" * 4 + one[at + 4 :])
    (tmp_path / "x.wav").write_bytes(b"".join(data))
    level = Level()
    heard = read_audio(tmp_path / "x.wav", level)
    assert level.seconds == pytest.approx(6.0, abs=0.01) and not level.missing
    assert np.abs(heard[-SAMPLE_RATE:]).max() > 0.4


@pytest.mark.parametrize("cut", [60, 2_000, 30_000])
def test_noise_never_breaks_the_reader(tmp_path: Path, cut: int) -> None:
    """Whatever a file holds: sound or an AudioError."""
    for suffix in (".wav", ".flac", ".mp3", ".ogg"):
        soundfile.write(tmp_path / f"x{suffix}", tone(1.0), SAMPLE_RATE)
        data = bytearray((tmp_path / f"x{suffix}").read_bytes())
        rng = np.random.default_rng(cut)
        for at in rng.integers(0, len(data), 20):
            data[at] = rng.integers(256)
        (tmp_path / f"x{suffix}").write_bytes(data[:cut])
        try:
            assert np.isfinite(read_audio(tmp_path / f"x{suffix}")).all()
        except AudioError as error:
            assert "\n" not in str(error)


@pytest.fixture
def three_hours(tmp_path: Path) -> Path:
    """A WAV that takes no room on the disk: a header, a second of sound, and a hole."""
    path = tmp_path / "long.wav"
    soundfile.write(path, tone(1.0), SAMPLE_RATE, "PCM_16")
    data = bytearray(path.read_bytes())
    size = 3 * 3600 * SAMPLE_RATE * 2
    data[4:8] = (size + 36).to_bytes(4, "little")
    data[40:44] = size.to_bytes(4, "little")
    path.write_bytes(data)
    os.truncate(path, 44 + size)
    return path


@pytest.mark.slow
def test_three_hours_are_refused_at_once_and_read_in_blocks(three_hours: Path) -> None:
    with pytest.raises(AudioError, match="long.wav lasts 3.0 hours, at most 30 minutes can be read: cut it"):
        read_audio(three_hours)
    tracemalloc.start()
    level = Level()
    for _ in read_blocks(three_hours, level):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert level.seconds == 3 * 3600
    assert peak < 20e6  # bytes; the whole as float32 has a gigabyte


@given(st.lists(st.integers(-32767, 32767), min_size=1, max_size=50))
def test_int16_survives_the_way_to_float_and_back(values: list[int]) -> None:
    samples = np.array(values, "<i2")
    np.testing.assert_array_equal(to_int16(to_float(samples)), samples)
