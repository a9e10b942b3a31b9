"""How good is the codec on held-out music, beside Opus and MP3 on the same excerpts?

    python benchmarks/codec/evaluate.py DATA OUT [--codec CODEC] [--kbps 3 6 12] [--excerpts 100] [--picture]

DATA is an audio data set of `musicgen prep --audio-dir`, of which the test split is heard, or any folder of recordings;
CODEC a released codec, RUN/weights of `musicgen train` say.
Ten-second excerpts at equal distances; the use of the codebooks is that of all such excerpts.
The distances are defined in distances.py.  Opus and MP3 are those of the installed libsndfile, asked for the same
rates, shifted to where they fit best; the table gives the rate that each file really has, container included.  OUT gets
result.json, table.md and, with --picture, spectrogram.png.

Published figures, other music at 44.1 kHz (Kumar et al., 2023): DAC 8 kbps mel 0.93, STFT 1.60, SI-SDR 10.75;
EnCodec 6 kbps mel 1.83, SI-SDR 5.99.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import distances

from musicgen.data_prep.audio import AUDIO_SUFFIXES, read_audio, to_float
from musicgen.data_prep.dataset.audio_shards import SAMPLE_RATE, AudioSet
from musicgen.data_prep.dataset.splits import find_files
from musicgen.data_prep.dataset.workers import map_in_order
from musicgen.data_prep.errors import PrepError

SECONDS = 10
ROWS = 20  # excerpts at a time through our codec
OTHERS = ("Opus", "MP3")
FIGURES = ("mel", "mel_default", "stft", "si_sdr")


@dataclass(frozen=True)
class Excerpt:
    """A piece of a recording and what a codec made of it; only samples, so that another process can measure it."""

    name: str
    codec: str  # "ours", "Opus" or "MP3"
    asked: float  # kbps
    kbps: float  # that it really has
    real: np.ndarray
    fake: np.ndarray | None  # None: Opus or MP3 have yet to make it


def recordings_of(data: Path, split: str) -> list[tuple[str, np.ndarray]]:
    """(name, f32 or i16 [T] at 24 kHz) of a data set's split, or of a folder's recordings, read through once."""
    if (data / "manifest.json").exists():
        kept = AudioSet(data, split)
        return [(kept.name(i), kept.samples(i)) for i in range(len(kept))]
    try:
        return [(name, read_audio(data / name)) for name in find_files(data, AUDIO_SUFFIXES, "audio")]
    except PrepError as error:
        raise SystemExit(str(error)) from None


def excerpts(recordings: Sequence[tuple[str, np.ndarray]], count: int | None) -> list[tuple[str, np.ndarray]]:
    """(name, f32 [T]) of excerpts at equal distances over all recordings laid end to end, or of all; no silent ones."""
    whole = SECONDS * SAMPLE_RATE
    places = [
        (name, samples, start) for name, samples in recordings for start in range(0, len(samples) - whole + 1, whole)
    ]
    if not places:
        raise SystemExit(f"there is no recording of {SECONDS} seconds")
    chosen = [places[k] for k in sorted({int(k) for k in np.linspace(0, len(places) - 1, count or len(places))})]
    made = []
    for name, samples, start in chosen:
        wave = samples[start : start + whole]
        wave = wave if wave.dtype == np.float32 else to_float(wave)
        if distances.loudness(wave, SAMPLE_RATE) > -50:
            made.append((f"{name} at {start / SAMPLE_RATE:.0f} s", wave))
    return made


def through_file(wave: np.ndarray, form: str, subtype: str, level: float, **options: str) -> tuple[np.ndarray, float]:
    """(what comes back from such a file, its kbps)."""
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", SAMPLE_RATE, 1, subtype, format=form, compression_level=level, **options
    ) as sound:
        sound.write(wave)
    rate = len(file.getvalue()) * 8 / (len(wave) / SAMPLE_RATE) / 1000
    file.seek(0)
    back, _ = soundfile.read(file, dtype="float32")
    return distances.aligned(back, wave).astype(np.float32), rate


def opus(wave: np.ndarray, kbps: float) -> tuple[np.ndarray, float]:
    """libsndfile's level 1 is 6 kbps, level 0 is 256."""
    return through_file(wave, "OGG", "OPUS", float(np.clip(1 - (kbps - 6) / 250, 0, 1)))


def mp3(wave: np.ndarray, kbps: float) -> tuple[np.ndarray, float]:
    """Constant rates of MPEG-2, multiples of 8 kbps; libsndfile's level 0 is 160, level 1 (which it refuses) 8."""
    nearest = max(8.0, 8.0 * round(kbps / 8))
    level = min(0.999, (160 - nearest) / 152)
    return through_file(wave, "MP3", "MPEG_LAYER_III", level, bitrate_mode="CONSTANT")


class Ours:
    """A released codec."""

    def __init__(self, folder: Path) -> None:
        from musicgen.checkpoints import codec_release

        released = codec_release.load(folder)
        self.config: Any = released.config
        self.params: Any = released.params

        import jax

        from musicgen.model import parameters
        from musicgen.model.codec.soundstream import SoundStream

        def bound(params: Any) -> SoundStream:
            return parameters.bind(self.config, params, SoundStream)

        self.encode = jax.jit(lambda params, waves: bound(params).encode(waves)[0])
        self.decode = jax.jit(lambda params, codes: bound(params).decode(codes)[0][:, self.config.delay :])

    def __call__(self, waves: np.ndarray, kbps: Sequence[float]) -> dict[float, np.ndarray]:
        """What the codec makes of f32 [B, T], whole frames, at each rate."""
        import jax

        # Exact products, as on a CPU.
        with jax.default_matmul_precision("highest"):
            codes = np.asarray(self.encode(self.params, waves))
            numbers = {rate: self.config.codebooks_at(1000 * rate) for rate in kbps}
            return {rate: np.asarray(self.decode(self.params, codes[..., :n])) for rate, n in numbers.items()}

    def perplexities(self, waves: Sequence[np.ndarray]) -> list[float]:
        """Of each codebook over f32 [T], whole frames, all of one length."""
        counts = np.zeros((self.config.codebooks, self.config.codebook_size))
        for start in range(0, len(waves), ROWS):
            rows = np.zeros((ROWS, len(waves[0])), np.float32)
            group = waves[start : start + ROWS]
            rows[: len(group)] = group
            codes = np.asarray(self.encode(self.params, rows))[: len(group)]
            for q, count in enumerate(counts):
                count += np.bincount(codes[..., q].reshape(-1), minlength=self.config.codebook_size)
        share = counts / counts.sum(axis=1, keepdims=True)
        return [float(np.exp(-np.sum(p[p > 0] * np.log(p[p > 0])))) for p in share]


def decoded(
    originals: Sequence[tuple[str, np.ndarray]], kbps: Sequence[float], ours: Ours | None, others: Sequence[str]
) -> Iterator[Excerpt]:
    """Every excerpt at every rate through the others' codecs, still to be done, and through ours."""
    for rate in kbps:
        for codec in others:
            for name, wave in originals:
                yield Excerpt(name, codec, rate, rate, wave, None)
    for start in range(0, len(originals) if ours is not None else 0, ROWS):
        assert ours is not None
        group = originals[start : start + ROWS]
        hop = ours.config.hop
        made = ours(np.stack([wave[: len(wave) // hop * hop] for _, wave in group]), kbps)
        for rate, waves in made.items():
            real = ours.config.bitrate(ours.config.codebooks_at(1000 * rate)) / 1000
            for (name, wave), fake in zip(group, waves, strict=True):
                yield Excerpt(name, "ours", rate, real, wave[: len(fake)], fake)


def made(excerpt: Excerpt) -> tuple[np.ndarray, float]:
    """(what the codec made of it, its kbps)."""
    if excerpt.fake is not None:
        return excerpt.fake, excerpt.kbps
    return {"Opus": opus, "MP3": mp3}[excerpt.codec](excerpt.real, excerpt.asked)


def measured(excerpt: Excerpt) -> dict[str, Any]:
    """The figures of one excerpt."""
    fake, kbps = made(excerpt)
    figures = distances.measure(fake, excerpt.real, SAMPLE_RATE)
    return {"name": excerpt.name, "codec": f"{excerpt.codec} {excerpt.asked:g}", "kbps": kbps, **figures}


def died(excerpt: Excerpt) -> dict[str, Any]:
    """There is no reason why it should."""
    raise SystemExit(f"the process that measured {excerpt.name} died")


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the excerpts, codec by codec, and how uncertain each mean is (standard error)."""
    made = []
    for codec in dict.fromkeys(row["codec"] for row in rows):
        mine = [row for row in rows if row["codec"] == codec]
        line = {"codec": codec, "excerpts": len(mine), "kbps": float(np.mean([row["kbps"] for row in mine]))}
        for name in FIGURES:
            values = np.array([row[name] for row in mine])
            line |= {name: float(values.mean()), f"{name}_error": float(values.std() / np.sqrt(len(values)))}
        made.append(line)
    return made


def table(lines: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    rows = ["| codec | kbps | mel | mel (evaluate.py) | STFT | SI-SDR dB |", "|---|---|---|---|---|---|"]
    for line in lines:
        cells = " | ".join(f"{line[name]:.2f} ± {line[f'{name}_error']:.2f}" for name in FIGURES)
        rows.append(f"| {line['codec']} | {line['kbps']:.1f} | {cells} |")
    return "\n".join(rows) + "\n"


def picture(path: Path, panels: Sequence[tuple[str, np.ndarray]]) -> None:
    """Spectrograms below each other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(panels), 1, figsize=(9, 2.2 * len(panels)), sharex=True, squeeze=False)
    for axis, (title, wave) in zip(axes[:, 0], panels, strict=True):
        level = 20 * np.log10(np.maximum(distances.spectrogram(wave, 1024), 1e-5)).T
        axis.imshow(level, origin="lower", aspect="auto", vmin=-60, vmax=40, extent=(0, SECONDS, 0, SAMPLE_RATE / 2000))
        axis.set(title=title, ylabel="kHz")
    axes[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--codec", type=Path)
    parser.add_argument("--kbps", type=float, nargs="+", default=[3.0, 6.0, 12.0])
    parser.add_argument("--split", default="test")
    parser.add_argument("--excerpts", type=int, default=100)
    parser.add_argument("--others", nargs="*", choices=OTHERS, default=list(OTHERS), help="codecs beside it")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--picture", action="store_true")
    arguments = parser.parse_args(argv)
    recordings = recordings_of(arguments.data, arguments.split)
    originals = excerpts(recordings, arguments.excerpts)
    ours = Ours(arguments.codec) if arguments.codec else None
    stream = decoded(originals, arguments.kbps, ours, arguments.others)
    rows = list(map_in_order(stream, measured, arguments.workers, died))
    lines = summary(rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"split": arguments.split, "excerpts": len(originals), "codecs": lines, "rows": rows}
    if ours is not None:
        whole = ours.config.hop * (SECONDS * SAMPLE_RATE // ours.config.hop)
        everything = excerpts(recordings, None)
        perplexity = ours.perplexities([wave[:whole] for _, wave in everything])
        share = [value / ours.config.codebook_size for value in perplexity]
        result |= {"codec": ours.config.to_dict(), "perplexity": perplexity, "perplexity_share": share}
    (arguments.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (arguments.out / "table.md").write_text(table(lines))
    print(table(lines))
    if arguments.picture:
        loudest = max(originals, key=lambda each: float(np.mean(each[1] ** 2)))
        middle = sorted(arguments.kbps)[len(arguments.kbps) // 2]
        panels = [("original", loudest[1])]
        for excerpt in decoded([loudest], [middle], ours, arguments.others):
            panels.append((f"{excerpt.codec} {middle:g} kbps", made(excerpt)[0]))
        picture(arguments.out / "spectrogram.png", panels)


if __name__ == "__main__":
    main()
