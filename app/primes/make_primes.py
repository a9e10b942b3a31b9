"""Writes the bundled primes: ``python app/primes/make_primes.py``.  Notes from public-domain scores, see README.md.

A score says which notes and roughly how long; how they are played (tempo, loudness, pedal, unevenness) is set here
by plain rules without chance, so that the same files come out every time.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musicgen.data_prep import Performance, write_midi

STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Note(NamedTuple):
    """A written note: start and length in beats, its name such as 'F#4', and how loud (MIDI velocity)."""

    start: float
    length: float
    name: str
    velocity: int


def pitch(name: str) -> int:
    """MIDI pitch of a name: C4 is 60, '#' and 'b' alter it."""
    return STEPS[name[0]] + 12 * (int(name[-1]) + 1) + name.count("#") - name[1:].count("b")


def played(notes: list[Note], pedal: list[tuple[float, int]], beats_per_minute: float) -> Performance:
    """Written notes as a player might play them: a slow swell of tempo and loudness, chords not quite together."""
    beat = 60.0 / beats_per_minute
    last = max(note.start + note.length for note in notes)

    def seconds(at: float) -> float:
        # A little slower towards the middle of every eight beats and at the very end.
        return beat * (at + 0.04 * math.sin(2 * math.pi * at / 8) + 0.15 * max(at - last + 2, 0) ** 2 / 4)

    rows = []
    for number, note in enumerate(sorted(notes, key=lambda note: (note.start, pitch(note.name)))):
        spread = 0.004 * (number % 3)
        swell = 5 * math.sin(2 * math.pi * note.start / 16) + 2 * math.sin(1.7 * number)
        onset = seconds(note.start) + spread
        end = max(seconds(note.start + note.length) - 0.02, onset + 0.05)
        rows.append((onset, end, pitch(note.name), round(note.velocity + swell)))
    onsets, ends, pitches, velocity = (np.array(column) for column in zip(*rows, strict=True))
    feet = np.array([(seconds(max(at, 0.0)), value) for at, value in pedal], np.float64)
    return Performance(onsets, ends, pitches.astype(np.uint8), velocity.astype(np.uint8), feet)


def changed_every(beats: float, until: float) -> list[tuple[float, int]]:
    """Legato pedal: let go just on each change of harmony, down again right after it."""
    events: list[tuple[float, int]] = []
    at = 0.0
    while at < until:
        events += [(at + 0.12, 127), (min(at + beats, until), 0)]
        at += beats
    return events


def bach() -> Performance:
    """Johann Sebastian Bach, The Well-Tempered Clavier I, Prelude in C major BWV 846 (1722), bars 1-8."""
    bars = (
        "C4 E4 G4 C5 E5",
        "C4 D4 A4 D5 F5",
        "B3 D4 G4 D5 F5",
        "C4 E4 G4 C5 E5",
        "C4 E4 A4 E5 A5",
        "C4 D4 F#4 A4 D5",
        "B3 D4 G4 D5 G5",
        "B3 C4 E4 G4 C5",
    )
    notes = []
    for half in range(2 * len(bars)):
        start = 2.0 * half
        low, second, *upper = bars[half // 2].split()
        notes += [Note(start, 2.0, low, 58), Note(start + 0.25, 1.75, second, 50)]
        notes += [Note(start + 0.25 * (2 + place), 0.25, name, 54) for place, name in enumerate(upper * 2)]
    return played(notes, changed_every(4.0, 4.0 * len(bars)), 69)


def beethoven() -> Performance:
    """Ludwig van Beethoven, Sonata in C sharp minor op. 27 no. 2 (1801), Adagio sostenuto, bars 1-4."""
    triplets = (
        *["G#3 C#4 E4"] * 8,
        *["A3 C#4 E4"] * 2,
        *["A3 D4 F#4"] * 2,
        "G#3 C4 F#4",  # C4: the score's B sharp
        "G#3 C#4 E4",
        "G#3 C#4 D#4",
        "F#3 C4 D#4",
    )
    basses = ((0, 4, "C#2 C#3"), (4, 4, "B1 B2"), (8, 2, "A1 A2"), (10, 2, "F#1 F#2"), (12, 4, "G#1 G#2"))
    notes = [Note(start, length, name, 48) for start, length, names in basses for name in names.split()]
    for beat, names in enumerate(triplets):
        notes += [Note(beat + third / 3, 1 / 3, name, 42) for third, name in enumerate(names.split())]
    changes = [0, 4, 8, 10, 12, 14, 15, 16]
    pedal = []
    for start, stop in itertools.pairwise(changes):
        pedal += [(start + 0.1, 127), (float(stop), 0)]
    return played(notes, pedal, 52)


def satie() -> Performance:
    """Erik Satie, Gymnopedie no. 1 (1888), bars 1-12."""
    notes = []
    for bar in range(12):
        bass, chord = (("G2", "B3 D4 F#4"), ("D2", "A3 C#4 F#4"))[bar % 2]
        notes.append(Note(3.0 * bar, 3.0, bass, 46))
        notes += [Note(3.0 * bar + 1, 2.0, name, 38) for name in chord.split()]
    # From bar 5; the last note, F sharp 4, would take the key from the chords' own F sharp, so it is struck once only.
    melody = [(13, 1, "F#5"), (14, 1, "A5"), (15, 1, "G5"), (16, 1, "F#5"), (17, 1, "C#5")]
    melody += [(18, 1, "B4"), (19, 1, "C#5"), (20, 1, "D5"), (21, 3, "A4")]
    notes += [Note(start, length, name, 62) for start, length, name in melody]
    notes.append(Note(24.0, 0.95, "F#4", 58))
    return played(notes, changed_every(3.0, 36.0), 76)


def main() -> None:
    """Write one file per prime beside this script."""
    for make in (bach, beethoven, satie):
        path = Path(__file__).with_name(f"{make.__name__}.mid")
        music = make()
        title = " ".join((make.__doc__ or "").split()).rstrip(".")
        write_midi(music, path, text=(title, "public domain"))
        print(f"{path.name}: {len(music)} notes, {music.duration:.1f} s")


if __name__ == "__main__":
    main()
