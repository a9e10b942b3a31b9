"""The measures against values worked out by hand, naive versions, invariances, and SciPy's kernel density."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from musicgen.data_prep.errors import PrepError
from musicgen.data_prep.evaluation.compare import bootstrap_means, compare, means, overlap_and_kl, overlaps, shares
from musicgen.data_prep.evaluation.measures import (
    BY_MINUTE,
    EDGES,
    UNITS,
    Measured,
    by_minute,
    chroma,
    measure,
    quantize,
    self_similarity,
)
from musicgen.data_prep.performance import NO_PEDAL, Performance, shift_time
from musicgen.data_prep.repetition import most_repeats

Notes = list[tuple[float, float, int, int]]


def music(notes: Notes, pedal: list[tuple[float, float]] | None = None) -> Performance:
    """(onset, end, pitch, velocity) of every note."""
    onset, end, pitch, velocity = (np.array(column) for column in zip(*notes, strict=True))
    return Performance(onset, end, pitch, velocity, np.array(pedal) if pedal else NO_PEDAL)


def line(pitches: list[int], step: float = 0.25) -> Performance:
    """One note after another."""
    return music([(k * step, (k + 1) * step, pitch, 65) for k, pitch in enumerate(pitches)])


# Steps of 10 ms, lowest pitch 12 and highest 108 so that an octave fits on either side.
some_notes = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(1, 300), st.integers(24, 96), st.integers(1, 127)),
    min_size=1,
    max_size=60,
).map(lambda notes: music([(a / 100, (a + b) / 100, pitch, velocity) for a, b, pitch, velocity in notes]))


def test_a_piece_by_hand() -> None:
    """Two notes of C, one of G together with the second, five seconds of silence, one E."""
    values = measure(music([(1.0, 2.0, 60, 65), (2.0, 4.0, 72, 65), (2.0, 3.0, 67, 65), (9.0, 10.0, 64, 125)])).values
    assert list(values) == list(UNITS)
    by_hand = {
        "seconds": 9.0,  # from the first note on
        "pitch_class_entropy": 1.5,  # shares 1/2, 1/4, 1/4
        "scale_consistency": 1.0,  # C, E, G
        "pitch": (60 + 72 + 67 + 64) / 4,
        "pitch_range": 12,
        "pitches_used": 4,
        "notes_per_second": 4 / 9,
        "inter_onset": 8 / 3,  # 1, 0, 7
        "duration": 5 / 4,
        "velocity": 80,
        "velocity_spread": 30 * np.sqrt(3) / 2,  # 65, 65, 65, 125
        "polyphony": 5 / 4,  # 5 s of notes in 4 s with sound
        "longest_silence": 5.0,
        "silence_over_3s": 1.0,
        "most_repeats": 0.0,  # three chords: no chunk of eight
        "repeats_over_16": 0.0,
    }
    for name, value in by_hand.items():
        assert values[name] == pytest.approx(value, abs=1e-9), name
    missing = {name for name, value in values.items() if np.isnan(value)}
    assert missing == set(UNITS) - set(by_hand)  # no pedal, too short for similarity and drift


def test_histograms_by_hand() -> None:
    """Every note and every step between notes falls into its bin."""
    histograms = measure(music([(0, 0.5, 60, 1), (0, 60.0, 61, 127), (0.01, 0.02, 73, 3)])).histograms
    assert histograms["pitch_classes"].tolist() == pytest.approx([1 / 3, 2 / 3] + [0] * 10)
    assert histograms["velocity"][[0, -1]].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert histograms["inter_onset"][:2].tolist() == [0.5, 0.5]  # at once; one step
    assert histograms["duration"][1] == pytest.approx(1 / 3)
    assert histograms["duration"][-1] == pytest.approx(1 / 3)  # longer than the last edge
    half = np.searchsorted(EDGES["duration"], 0.5) - 1
    assert histograms["duration"][half] == pytest.approx(1 / 3)


def test_pedal() -> None:
    """Down from 1 to 4 and from 8 to the end of 10 seconds; half a foot is no press; the pedal lengthens notes."""
    pedal = [(1.0, 127.0), (4.0, 0.0), (5.0, 40.0), (8.0, 64.0), (8.5, 127.0), (10.0, 0.0)]
    values = measure(music([(0, 2, 60, 64), (3, 3.5, 64, 64), (9, 9.5, 67, 64)], pedal)).values
    assert values["pedal_down"] == pytest.approx(0.5)
    assert values["pedal_presses"] == pytest.approx(2 * 60 / 10)
    assert values["duration"] == pytest.approx((4 + 1 + 1) / 3)
    assert values["longest_silence"] == pytest.approx(5.0)


def test_first_seconds() -> None:
    """The first seconds begin with the first note; nothing before or behind them counts."""
    piece = music([(5, 6, 60, 64), (9, 30, 62, 64), (16, 17, 64, 64)])
    values = measure(piece, 10).values
    assert (values["seconds"], values["pitches_used"]) == (10.0, 2)
    with pytest.raises(ValueError, match="without notes"):
        measure(Performance(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), NO_PEDAL))


def test_the_grid() -> None:
    """What tokens cannot tell apart, the measures do not either: 4 ms, and loudness inside a bin."""
    a = music([(0.5, 1.0, 60, 65), (0.5, 1.0, 50, 70), (1.5, 2.0, 62, 68)])
    b = music([(0.502, 1.001, 60, 66), (0.498, 0.999, 50, 72), (1.501, 2.001, 62, 67)])
    assert quantize(a).equals(quantize(b))
    assert quantize(a).onset.tolist() == [0, 0, 1.0]
    assert np.array_equal(list(measure(a).values.values()), list(measure(b).values.values()), equal_nan=True)


@settings(max_examples=20)
@given(some_notes, st.integers(-12, 12))
def test_transposed(piece: Performance, semitones: int) -> None:
    """A transposed piece has the same measures but for its pitch, and pitch class distance 0."""
    up = Performance(piece.onset, piece.end, piece.pitch.astype(int) + semitones, piece.velocity, piece.pedal)
    a, b = measure(piece), measure(up)
    for name in UNITS:
        wanted = a.values[name] + (semitones if name == "pitch" else 0)
        assert b.values[name] == pytest.approx(wanted, nan_ok=True, abs=1e-9), name
    told = compare([a, b], [b, a])["histograms"]["pitch_classes"]
    assert told["distance"] == pytest.approx({"samples": 0, "reference": 0, "between": 0}, abs=1e-9)
    assert (told["overlap"]["samples"], told["kl"]["samples"]) == (1, 0)


@given(some_notes, st.integers(0, 5000))
def test_later(piece: Performance, steps: int) -> None:
    """When a piece begins does not matter."""
    a, b = measure(piece).values, measure(shift_time(piece, steps / 100)).values
    assert list(b.values()) == pytest.approx(list(a.values()), nan_ok=True, abs=1e-9)


@given(some_notes)
def test_ranges(piece: Performance) -> None:
    """Shares are shares, entropies are at most log2(12), at least one note sounds."""
    made = measure(piece)
    assert 0 <= made.values["pitch_class_entropy"] <= np.log2(12) + 1e-9
    assert 7 / 12 - 1e-9 <= made.values["scale_consistency"] <= 1
    assert made.values["polyphony"] >= 1 - 1e-9
    assert made.values["longest_silence"] <= made.values["seconds"]
    for name, histogram in made.histograms.items():
        assert histogram.sum() == pytest.approx(1 if name != "inter_onset" or len(quantize(piece)) > 1 else 0)


@given(st.lists(st.integers(60, 62), min_size=0, max_size=60))
def test_repeats_against_the_plain_way(pitches: list[int]) -> None:
    """Every chunk of eight, counted from left to right."""
    assume(pitches)
    chunks = [tuple(pitches[k : k + 8]) for k in range(len(pitches) - 7)]
    counts = [0]
    for chunk in set(chunks):
        k = count = 0
        while k < len(chunks):
            count, k = (count + 1, k + 8) if chunks[k] == chunk else (count, k + 1)
        counts.append(count)
    assert most_repeats(line(pitches)) == max(counts)


def test_repeats() -> None:
    """17 bars are too many, 16 are not; the order in which a chord's keys go down does not matter, other keys do."""
    bar = [60, 64, 67, 72, 76, 72, 67, 64]
    for bars, too_many in ((16, 0), (17, 1)):
        values = measure(line(bar * bars)).values
        assert (values["most_repeats"], values["repeats_over_16"]) == (bars, too_many)
    rolled = [[(k, k + 0.5, 60 + k % 4, 64), (k + (-1) ** k * 0.02, k + 0.5, 70, 64)] for k in range(1, 33)]
    assert most_repeats(music([note for chord in rolled for note in chord])) == 4
    high = [(k, k + 0.5, pitch, 64) for k in range(16) for pitch in (40, 100 + (k >= 8))]
    assert most_repeats(music(high)) == 1  # both halves of the keyboard count


@given(some_notes)
def test_chroma_against_the_plain_way(piece: Performance) -> None:
    """Seconds of each pitch class, frame by frame."""
    frames = chroma(piece)
    assert len(frames) == int(piece.end.max() / 2 + 1e-9)
    plain = np.zeros_like(frames)
    for onset, end, pitch in zip(piece.onset, piece.end, piece.pitch, strict=True):
        for k in range(len(frames)):
            plain[k, pitch % 12] += max(0.0, min(end, 2 * k + 2) - max(onset, 2 * k))
    np.testing.assert_allclose(frames, plain, atol=1e-9)


def test_self_similarity() -> None:
    """C and F sharp by turns, two seconds each: the same every 4 s, nothing in common in between."""
    curve = self_similarity(line([60, 66] * 20, 2.0))
    np.testing.assert_allclose(curve[:35], [0, 1] * 17 + [0], atol=1e-12)
    assert np.isnan(curve[35:]).all()  # 40 frames: fewer than five pairs are 72 s apart
    rests = [(4.0 * k, 4.0 * k + 2, 60, 64) for k in range(20)]
    assert np.isnan(self_similarity(music(rests))[0])  # every second frame is silent


def test_minutes_and_drift() -> None:
    """1, 2, 3 and 4 notes a second, all alike: the density climbs by one a minute, nothing else moves."""
    notes = [
        (60.0 * m + k / (m + 1), 60.0 * m + (k + 1) / (m + 1), 60 + k % 2, 65)
        for m in range(4)
        for k in range(60 * (m + 1))
    ]
    made = measure(music(notes))
    np.testing.assert_allclose(made.minutes[:, 0], [1, 2, 3, 4])
    np.testing.assert_allclose(made.minutes[:, 1:4], [[1, 65, 1]] * 4, atol=0.02)
    assert made.values["notes_per_second_drift"] == pytest.approx(1)
    assert made.values["velocity_drift"] == pytest.approx(0, abs=1e-9)
    assert made.values["most_repeats_drift"] > 0
    short = measure(music(notes), 150)
    assert len(short.minutes) == 2 and np.isnan(short.values["notes_per_second_drift"])
    gone = by_minute(music([(0, 1, 60, 64), (190, 191, 60, 64)]))
    assert gone.shape == (3, len(BY_MINUTE))
    assert gone[1, 0] == 0 and np.isnan(gone[1, 1:4]).all() and gone[1, 4] == 0


def test_silence_by_minute() -> None:
    """Each belongs to the minute in which it begins; a note that is held over the border is no silence."""
    notes = music([(0, 50, 60, 64), (58, 65, 60, 64), (67, 110, 60, 64), (115, 190, 60, 64), (235, 241, 60, 64)])
    np.testing.assert_allclose(by_minute(notes)[:, BY_MINUTE.index("longest_silence")], [8, 5, 0, 45])
    made = measure(notes).values
    assert made["longest_silence"] == pytest.approx(45) and made["longest_silence_drift"] > 0


# Two sets.


@pytest.mark.parametrize("shift, scale", [(0.0, 1.0), (0.5, 1.0), (3.0, 2.0)])
def test_overlap_and_kl_against_scipy(shift: float, scale: float) -> None:
    """The same figures as from SciPy's gaussian_kde, which mgeval uses, on one grid."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=700), rng.normal(shift, scale, 500)
    grid = np.linspace(-15, 15, 6000)
    p, q = (stats.gaussian_kde(x)(grid) for x in (a, b))
    step = grid[1] - grid[0]
    overlap, kl = overlap_and_kl(a, b)
    assert overlap == pytest.approx(np.minimum(p, q).sum() * step, abs=2e-3)
    p, q = np.maximum(p, 1e-14), np.maximum(q, 1e-14)
    assert kl == pytest.approx((p * np.log(p / q)).sum() * step, rel=0.02, abs=1e-3)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40), st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_overlap_and_kl_are_finite(a: list[float], b: list[float]) -> None:
    """Whatever the numbers: an area in 0..1, a divergence from 0 to the floor's; equal sets give 1 and 0."""
    overlap, kl = overlap_and_kl(np.array(a), np.array(b))
    assert -1e-9 <= overlap <= 1 + 1e-9 and 0 <= kl < 50
    same, none = overlap_and_kl(np.array(a), np.array(a))
    assert same == pytest.approx(1) and none == pytest.approx(0, abs=1e-9)


def test_distances_by_hand() -> None:
    """Intra-set distances leave out a piece's distance to itself, inter-set ones take all pairs."""

    def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(a - b.T)

    told = overlaps(apart, np.array([[0.0], [3.0]]), np.array([[0.0], [1.0], [2.0]]))
    assert told["distance"] == pytest.approx({"samples": 3, "reference": 4 / 3, "between": 1.5})
    assert overlaps(apart, np.zeros((1, 1)), np.zeros((5, 1)))["overlap"] is None


def test_bootstrap() -> None:
    """Intervals have the width that theory gives, hold the mean, and depend on nothing but the seed."""
    values = np.random.default_rng(1).normal(5, 2, 400)
    told = means(values, values + 1, 0)
    half = 1.96 * values.std() / 20
    assert told["samples"]["low"] == pytest.approx(values.mean() - half, abs=0.05 * half * 2)
    assert told["samples"]["high"] == pytest.approx(values.mean() + half, abs=0.05 * half * 2)
    assert told["difference"]["mean"] == pytest.approx(-1)
    assert told["difference"]["high"] - told["difference"]["low"] == pytest.approx(2 * half * 2**0.5, rel=0.1)
    assert means(values, values, 0) == means(values, values, 0) != means(values, values, 1)
    assert not np.array_equal(bootstrap_means(values, (0, 0)), bootstrap_means(values, (0, 1)))
    empty = means(np.array([np.nan]), values, 0)
    assert empty["samples"] == {"mean": None, "low": None, "high": None, "pieces": 0}
    assert empty["difference"]["mean"] is None


def test_shares_of_pieces() -> None:
    """Newcombe's own example, 56 of 70 against 48 of 80: 0.2, from 0.0524 to 0.3339; none of 12 may still be 24 %."""
    told = shares(np.repeat([1.0, 0.0], [56, 14]), np.repeat([1.0, 0.0], [48, 32]))
    assert told["difference"] == pytest.approx({"mean": 0.2, "low": 0.0524, "high": 0.3339}, abs=1e-4)
    none = shares(np.zeros(12), np.zeros(100))
    assert none["samples"]["low"] == 0 and none["samples"]["high"] == pytest.approx(0.2425, abs=1e-3)
    assert none["difference"]["low"] < 0 < none["difference"]["high"]


@pytest.fixture(scope="module")
def pieces(play: Callable[..., Performance]) -> list[Measured]:
    return [measure(play(seed, 300)) for seed in range(24)]


def test_a_set_against_itself(pieces: list[Measured]) -> None:
    """Overlap about 1, divergence about 0, every difference within its interval; fit for JSON; the same again."""
    told = compare(pieces, pieces)
    assert told == compare(pieces, pieces) and json.loads(json.dumps(told, allow_nan=False)) == told
    for name, row in [*told["measures"].items(), *told["histograms"].items()]:
        if row.get("overlap"):
            assert min(row["overlap"].values()) > 0.9, name
            assert max(row["kl"].values()) < 0.2, name
        if "difference" in row and row["difference"]["mean"] is not None:
            assert row["difference"]["mean"] == 0 and row["difference"]["low"] <= 0 <= row["difference"]["high"]


def test_sets_that_differ(pieces: list[Measured], play: Callable[..., Performance]) -> None:
    """Twice as fast: density doubles, the figures say so, pitch stays alike."""
    fast = []
    for seed in range(24):
        piece = play(seed, 300)
        fast.append(measure(Performance(piece.onset / 2, piece.end / 2, piece.pitch, piece.velocity, NO_PEDAL)))
    told = compare(fast, pieces)["measures"]
    density, entropy = told["notes_per_second"], told["pitch_class_entropy"]
    assert density["samples"]["mean"] / density["reference"]["mean"] == pytest.approx(2, rel=0.1)
    assert density["difference"]["low"] > 0
    assert density["overlap"]["reference"] < 0.2 and density["kl"]["reference"] > 3
    assert entropy["difference"]["low"] < 0 < entropy["difference"]["high"] and entropy["overlap"]["reference"] > 0.8
    assert told["pedal_down"]["samples"] == {"mean": None, "low": None, "high": None, "pieces": 0}
    assert told["pedal_down"]["reference"]["pieces"] == 24 and told["pedal_down"]["overlap"] is None


def test_too_few(pieces: list[Measured]) -> None:
    """One piece is no set."""
    with pytest.raises(PrepError, match="two pieces with notes at the least: the samples have 1"):
        compare(pieces[:1], pieces)
    with pytest.raises(PrepError, match="the reference have 0"):
        compare(pieces, [])
