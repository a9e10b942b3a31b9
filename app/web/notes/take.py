"""Music as the page knows it, and a finished take with everything needed to keep it and to make it again."""

from __future__ import annotations

import base64
import json
from typing import Any

from musicgen.app.generate import Sample, midi_file
from musicgen.app.prime import Prime, pack
from musicgen.app.provenance import HEARD
from musicgen.data_prep import Performance
from musicgen.data_prep.midi import read_text
from musicgen.data_prep.performance import remove_overlaps, without_source

HAIR = 1e-4  # seconds: the least that a music object tells apart


def music(performance: Performance, prime_seconds: float = 0.0, seconds: float | None = None) -> dict[str, Any]:
    """A music object (see `request`) of a performance; ``seconds`` is its length, that of the music if None."""
    performance = without_source(remove_overlaps(performance), HAIR)
    columns = (performance.onset, performance.end, performance.pitch, performance.velocity)
    notes = [
        [round(onset, 4), round(max(end, onset + 0.01), 4), pitch, velocity, None]
        for onset, end, pitch, velocity in zip(*(column.tolist() for column in columns), strict=True)
    ]
    return {
        "notes": notes,
        "pedal": [[round(time, 4), round(value)] for time, value in performance.pedal.tolist()],
        "prime_seconds": round(prime_seconds, 4),
        "seconds": round(performance.duration if seconds is None else seconds, 4),
    }


def opening(prime: Prime) -> dict[str, Any]:
    """The music object a take begins with: the prime, whose notes that sound at its end have no end yet."""
    from musicgen.app.join import sounding

    shown = music(prime.performance, prime.seconds, prime.seconds)
    for pitch in sounding(prime.tokens):
        newest = next(note for note in reversed(shown["notes"]) if note[2] == pitch)
        newest[1] = None
    shown["pedal"] = [event for event in shown["pedal"] if event[0] < prime.seconds] + [[prime.seconds, 0]]
    return shown


def take(sample: Sample, prime: Prime | None) -> dict[str, Any]:
    """A finished take as JSON: its music, its MIDI file in base64 and what that says of its beat, its facts and what is
    new in it."""
    facts = sample.provenance
    packed = pack(prime) if prime is not None else None
    length = facts.join_seconds + (facts.settings.seconds if facts.ended is None else facts.ended)
    midi = midi_file(sample, packed)
    heard = (text.removeprefix(HEARD) for text in read_text(midi) if text.startswith(HEARD))
    return {
        "music": music(sample.music, facts.join_seconds, max(length, sample.music.duration)),
        "midi": base64.b64encode(midi).decode("ascii"),
        "beat": next(heard, None),
        "recipe": {"facts": json.loads(facts.to_json()), "prime": packed},
        "notes": sample.notes,
        "tokens": int(sample.tokens.size),
    }
