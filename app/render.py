"""Music to sound: a piano soundfont played by a renderer from a plain wheel, in bounded memory.

The piece is dealt out by note onsets into chunks of CHUNK seconds.  Each chunk is rendered with its own share of the
pedal until its last note has died away, and the overlapping sound is added up: what one renderer would have played,
without its limit of 64 voices for the whole and without holding the whole in memory.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.sound_file import check_writable, sound_file
from musicgen.app.soundfont import find_soundfont
from musicgen.data_prep import Performance, apply_pedal, write_midi
from musicgen.data_prep.files import temporary_folder
from musicgen.data_prep.performance import without_source
from musicgen.data_prep.silence import silenced

CHUNK = 30.0  # seconds of onsets rendered at once
LONGEST_HOLD = 30.0  # seconds a chunk's notes may ring into the next ones; a piano string is silent by then
TAIL = 2.5  # seconds after the last note's end: its damping and the room
LONGEST = 6 * 3600.0  # seconds; a WAV file cannot hold more than 4 GiB
PEAK = 0.891  # -1 dBFS
KEPT = 300.0  # seconds of sound kept in memory between measuring the peak and writing; longer music is rendered twice
FLUIDSYNTH_RATE = 48000
HAIR = 2.5e-5  # seconds, a tick of what the renderer is given

Segments = Callable[[], Iterator[np.ndarray]]


class Unplayable(EnvironmentProblem):
    """The renderer cannot play the soundfont."""


def render(
    performance: Performance,
    out: Path,
    *,
    soundfont: str | os.PathLike[str] | None = None,
    synth: str = "midirenderer",
    comment: str | None = None,
    on_progress: Callable[[float], None] = lambda seconds: None,
) -> float:
    """Write a performance as sound, its loudest sample at -1 dBFS.

    Args:
        performance: the music; its pedal is played.
        out: .wav, .flac, .ogg or .mp3.
        soundfont: a SoundFont 2 file; None for the one that comes with the install.
        synth: 'midirenderer' or 'fluidsynth' (the program of that name, if installed).
        comment: what the file says of itself, as its comment; see `provenance.summary_line`.
        on_progress: called with the seconds of sound that are done.

    Returns:
        Seconds of sound.

    Raises:
        BadInput: the soundfont is missing, none or damaged, or the music is longer than LONGEST.
        EnvironmentProblem: a part of the install is missing, or the file cannot be written.
    """
    check_sound(synth, out)
    if performance.duration > LONGEST:
        raise BadInput(
            f"this lasts {performance.duration / 3600:.1f} hours; at most {LONGEST / 3600:g} hours can be rendered"
        )
    font = find_soundfont(soundfont)
    if synth == "fluidsynth":
        return _with_fluidsynth(performance, out, font, comment)
    rate, segments = sound_of(performance, soundfont)
    return _write(segments, performance.duration + TAIL, rate, out, str(font), comment, on_progress)


def sound_of(performance: Performance, soundfont: str | os.PathLike[str] | None = None) -> tuple[int, Segments]:
    """Samples per second, and what gives the music as float32[T, 2] pieces in order, at the soundfont's own level.

    Raises BadInput, also later, if the soundfont is missing, none or damaged; EnvironmentProblem if that is the
    installed one.
    """
    data = find_soundfont(soundfont).read_bytes()
    with _blaming(soundfont):
        rate, _ = _play(data, _silence())

    def segments() -> Iterator[np.ndarray]:
        with _blaming(soundfont):
            yield from _segments(performance, data, rate)

    return rate, segments


@contextlib.contextmanager
def _blaming(soundfont: str | os.PathLike[str] | None) -> Iterator[None]:
    """A soundfont that was chosen and cannot be played is bad input."""
    try:
        yield
    except Unplayable as error:
        if soundfont is None:
            raise
        raise BadInput(str(error)) from None


def check_sound(synth: str, out: Path) -> None:
    """Raise EnvironmentProblem if such sound cannot be made or written here, before any work is done for it."""
    import shutil

    try:
        import midirenderer  # noqa: F401
    except ImportError:
        raise EnvironmentProblem("sound needs midirenderer, which is not installed: pip install midirenderer") from None
    check_writable(out)
    if synth == "fluidsynth" and shutil.which("fluidsynth") is None:
        raise EnvironmentProblem("the fluidsynth program is not installed: install it, or leave --synth out")


def loudness_of_one_note() -> float:
    """The peak of a short middle C on the installed piano, 0..1; the quickest proof that sound can be made."""
    note = Performance(np.zeros(1), np.ones(1), np.array([60]), np.array([80]), np.zeros((0, 2)))
    _, sound = _play(find_soundfont().read_bytes(), note)
    return float(np.abs(sound).max(initial=0.0))


def chunks(performance: Performance) -> Iterator[tuple[float, Performance]]:
    """(start in seconds, the notes struck in the CHUNK seconds from there with the pedal they feel, from time 0)."""
    performance = without_source(performance, HAIR)
    ends = np.minimum(_sounding_ends(performance), performance.onset + CHUNK + LONGEST_HOLD)
    time, value = performance.pedal[:, 0], performance.pedal[:, 1]
    count = int(performance.onset[-1] // CHUNK) + 1 if len(performance) else 0
    for start in (CHUNK * number for number in range(count)):
        mine = (performance.onset >= start) & (performance.onset < start + CHUNK)
        if not mine.any():
            continue
        stop = min(float(ends[mine].max()), start + CHUNK + LONGEST_HOLD)
        during = (time >= start) & (time < stop)
        earlier = np.flatnonzero(time < start)
        at_start = value[earlier[-1] :][:1] if earlier.size else np.zeros(0)
        # The last pedal event also makes the renderer go on until there: it stops at a file's last event.
        times = np.concatenate([np.zeros(at_start.size), time[during] - start, [stop - start, stop - start + TAIL]])
        values = np.concatenate([at_start, value[during], [0.0, 0.0]])
        yield (
            start,
            Performance(
                performance.onset[mine] - start,
                np.minimum(performance.end[mine], stop) - start,
                performance.pitch[mine],
                performance.velocity[mine],
                np.stack([times, values], axis=1),
            ),
        )


def _sounding_ends(performance: Performance) -> np.ndarray:
    """f64[n], at least how long each note sounds; `apply_pedal` may drop notes, so the latest end is taken for all."""
    sounding = apply_pedal(performance)
    if len(sounding) == len(performance):
        return sounding.end
    return np.maximum(performance.end, sounding.end.max() if len(sounding) else 0.0)


def _segments(performance: Performance, font: bytes, rate: int) -> Iterator[np.ndarray]:
    """float32[T, 2] pieces of sound in order, overlaps added up."""
    pending = np.zeros((0, 2), np.float32)
    done = 0  # samples given out
    for start, music in chunks(performance):
        at = round(start * rate)
        ready = pending[: at - done]
        if len(ready):
            yield ready
        for gap in range(done + len(ready), at, rate):
            yield np.zeros((min(rate, at - gap), 2), np.float32)
        pending, done = pending[at - done :], at
        _, sound = _play(font, music)
        if len(sound) < len(pending):
            sound = np.pad(sound, ((0, len(pending) - len(sound)), (0, 0)))
        sound[: len(pending)] += pending
        pending = sound
    yield pending


def _play(font: bytes, music: Performance) -> tuple[int, np.ndarray]:
    """(samples per second, float32[T, 2])."""
    import midirenderer
    import soundfile

    try:
        with silenced():  # a panic tells its whole backtrace
            wave = midirenderer.render_wave_from(font, write_midi(music, None))
    except Exception as error:
        raise Unplayable(f"the soundfont cannot be played ({error}): choose another with --soundfont") from None
    except BaseException as error:  # a panic of the native renderer is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise Unplayable("the renderer failed on this soundfont: choose another with --soundfont") from None
    sound, rate = soundfile.read(io.BytesIO(wave), dtype="float32", always_2d=True)
    return rate, sound


def _silence() -> Performance:
    none = np.zeros(0)
    return Performance(none, none, none.astype(np.uint8), none.astype(np.uint8), np.array([[0.0, 0.0], [0.01, 0.0]]))


def _write(
    segments: Segments,
    seconds: float,
    rate: int,
    out: Path,
    font: str,
    comment: str | None,
    on_progress: Callable[[float], None],
) -> float:
    """Measure the peak, then write the sound brought to PEAK.  Each of the two is half of the progress."""
    kept: list[np.ndarray] = []
    peak, done = 0.0, 0
    for segment in segments():
        peak = max(peak, float(np.abs(segment).max(initial=0.0)))
        done += len(segment)
        on_progress(done / rate / 2)
        if seconds <= KEPT:
            kept.append(segment)
    if peak == 0.0:
        raise EnvironmentProblem(f"{font} gives no sound for a piano: choose another with --soundfont")

    def scaled() -> Iterator[np.ndarray]:
        written = 0
        for segment in kept or segments():
            yield segment * np.float32(PEAK / peak)
            written += len(segment)
            on_progress((done + written) / rate / 2)

    with sound_file(out, comment, rate=rate, channels=2) as write:
        for segment in scaled():
            write(segment)
    return done / rate


def _with_fluidsynth(performance: Performance, out: Path, font: Path, comment: str | None) -> float:
    """Let the fluidsynth program play into a temporary WAV, then bring it to PEAK."""
    import soundfile

    with temporary_folder() as folder:
        score, wave = folder / "score.mid", folder / "sound.wav"
        ends = np.array([[performance.duration, 0.0], [performance.duration + TAIL, 0.0]])
        before = performance.pedal[performance.pedal[:, 0] < performance.duration]
        performance = without_source(performance, HAIR)
        parts = (performance.onset, performance.end, performance.pitch, performance.velocity)
        write_midi(Performance(*parts, np.concatenate([before, ends])), score)
        command = ["fluidsynth", "-niq", "-g", "0.4", "-r", str(FLUIDSYNTH_RATE), "-F", *map(str, (wave, font, score))]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode or not wave.exists():
            why = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it gave no reason"]
            raise EnvironmentProblem(f"fluidsynth failed ({why[0]}): leave --synth out")

        def segments() -> Iterator[np.ndarray]:
            return soundfile.blocks(wave, FLUIDSYNTH_RATE * 10, dtype="float32", always_2d=True)

        seconds = soundfile.info(wave).duration
        return _write(segments, seconds, FLUIDSYNTH_RATE, out, str(font), comment, lambda seconds: None)
