"""What a model is shown is what it was trained on, and the rules let it write what was there."""

from __future__ import annotations

import numpy as np
import pytest

from musicgen.app.passage import Passage
from musicgen.data_prep import Performance
from musicgen.data_prep.dataset.gaps import FillReader, Gap, example, in_steps
from musicgen.data_prep.performance import NO_PEDAL, empty
from musicgen.data_prep.rules.fills import Fills
from musicgen.data_prep.tokens import decode
from musicgen.data_prep.vocabulary import STYLES, VOCABULARY_2

STYLE = VOCABULARY_2.encode("style", len(STYLES) - 1)


def notes(seed: int, start: int = 0, stop: int = 0) -> Performance:
    """A key at a time; from the step start to stop the upper half is on keys of its own, which else nothing strikes."""
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.uniform(0, 20, 160))
    pitch = rng.integers(24, 37, 160) * 2
    step = np.floor(onset * 100 + 0.5)
    pitch += (pitch >= 60) & (step >= start) & (step < stop)
    end = onset + rng.uniform(0.02, 1.5, 160)
    for key in np.unique(pitch):
        mine = np.flatnonzero(pitch == key)
        end[mine[:-1]] = np.minimum(end[mine[:-1]], onset[mine[1:]])
    return Performance(onset, end, pitch, rng.integers(1, 128, 160), NO_PEDAL)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["whole", "band"])
def test_the_prompt_and_the_real_fill_are_a_training_example(seed: int, kind: str) -> None:
    start, stop = 700 + 13 * seed, 1_150 + 29 * seed
    music = notes(seed, start, stop)
    goes = music.pitch % 2 == 1  # no other key is struck again while it sounds
    if kind == "whole":
        rest = (music.onset * 100 + 0.5 < start) | (np.floor(music.onset * 100 + 0.5) >= stop) | goes
        music = Performance(music.onset[rest], music.end[rest], music.pitch[rest], music.velocity[rest], NO_PEDAL)
        goes = goes[rest]
    columns = (music.onset, music.end, music.pitch, music.velocity)
    hole = Performance(*(column[~goes] for column in columns), NO_PEDAL)
    low, high = (np.full(stop - start, key) for key in (60 if kind == "band" else 0, 127))
    loose = (np.zeros(0), np.zeros(0, np.int64))
    passage = Passage(hole, start, stop, kind, False, low, high, loose, 40.0, (STYLE,))
    prompt, script = passage.window(start, stop, empty(), 1_000)
    gap = Gap(start, stop, kind, int(low[0]), 127)
    whole = in_steps(music)
    wanted = example(whole, gap, (whole.pitch % 2 == 0) & (kind == "band"), style=[STYLE], most_after=384).tokens
    assert prompt.tolist() == wanted[: len(prompt)].tolist()

    rules, drawn = Fills((script,)), wanted[len(prompt) :]
    state = rules.start([prompt], np)
    for token in drawn.tolist():
        assert rules.apply(state, np.zeros((1, VOCABULARY_2.size), np.float32))[0, token] == 0
        state = rules.advance(state, np.array([token]))
    assert rules.apply(state, np.zeros((1, VOCABULARY_2.size), np.float32))[0].argmax() == 0  # nothing but PAD

    reader = FillReader(stop - start)
    found = decode(np.array(reader.read(drawn), np.int16))
    steps, real = in_steps(found), in_steps(Performance(*(column[goes] for column in columns), NO_PEDAL))
    assert reader.over and (steps.start + start).tolist() == real.start.tolist()
    assert steps.pitch.tolist() == real.pitch.tolist() and (steps.end + start).tolist() == real.end.tolist()


def test_a_long_song_is_cut_to_what_there_is_room_for() -> None:
    music = notes(1)
    keys = (np.zeros(300, np.int64), np.full(300, 127))
    loose = (np.zeros(0), np.zeros(0, np.int64))
    passage = Passage(music, 1_500, 1_800, "melody_stays", True, *keys, loose, 40.0)
    prompt, _ = passage.window(1_500, 1_800, empty(), 200)
    whole, _ = passage.window(1_500, 1_800, empty(), 2_000)
    assert 190 < len(prompt) <= 200 < len(whole) and prompt[-60:].tolist() == whole[-60:].tolist()
