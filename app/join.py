"""Old and new music in one piece: the prime as it was played, the model's tokens as notes, nothing left hanging."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from musicgen.app.prime import TICK, Prime
from musicgen.data_prep import STEPS_PER_SECOND, Performance, decode, steps
from musicgen.data_prep.events import KINDS, Kind, NoteDecoder
from musicgen.data_prep.performance import NO_PEDAL, merge, shift_time
from musicgen.data_prep.source import JOIN_PLACE, settle
from musicgen.data_prep.vocabulary import EOS, MAX_SHIFT, NOTE_OFF, TIME_SHIFT

SLACK = 1.5 / STEPS_PER_SECOND  # how far rounding to the grid can put a played note's end behind the join


def sounding(tokens: np.ndarray) -> np.ndarray:
    """The pitches, ascending, that a token stream leaves sounding."""
    return np.array(sorted(NoteDecoder(tokens).sounding), np.int64)


def close_at(tokens: np.ndarray, before: np.ndarray, seconds: float) -> np.ndarray:
    """New tokens cut at ``seconds`` of new time, with every note that sounds then ended there.

    Args:
        tokens: int16[T] the model's new tokens.
        before: int16[P] the tokens they continue, whose open notes are ended too.
        seconds: of new music.

    Returns:
        int16[T'] tokens that last exactly ``seconds`` (rounded to the grid) if any note has to be ended there.
    """
    limit = round(seconds * STEPS_PER_SECOND)
    time = steps(tokens)
    kept = tokens[: int(np.searchsorted(time, limit))]
    open_pitches = sounding(np.concatenate([before, kept]))
    if not open_pitches.size:
        return kept
    left = limit - (int(time[kept.size - 1]) if kept.size else 0)
    shifts = [MAX_SHIFT] * (left // MAX_SHIFT) + ([left % MAX_SHIFT] if left % MAX_SHIFT else [])
    ending = np.concatenate([TIME_SHIFT - 1 + np.array(shifts, np.int64), NOTE_OFF + open_pitches])
    return np.concatenate([kept, ending.astype(np.int16)])


def trim_to_eos(tokens: np.ndarray) -> np.ndarray:
    """New tokens up to the first EOS, without the silence before it; all of them if there is none."""
    over = np.flatnonzero(tokens == EOS)
    if not over.size:
        return tokens
    kept = tokens[: over[0]]
    sounds = np.flatnonzero(KINDS[kept] != Kind.TIME_SHIFT)
    return kept[: sounds[-1] + 1] if sounds.size else kept[:0]


def join(prime: Prime, tokens: np.ndarray) -> Performance:
    """The prime and its continuation as one performance.

    Args:
        prime: what was continued; its notes and pedal come back as they were played.
        tokens: int16[T] new tokens as `close_at` gives them.

    The pedal is released where the new music's time begins.  A note of the prime that its tokens leave sounding ends
    where the new tokens end it; every other note keeps its own end.
    """
    music = prime.performance
    new = _move_behind(music.onset[-1], shift_time(decode(tokens, prime.tokens), prime.seconds), prime.seconds)
    end = music.end.copy()
    decoder = NoteDecoder(prime.tokens)
    held = decoder.sounding.copy()
    ended_at = {event.note: event.step for event in decoder.feed(tokens)}
    for pitch, number in held.items():
        notes = np.flatnonzero(music.pitch == pitch)
        end[notes[-1]] = prime.seconds + ended_at.get(number, decoder.step) / STEPS_PER_SECOND
        end[notes] = np.minimum(end[notes], end[notes[-1]])  # the key's other voices end with it
    kept, release = _release_pedal(music, prime.seconds)
    pedal, source = np.concatenate([music.pedal[:kept], release]), music.source
    if source is not None:
        # The new music goes on in the tempo and metre of the join.
        source = settle(source.part(0.0, prime.seconds + TICK / 2), prime.seconds)
        places = np.append(source.pedal_place[:kept], np.full(len(release), JOIN_PLACE))
        source = replace(source, pedal_place=places)
    old = Performance(music.onset, np.maximum(end, music.onset), music.pitch, music.velocity, pedal, source)
    return merge([old, new])


def _move_behind(last: float, new: Performance, join_at: float) -> Performance:
    """New notes struck in the join's own step, moved behind the prime's last note as far as that step has room."""
    half = 0.5 / STEPS_PER_SECOND
    first = new.onset < join_at + half
    if not first.any() or new.onset[0] > last:
        return new
    # Not beyond the step, where the music would no longer be what the tokens say.
    shift = min(last + TICK - new.onset[0], join_at + half - TICK - new.onset[first].max())
    onset = np.where(first, new.onset + shift, new.onset)
    return Performance(onset, new.end, new.pitch, new.velocity, new.pedal)


def _release_pedal(music: Performance, join_at: float) -> tuple[int, np.ndarray]:
    """How many events of the pedal are kept, and f64[0 or 1, 2] what lets it go at the join: nothing where the player
    does, if only the grid put that behind it."""
    time, value = music.pedal[:, 0], music.pedal[:, 1]
    kept = int(np.searchsorted(time, join_at + TICK / 2))  # one moment may be written as two neighbouring numbers
    if not kept or value[kept - 1] == 0:
        return kept, NO_PEDAL
    own = np.flatnonzero((time[kept:] <= join_at + SLACK) & (value[kept:] == 0))
    if own.size:
        return kept + int(own[0]) + 1, NO_PEDAL
    # A pedal that nobody releases holds until the last event, which the grid can put a step or two before the join.
    last = max(float(music.end.max()), float(time[-1]))
    return kept, np.array([[max(min(join_at, last), time[kept - 1]), 0.0]])
