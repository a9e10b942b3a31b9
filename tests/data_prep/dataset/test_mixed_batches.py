"""Rows drawn from the corpora of a data set: what each is of, and that they go on where they stood."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from musicgen.data_prep.dataset import prep
from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.data_prep.dataset.gaps import END
from musicgen.data_prep.dataset.loader import Batches, LoaderSettings
from musicgen.data_prep.dataset.mixture import MOOD, STYLE, Mixing, Sharded, mixed_batches
from musicgen.data_prep.dataset.shards import ShardSet
from musicgen.data_prep.midi import write_midi
from musicgen.data_prep.performance import Performance
from musicgen.data_prep.vocabulary import STYLES

GAPS = np.array([False, True, True, False])
KINDS = {"jazz": "jazz", "clips": "pop"}
SETTINGS = LoaderSettings(batch=8, context=300, seed=3)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory, play: Callable[..., Performance]) -> ShardSet:
    """A corpus of jazz, and one of clips that tell their moods."""
    folder = tmp_path_factory.mktemp("corpora")
    for name, files in (("jazz", ("a.mid", "b.mid")), ("clips", ("Q1_a.mid", "Q4_b.mid", "quiet.mid"))):
        (folder / name).mkdir()
        for seed, file in enumerate(files):
            write_midi(play(seed + len(name), 150), folder / name / file)
        rows = "".join(f"{file},train\n" for file in files)
        (folder / name / "splits.csv").write_text("midi_filename,split\n" + rows)
    sources = [prep.Source(folder / name, folder / name / "splits.csv", style) for name, style in KINDS.items()]
    prep.run(sources, folder / "set", workers=0)
    return ShardSet(folder / "set", "train")


def drawn(batches: Batches, count: int) -> np.ndarray:
    return np.stack([next(batches)["tokens"] for _ in range(count)])


def test_a_corpus_is_that_of_the_data_set(pieces: ShardSet) -> None:
    clips = Sharded(pieces, "clips", 1.0, 1.0)
    assert clips.style == "pop" and sorted(clips.mood.tolist()) == [0, 1, 4]
    for number, piece in enumerate(clips.numbers):
        whole, first = pieces.notes(piece), int(clips.offsets[number])
        assert clips.offsets[number + 1] - first == len(whole)
        part, melody = clips.cut(number, first + 10, first + 25)
        assert part.equals(
            Performance(*(x[10:25] for x in (whole.onset, whole.end, whole.pitch, whole.velocity)), whole.pedal)
        )
        assert melody.shape == (15,) and not melody.any()


def test_rows_with_gaps_stand_where_the_model_wants_them(pieces: ShardSet) -> None:
    """On every host, and each host has its part of what one would draw."""
    shares = {"jazz": (1.0, 1.0), "clips": (1.0, 1.0)}
    hosts = [
        drawn(mixed_batches(pieces, shares, GAPS, dataclasses.replace(SETTINGS, host_index=host, host_count=2)), 2)
        for host in range(2)
    ]
    for rows in hosts:
        assert rows.shape == (2, 8, 301) and rows.dtype == np.int16
        np.testing.assert_array_equal((rows == END).any(axis=2), np.tile(GAPS, (2, 2)))
    whole = mixed_batches(pieces, shares, GAPS, dataclasses.replace(SETTINGS, batch=2 * SETTINGS.batch))
    np.testing.assert_array_equal(np.concatenate(hosts, axis=1), drawn(whole, 2))


def test_shares_and_styles(pieces: ShardSet) -> None:
    """A corpus with no share does not come, and each is told by the style of its folder."""
    every = Mixing(style=1.0, mood=1.0, told=1.0)
    for name, other in (("jazz", "clips"), ("clips", "jazz")):
        shares = {name: (1.0, 1.0), other: (1e-9, 1e-9)}
        rows = drawn(mixed_batches(pieces, shares, GAPS, SETTINGS, mixing=every), 2)
        tokens = np.where(rows < 0, ~rows, rows)
        styles = set(tokens[(tokens >= STYLE) & (tokens < MOOD)].tolist())
        assert styles == {STYLE + STYLES.index(KINDS[name])}
        assert ((tokens >= MOOD) & (tokens < MOOD + 4)).any() == (name == "clips")


def test_going_on(pieces: ShardSet) -> None:
    """The rows of another augmentation come when they are due, also after a stop, and by worker processes."""

    def make(workers: int = 0) -> Batches:
        settings = dataclasses.replace(SETTINGS, workers=workers)
        return mixed_batches(
            pieces, {"jazz": (1.0, 2.0), "clips": (3.0, 1.0)}, GAPS, settings, Augmentation(), [(16, None)]
        )

    whole = drawn(make(), 4)
    first = make()
    drawn(first, 1)
    second = make(workers=1)
    second.set_state(first.get_state())
    rest = drawn(second, 3)
    second.close()
    np.testing.assert_array_equal(rest, whole[1:])
    plain = drawn(mixed_batches(pieces, {"jazz": (1.0, 2.0), "clips": (3.0, 1.0)}, GAPS, SETTINGS), 4)
    np.testing.assert_array_equal(plain[2:], whole[2:])
    assert not np.array_equal(plain[:2], whole[:2])
