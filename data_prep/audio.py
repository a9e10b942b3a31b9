"""Audio files to samples: one channel, 24 kHz, in blocks, so that memory does not grow with the file.

WAV, FLAC, MP3 and OGG, as libsndfile reads them.  What cannot be music is refused with one line that says why.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.data_prep.silence import silenced

SAMPLE_RATE = 24_000  # of everything here
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
MOST_CHANNELS = 2  # of more, nobody says which are copies of each other
RATES = (8_000, 192_000)
SHORTEST = 0.5  # seconds
LONGEST = 12 * 3600.0  # seconds of a file that is read in blocks
LONGEST_AT_ONCE = 30 * 60.0  # seconds of a file that is held in memory
SILENT = -60.0  # dBFS; a file whose loudest sample stays below is silent
CLIPPED_SHARE = 1e-3  # of the samples at full scale: from here on it is worth a remark
BLOCK_SECONDS = 10


class AudioError(ValueError):
    """A file is no audio that can be used: one line that names it, says what is wrong and what to do."""


@dataclass
class Level:
    """How loud a file is so far: samples at 24 kHz, the loudest, the sum of their squares, and those at full scale."""

    samples: int = 0
    peak: float = 0.0
    energy: float = 0.0
    clipped: int = 0

    def add(self, block: np.ndarray) -> None:
        """Take f32 [n] into account."""
        loud = np.abs(block)
        self.samples += len(block)
        self.peak = max(self.peak, float(loud.max(initial=0.0)))
        self.energy += float(np.dot(block, block))
        self.clipped += int(np.count_nonzero(loud >= 0.9999))

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    @property
    def peak_db(self) -> float:
        """dBFS."""
        return decibels(self.peak)

    @property
    def rms_db(self) -> float:
        """dBFS of the root mean square; a full-scale sine has -3."""
        return decibels(float(np.sqrt(self.energy / max(self.samples, 1))))

    def remarks(self) -> tuple[str, ...]:
        """What is worth knowing about a file that was taken."""
        if self.clipped <= CLIPPED_SHARE * self.samples:
            return ()
        return (f"{100 * self.clipped / self.samples:.1f} % of the samples are at full scale: recorded too loud?",)


def is_silent(samples: np.ndarray) -> bool:
    """Whether nothing in f32 [n] is as loud as SILENT."""
    return bool(np.abs(samples).max(initial=0.0) < 10 ** (SILENT / 20))


def decibels(amplitude: float) -> float:
    """dBFS of an amplitude 0..1, at least -200."""
    return 20 * float(np.log10(max(amplitude, 1e-10)))


def read_blocks(
    path: str | os.PathLike[str], level: Level | None = None, *, longest: float = LONGEST
) -> Iterator[np.ndarray]:
    """The file as f32 blocks of about 10 s, one channel, 24 kHz, between -1 and 1; `level` adds them up.

    Raises AudioError, possibly after some blocks: a fault or silence shows only once a file has been heard.
    """
    name, level = Path(path).name, Level() if level is None else level
    with _open(Path(path)) as file:
        _check_form(name, file.channels, file.samplerate)
        if file.frames / file.samplerate > longest:
            hours = file.frames / file.samplerate / 3600
            raise AudioError(f"{name} lasts {hours:.1f} hours, at most {_span(longest)} can be read: cut it")
        for block in _resample(_mix_down(name, file), name, file.samplerate):
            if level.seconds > longest:  # a header may promise less
                raise AudioError(f"{name} lasts more than {_span(longest)}: cut it")
            block = np.clip(block, -1.0, 1.0)
            level.add(block)
            yield block
    if level.seconds < SHORTEST:
        raise AudioError(f"{name} lasts {level.seconds:.4f} seconds, at least {SHORTEST:g} are needed: is it whole?")
    if level.peak_db < SILENT:
        raise AudioError(f"{name} is silent: nothing in it is louder than {SILENT:g} dBFS")


def read_audio(path: str | os.PathLike[str], *, longest: float = LONGEST_AT_ONCE) -> np.ndarray:
    """The whole file as f32 [T], one channel, 24 kHz.  Raises AudioError."""
    return np.concatenate(list(read_blocks(path, longest=longest)))


def to_int16(block: np.ndarray) -> np.ndarray:
    """f32 [n], -1..1 -> int16 [n], as it lies in shards."""
    return np.round(block * 32767.0).astype("<i2")


def to_float(block: np.ndarray) -> np.ndarray:
    """int16 [...] as it lies in shards -> f32 [...], -1..1."""
    return block.astype(np.float32) / np.float32(32767.0)


def _span(seconds: float) -> str:
    return f"{seconds / 3600:g} hours" if seconds >= 3600 else f"{seconds / 60:g} minutes"


def _open(path: Path) -> Any:
    import soundfile

    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise AudioError(f"{path} is not a regular file: give a WAV, FLAC, MP3 or OGG file")
    try:
        with silenced():
            return soundfile.SoundFile(path)
    except (soundfile.SoundFileError, RuntimeError, OSError, TypeError) as error:
        why = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
        raise AudioError(f"{path.name} is no audio file ({why}): give a WAV, FLAC, MP3 or OGG file") from None


def _check_form(name: str, channels: int, rate: int) -> None:
    if channels > MOST_CHANNELS:
        raise AudioError(f"{name} has {channels} channels ({rate} Hz): mix it down to one or two")
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{name} has {rate} samples a second: it must have {RATES[0]} to {RATES[1]}")


def _mix_down(name: str, file: Any) -> Iterator[np.ndarray]:
    """f32 blocks of the mean of the channels, at the file's own rate."""
    import soundfile

    read = 0
    while True:
        try:
            with silenced():
                block = file.read(BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            why = str(error).strip().rstrip(".")
            raise AudioError(f"{name} is damaged {read / file.samplerate:.1f} seconds in ({why})") from None
        if not len(block):
            return
        if not np.isfinite(block).all():
            at = (read + int(np.argmin(np.isfinite(block).all(axis=1)))) / file.samplerate
            raise AudioError(
                f"{name} holds samples that are no numbers, the first {at:.3f} seconds in: export it again"
            )
        read += len(block)
        yield block.mean(axis=1)


def _resample(blocks: Iterator[np.ndarray], name: str, rate: int) -> Iterator[np.ndarray]:
    """The same sound at 24 kHz, still in blocks."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    try:
        import soxr
    except ImportError:
        raise AudioError(
            f"{name} has {rate} samples a second; to read other rates than {SAMPLE_RATE}: pip install soxr"
        ) from None
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        made = stream.resample_chunk(np.ascontiguousarray(block))
        if len(made):
            yield made
    made = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    if len(made):
        yield made
