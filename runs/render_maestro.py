"""Piano recordings to train a codec on, rendered from MAESTRO's MIDI where its audio is not at hand.

    python runs/render_maestro.py MAESTRO OUT --pianos DIR --held-out splendid --train-hours 20 --held-out-hours 1

MAESTRO is the folder of maestro-v3.0.0.csv, DIR has what runs/pianos.py made.  OUT gets WAV files (24 kHz, one channel)
in MAESTRO's folders and renders.csv, whose columns audio_filename and split are MAESTRO's own: `musicgen prep
--audio-dir` takes both as it takes MAESTRO's audio.  Official splits; velocities and pedal as played.  Training and
validation are played on all pianos but the one that is held out, in turn; that one plays the test split and nothing
else.  The level, the room, the microphone and the noise of a recording depend on its name alone, so that a run that was
stopped goes on, and more processes make no other sound.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import sys
import time
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from sampler import SampledPiano, play

from musicgen.data_prep import read_midi
from musicgen.data_prep.audio import SAMPLE_RATE
from musicgen.data_prep.dataset.workers import map_in_order

COLUMNS = (
    *("split", "midi_filename", "audio_filename", "piano", "peak_db"),
    *("room_seconds", "wet_db", "noise_db", "dynamics", "seconds"),
)
CSV = "maestro-v3.0.0.csv"


@dataclass(frozen=True)
class Job:
    """One piece on one piano."""

    midi: str
    split: str
    piano: str  # its file, without suffix
    out: str  # relative, as in MAESTRO's column audio_filename
    seconds: float  # of the piece


@dataclass(frozen=True)
class Take:
    """How a piece is recorded, drawn from its name."""

    peak_db: float
    room_seconds: float  # until the reverberation has lost 60 dB; 0: none
    wet_db: float  # its energy against the direct sound's
    tilt: float  # dB an octave from 1 kHz, what the microphone makes of it
    low: float  # Hz below which it hears less and less
    noise_db: float  # against full scale; -200: none
    noise_slope: float  # its power falls with this power of the frequency
    dynamics: float  # dB between two velocities


def take_of(job: Job) -> Take:
    """A quarter of all pieces are dry, a third without noise; rooms are anything from a chamber to a hall."""
    rng = generator(job)
    peak_db = float(rng.uniform(-14, -1))
    dry, clean = rng.random() < 1 / 4, rng.random() < 1 / 3
    room_seconds, wet_db = float(rng.uniform(0.25, 2.2)), float(rng.uniform(-24, -6))
    noise_db = peak_db + float(rng.uniform(-85, -50))
    return Take(
        peak_db,
        0.0 if dry else room_seconds,
        -100.0 if dry else wet_db,
        float(rng.uniform(-1.5, 1.5)),
        float(rng.uniform(10, 60)),
        -200.0 if clean else noise_db,
        float(rng.uniform(0, 1.5)),
        float(rng.uniform(0.2, 0.34)),
    )


def generator(job: Job) -> np.random.Generator:
    digest = hashlib.sha256(job.out.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def impulse(take: Take, rng: np.random.Generator) -> np.ndarray:
    """A simple room: the direct sound, a few early reflections, noise that decays and darkens; f64 [T]."""
    if not take.room_seconds:
        return np.ones(1)
    length = round(take.room_seconds * SAMPLE_RATE)
    t = np.arange(length) / SAMPLE_RATE
    tail = rng.normal(size=length) * 10 ** (-3 * t / take.room_seconds)
    dark = np.fft.rfft(tail, 2 * length) / (1 + np.fft.rfftfreq(2 * length, 1 / SAMPLE_RATE) / 3000)  # air, and walls
    tail = np.fft.irfft(dark)[:length]
    tail[: round(0.012 * SAMPLE_RATE)] = 0.0
    for delay in rng.uniform(0.008, 0.045, 5):
        tail[min(length - 1, round(delay * SAMPLE_RATE))] += (
            rng.choice([-1, 1]) * np.abs(tail).max() * rng.uniform(0.5, 1.5)
        )
    tail *= 10 ** (take.wet_db / 20) / np.sqrt(np.sum(tail**2) + 1e-12)
    tail[0] = 1.0
    return tail


def through_microphone(response: np.ndarray, take: Take) -> np.ndarray:
    """What a microphone makes of a room, in minimum phase but for what is in its first few milliseconds: f64 [T]."""
    size = 1 << (len(response) + 4096).bit_length()
    f = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    decibels = take.tilt * np.log2(np.maximum(f, 20) / 1000)
    gain = 10 ** (decibels / 20) * f / (f + take.low)
    return np.fft.irfft(np.fft.rfft(response, size) * minimum_phase(gain), size)[: len(response) + 2048]


def minimum_phase(gain: np.ndarray) -> np.ndarray:
    """The spectrum of that gain, f64 [n + 1], whose energy comes as early as it can."""
    cepstrum = np.fft.irfft(np.log(np.maximum(gain, 1e-4)))
    half = len(cepstrum) // 2
    cepstrum[1:half] *= 2
    cepstrum[half + 1 :] = 0
    return np.exp(np.fft.rfft(cepstrum))


def in_room(pieces: Iterator[np.ndarray], response: np.ndarray) -> Iterator[np.ndarray]:
    """What the room makes of pieces of sound, piece by piece, and what rings on."""
    rest = np.zeros(0)
    for piece in pieces:
        count = len(piece) + len(response) - 1
        size = 1 << max(count - 1, 1).bit_length()
        wet = np.fft.irfft(np.fft.rfft(piece, size) * np.fft.rfft(response, size), size)[: max(count, 0)]
        wet = np.pad(wet, (0, max(0, len(rest) - len(wet))))
        wet[: len(rest)] += rest
        yield wet[: len(piece)].astype(np.float32)
        rest = wet[len(piece) :]
    yield rest.astype(np.float32)


def noise(count: int, take: Take, rng: np.random.Generator) -> np.ndarray:
    """What a microphone and a room sound like while nobody plays: f32 [T]."""
    made = []
    size = 1 << 19
    shape = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 30) ** (-take.noise_slope / 2)
    for _ in range(0, count, size):
        wave = np.fft.irfft(np.fft.rfft(rng.normal(size=size)) * shape)
        made.append((wave * (10 ** (take.noise_db / 20) / np.sqrt(np.mean(wave**2)))).astype(np.float32))
    return np.concatenate(made)[:count]


@cache
def opened(piano: str) -> SampledPiano:
    return SampledPiano(Path(piano))


def recorded(job: Job, take: Take, maestro: Path) -> np.ndarray:
    """The piece, played and recorded: int16 [T]."""
    rng = generator(job)
    response = through_microphone(impulse(take, rng), take)
    performance, _ = read_midi(maestro / job.midi)
    sound = np.concatenate(list(in_room(play(performance, opened(job.piano), take.dynamics), response)))
    sound *= 10 ** (take.peak_db / 20) / max(float(np.abs(sound).max(initial=0.0)), 1e-9)
    if take.noise_db > -200:
        sound += noise(len(sound), take, rng)
    return np.clip(np.round(sound * 32767), -32768, 32767).astype("<i2")


def render(job: Job, maestro: str, out: str) -> dict[str, str]:
    """Render one piece if it is not there, and describe it: a row of renders.csv."""
    take, target = take_of(job), Path(out) / job.out
    if not target.exists():
        samples = recorded(job, take, Path(maestro))
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        with wave.open(str(beside), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
        beside.replace(target)
    with wave.open(str(target)) as file:
        seconds = file.getnframes() / file.getframerate()
    about = (take.peak_db, take.room_seconds, take.wet_db, take.noise_db, take.dynamics, seconds)
    told = (job.split, job.midi, job.out, Path(job.piano).name, *(f"{value:.2f}" for value in about))
    return dict(zip(COLUMNS, told, strict=True))


def hours_of(train: float, held_out: float) -> dict[str, float]:
    """Of each split."""
    return {"test": held_out, "validation": held_out, "train": train}


def jobs_of(maestro: Path, pianos: Sequence[Path], held_out: Path, hours: dict[str, float]) -> Iterator[Job]:
    """Pieces of every split in an order that their names decide, until there are so many hours; pianos in turn."""
    with (maestro / CSV).open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: hashlib.sha256(row["midi_filename"].encode()).digest())
    for split, wanted in hours.items():
        chosen, seconds = 0, 0.0
        for row in (row for row in rows if row["split"] == split):
            if seconds >= wanted * 3600:
                break
            piano = held_out if split == "test" else pianos[chosen % len(pianos)]
            stem = str(Path(row["midi_filename"]).with_suffix(""))
            seconds_of_piece = float(row["duration"])
            yield Job(row["midi_filename"], split, str(piano), f"{stem}--{piano.name}.wav", seconds_of_piece)
            chosen, seconds = chosen + 1, seconds + seconds_of_piece


def unpack(piano: Path) -> str:
    opened(str(piano))
    return piano.name


def died(job: Job) -> dict[str, str]:
    """A row that is not written."""
    return {"audio_filename": "", "midi_filename": job.midi}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maestro", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pianos", type=Path, required=True, help="folder of what runs/pianos.py made")
    parser.add_argument("--held-out", required=True, metavar="NAME", help="the piano that plays the test split alone")
    parser.add_argument("--train-hours", type=float, default=20.0)
    parser.add_argument("--held-out-hours", type=float, default=1.0, help="of validation and of test")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    pianos = {path.stem: path.with_suffix("") for path in sorted(arguments.pianos.glob("*.flac"))}
    if arguments.held_out not in pianos:
        parser.error(f"{arguments.pianos} has no {arguments.held_out}.flac: run runs/pianos.py")
    held_out = pianos.pop(arguments.held_out)
    if not pianos:
        parser.error(f"{arguments.pianos} has no piano besides {arguments.held_out}: run runs/pianos.py")
    hours = hours_of(arguments.train_hours, arguments.held_out_hours)
    jobs = sorted(jobs_of(arguments.maestro, [*pianos.values()], held_out, hours), key=lambda job: -job.seconds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    began, seconds, lost = time.monotonic(), 0.0, 0
    for name in map_in_order([held_out, *pianos.values()], unpack, arguments.workers, lambda piano: piano.name):
        print(f"{name} is ready after {time.monotonic() - began:.0f} s", file=sys.stderr)
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
