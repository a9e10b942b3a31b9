"""Training windows: true slices, every target equally likely, and a stream that can be picked up anywhere."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.data_prep.dataset import loader, prep
from musicgen.data_prep.dataset.augment import Augmentation, augment
from musicgen.data_prep.dataset.loader import Batches, Windows, batches, evaluation_pieces, with_ends
from musicgen.data_prep.dataset.shards import ShardError, ShardSet
from musicgen.data_prep.midi import write_midi
from musicgen.data_prep.performance import Performance
from musicgen.data_prep.tokens import encode
from musicgen.data_prep.vocabulary import BOS, EOS, PAD

pytest.importorskip("grain", reason="Grain is not installed (the extra `train`)")
AUGMENTATION = Augmentation(semitones=4, stretch=0.1, velocity=10)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, play: Callable[..., Performance]) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for i in range(10):
        write_midi(play(i, 5 + 20 * i), folder / f"{i}.mid")
    prep.run(folder, folder / "set", workers=0)
    return folder / "set"


@pytest.fixture(autouse=True)
def short_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "WINDOW_STRIDE", 16)


def drawn(stream: Batches, count: int) -> np.ndarray:
    rows = np.stack([next(stream)["tokens"] for _ in range(count)])
    stream.close()
    return rows


@given(slot=st.integers(0, 10_000), seed=st.integers(0, 2**32 - 1), context=st.sampled_from([1, 30, 200, 5000]))
def test_a_window_is_a_slice_of_the_whole_augmented_piece(data: Path, slot: int, seed: int, context: int) -> None:
    pieces = ShardSet(data, "train")
    windows = Windows(pieces, context, AUGMENTATION)
    window = windows(slot, np.random.default_rng(seed))["tokens"]
    assert window.shape == (context + 1,) and window.dtype == np.int16
    rng = np.random.default_rng(seed)
    piece, _ = windows.place(slot, rng)
    whole = with_ends(encode(augment(pieces.notes(piece), rng, AUGMENTATION)))
    assert PAD not in window
    beginnings = np.flatnonzero(window == BOS)
    part = window[beginnings[-1] :] if len(beginnings) else window
    starts = [i for i in range(len(whole) - len(part) + 1) if np.array_equal(whole[i : i + len(part)], part)]
    assert starts and len(part) >= 2
    ends = {with_ends(pieces.tokens(i)).tobytes() for i in range(len(pieces))}
    for first, past in itertools.pairwise(beginnings):
        assert window[first:past].tobytes() in ends  # other pieces, whole
    if len(beginnings) and beginnings[0]:
        before = window[: beginnings[0]].tobytes()
        assert any(end.endswith(before) for end in ends)  # and the end of one


def test_every_target_is_equally_likely(data: Path) -> None:
    """Within a slot the draw is uniform, and slots tile the targets of all pieces: counts follow the tokens."""
    windows = Windows(ShardSet(data, "train"), 8, None)
    rng = np.random.default_rng(0)
    targets = windows.pieces.token_counts() + 1
    epochs, seen = 40, [np.zeros(count, int) for count in targets]
    for slot in range(epochs * windows.slots):
        piece, fraction = windows.place(slot, rng)
        seen[piece][int(fraction * targets[piece])] += 1
    expected = epochs * windows.slots / windows.total
    for counts, size in zip(seen, targets, strict=True):
        assert (
            abs(counts.sum() / epochs - size * windows.slots / windows.total) <= 1
        )  # every epoch, each piece its share
    everywhere = np.concatenate(seen)
    assert abs(everywhere.mean() - expected) < 1e-9
    # Chi-square of all targets against one expectation, 6 standard deviations wide.
    chi_square = float(((everywhere - expected) ** 2 / expected).sum())
    assert abs(chi_square - len(everywhere)) < 6 * np.sqrt(2 * len(everywhere))


def test_first_and_last_targets_are_reached(data: Path) -> None:
    windows = Windows(ShardSet(data, "train"), 3, None)
    lasts = {int(windows(slot % windows.slots, np.random.default_rng(slot))["tokens"][-1]) for slot in range(2000)}
    assert EOS in lasts and BOS not in lasts and PAD not in lasts


def test_the_seed_decides(data: Path) -> None:
    def stream(seed: int, augmentation: Augmentation | None = AUGMENTATION) -> np.ndarray:
        return drawn(batches(data, batch=4, context=32, seed=seed, augmentation=augmentation), 3)

    assert np.array_equal(stream(1), stream(1))
    assert not np.array_equal(stream(1), stream(2))
    assert not np.array_equal(stream(1), stream(1, None))


def test_epochs_are_shuffled_and_augmented_anew(data: Path) -> None:
    slots = Windows(ShardSet(data, "train"), 8, None).slots
    rows = drawn(batches(data, batch=slots, context=24, seed=3, augmentation=AUGMENTATION), 2)
    assert not np.array_equal(rows[0], rows[1])
    assert len(np.unique(np.concatenate(rows), axis=0)) > 1.8 * slots


@pytest.mark.parametrize("after", [0, 1, 5, 40])
def test_resumed_is_uninterrupted(data: Path, after: int) -> None:
    def stream() -> Batches:
        return batches(data, batch=3, context=40, seed=5, augmentation=AUGMENTATION)

    whole = drawn(stream(), after + 3)
    first = stream()
    for _ in range(after):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    first.close()
    second = stream()
    next(second)  # a stream that has begun elsewhere can be set too
    second.set_state(state)
    assert np.array_equal(drawn(second, 3), whole[after:])


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_another_augmentation_takes_over(data: Path, after: int) -> None:
    """Exactly when it is due, also in a run that was stopped before or after."""

    def stream() -> Batches:
        return batches(data, batch=2, context=40, seed=5, augmentation=AUGMENTATION, later=[(6, None)])

    expected = drawn(batches(data, batch=2, context=40, seed=5, augmentation=AUGMENTATION), 6)
    expected[3:] = drawn(batches(data, batch=2, context=40, seed=5), 6)[3:]
    first = stream()
    np.testing.assert_array_equal(np.stack([next(first)["tokens"] for _ in range(after)]), expected[:after])
    state = json.loads(json.dumps(first.get_state()))
    first.close()
    second = stream()
    second.set_state(state)
    np.testing.assert_array_equal(drawn(second, 6 - after), expected[after:])


def test_resumed_with_another_batch_size_goes_on_at_the_same_place(data: Path) -> None:
    whole = drawn(batches(data, batch=4, context=16, seed=5), 6).reshape(24, -1)
    first = batches(data, batch=4, context=16, seed=5)
    next(first)
    second = batches(data, batch=2, context=16, seed=5)
    second.set_state(first.get_state())
    first.close()
    assert np.array_equal(drawn(second, 4).reshape(8, -1), whole[4:12])


def test_a_state_of_other_data_or_another_seed_is_refused(data: Path) -> None:
    stream = batches(data, batch=1, context=8, seed=1)
    for wrong in ({"seed": 2}, {"targets": 7}, {"targets": None}):
        with pytest.raises(ShardError, match="cannot resume"):
            stream.set_state(stream.get_state() | wrong)


def test_hosts_share_the_windows(data: Path) -> None:
    """Each has its part of every batch, so that all of them together train what one would."""
    whole = drawn(batches(data, batch=6, context=16, seed=9, augmentation=AUGMENTATION), 4)
    for host in range(3):
        stream = batches(data, batch=2, context=16, seed=9, augmentation=AUGMENTATION, host_index=host, host_count=3)
        assert np.array_equal(drawn(stream, 4), whole[:, 2 * host : 2 * host + 2])
    stream = batches(data, batch=1, context=16, seed=9, augmentation=AUGMENTATION, host_index=5, host_count=6)
    assert np.array_equal(drawn(stream, 4), whole[:, 5:])


@pytest.mark.slow
def test_worker_processes_give_the_same_stream(data: Path) -> None:
    """Also from a state saved without them."""
    first = batches(data, batch=2, context=16, seed=9, augmentation=AUGMENTATION)
    next(first)
    stream = batches(data, batch=2, context=16, seed=9, augmentation=AUGMENTATION, workers=2)
    stream.set_state(first.get_state())
    assert np.array_equal(drawn(stream, 3), drawn(first, 3))


def test_what_cannot_be_drawn_from_says_so(data: Path, tmp_path: Path, play: Callable[..., Performance]) -> None:
    with pytest.raises(ShardError, match="does not exist"):
        batches(tmp_path, batch=1, context=8, seed=0)
    (tmp_path / "music").mkdir()
    write_midi(play(1), tmp_path / "music" / "0.mid")
    prep.run(tmp_path / "music", tmp_path / "one", workers=0)
    with pytest.raises(ShardError, match="no pieces in its split validation"):
        batches(tmp_path / "one", "validation", batch=1, context=8, seed=0)
    for wrong in ({"batch": 0}, {"context": 0}, {"seed": -1}, {"host_index": 1}):
        with pytest.raises(ValueError, match=r"at least 1|does not exist|a seed lies in"):
            batches(data, **({"batch": 1, "context": 8, "seed": 0} | wrong))  # type: ignore[arg-type]


def test_evaluation_pieces_are_whole(data: Path) -> None:
    pieces = ShardSet(data, "train")
    found = list(evaluation_pieces(data, "train"))
    assert [name for name, _ in found] == [pieces.name(i) for i in range(len(pieces))]
    for i, (_, tokens) in enumerate(found):
        assert tokens.dtype == np.int16 and tokens[0] == BOS and tokens[-1] == EOS
        assert np.array_equal(tokens[1:-1], pieces.tokens(i))
