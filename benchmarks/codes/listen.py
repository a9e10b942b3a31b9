"""Does the continuation of a recording sound like one?  Measures of made sound beside the pianist's own continuation.

    python benchmarks/codes/listen.py RECORDINGS OUT.jsonl --settings 1:1,0.95:1,1:0.98
    python benchmarks/codes/listen.py OUT.jsonl                                            # the table again

RECORDINGS is a folder of WAV files (benchmarks/codec/render_maestro.py renders some).  Of each, the first
`--prime-seconds` go through the codec and are continued for `--seconds`; "real" are the seconds that followed, through
the codec, too, so that only the model is measured.  A setting is temperature:top-p.  A line of JSON for each set:

    frechet    distance between the log spectra of all frames (48 bands, as mean and covariance) and the real ones'
    level      dB, and its change from the first to the last quarter
    flatness   of a frame's spectrum: 1 is white noise
    onsets     a second: where the spectrum grows suddenly
    harmony    cosine of the pitch classes with the prime's
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np

RATE, WINDOW, HOP, BANDS = 24_000, 2048, 480, 48
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
    """How often the spectrum grows by more than in nine of ten frames of a loud moment, at least 60 ms apart."""
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
        "onsets": onsets(banded(power)) * RATE / len(sound),
        "harmony": float(pitch_classes(power) @ pitch_classes(spectra(prime))),
    }


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Frechet distance of two sets of frames [F, BANDS], each taken to be normal."""
    from scipy.linalg import sqrtm

    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = np.real(sqrtm(first @ second))
    gap = one.mean(axis=0) - other.mean(axis=0)
    return float(gap @ gap + np.trace(first + second - 2 * root))


def read(path: Path, seconds: float) -> np.ndarray:
    """The first seconds of a WAV file of the codec's rate, f32 [n]."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise SystemExit(f"{path} has not 24 kHz, one channel and 16 bits")
        sound = np.frombuffer(file.readframes(round(seconds * RATE)), "<i2")
    return np.asarray(sound / 32768, np.float32)


def line_of(name: str, sounds: list[np.ndarray], primes: list[np.ndarray], real: list[np.ndarray]) -> dict[str, Any]:
    """A set's measures, mean and standard error over recordings."""
    each = [measured(sound, prime) for sound, prime in zip(sounds, primes, strict=True)]
    frames, others = (np.concatenate([banded(spectra(sound)) for sound in part]) for part in (sounds, real))
    told: dict[str, Any] = {"set": name, "pieces": len(sounds), "frechet": round(frechet(frames, others), 3)}
    for key in each[0]:
        values = np.array([row[key] for row in each])
        told[key] = [round(float(values.mean()), 4), round(float(values.std(ddof=1) / len(values) ** 0.5), 4)]
    return told


def measure(arguments: argparse.Namespace) -> None:
    """Make and measure each set; lines are added as they come."""
    from musicgen.app import codes_file, recording
    from musicgen.data_prep.code_rows import SPECIALS
    from musicgen.model.sampler import Sampling

    model = recording.open_audio_model(arguments.checkpoint, arguments.codec)
    engine, backend = recording.open_engine(model)
    hop, late = model.codec.config.hop, model.late
    heard, wanted = (round(s * RATE) // hop for s in (arguments.prime_seconds, arguments.seconds))
    files = sorted(arguments.recordings.rglob("*.wav"))[: arguments.pieces]
    whole = [read(path, (heard + wanted + 8) * hop / RATE) for path in files]
    whole = [sound for sound in whole if len(sound) >= (heard + wanted + 8) * hop]
    codes = [codes_file.encoder(model.codec, model.codebooks).push(sound) for sound in whole]

    def decoded(frames: np.ndarray) -> np.ndarray:
        sound = codes_file.decoder(model.codec, model.codebooks).push(frames.astype(np.int32))
        return np.asarray(sound[late:])

    through = [decoded(row[: heard + wanted + 4]) for row in codes]
    primes = [sound[: heard * hop] for sound in through]
    real = [sound[heard * hop :][: wanted * hop] for sound in through]
    halves = [real[::2], real[1::2]]
    about = {"checkpoint": model.released.name, "sha256": model.released.sha256, "backend": backend}
    about |= {"seconds": arguments.seconds, "prime_seconds": arguments.prime_seconds, "seed": arguments.seed}
    lines = [line_of("real", real, primes, real)]
    lines[0]["frechet"] = line_of("half", halves[0], primes[::2], halves[1])["frechet"]  # what chance alone makes
    add(arguments.out, about | lines[0])
    for temperature, top_p in arguments.settings:
        began, blocks, made = time.perf_counter(), [], 0
        sampling = Sampling(temperature=temperature, top_p=top_p, top_k=0, min_p=0.0)
        stream = engine.start([row[:heard] + SPECIALS for row in codes], sampling=sampling, seed=arguments.seed)
        while made < wanted + 4:
            blocks.append(next(stream) - SPECIALS)
            made += blocks[-1].shape[1]
        taken = time.perf_counter() - began
        new = np.concatenate(blocks, axis=1)
        sounds = [
            decoded(np.concatenate([old[:heard], row]))[heard * hop :][: wanted * hop]
            for old, row in zip(codes, new, strict=True)
        ]
        told = line_of(f"{temperature:g}:{top_p:g}", sounds, primes, real)
        add(arguments.out, about | told | {"seconds_taken": round(taken, 1)})
        if arguments.keep:
            keep(arguments.keep / f"{temperature:g}_{top_p:g}", primes, sounds)


def keep(folder: Path, primes: list[np.ndarray], sounds: list[np.ndarray]) -> None:
    """Prime and continuation as WAV files, to hear them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (prime, sound) in enumerate(zip(primes, sounds, strict=True)):
        with wave.open(str(folder / f"{number:02}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(np.round(np.clip(np.concatenate([prime, sound]), -1, 1) * 32767).astype("<i2").tobytes())


def add(path: Path, line: dict[str, Any]) -> None:
    """Write a line and show it."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), file=sys.stderr, flush=True)


def table(lines: list[dict[str, Any]]) -> str:
    """The lines as a table in Markdown."""
    names = ("level", "change", "flatness", "onsets", "harmony")
    rows = [f"| temperature:top-p | Frechet | {' | '.join(names)} |", "| --- " * (2 + len(names)) + "|"]
    for line in lines:
        cells = [f"{line[name][0]:.3g} ± {line[name][1]:.2g}" for name in names]
        rows.append(f"| {line['set']} | {line['frechet']:.3g} | {' | '.join(cells)} |")
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
    add_argument("--checkpoint")
    add_argument("--codec")
    add_argument("--keep", type=Path, help="a folder for the sounds")
    arguments = parser.parse_args()
    if arguments.recordings is not None:
        measure(arguments)
    print(table([json.loads(line) for line in arguments.out.read_text().splitlines()]))


if __name__ == "__main__":
    main()
