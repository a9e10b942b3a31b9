"""A tempo map for music without a beat: nothing sounds otherwise, and bars begin where they are heard."""

from __future__ import annotations

import io
from pathlib import Path

import mido
import numpy as np
import pytest

from musicgen.app.bars import add_bars, hear_beat, put_in_bars
from musicgen.app.cli import main
from musicgen.app.errors import BadInput
from musicgen.data_prep import Performance, decode, encode, read_midi, write_midi
from musicgen.data_prep.performance import NO_PEDAL
from tests.app.test_sheet import waltz


def steady(begin: float = 0.0) -> Performance:
    """Quavers at 92 to the minute, a little uneven."""
    onset = begin + np.arange(120) * 30 / 92 + np.random.default_rng(3).uniform(0, 0.02, 120)
    pitch = np.array([(48, 64, 60, 64)[n % 4] for n in range(120)])
    return Performance(onset, onset + 0.3, pitch, np.full(120, 80), NO_PEDAL)


def tempo(data: bytes) -> float:
    """Beats a minute of a file, in the mean."""
    marks = mido.MidiFile(file=io.BytesIO(data)).tracks[0]
    return float(np.median([60e6 / message.tempo for message in marks if message.type == "set_tempo"]))


@pytest.mark.parametrize("begin", [0.0, 0.4, 3.1])
def test_the_same_music_with_a_tempo_map(begin: float) -> None:
    data = write_midi(steady(begin), text=("hello",))
    written, remark = add_bars(data)
    before, after = read_midi(data)[0], read_midi(written)[0]
    assert np.allclose(before.onset, after.onset, atol=3e-5) and np.allclose(before.end, after.end, atol=3e-5)
    assert before.pitch.tolist() == after.pitch.tolist()
    file = mido.MidiFile(file=io.BytesIO(written))
    assert file.ticks_per_beat % 480 == 0
    assert min(abs(tempo(written) / at - 1) for at in (46, 92, 184)) < 0.04  # as a musician might count
    assert [m.text for m in file.tracks[0] if m.type == "text"] == ["hello"]
    assert any(message.type == "time_signature" for message in file.tracks[0])
    assert "estimated" in remark


@pytest.mark.parametrize("seed", range(12))
def test_what_is_drawn_from_nothing_stays_what_it_is(seed: int) -> None:
    """On the ticks of any beat, also of a few notes': tokens read from the file are those that were drawn."""
    chance = np.random.default_rng(seed)
    notes = int(chance.integers(4, 300))
    steps = np.sort(chance.integers(0, 30 * notes, notes)) if seed % 2 else 25 * np.arange(notes)
    pitch = chance.integers(30, 100, notes)
    velocity = chance.integers(20, 120, notes)
    music = decode(encode(Performance(steps / 100, steps / 100 + 0.2, pitch, velocity, NO_PEDAL)))
    written, heard = put_in_bars(music)
    assert seed % 2 or notes < 30 or "estimated" in heard
    again = read_midi(write_midi(written))[0]
    assert np.abs(again.onset - music.onset).max() < 1e-4 and np.abs(again.end - music.end).max() < 1e-4
    assert encode(again).tolist() == encode(music).tolist()


def test_a_file_with_a_beat_stays_as_it_is() -> None:
    written, remark = add_bars(waltz())
    assert written == waltz() and "of its own" in remark


def test_where_no_beat_is_heard_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = np.random.default_rng(2)
    onset = np.cumsum(chance.exponential(0.2, 400))
    music = Performance(onset, onset + 0.2, chance.integers(40, 90, 400), chance.integers(30, 100, 400), NO_PEDAL)
    assert hear_beat(music)[0] is None
    with pytest.raises(BadInput, match="no clear beat"):
        add_bars(write_midi(music))
    write_midi(music, tmp_path / "in.mid")
    assert main(["score", str(tmp_path / "in.mid"), "--out", str(tmp_path / "out.mid")]) == 2
    assert "no clear beat" in capsys.readouterr().err and not (tmp_path / "out.mid").exists()
