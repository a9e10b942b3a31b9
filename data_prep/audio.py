"""Audio files to samples: one channel, 24 kHz, in blocks, so that memory does not grow with the file.

WAV, FLAC, MP3, Ogg, AIFF, CAF and AU, as libsndfile reads them once sound/ has put them right: a recording is as long
as what decoding yields, not as its header says.  M4A and others, if PyAV is installed.  What cannot be music is refused
with one line that says why.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.data_prep import limits
from musicgen.data_prep.errors import counted
from musicgen.data_prep.files import open_regular
from musicgen.data_prep.silence import silenced
from musicgen.data_prep.sound.other import Kind, OtherFile
from musicgen.data_prep.sound.pieces import find_sounds
from musicgen.data_prep.sound.splice import Data, Splice

SAMPLE_RATE = 24_000  # of everything here
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus"),
    *(".aiff", ".aif", ".aifc", ".caf", ".au", ".w64", ".rf64", ".bw64"),
)
FORMATS = "a WAV, FLAC, MP3, Ogg, Opus, AIFF or CAF file"  # what a person is told to give
OTHER_SUFFIXES = (".m4a", ".mp4", ".aac", ".3gp", ".amr", ".wma", ".webm", ".mka", ".ape", ".wv")  # recordings, too
SHORTEST = 0.5  # seconds
SILENT = -60.0  # dBFS; a file whose loudest sample stays below is silent
CLIPPED_SHARE = 1e-3  # of the samples at full scale: from here on it is worth a remark
CANCELLED = 0.05  # of two channels' power, at the most, is left in the sum of channels that cancel each other
BLOCK_SECONDS = 10
UNKNOWN = 2**62  # frames, and more: libsndfile does not know how many there are


class AudioError(ValueError):
    """A file is no audio that can be used: one line that names it, says what is wrong and what to do."""


@dataclass
class Level:
    """How loud a file is so far: samples at 24 kHz, the loudest, the sum of their squares, and those at full scale.

    cancelled: seconds of two channels that cancel each other, where one was taken.  missing: bytes that its header
    promises and that are not there.  cut: whether its end is missing, nobody knows how much.  damaged: why it was read
    no further, if it was not.
    """

    samples: int = 0
    peak: float = 0.0
    energy: float = 0.0
    clipped: int = 0
    cancelled: float = 0.0
    missing: int = 0
    cut: bool = False
    damaged: str = ""

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
        found = []
        if self.missing:
            found.append(f"its end is missing: its header promises {counted(self.missing, 'byte')} more")
        if self.cut:
            found.append("its end is missing")
        if self.damaged:
            found.append(f"it is damaged {self.seconds:.1f} seconds in ({self.damaged}): what comes before is read")
        if self.cancelled:
            found.append(f"the two channels cancel each other for {self.cancelled:.1f} seconds: there one is taken")
        if self.clipped > CLIPPED_SHARE * self.samples:
            share = 100 * self.clipped / self.samples
            found.append(f"{share:.1f} % of the samples are at full scale: recorded too loud?")
        return tuple(found)


def is_silent(samples: np.ndarray) -> bool:
    """Whether nothing in f32 [n] is as loud as SILENT."""
    return bool(np.abs(samples).max(initial=0.0) < 10 ** (SILENT / 20))


def decibels(amplitude: float) -> float:
    """dBFS of an amplitude 0..1, at least -200."""
    return 20 * float(np.log10(max(amplitude, 1e-10)))


def read_blocks(
    path: str | os.PathLike[str], level: Level | None = None, *, longest: float = limits.AUDIO_SECONDS
) -> Iterator[np.ndarray]:
    """The file as f32 blocks of about 10 s, one channel, 24 kHz, between -1 and 1; `level` adds them up.

    What is damaged is read up to there. Raises AudioError, possibly after some blocks: silence shows only once a file
    has been heard.
    """
    name, level = Path(path).name, Level() if level is None else level
    with _map(Path(path)) as data:
        sounds = find_sounds(data)
        if len(sounds.pieces) > limits.AUDIO_PIECES:
            raise AudioError(f"{name} is {len(sounds.pieces)} recordings in one, {limits.AUDIO_PIECES} are the most")
        level.missing, level.cut = sounds.missing, sounds.cut
        work = _Work()
        for piece in sounds.pieces:
            for block in _read_piece(name, Splice(data, piece), sounds.other, level, work, longest):
                level.add(block)
                if level.seconds > longest + 0.2:  # what an MP3 is filled up with is nobody's fault
                    raise AudioError(f"{name} lasts more than {_span(longest)}: cut it")
                yield block
            if level.damaged:
                break
    if level.damaged and level.seconds < SHORTEST:
        raise AudioError(f"{name} is damaged {level.seconds:.1f} seconds in ({level.damaged})")
    if level.seconds < SHORTEST:
        raise AudioError(f"{name} lasts {level.seconds:.4f} seconds, at least {SHORTEST:g} are needed: is it whole?")
    if level.peak_db < SILENT:
        raise AudioError(f"{name} is silent: nothing in it is louder than {SILENT:g} dBFS")


def read_audio(
    path: str | os.PathLike[str], level: Level | None = None, *, longest: float = limits.AUDIO_SECONDS_AT_ONCE
) -> np.ndarray:
    """The whole file as f32 [T], one channel, 24 kHz; `level` as of `read_blocks`.  Raises AudioError."""
    return np.concatenate(list(read_blocks(path, level, longest=longest)))


def to_int16(block: np.ndarray) -> np.ndarray:
    """f32 [n], -1..1 -> int16 [n], as it lies in shards."""
    return np.round(block * 32767.0).astype("<i2")


def to_float(block: np.ndarray) -> np.ndarray:
    """int16 [...] as it lies in shards -> f32 [...], -1..1."""
    return block.astype(np.float32) / np.float32(32767.0)


@dataclass
class _Work:
    """What decoding a file has cost: the samples that came of it, and bytes of the pieces that are done."""

    samples: int = 0
    bytes: int = 0

    def add(self, name: str, samples: int, at: int) -> None:
        """Count samples that took the decoder to this byte of a piece.  Raises AudioError for far too many."""
        self.samples += samples
        if self.samples > limits.AUDIO_SAMPLES_EACH * (self.bytes + at) + limits.AUDIO_SAMPLES_FREE:
            raise AudioError(f"{name} unpacks to far more sound than a recording of so few bytes can hold")


def _span(seconds: float) -> str:
    return f"{seconds / 3600:g} hours" if seconds >= 3600 else f"{seconds / 60:g} minutes"


@contextlib.contextmanager
def _map(path: Path) -> Iterator[Data]:
    """The file's bytes, mapped and not read.  Raises AudioError."""
    try:
        with open_regular(path) as file:
            data: Data = b""
            if os.fstat(file.fileno()).st_size:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        if error.errno in (errno.ESPIPE, errno.EISDIR):
            raise AudioError(f"{path} is not a regular file: give {FORMATS}") from None
        raise AudioError(f"{path} cannot be read: {error.strerror}") from None
    try:
        yield data
    finally:
        if isinstance(data, mmap.mmap):
            data.close()


def _read_piece(
    name: str, piece: Splice, other: Kind | None, level: Level, work: _Work, longest: float
) -> Iterator[np.ndarray]:
    """Blocks of one of a file's recordings, f32 [n] at 24 kHz.  level: what came before."""
    opened = _open(name, piece, level) if other is None else _open_other(name, piece, other)
    if opened is None:
        return
    with contextlib.closing(opened) as file:
        _check_form(name, file.channels, file.samplerate)
        seconds = level.seconds + file.frames / file.samplerate
        if longest < seconds and file.frames < UNKNOWN:
            hours = seconds / 3600
            raise AudioError(f"{name} lasts {hours:.1f} hours, at most {_span(longest)} can be read: cut it")

        def mixed() -> Iterator[np.ndarray]:
            for block in _decode(name, file, level):
                work.add(name, block.size, piece.tell())
                yield _mix_down(block, file.samplerate, level)

        for block in _resample(mixed(), name, file.samplerate):
            yield np.clip(block, -1.0, 1.0)
    work.bytes += len(piece)


def _open(name: str, splice: Splice, level: Level) -> Any:
    import soundfile

    try:
        if not len(splice):
            raise OSError("it is empty")
        with silenced():
            file = soundfile.SoundFile(splice)
    except (soundfile.SoundFileError, RuntimeError, OSError, TypeError, ValueError) as error:
        why = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
        if level.samples:
            level.damaged = why
            return None
        if "not a regular file" in why:  # what it says where an MP3 has no whole frame
            why = "damaged, or cut off"
        raise AudioError(f"{name} is no audio file ({why}): give {FORMATS}") from None
    # Else it would seek after every block, which is not exact in all formats, and fails where the length is unknown.
    file._info.seekable = 0
    return file


def _open_other(name: str, splice: Splice, kind: Kind) -> Any:
    try:
        with silenced():
            return OtherFile(splice, kind.form)
    except ImportError:
        raise AudioError(f"{name} is {kind.name} file; to read it: pip install av, or save it as WAV or FLAC") from None
    except RuntimeError as error:
        raise AudioError(f"{name} is {kind.name} file without sound, or damaged ({str(error)[:80]})") from None


def _check_form(name: str, channels: int, rate: int) -> None:
    if channels > limits.AUDIO_CHANNELS:
        raise AudioError(f"{name} has {channels} channels ({rate} Hz): mix it down to one or two")
    lowest, highest = limits.AUDIO_RATES
    if not lowest <= rate <= highest:
        raise AudioError(f"{name} has {rate} samples a second: it must have {lowest} to {highest}")


def _decode(name: str, file: Any, level: Level) -> Iterator[np.ndarray]:
    """f32 blocks [n, channels] at the file's own rate; to where it is damaged, if it is, which `level` then says."""
    import soundfile

    read = 0
    while not level.damaged:
        block = np.full((BLOCK_SECONDS * file.samplerate, file.channels), np.nan, np.float32)
        try:
            with silenced():
                block = file.read(len(block), dtype="float32", always_2d=True, out=block)
        except (soundfile.SoundFileError, RuntimeError) as error:
            level.damaged = str(error).strip().rstrip(".") or "the decoder does not say why"
            block = block[: int(np.argmax(np.append(np.isnan(block[:, 0]), True)))]  # what was decoded before
        if not len(block):
            return
        if not np.isfinite(block).all():
            at = (read + int(np.argmin(np.isfinite(block).all(axis=1)))) / file.samplerate
            raise AudioError(
                f"{name} holds samples that are no numbers, the first {at:.3f} seconds in: export it again"
            )
        peak = float(np.abs(block).max())
        if peak > limits.AUDIO_LARGEST:
            raise AudioError(f"{name} has samples as large as {peak:,.0f}, and 1 is full scale: export it again")
        read += len(block)
        yield block


def _mix_down(block: np.ndarray, rate: int, level: Level) -> np.ndarray:
    """f32 [n], the mean of the channels [n, 1 or 2]; where they cancel each other, the louder of the two."""
    if block.shape[1] == 1:
        return block[:, 0]
    mixed: np.ndarray = block.mean(axis=1)
    power = np.einsum("nc,nc->c", block, block)
    if power.min() > len(block) * 10 ** (SILENT / 10) and np.dot(mixed, mixed) < CANCELLED * power.mean():
        level.cancelled += len(block) / rate
        return np.ascontiguousarray(block[:, power.argmax()])
    return mixed


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
