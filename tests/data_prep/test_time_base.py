"""Ticks to seconds and back, whatever the tempo map."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.time_base import FINEST, Clock, Tempo, TimeBase, from_seconds

maps = st.builds(
    lambda division, tempos: TimeBase(division, tuple(Tempo(*tempo) for tempo in sorted(tempos))),
    st.sampled_from([1, 24, 96, 220, 384, 480, 960, 1024, 20_000]),
    st.lists(
        st.tuples(st.integers(0, 100_000), st.integers(100_000, 3_000_000)),
        max_size=20,
        unique_by=lambda tempo: tempo[0],
    ),
)


@given(maps, st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_a_tick_is_found_again(base: TimeBase, ticks: list[int]) -> None:
    """Also from times on our grid of 25 microseconds, if ticks are not finer than that, and in the finer division."""
    tick = np.array(sorted(ticks))
    seconds = base.seconds(tick)
    assert np.array_equal(np.rint(base.position(seconds)), tick)
    clock = Clock.of(base)
    assert base.division <= clock.division <= FINEST
    assert np.array_equal(clock.ticks(seconds), tick * clock.parts)
    if min([500_000] + [tempo.microseconds for tempo in base.tempos]) / base.division >= 30:
        rounded = np.rint(seconds / 2.5e-5) * 2.5e-5
        assert np.array_equal(base.position(rounded), tick)


@given(maps)
def test_a_tempo_map_in_seconds_is_the_same_map(base: TimeBase) -> None:
    seconds = base.seconds(np.array([tempo.tick for tempo in base.tempos], np.int64))
    rounded = np.rint(seconds / 2.5e-5) * 2.5e-5
    for times in (seconds, rounded) if base.division < 1000 else (seconds,):
        assert from_seconds(
            base.division, zip(times.tolist(), [tempo.microseconds for tempo in base.tempos], strict=True)
        ) == TimeBase(base.division, base.tempos)


def test_a_long_tempo_map_takes_no_time() -> None:
    base = from_seconds(480, ((i / 10, 400_000 + i) for i in range(100_000)))
    assert base.position(np.array([5000.0])).shape == (1,)
