"""Whatever a model says, a fill keeps to its script and its tables."""

from __future__ import annotations

import numpy as np
import pytest

from musicgen.data_prep.rules.fills import FILL, Fills, Script
from musicgen.data_prep.vocabulary import MAX_SHIFT, NOTE_OFF, NOTE_ON, PAD, PITCHES, TIME_SHIFT, VOCABULARY_2

SECOND, TAIL, END = (VOCABULARY_2.first(name) for name in ("second", "tail", "end"))
RING = 200


def script(rng: np.random.Generator, length: int) -> Script:
    """A region of so many steps, of which something stays."""
    until = np.zeros((length + RING + 1, PITCHES), np.int16)
    keys = rng.random(PITCHES) < rng.choice([0.02, 0.3, 1.0])
    until[:length, keys] = length + RING
    for key in np.flatnonzero(keys):
        for _ in range(rng.integers(0, 5)):
            first = int(rng.integers(0, length + RING))
            np.minimum(until[:first, key], first, out=until[:first, key])
            until[first : first + int(rng.integers(1, 90)), key] = 0
    tokens, begins = [], []
    seconds = -(-length // 100)
    for second in range(seconds + 1):
        given = (rng.integers(0, 128, rng.integers(0, 4)) + NOTE_ON).tolist()
        mark = SECOND + seconds - second - 1 if second < seconds else TAIL
        tokens += [mark, *given, FILL]
        begins += [min(100 * second, length)] + [0] * (len(given) + 1)
    return Script(np.array([*tokens, END], np.int16), np.array([*begins, len(until)], np.int32), until)


@pytest.mark.parametrize("seed", range(12))
def test_anything_that_is_drawn_fits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scripts = tuple(script(rng, int(rng.integers(1, 700))) for _ in range(3))
    rules = Fills(scripts)
    state, rows = rules.start([np.zeros(1)] * 3, np), []
    while not rows or (rows[-1] != PAD).any():
        logits = rng.gumbel(size=(3, VOCABULARY_2.size)).astype(np.float32)
        rows.append(rules.apply(state, logits).argmax(axis=1))
        assert (rules.apply(state, logits).max(axis=1) > -np.inf).all(), "something is always allowed"
        state = rules.advance(state, rows[-1])
    for row, asked in zip(np.array(rows).T, scripts, strict=True):
        assert_fits(row[row != PAD].tolist(), asked)


def assert_fits(row: list[int], asked: Script) -> None:
    now, place, drawing = 0, 0, False
    sounding: dict[int, tuple[int, int]] = {}
    for token in row:
        if not drawing or token == asked.tokens[place]:
            assert token == asked.tokens[place], "the script comes word for word"
            now = int(asked.begins[place]) if drawing or place == 0 else now
            place, drawing = place + 1, token == FILL
        elif NOTE_ON <= token < NOTE_OFF:
            key = token - NOTE_ON
            assert asked.until[now, key] > now and key not in sounding
            sounding[key] = (now, int(asked.until[now, key]))
        elif NOTE_OFF <= token < TIME_SHIFT:
            struck, latest = sounding.pop(token - NOTE_OFF)
            assert struck < now <= latest
        elif token < TIME_SHIFT + MAX_SHIFT:
            now += token - TIME_SHIFT + 1
    assert place == len(asked.tokens) and not sounding


def test_rules_of_other_songs_are_compiled_once() -> None:
    rng = np.random.default_rng(0)
    assert Fills((script(rng, 100),)) == Fills((script(rng, 200),))
