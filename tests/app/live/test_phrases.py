"""Where phrases begin and end, in sound whose beginnings and ends are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.app.live import phrases
from musicgen.app.live.phrases import LEAD, STEADY, TAIL, Phrase, Phrases
from musicgen.data_prep.audio import SAMPLE_RATE

PAUSE = 1.0


def room(seconds: float, loud: float = -55.0, hum: float = -60.0, seed: int = 0) -> np.ndarray:
    """Noise and hum of 50 Hz, both in dBFS."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(seed).normal(0.0, 10 ** (loud / 20), len(times))
    return noise + np.sqrt(2) * 10 ** (hum / 20) * np.sin(2 * np.pi * 50 * times)


def strike(
    sound: np.ndarray, at: float, held: float, peak: float = 0.3, decay: float = 1.0, pitch: float = 330
) -> None:
    """Add a string that is damped when its key is let go."""
    times = np.arange(len(sound) - round(at * SAMPLE_RATE)) / SAMPLE_RATE
    shape = np.exp(-times / decay) * np.where(times < held, 1.0, np.exp(-(times - held) / 0.05))
    sound[-len(times) :] += peak * shape * np.sin(2 * np.pi * pitch * times)


def found(sound: np.ndarray, block: int = 1200, attentive: bool = True, pause: float = PAUSE) -> list[Phrase]:
    """The phrases of a sound that begins at 0."""
    watch, cuts = Phrases(pause), range(block, len(sound) + block, block)
    taken = [watch.take(sound[end - block : end].astype(np.float32), end / SAMPLE_RATE, attentive) for end in cuts]
    return [phrase for phrase in taken if phrase is not None]


@given(
    gaps=st.lists(st.floats(0.1, 0.7) | st.floats(1.4, 2.5), max_size=5),
    held=st.floats(0.1, 0.6),
    peak=st.floats(-25.0, -3.0),
    loud=st.floats(-75.0, -55.0),
    hum=st.floats(-80.0, -50.0),
    block=st.integers(400, 2400),
    seed=st.integers(0, 9),
)
def test_what_is_apart_is_two_phrases(
    gaps: list[float], held: float, peak: float, loud: float, hum: float, block: int, seed: int
) -> None:
    """Notes that are let go, with silences in between that are clearly shorter or longer than the pause."""
    onsets = 1.5 + np.cumsum([0.0, *(held + gap for gap in gaps)])
    sound = room(float(onsets[-1]) + held + 2.0, loud, hum, seed)
    for onset in onsets:
        strike(sound, onset, held, 10 ** (peak / 20))
    starts = onsets[np.append(True, np.array(gaps) > PAUSE)]
    ends = onsets[np.append(np.array(gaps) > PAUSE, True)] + held
    made = found(sound, block)
    assert len(made) == len(starts)
    near = 2 * block / SAMPLE_RATE
    for phrase, start, end in zip(made, starts, ends, strict=True):
        assert start - LEAD - near <= phrase.began <= start - LEAD + near
        assert end - near <= phrase.ended <= end + 0.35 + near
        first = round(phrase.began * SAMPLE_RATE)
        assert np.array_equal(phrase.sound, sound[first : first + len(phrase.sound)].astype(np.float32))


@pytest.mark.parametrize("hum", [-80.0, -35.0])
def test_a_room_is_no_phrase(hum: float) -> None:
    assert found(room(20.0, -45.0, hum) + 0.2) == []  # with a constant, as cheap microphones have


def test_soft_after_loud_is_the_same_phrase() -> None:
    sound = room(8.0, -70.0, -80.0)
    strike(sound, 1.5, 0.5, 0.7)
    for at in np.arange(2.0, 5.0, 0.5):
        strike(sound, at, 0.4, 0.7 * 10 ** (-25 / 20))
    assert len(found(sound)) == 1


def test_a_held_pedal_holds_the_turn() -> None:
    """As with a keyboard, where it does so until the foot goes up; here until the strings are hardly heard."""
    sound = room(14.0)
    strike(sound, 1.5, 4.0, decay=1.5)
    (phrase,) = found(sound)
    assert 5.4 < phrase.ended < 6.0
    sound = room(14.0, -75.0, -80.0)
    strike(sound, 1.5, 20.0, decay=1.5)
    (phrase,) = found(sound)
    assert 1.5 + 4.0 < phrase.ended < 1.5 + 7.0


def test_clipping_changes_nothing() -> None:
    sound = room(6.0)
    strike(sound, 1.5, 1.0)
    (phrase,) = found(np.clip(20 * sound, -1.0, 1.0))
    assert 2.4 < phrase.ended < 2.9


@pytest.mark.parametrize("longest", [60.0, 3.0])
def test_a_fan_is_the_room_before_long(monkeypatch: pytest.MonkeyPatch, longest: float) -> None:
    monkeypatch.setattr(phrases, "LONGEST", longest)
    sound = np.concatenate([room(2.0, -70.0), room(12.0, -30.0)])
    strike(sound, 11.0, 0.5)
    fan, note = found(sound)
    assert fan.began == pytest.approx(2.0 - LEAD, abs=0.1)
    assert len(fan.sound) / SAMPLE_RATE == pytest.approx(min(longest, LEAD + STEADY + TAIL), abs=0.2)
    assert note.began == pytest.approx(11.0 - LEAD, abs=0.1)


def test_noise_that_comes_with_the_music_does_not_hold_the_turn() -> None:
    """As from a microphone that suppresses it while nothing else sounds."""
    sound = np.concatenate([room(2.0, -90.0, -99.0), room(10.0, -45.0)])
    strike(sound, 2.0, 1.0)
    (phrase,) = found(sound)
    assert phrase.ended < 3.0 + STEADY + 1.0


def test_what_rings_on_is_no_phrase_but_the_next_note_is() -> None:
    """As the loudspeaker does, when the model has played."""
    sound = room(8.0)
    strike(sound, 1.5, 9.0, 0.3)
    assert found(sound, attentive=False) == []
    assert found(sound[round(1.7 * SAMPLE_RATE) :]) == []
    strike(sound, 3.0, 0.5, 0.3)
    assert len(found(sound[round(1.7 * SAMPLE_RATE) :])) == 1


def test_cutting_ends_the_phrase_that_sounds() -> None:
    watch, sound = Phrases(PAUSE), room(3.0)
    assert watch.cut(0.0) is None
    strike(sound, 1.5, 1.0)
    for end in range(1200, len(sound), 1200):
        watch.take(sound[end - 1200 : end].astype(np.float32), end / SAMPLE_RATE)
    phrase = watch.cut(len(sound) / SAMPLE_RATE)
    assert phrase is not None and phrase.began == pytest.approx(1.0, abs=0.1) and phrase.ended > 2.5
    assert watch.cut(3.0) is None
