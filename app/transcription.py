"""A recording becomes notes: played keys with their force, and the pedal, as a transcriber of piano music hears them.

What hears is a function from sound to `Heard`; `open_transcriber` gives the installed one, Transkun 2 by Yujia Yan,
whose weights lie in its wheel (benchmarks/transcription says why it).  It hears a section of a recording at a time, so
that memory does not grow with the recording: of a section those notes count that are struck in it, and as much is heard
before and after it as it takes to hear how they begin and end.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.output import MIDI_SUFFIXES, check_output, write_bytes
from musicgen.app.prime import Prime, make_prime
from musicgen.app.sureness import energy, judge
from musicgen.data_prep import Performance, read_midi, write_midi
from musicgen.data_prep.audio import SAMPLE_RATE, AudioError, Level, read_blocks
from musicgen.data_prep.extras import install_command

SECTION = 240.0  # seconds of a recording that are heard at once
BEFORE, AFTER = 4.0, 16.0  # seconds around it that are heard, too
WINDOW, STEP = 16.0, 12.0  # seconds the transcriber looks at, and by which it moves on (benchmarks/transcription)
ONE_WINDOW = 15.5  # seconds that are heard in one window, half a second after its beginning
SUSTAIN = -64  # how the transcriber calls the sustain pedal; the soft pedal, -67, makes no difference here

NO_NOTES = np.zeros((0, 4))

Report = Callable[[float], None]


class Listening(Protocol):
    """Told while something is heard."""

    def __call__(self, seconds: float, notes: np.ndarray = NO_NOTES, /) -> None:
        """seconds: how many are done.  notes: those of `Heard` that are new since the last call; what comes next may
        still move their ends."""


@dataclass(frozen=True)
class Heard:
    """What was heard in some sound, in seconds from its beginning.

    notes: f64 [n, 4], onset, end, pitch and velocity (1..127) of each.  pedal: f64 [p, 2], when it goes down and up.
    """

    notes: np.ndarray
    pedal: np.ndarray

    def music(self) -> Performance:
        """The same as music: where the pedal is down twice, it is down once and longer."""
        notes, pedal = self.notes, self.pedal[np.argsort(self.pedal[:, 0], kind="stable")]
        ups = np.maximum.accumulate(pedal[:, 1]) if len(pedal) else pedal[:, 1]
        new = np.append(True, pedal[1:, 0] > ups[:-1]) if len(pedal) else np.zeros(0, bool)
        downs, ups = pedal[new, 0], ups[np.append(new[1:], True)] if len(pedal) else ups
        times = np.stack([np.stack([downs, np.full(len(downs), 127.0)], 1), np.stack([ups, np.zeros(len(ups))], 1)], 1)
        onset, end = notes[:, 0], np.maximum(notes[:, 1], notes[:, 0])
        velocity = np.clip(notes[:, 3], 1, 127).astype(np.uint8)
        return Performance(onset, end, notes[:, 2].astype(np.uint8), velocity, times.reshape(-1, 2))


Hear = Callable[[np.ndarray, Listening], Heard]
"""Sound f32 [n], one channel at `SAMPLE_RATE`, to what is heard in it; tells meanwhile how far it is."""


@dataclass(frozen=True)
class Transcript:
    """A recording as music.  midi: the same as a MIDI file.  seconds: of the recording, as far as it was heard.
    remarks: what is worth knowing."""

    music: Performance
    midi: bytes
    seconds: float
    remarks: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write the MIDI file.  Raises BadInput for another suffix or a missing folder, EnvironmentProblem if it
        cannot be written here."""
        out = check_output(path, MIDI_SUFFIXES, "the file")
        write_bytes(out, self.midi)
        return out

    def as_prime(self, seconds: float | None) -> Prime:
        """What is continued: all of it, or the first ``seconds`` of the recording; as if its MIDI file were given.

        Raises BadInput if nothing is played there.
        """
        music, _ = read_midi(self.midi)
        first = float(music.onset[0])
        if seconds is not None and seconds <= first:
            raise BadInput(f"nothing is played in the first {seconds:g} seconds: the first note comes at {first:.1f}")
        length = None if seconds is None else seconds - first
        return make_prime(music, length, hashlib.sha256(self.midi).hexdigest())


def survey(path: Path, seconds: float | None = None) -> Level:
    """How long and how loud a recording is, or its first ``seconds``; quick beside hearing it.

    Raises BadInput if it cannot be read, wherever in it the reason lies.
    """
    level = Level()
    try:
        for _ in _first(read_blocks(path, level), seconds):
            pass
    except AudioError as error:
        raise BadInput(str(error)) from None
    return level


def transcribe(
    path: Path,
    hear: Hear,
    seconds: float | None = None,
    on_progress: Report = lambda seconds: None,
    on_notes: Callable[[np.ndarray], None] = lambda notes: None,
) -> Transcript:
    """The music of a recording, or of its first ``seconds`` and a moment more, at the recording's own times.

    on_progress: gets the seconds that have been heard.  on_notes: before that, gets the notes that are new, as in
    `Heard`; what comes next may still move their ends.

    Raises BadInput if it cannot be read or no piano is heard in it.
    """
    level, notes, pedal, energies = Level(), [], [], []
    try:
        for sound, at, start, stop in sections(_first(read_blocks(path, level), seconds)):

            def listening(
                done: float, new: np.ndarray = NO_NOTES, at: float = at, start: float = start, stop: float = stop
            ) -> None:
                if len(new := _struck(new, at, start, stop)):
                    on_notes(new)
                on_progress(max(start, at + done))

            heard = hear(sound, listening)
            notes.append(_struck(heard.notes, at, start, stop))
            pedal.append(_struck(heard.pedal, at, start, stop))
            energies.append(energy(sound, heard.notes, start - at, stop - at))
    except AudioError as error:
        raise BadInput(str(error)) from None
    if not any(map(len, notes)):
        raise BadInput(f"no piano is heard in {path.name}: give a recording of one")
    music = Heard(np.concatenate(notes), np.concatenate(pedal)).music()
    explained, total = np.sum(energies, axis=0)
    return Transcript(music, write_midi(music), level.seconds, (*level.remarks(), *judge(music, explained, total)))


def sections(blocks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, float, float, float]]:
    """Overlapping parts of a recording, from blocks f32 [n] of it: (sound f32 [m], when it begins, from when to when
    the notes in it count), in seconds."""
    held, first, start = np.zeros(0, np.float32), 0, 0
    section, before, after = (round(SAMPLE_RATE * seconds) for seconds in (SECTION, BEFORE, AFTER))
    for block in blocks:
        held = np.concatenate([held, block])
        while first + len(held) >= start + section + after:
            whole = start + section + after - first
            yield held[:whole], first / SAMPLE_RATE, start / SAMPLE_RATE, (start + section) / SAMPLE_RATE
            start += section
            held, first = held[start - before - first :], start - before
    yield held, first / SAMPLE_RATE, start / SAMPLE_RATE, np.inf


def is_installed() -> bool:
    """Whether there is a transcriber here; quick."""
    return importlib.util.find_spec("transkun") is not None


def open_transcriber() -> Hear:
    """What hears the piano here.  Raises EnvironmentProblem if it is not installed, or not as it should be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Torch's, of parts of itself that it means to give up
            model, torch = _load()
            import soxr
    except ImportError as error:
        why = f"{error.name or error} is not installed"
        raise EnvironmentProblem(f"to hear the notes of a recording: {install_command('transcribe')} ({why})") from None

    def hear(samples: np.ndarray, listening: Listening) -> Heard:
        windows, by_window, seconds = 0, model.transcribeFrames, len(samples) / SAMPLE_RATE
        step = STEP if seconds > ONE_WINDOW else ONE_WINDOW
        moved = math.ceil(step * model.fs / model.hopSize) * model.hopSize / model.fs

        def transcribe_window(*given: Any, **more: Any) -> Any:
            nonlocal windows
            if windows and windows * step >= seconds:  # the window before has heard the end
                return [[]], [0] * len(model.targetMIDIPitch)
            heard, last = by_window(*given, **more)
            notes = _notes(event for event in heard[0] if event.hasOnset)
            notes[:, :2] = np.maximum(notes[:, :2] + windows * moved - (WINDOW - step), 0.0)  # the window's beginning
            windows += 1
            listening(min(windows * step, seconds), notes)
            return heard, last

        sound = np.ascontiguousarray(soxr.resample(samples, SAMPLE_RATE, model.fs), np.float32)
        model.transcribeFrames = transcribe_window
        try:
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Torch's, of training
                events = model.transcribe(torch.from_numpy(sound)[:, None], step, WINDOW)
        finally:
            del model.transcribeFrames
        pedal = [(event.start, event.end) for event in events if event.pitch == SUSTAIN]
        return Heard(_notes(events), np.array(pedal, np.float64).reshape(-1, 2))

    return hear


def _notes(events: Iterable[Any]) -> np.ndarray:
    """Those of the transcriber's events that are keys: f64 [n, 4], as in `Heard`."""
    notes = [(event.start, event.end, event.pitch, event.velocity) for event in events if event.pitch > 0]
    return np.array(notes, np.float64).reshape(-1, 4)


def _load() -> tuple[Any, Any]:
    """The model with its weights, and the library it computes with.  Raises ImportError."""
    import importlib.resources

    # Else its threads wait for each other in loops, in twice the time where other work goes on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from transkun.ModelTransformer import ModelConfig, TransKun

    folder = importlib.resources.files("transkun") / "pretrained"
    config = ModelConfig()
    vars(config).update(json.loads((folder / "2.0.conf").read_text(encoding="utf-8"))["Model"]["config"])
    model = TransKun(config)
    with (folder / "2.0.pt").open("rb") as file:
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["state_dict"])
    return model.eval(), torch


def _first(blocks: Iterator[np.ndarray], seconds: float | None) -> Iterator[np.ndarray]:
    """The blocks f32 [n] up to this second of the recording, and as much more as tells how the notes end."""
    left = np.inf if seconds is None else round((seconds + AFTER) * SAMPLE_RATE)
    for block in blocks:
        yield block[: int(min(left, len(block)))]
        left -= len(block)
        if left <= 0:
            return


def _struck(events: np.ndarray, at: float, start: float, stop: float) -> np.ndarray:
    """Events f64 [n, 2 or more] that begin in [start, stop), whose first two columns are times from ``at`` on."""
    moved = events.copy()
    moved[:, :2] += at
    return moved[(moved[:, 0] >= start) & (moved[:, 0] < stop)]
