"""What is measured of sounds: levels, onsets, noise, and distances of spectra."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="module")
def listen(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("benchmarks/codes/listen.py")


def tone(hertz: float, seconds: float = 4.0, decay: float = 0.0) -> np.ndarray:
    """A note, or one struck anew every half second."""
    t = np.arange(round(seconds * 24_000)) / 24_000
    return np.asarray(0.2 * np.sin(2 * np.pi * hertz * t) * np.exp(-decay * (t % 0.5)), np.float32)


def test_measures_of_sounds_that_are_known(listen: ModuleType) -> None:
    """What is measured of a note, of notes struck twice a second, of noise, and of a note that fades."""
    noise = np.random.default_rng(0).normal(0, 0.1, 96_000).astype(np.float32)
    held, struck, faded = tone(440.0), tone(440.0, decay=12.0), tone(440.0) * np.linspace(1, 0.1, 96_000)
    note = listen.measured(held, held)
    assert note["harmony"] == pytest.approx(1.0) and note["flatness"] < 0.01 and abs(note["change"]) < 0.1
    assert note["between"] < 0.2 and listen.measured(noise, held)["between"] == pytest.approx(0.61, abs=0.02)
    assert listen.measured(noise, held)["flatness"] > 0.4 > listen.measured(noise, held)["harmony"] - 0.2
    assert listen.measured(struck, held)["onsets"] == pytest.approx(2.0, abs=0.3) and note["onsets"] < 0.5
    assert -14 < listen.measured(np.asarray(faded, np.float32), held)["change"] < -8
    assert listen.measured(tone(622.25), held)["harmony"] < 0.5  # a tritone above


def test_the_distance_of_spectra_grows_with_the_level(listen: ModuleType) -> None:
    rng = np.random.default_rng(1)
    sounds = [rng.normal(0, level, 48_000).astype(np.float32) for level in (0.1, 0.1, 0.2, 0.8)]
    bands = [listen.banded(listen.spectra(sound)) for sound in sounds]
    same, louder, loudest = (listen.distance(bands[0], other) for other in bands[1:])
    assert same < louder / 3 < loudest / 9


def test_the_table_of_what_was_recorded(listen: ModuleType) -> None:
    """The README's lines are those of the file."""
    told = (Path(listen.__file__ or "").with_name("listen.jsonl")).read_text().splitlines()
    table = listen.table([json.loads(line) for line in told])
    assert "| 20 | 1:1, adrift | 1.64e+03 | 45.7 ± 0.63 |" in table and table.count("\n") == 1 + len(told)


@pytest.fixture(scope="module")
def heard(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("benchmarks/codes/heard.py")


def test_what_is_heard_of_notes_and_of_noise(heard: ModuleType) -> None:
    """Two notes a second for four seconds after a prime of two, then four seconds that are noise and hold no note."""
    prime, music = tone(440.0, 2.0), tone(440.0, 4.0, decay=2.0)
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * 24_000).astype(np.float32)
    sound = np.concatenate([prime, music, noise])

    def hear(samples: np.ndarray, on_progress: Callable[[float], None]) -> SimpleNamespace:
        assert len(samples) == len(sound)  # the prime lies within the seconds that are listened to before
        onset = 2 + np.arange(8) / 2
        rows = [(0.0, 1.9, 69, 60), *((at, at + 0.5, 69, 60) for at in onset), (5.51, 5.9, 81, 60)]
        return SimpleNamespace(notes=np.array(rows[::-1]))

    told = heard.heard(sound, hear, 2.0, 8)
    first, all_of_it = heard.measured(told, 4), heard.measured(told, 8)
    assert first["notes"] == 9 / 4 and first["onsets"] == 2.0  # two are struck together
    assert first["entropy"] == pytest.approx(-(8 / 9 * np.log2(8 / 9) + 1 / 9 * np.log2(1 / 9)))
    assert first["explained"] > 0.95 and first["noise"] == 0.0
    assert all_of_it["notes"] == 9 / 8 and 0.35 <= all_of_it["noise"] <= 0.5  # the last note rings for a second
    line = heard.line_of("made", [told, told], 8)
    assert line["notes"] == [1.125, 0.0] and "| made | 8 | 2 | 1.12 ± 0 |" in heard.table([line])


def test_silence_is_no_noise(heard: ModuleType) -> None:
    told = heard.Heard(np.zeros((0, 4)), np.array([[0.0, 1e-9], [0.9, 1.0]]))
    assert heard.measured(told, 2)["noise"] == 0.0 and heard.measured(told, 2)["onsets"] == 0.0


def test_the_table_of_what_was_heard(heard: ModuleType) -> None:
    """The README's lines are those of the file."""
    here = Path(heard.__file__ or "").parent
    told = [json.loads(line) for line in (here / "heard.jsonl").read_text().splitlines()]
    assert heard.table(told) in (here / "README.md").read_text()
