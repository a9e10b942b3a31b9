"""The second generation's legs: what travels between them, and what is scored."""

from __future__ import annotations

import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from musicgen.data_prep.dataset.gaps import Steps
from musicgen.data_prep.vocabulary import EOS
from musicgen.model.int4 import fake_quantize

RUNS = Path(__file__).parents[2] / "runs" / "piano"


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RUNS)
    for name in ("state", "score", "scoring", "preset", "corpora", "pack", "index", "music", "kinds"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_leg_ends_in_the_four_bits_that_it_was_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, in several files; they are read back as they were written, and found damaged if they are."""
    import state

    monkeypatch.setattr(state, "LARGEST", 110_000)
    rng = np.random.default_rng(0)
    params = {f"layers.{i}.up.kernel": rng.normal(0, 0.04, (64, 256)).astype(np.float32) for i in range(3)}
    params |= {"embedding": rng.normal(size=(9, 64)), "logits.kernel": rng.normal(size=(64, 9))}
    trained = fake_quantize({name: jnp.asarray(x, jnp.float32) for name, x in params.items()})
    written = state.save_four_bits(tmp_path, params, {"step": 7})
    read, about = state.load(tmp_path)
    assert about["step"] == 7 and len(list(tmp_path.glob("four-*.npz"))) > 1
    for name, x in trained.items():
        np.testing.assert_array_equal(written[name], x)
        np.testing.assert_array_equal(read[name], x)
    damaged = tmp_path / "four-0.npz"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match="four-0.npz is damaged"):
        state.load(tmp_path)


def test_every_token_is_scored_once_and_the_end_where_there_is_one() -> None:
    import score

    start = np.arange(0, 3_000, 10)
    notes = Steps(start, start + 5, 40 + start % 40, 1 + start % 30)
    for ends in (True, False):
        rows = score.windows(notes, 256, 64, ends=ends)
        targets = np.concatenate([row[row > 0] for row in rows])
        assert (targets == EOS).sum() == ends
        assert len(targets) - ends == len(
            score.windows(notes, 1 << 14, 1 << 14, ends=False)[0][1:].clip(0).nonzero()[0]
        )


def test_what_was_learnt_is_scored_as_it_was_played() -> None:
    import corpora

    from musicgen.data_prep.dataset.mixture import Corpus

    def corpus(style: str) -> Corpus:
        onset = np.tile(np.arange(50) * 0.5, 4)
        pitch = np.repeat(np.arange(60, 64, dtype=np.uint8), 50)
        offsets = np.arange(0, 201, 50)
        velocity, melody, mood = np.full(200, 64, np.uint8), np.zeros(200, bool), np.zeros(4, int)
        return Corpus(style, 1.0, 1.0, onset, onset + 0.3, pitch, velocity, melody, offsets, mood)

    found = corpora.learnt([corpus(style) for style in corpora.STYLES.values()], 2)
    assert list(found) == [f"trained {name}" for name in corpora.STYLES]
    first, second = found["trained maestro"]
    assert (first.pitch == 60).all() and (second.pitch == 62).all()
    assert first.start[:3].tolist() == [0, 50, 100] and first.end[0] == 30


def test_a_region_that_needs_no_wait_and_follows_nothing_is_scored() -> None:
    import score

    start = np.array([0, 10, 20])
    notes = Steps(start, start + 5, 60 + start, np.ones(3, int))
    row = score.in_stream(notes, score.Gap(0, 100), 64)
    assert row.dtype == np.int16 and (row > 0).sum() > 6


def test_rows_that_nobody_builds_any_more_are_not_waited_for(tmp_path: Path) -> None:
    from types import SimpleNamespace as Some

    import scoring

    options = Some(preset="piano", toy=True, context=None, validation=tmp_path / "none.npz", whole=None, out=tmp_path)
    scores = scoring.Scores(options, None, None, print, Some(exitcode=1))
    with pytest.raises(RuntimeError, match="the rows of validation were not built"):
        scores(0, {}, "float", scores.settings[0])


def test_what_is_listed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import index
    import pack

    bach, satie = (RUNS.parents[1] / "app" / "primes" / f"{name}.mid" for name in ("bach", "satie"))
    place = tmp_path / "asap"
    place.mkdir()
    (place / "asap.csv").write_text("split,midi_filename\ntrain,bach.mid\ntrain,satie.mid\n")
    for prime in (bach, satie):
        (place / prime.name).write_bytes(prime.read_bytes())
    listed = tmp_path / "left_out.txt"
    listed.write_text("asap/bach.mid\n")
    monkeypatch.setattr(pack, "LEFT_OUT", listed)
    monkeypatch.setattr(pack, "Pool", ThreadPool)  # JAX runs in this process, which so is not to be forked
    (left,) = pack.pieces_of(tmp_path, "asap", 1)
    assert len(left.notes) == len(index.read(str(satie)) or [])


def test_a_piece_begins_with_its_first_note_and_ends_at_its_length() -> None:
    import music

    from musicgen.data_prep.vocabulary import NOTE_ON, TIME_SHIFT, VELOCITY

    struck, second, half = NOTE_ON + 60, TIME_SHIFT + 99, TIME_SHIFT + 49
    row = np.array([second, VELOCITY + 9, struck, second, half, second, second], np.int16)
    passed, begun = music.seconds_of(np.stack([row[:2], row[2:4]]), np.zeros(2, bool))
    assert passed.tolist() == [0.0, 1.0] and begun.tolist() == [False, True]
    assert music.trimmed(row, 2.0).tolist() == [VELOCITY + 9, struck, second, half, second]


def test_kinds_of_music_are_told_apart() -> None:
    """Those who play high and fast from those who play low and slowly."""
    import kinds

    from musicgen.data_prep.performance import NO_PEDAL, Performance

    def piece(kind: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        onset = np.cumsum(rng.exponential(0.1 + 0.1 * kind, 300))
        pitch = np.full(300, 80 - 10 * kind) + rng.integers(0, 8, 300)
        return kinds.parts_of(Performance(onset, onset + 0.2, pitch, np.full(300, 64), NO_PEDAL))

    labels = np.repeat(np.arange(len(kinds.KINDS)), 6)
    ear = kinds.Ear([piece(kind, i) for i, kind in enumerate(labels)], labels.tolist())
    assert ear.names([piece(1, 100), piece(1, 101), piece(4, 102)]) == {
        **dict.fromkeys(kinds.KINDS, 0),
        kinds.KINDS[1]: 2,
        kinds.KINDS[4]: 1,
    }
