"""How well transcribers hear the piano: rendered MAESTRO validation, and a recording beside its score.

    pip install '.[transcribe]' && pip install --no-deps basic-pitch==0.4.0 && pip install librosa
    python benchmarks/transcription/measure.py rendered --maestro maestro-v3.0.0 --pieces 6 --seconds 60
    python benchmarks/transcription/measure.py recorded --recording prelude.ogg --score prelude.mxl

One JSON object a line.  basic-pitch asks for a TensorFlow that needs an older NumPy: hence --no-deps, and its model as
ONNX.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import soundfile

from musicgen.app import transcription
from musicgen.app.render import render
from musicgen.data_prep import Performance, read_midi
from musicgen.data_prep.audio import SAMPLE_RATE, read_audio
from musicgen.data_prep.performance import cut, shift_time

SKIPPED = 30.0  # seconds of each piece before its excerpt
NEAR = 0.05  # seconds between two onsets that are the same
SHORTEST = 0.01  # seconds, of a note: mir_eval takes none of no length


def transkun(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Notes f64 [n, 4] and pedal f64 [p, 2], as musicgen hears them."""
    music = transcription.transcribe(path, TRANSKUN[0]).music
    return columns(music), presses(music)


def basic_pitch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same of basic-pitch, whose amplitude 0..1 is taken for the velocity; it hears no pedal."""
    from basic_pitch.inference import predict

    with contextlib.redirect_stdout(sys.stderr):
        _, _, events = predict(path, BASIC_PITCH[0], minimum_frequency=27.5, maximum_frequency=4186.0)
    notes = [(start, end, pitch, 127 * amplitude) for start, end, pitch, amplitude, _ in events]
    return np.array(sorted(notes)).reshape(-1, 4), np.zeros((0, 2))


Hear = Callable[[Path], tuple[np.ndarray, np.ndarray]]
TRANSKUN: list[Any] = []
BASIC_PITCH: list[Any] = []


def load(name: str) -> Hear:
    """A transcriber, loaded: what it takes to load is not measured."""
    if name == "transkun":
        TRANSKUN.append(transcription.open_transcriber())
        return transkun
    from basic_pitch import ICASSP_2022_MODEL_PATH
    from basic_pitch.inference import Model

    BASIC_PITCH.append(Model(Path(ICASSP_2022_MODEL_PATH).with_suffix(".onnx")))
    return basic_pitch


def columns(music: Performance) -> np.ndarray:
    """f64 [n, 4]: onset, end, pitch, velocity."""
    return np.stack([music.onset, music.end, music.pitch, music.velocity], axis=1).astype(float)


def presses(music: Performance) -> np.ndarray:
    """f64 [p, 2]: when the sustain pedal goes down and up."""
    down, found, since = False, [], 0.0
    for at, value in [*music.pedal, (music.duration, 0.0)]:
        if down and value < 64:
            found.append((since, at))
        elif not down and value >= 64:
            since = at
        down = value >= 64
    return np.array(found).reshape(-1, 2)


def parts(notes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals and hertz as mir_eval takes them."""
    ends = np.maximum(notes[:, 1], notes[:, 0] + SHORTEST)
    return np.stack([notes[:, 0], ends], axis=1), mir_eval.util.midi_to_hz(notes[:, 2])


def scores(played: Performance, notes: np.ndarray, pedal: np.ndarray) -> dict[str, float]:
    """F-measures by mir_eval, with its own tolerances: 50 ms, or a fifth of a note for its end."""
    f = mir_eval.transcription.precision_recall_f1_overlap
    g = mir_eval.transcription_velocity.precision_recall_f1_overlap
    truth = columns(played)
    (ri, rp), (ei, ep) = parts(truth), parts(notes)
    feet = [np.concatenate([one, np.full((len(one), 1), 60.0)], axis=1) for one in (presses(played), pedal)]
    (pi, pp), (qi, qp) = map(parts, feet)
    return {
        "onset": f(ri, rp, ei, ep, offset_ratio=None)[2],
        "offset": f(ri, rp, ei, ep)[2],
        "velocity": g(ri, rp, truth[:, 3], ei, ep, notes[:, 3], offset_ratio=None)[2],
        "velocity_offset": g(ri, rp, truth[:, 3], ei, ep, notes[:, 3])[2],
        "pedal": f(pi, pp, qi, qp, offset_ratio=None)[2],
        "pedal_offset": f(pi, pp, qi, qp)[2],
    }


def excerpts(maestro: Path, pieces: int, seconds: float) -> list[tuple[str, Performance]]:
    """So many pieces of validation, evenly spread over its list."""
    with (maestro / "maestro-v3.0.0.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "validation"]
    found = []
    for row in (rows[round(at)] for at in np.linspace(0, len(rows) - 1, pieces)):
        music = read_midi(maestro / row["midi_filename"])[0]
        part = shift_time(cut(music, SKIPPED, SKIPPED + seconds), -SKIPPED)
        found.append((f"{row['canonical_composer']}, {row['canonical_title']}", part))
    return found


def timed(hear: Hear, path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """What is heard in a file, and what it took."""
    before, wall = time.process_time(), time.perf_counter()
    notes, pedal = hear(path)
    spent, wall = time.process_time() - before, time.perf_counter() - wall
    seconds = soundfile.info(path).duration
    cost = {"cpu": spent / seconds, "wall": wall / seconds}
    return notes, pedal, cost | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def tell(name: str, what: str, facts: dict[str, float]) -> None:
    """A line of JSON."""
    rounded = {key: round(float(value), 3) for key, value in facts.items()}
    print(json.dumps({"by": name, "of": what, **rounded}), flush=True)


def aligned(heard: np.ndarray, score: list[set[int]]) -> int:
    """How many notes of a score's chords of pitches were heard at their place: the most notes that both have in common
    when chords are matched in order.  What is struck within NEAR is one chord."""
    order = np.argsort(heard[:, 0], kind="stable")
    pitches, group = heard[order, 2].astype(int), np.cumsum(np.diff(heard[order, 0], prepend=0.0) > NEAR)
    struck = [set(pitches[group == one]) for one in np.unique(group)]
    table = np.zeros((len(score) + 1, len(struck) + 1), int)
    for row, chord in enumerate(score):
        for column, keys in enumerate(struck):
            both = table[row, column] + len(chord & keys)
            table[row + 1, column + 1] = max(table[row, column + 1], table[row + 1, column], both)
    return int(table[-1, -1])


def score_chords(path: Path) -> list[set[int]]:
    """The pitches that a score strikes together, one chord after the other."""
    import partitura

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notes = partitura.load_score(str(path)).note_array()
    return [set(notes["pitch"][notes["onset_beat"] == at].tolist()) for at in np.unique(notes["onset_beat"])]


def main() -> int:
    """Measure, one line a piece and transcriber, and the mean at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("rendered", "recorded"))
    parser.add_argument("--by", nargs="+", default=["transkun", "basic-pitch"])
    parser.add_argument("--maestro", type=Path)
    parser.add_argument("--pieces", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--recording", type=Path)
    parser.add_argument("--score", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        if arguments.what == "recorded":
            soundfile.write(sound, read_audio(arguments.recording), SAMPLE_RATE)
            chords = score_chords(arguments.score)
            wanted = sum(map(len, chords))
        for name in arguments.by:
            hear, rows = load(name), []
            if arguments.what == "recorded":
                notes, pedal, cost = timed(hear, sound)
                f = 2 * aligned(notes, chords) / (wanted + len(notes))
                facts = {"f": f, "notes": wanted, "heard": len(notes), "pedal": len(pedal)}
                tell(name, arguments.recording.name, facts | cost)
                continue
            for title, played in excerpts(arguments.maestro, arguments.pieces, arguments.seconds):
                render(played, sound)
                notes, pedal, cost = timed(hear, sound)
                rows.append(scores(played, notes, pedal) | cost)
                tell(name, title, rows[-1])
            tell(name, "mean", {key: float(np.mean([row[key] for row in rows])) for key in rows[0]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
