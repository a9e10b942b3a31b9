"""Does the continuation of a recording sound like one?  Measures of made sound beside the pianist's own continuation.

    python benchmarks/codes/listen.py RECORDINGS OUT.jsonl --settings 1:1,0.95:1,1:0.98
    python benchmarks/codes/listen.py OUT.jsonl                                            # the table again

RECORDINGS is a folder of WAV files (runs/render_maestro.py renders some).  Of each, the first
`--prime-seconds` go through the codec and are continued for `--seconds`; "real" are the seconds that followed, through
the codec, too, so that only the model is measured.  A setting is temperature:top-p, the
model's own temperature.  A line of JSON for each set:

    frechet    distance between the log spectra of all frames (48 bands, as mean and covariance) and the real ones'
    level      dB, and its change from the first to the last quarter
    flatness   of a frame's spectrum: 1 is white noise
    between    flatness within bands of 190 Hz up to 4 kHz: 0.6 is noise, less is partials with less between them
    onsets     a second: where the spectrum grows suddenly
    harmony    cosine of the pitch classes with the prime's
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.data_prep.audio import SAMPLE_RATE as RATE
from musicgen.data_prep.audio import read_blocks
from musicgen.data_prep.evaluation.frechet import distance

WINDOW, HOP, BANDS = 2048, 480, 48
EPSILON = 1e-10


def spectra(sound: np.ndarray) -> np.ndarray:
    """f32 [n] -> power [F, WINDOW / 2 + 1]."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    return np.asarray(np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2)


def banded(power: np.ndarray) -> np.ndarray:
    """Log power [F, BANDS] in bands that widen with their frequency, from 47 Hz to 12 kHz."""
    edges = np.geomspace(4, power.shape[1], BANDS + 1)
    edges = np.maximum(np.round(edges), 4 + np.arange(BANDS + 1)).astype(int)
    return np.asarray(np.log(np.add.reduceat(power, edges[:-1], axis=1) + EPSILON))


def pitch_classes(power: np.ndarray) -> np.ndarray:
    """Energy by pitch class between 65 Hz and 2 kHz [12], of length 1."""
    hertz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    heard = (hertz > 65) & (hertz < 2000)
    classes = np.round(12 * np.log2(hertz[heard] / 440)).astype(int) % 12
    energy = np.bincount(classes, np.sqrt(power[:, heard]).sum(axis=0), 12)
    return np.asarray(energy / max(float(np.linalg.norm(energy)), EPSILON))


def onsets(bands: np.ndarray) -> int:
    """How often log power [F, BANDS] grows suddenly: by 0.35 and more in the mean of the bands, 60 ms or more apart."""
    growth = np.maximum(np.diff(bands, axis=0), 0).mean(axis=1)
    peak = (growth[1:-1] > growth[:-2]) & (growth[1:-1] >= growth[2:]) & (growth[1:-1] > 0.35)
    places = np.flatnonzero(peak)
    return int(len(places) and 1 + (np.diff(places) >= 3).sum())


def measured(sound: np.ndarray, prime: np.ndarray) -> dict[str, float]:
    """The measures of one continuation."""
    power = spectra(sound)
    level = 10 * np.log10(power.sum(axis=1) + EPSILON)
    quarter = len(level) // 4
    flatness = np.exp(np.log(power + EPSILON).mean(axis=1)) / (power.mean(axis=1) + EPSILON)
    return {
        "level": float(level.mean()),
        "change": float(level[-quarter:].mean() - level[:quarter].mean()),
        "flatness": float(np.median(flatness)),
        "between": between(power),
        "onsets": onsets(banded(power)) * RATE / len(sound),
        "harmony": float(pitch_classes(power) @ pitch_classes(spectra(prime))),
    }


def between(power: np.ndarray) -> float:
    """Mean flatness of pieces of 16 bins from 120 Hz to 3.9 kHz, the louder a piece the more it counts."""
    pieces = power[:, 10:330].reshape(len(power), 20, 16) + EPSILON
    flatness = np.exp(np.log(pieces).mean(axis=-1)) / pieces.mean(axis=-1)
    weight = pieces.sum(axis=-1) ** 0.3
    return float((flatness * weight).sum() / weight.sum())


def read(path: Path, samples: int) -> np.ndarray:
    """The first samples of a recording, f32 [n]."""
    parts, count = [], 0
    for block in read_blocks(path):
        parts.append(block)
        count += len(block)
        if count >= samples:
            break
    return np.concatenate(parts)[:samples]


def all_bands(sounds: list[np.ndarray]) -> np.ndarray:
    """Log power of all frames of a set [F, BANDS]."""
    return np.concatenate([banded(spectra(sound)) for sound in sounds])


def line_of(name: str, sounds: list[np.ndarray], primes: list[np.ndarray], apart: float) -> dict[str, Any]:
    """A set's measures, mean and standard error over recordings; apart: its Frechet distance."""
    each = [measured(sound, prime) for sound, prime in zip(sounds, primes, strict=True)]
    told: dict[str, Any] = {"set": name, "pieces": len(sounds), "frechet": round(apart, 3)}
    for key in each[0]:
        values = np.array([row[key] for row in each])
        told[key] = [round(float(values.mean()), 4), round(float(values.std(ddof=1) / len(values) ** 0.5), 4)]
    return told


def measure(arguments: argparse.Namespace) -> None:
    """Make and measure each set; lines are added as they come."""
    from musicgen.app import backend
    from musicgen.app.audio import codes_file
    from musicgen.app.audio import model as audio_model
    from musicgen.data_prep.vocabulary import SPECIALS
    from musicgen.model.codec.loudness import LevelControl, Loudness
    from musicgen.model.sampler import Sampling

    model = audio_model.open_audio_model(arguments.checkpoint, arguments.codec)
    engine, computed_by = backend.open_engine(model.released)
    hop, late = model.codec.config.hop, model.late
    loudness = None if arguments.adrift else Loudness.of_codec(model.codec.config, model.codec.params)
    rules = None if loudness is None else LevelControl(loudness, model.codec.config.frame_rate)
    heard, wanted = (round(s * RATE) // hop for s in (arguments.prime_seconds, arguments.seconds))
    samples = (heard + wanted + 8) * hop
    files = sorted(arguments.recordings.rglob("*.wav"))[: arguments.pieces]
    whole = [sound for sound in (read(path, samples) for path in files) if len(sound) == samples]
    codes = [codes_file.encoder(model.codec, model.codebooks).push(sound) for sound in whole]

    def decoded(frames: np.ndarray) -> np.ndarray:
        sound = codes_file.decoder(model.codec, model.codebooks).push(frames.astype(np.int32))
        return np.asarray(sound[late:])

    through = [decoded(row[: heard + wanted + 4]) for row in codes]
    primes = [sound[: heard * hop] for sound in through]
    real = [sound[heard * hop :][: wanted * hop] for sound in through]
    real_bands = all_bands(real)
    chance = distance(all_bands(real[::2]), all_bands(real[1::2]))
    about = {"checkpoint": model.released.name, "sha256": model.released.sha256, "backend": computed_by}
    about |= {"seconds": arguments.seconds, "prime_seconds": arguments.prime_seconds, "seed": arguments.seed}
    about |= {"adrift": arguments.adrift}
    add(arguments.out, about | line_of("real", real, primes, chance))
    for temperature, top_p in arguments.settings:
        began, blocks, made = time.perf_counter(), [], 0
        sampling = Sampling(temperature=temperature, top_p=top_p, top_k=0, min_p=0.0)
        primed = [row[:heard] + SPECIALS for row in codes]
        stream = engine.start(primed, sampling=sampling, seed=arguments.seed, rules=rules)
        while made < wanted + 4:
            blocks.append(next(stream) - SPECIALS)
            made += blocks[-1].shape[1]
        taken = time.perf_counter() - began
        new = np.concatenate(blocks, axis=1)
        sounds = [
            decoded(np.concatenate([old[:heard], row]))[heard * hop :][: wanted * hop]
            for old, row in zip(codes, new, strict=True)
        ]
        told = line_of(f"{temperature:g}:{top_p:g}", sounds, primes, distance(all_bands(sounds), real_bands))
        add(arguments.out, about | told | {"seconds_taken": round(taken, 1)})
        if arguments.keep:
            keep(arguments.keep / f"{temperature:g}_{top_p:g}", primes, sounds)


def keep(folder: Path, primes: list[np.ndarray], sounds: list[np.ndarray]) -> None:
    """Prime and continuation as WAV files, to hear them."""
    from musicgen.app.sound_file import sound_file

    folder.mkdir(parents=True, exist_ok=True)
    for number, (prime, sound) in enumerate(zip(primes, sounds, strict=True)):
        with sound_file(folder / f"{number:02}.wav") as write:
            write(prime)
            write(sound)


def add(path: Path, line: dict[str, Any]) -> None:
    """Write a line and show it."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), file=sys.stderr, flush=True)


def table(lines: list[dict[str, Any]]) -> str:
    """The lines as a table in Markdown."""
    names = ("level", "change", "flatness", "between", "onsets", "harmony")
    rows = [f"| weights | seconds | temperature:top-p | Frechet | {' | '.join(names)} |"]
    rows.append("| --- " * (4 + len(names)) + "|")
    for line in lines:
        cells = [f"{line[name][0]:.3g} ± {line[name][1]:.2g}" if name in line else "" for name in names]
        made = line["set"] + (", adrift" if line["adrift"] and line["set"] != "real" else "")
        about = f"{line['sha256'][:4]} | {line['seconds']:g} | {made} | {line['frechet']:.3g}"
        rows.append(f"| {about} | {' | '.join(cells)} |")
    return "\n".join(rows)


def settings_of(text: str) -> list[tuple[float, float]]:
    """1:1,0.95:0.98 -> [(1.0, 1.0), (0.95, 0.98)]."""
    return [(float(t), float(p)) for t, p in (part.split(":") for part in text.split(","))]


def main() -> None:
    """Measure if there is a folder of recordings, then show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_argument = parser.add_argument
    add_argument("recordings", type=Path, nargs="?")
    add_argument("out", type=Path)
    add_argument("--settings", type=settings_of, default=settings_of("1:1"), metavar="T:P,...", help="(1:1)")
    add_argument("--pieces", type=int, default=16)
    add_argument("--prime-seconds", type=float, default=20.0)
    add_argument("--seconds", type=float, default=20.0)
    add_argument("--seed", type=int, default=0)
    add_argument("--adrift", action="store_true", help="nothing keeps the level (model/codec/loudness.py)")
    add_argument("--checkpoint")
    add_argument("--codec")
    add_argument("--keep", type=Path, help="a folder for the sounds")
    arguments = parser.parse_args()
    if arguments.recordings is not None:
        measure(arguments)
    print(table([json.loads(line) for line in arguments.out.read_text().splitlines()]))


if __name__ == "__main__":
    main()
