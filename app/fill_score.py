"""How likely a fill is together with what follows it, and whether the music crosses its borders as music does."""

from __future__ import annotations

import dataclasses

import numpy as np

from musicgen.data_prep import STEPS_PER_SECOND, Performance, encode, steps
from musicgen.data_prep.events import KINDS, Kind
from musicgen.data_prep.vocabulary import VOCABULARY
from musicgen.model.engine import Engine

SEEN_BEFORE = 256  # tokens
FOLLOWING = 96  # tokens after the region that count, two or three seconds
MOST = 1024  # tokens that are scored


def nats_a_note(engine: Engine, music: Performance, start: float, stop: float) -> float | None:
    """Nats of what is played between two times of a piece and just after, as ordinary music, by its notes; None if
    there are none."""
    tokens = encode(music, bos=True)
    now = steps(tokens)
    first, past = np.searchsorted(now, [round(start * STEPS_PER_SECOND), round(stop * STEPS_PER_SECOND)]).tolist()
    first = max(first, 1)
    past = min(past + FOLLOWING, first + MOST, len(tokens))
    notes = int(np.count_nonzero(KINDS[tokens[first:past]] == Kind.NOTE_ON))
    if not notes:
        return None
    seen = tokens[max(0, first - SEEN_BEFORE) : past]
    return float(engine.nats_of_last(seen, past - first, VOCABULARY.size).sum(dtype=np.float64)) / notes


# Of 8,165 random places in the 137 validation pieces of MAESTRO, 98 in 100 lie between these: seconds without an onset,
# and by how much the mean velocity and the notes of the second behind exceed those of the second before.
USUAL = {"gap": (0.0, 3.6), "velocity": (-26.0, 23.0), "density": (-13.0, 13.0)}
SAID = {
    "gap": "a silence of {:.1f} s",
    "velocity": "a jump in loudness from {:.0f} to {:.0f} (of 127)",
    "density": "a jump from {:.0f} to {:.0f} notes a second",
}


@dataclasses.dataclass(frozen=True)
class Seam:
    """How music crosses a border, against real music.

    gap: seconds from the last onset before the border to the first one behind it.
    velocity: mean velocity of the second behind the border less that of the second before it.
    density: the same of notes a second.
    unusual: what of these real music hardly ever has, in words; empty if nothing is.
    """

    gap: float
    velocity: float
    density: float
    unusual: tuple[str, ...] = ()


def seam(music: Performance, border: float) -> Seam | None:
    """At a time of a piece; None where one side has no notes within five seconds."""
    at = int(np.searchsorted(music.onset, border))
    if not 0 < at < len(music) or music.onset[at] - border > 5 or border - music.onset[at - 1] > 5:
        return None
    sides = [
        np.flatnonzero((music.onset >= border + side) & (music.onset < border + side + 1.0)) for side in (-1.0, 0.0)
    ]
    loud = [float(music.velocity[side].mean()) if side.size else np.nan for side in sides]
    figures = {
        "gap": float(music.onset[at] - music.onset[at - 1]),
        "velocity": loud[1] - loud[0] if all(side.size for side in sides) else 0.0,
        "density": float(sides[1].size - sides[0].size),
    }
    told = {"gap": [figures["gap"]], "velocity": loud, "density": [float(side.size) for side in sides]}
    odd = [name for name, value in figures.items() if not USUAL[name][0] <= value <= USUAL[name][1]]
    return Seam(**figures, unusual=tuple(SAID[name].format(*told[name]) for name in odd))


def unusual(seams: tuple[Seam | None, Seam | None]) -> list[str]:
    """What of the borders of a passage, where it begins and where it ends, real music hardly ever has, in words."""
    return [
        f"{' and '.join(one.unusual)} where the passage {border}"
        for border, one in zip(("begins", "ends"), seams, strict=True)
        if one is not None and one.unusual
    ]
