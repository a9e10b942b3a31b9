"""The sound of a recording that goes over into a rendering of what follows, as loud as it and without a click.

The rendering begins some seconds before the join with the notes that were heard in the recording: there both are the
same music, which tells how loud the rendering has to be, and the one fades into the other while the same notes ring.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from musicgen.app.errors import BadInput
from musicgen.app.render import sound_of
from musicgen.app.sound_file import check_writable, sound_file
from musicgen.data_prep import Performance
from musicgen.data_prep.audio import SAMPLE_RATE, AudioError, read_blocks
from musicgen.data_prep.performance import cut, shift_time

LEAD = 10.0  # seconds before the join that are rendered, too
FADE = 0.1  # seconds from the one to the other
KNEE = 0.8  # of full scale; what is louder is rounded off, and never reaches it
QUIETEST = 1e-5  # a root mean square; below it nothing says how loud the rendering has to be


def continue_sound(
    recording: Path,
    music: Performance,
    join: float,
    out: Path,
    *,
    soundfont: str | os.PathLike[str] | None = None,
    comment: str | None = None,
    on_progress: Callable[[float], None] = lambda seconds: None,
) -> float:
    """Write a recording up to the join, then its continuation on a sampled piano, at 24 kHz and one channel.

    Args:
        recording: what was continued.
        music: the notes that were heard in it and those that follow, at its times.
        join: seconds from its beginning to where they meet.
        out: .wav, .flac, .ogg or .mp3.
        soundfont, comment: as of `render`.
        on_progress: called with the seconds that are written.

    Returns the seconds of sound.  Raises BadInput if the recording is gone or the soundfont cannot be played, and
    EnvironmentProblem if the file cannot be written.
    """
    check_writable(out)
    start = max(0.0, join - LEAD)
    following = _rendered(shift_time(cut(music, start, np.inf), -start), soundfont)
    with sound_file(out, comment) as write:
        done = 0
        try:
            for sound in join_sounds(_until(recording, join), following, round(start * SAMPLE_RATE)):
                write(sound)
                done += len(sound)
                on_progress(done / SAMPLE_RATE)
        except AudioError as error:
            raise BadInput(str(error)) from None
    return done / SAMPLE_RATE


def join_sounds(first: Iterator[np.ndarray], second: Iterator[np.ndarray], start: int) -> Iterator[np.ndarray]:
    """All of the first sound and then the second, whose sample 0 belongs to the first one's sample ``start``.

    Both are f32 [n] in pieces.  The second is made as loud as the first where both are, and fades in over FADE.
    """
    tail, samples = np.zeros(0, np.float32), 0
    for piece in first:
        tail = np.concatenate([tail, piece])
        samples += len(piece)
        ready = max(0, len(tail) - max(0, samples - start, round(LEAD * SAMPLE_RATE)))
        if ready:
            yield tail[:ready]
            tail = tail[ready:]
    begun = np.zeros(0, np.float32)
    while len(begun) < samples - start and (piece := next(second, None)) is not None:  # type: ignore[arg-type]
        begun = np.concatenate([begun, piece])
    both = min(len(tail), samples - start)
    before = np.pad(begun, (0, max(0, samples - start - len(begun))))[samples - start - both : samples - start]
    levels = [float(np.sqrt(np.mean(np.square(one)))) if both else 0.0 for one in (tail[len(tail) - both :], before)]
    gain = levels[0] / levels[1] if min(levels) > QUIETEST else 1.0
    fade = min(round(FADE * SAMPLE_RATE), both)
    angle = (np.arange(fade, dtype=np.float32) + 0.5) / max(fade, 1) * np.float32(np.pi / 2)
    # The two are no copies of each other, so that their powers add up: those are what stays the same.
    mixed = tail[len(tail) - fade :] * np.cos(angle) + _rounded(gain * before[both - fade :]) * np.sin(angle)
    yield np.concatenate([tail[: len(tail) - fade], mixed])
    yield _rounded(gain * begun[samples - start :])
    for piece in second:
        yield _rounded(gain * piece)


def _rounded(sound: np.ndarray) -> np.ndarray:
    """f32 [n] within full scale: what is above the knee is bent, without a corner."""
    over = np.abs(sound) - KNEE
    bent = np.sign(sound) * (KNEE + (1 - KNEE) * np.tanh(np.maximum(over, 0) / (1 - KNEE)))
    return np.where(over > 0, bent, sound).astype(np.float32)


def _until(recording: Path, seconds: float) -> Iterator[np.ndarray]:
    """Blocks f32 [n] of a recording up to there, or to its end.  Raises AudioError."""
    left = round(seconds * SAMPLE_RATE)
    for block in read_blocks(recording):
        yield block[:left]
        left -= len(block)
        if left <= 0:
            return


def _rendered(music: Performance, soundfont: str | os.PathLike[str] | None) -> Iterator[np.ndarray]:
    """Music as sound, f32 [n] in pieces, one channel at 24 kHz."""
    import soxr

    rate, segments = sound_of(music, soundfont)
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for segment in segments():
        yield stream.resample_chunk(np.ascontiguousarray(segment.mean(axis=1)))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
