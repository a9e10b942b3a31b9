"""Sampled pianos: packed as they are published, and played: pitch, level, touch, dampers, rooms."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from musicgen.data_prep import Performance

RUNS = Path(__file__).parents[2] / "runs"
RATE = 24_000


@pytest.fixture(scope="module", autouse=True)
def in_runs() -> None:
    sys.path.insert(0, str(RUNS))


@pytest.fixture(scope="module")
def pianos() -> ModuleType:
    return importlib.import_module("pianos")


@pytest.fixture(scope="module")
def sampler() -> ModuleType:
    return importlib.import_module("sampler")


@pytest.fixture(scope="module")
def rendering() -> ModuleType:
    return importlib.import_module("render_maestro")


@pytest.fixture(scope="module")
def packed(pianos: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A piano of every A, its hard touch with an octave in it; half a second of silence comes before each tone."""
    folder = tmp_path_factory.mktemp("piano")
    t = np.arange(3 * RATE) / RATE
    for octave in range(1, 8):
        hertz = 440 * 2.0 ** (octave - 4)
        for touch, loud, upper in (("L", 0.02, 0.0), ("H", 0.4, 0.5)):
            tone = loud * np.exp(-2 * t) * (np.sin(2 * np.pi * hertz * t) + upper * np.sin(4 * np.pi * hertz * t))
            sound = np.concatenate([np.zeros(RATE // 2), tone])
            soundfile.write(folder / f"A{octave}v{touch}.flac", np.stack([sound, sound], axis=1), RATE)
    published = pianos.PIANOS["kawai-upright"]
    pianos.pack(pianos.published_samples(folder, published), published, folder / "piano")
    return folder / "piano"


@pytest.fixture(scope="module")
def piano(sampler: ModuleType, packed: Path) -> object:
    return sampler.SampledPiano(packed)


def strongest(sound: np.ndarray) -> float:
    """Hertz."""
    return float(np.argmax(np.abs(np.fft.rfft(sound, 8 * len(sound)))) * RATE / (8 * len(sound)))


def test_what_is_packed(packed: Path) -> None:
    about = json.loads(packed.with_suffix(".json").read_text())
    assert about["licence"] == "CC0" and "FreePats" in about["author"]
    assert [(s["key"], s["touch"]) for s in about["samples"]] == [(33 + 12 * (n % 7), n // 7) for n in range(14)]
    sound, rate = soundfile.read(packed.with_suffix(".flac"))
    assert rate == RATE and np.abs(sound).max() == pytest.approx(0.9, abs=1e-3)
    first = about["samples"][0]
    assert 2.5 < first["length"] / RATE < 3.1  # the silence before it is gone
    assert packed.with_suffix(".flac").stat().st_size < 2 * len(sound)


def test_a_piano_that_is_packed_again_is_unpacked_again(pianos: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "piano.npy").write_bytes(b"of an earlier one")
    tone = np.sin(np.arange(RATE) / 5).astype(np.float32)
    pianos.pack(iter([pianos.Sample(60, 0, tone)]), pianos.PIANOS["old-upright"], tmp_path / "piano")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["piano.flac", "piano.json"]


@pytest.mark.parametrize("key", [21, 57, 60, 69, 75, 108])
def test_a_key_sounds_at_its_pitch(piano: object, key: int) -> None:
    sound = piano.note(key, 30, 1.0, 0.28)  # type: ignore[attr-defined]
    assert strongest(sound[: RATE // 2]) == pytest.approx(440 * 2 ** ((key - 69) / 12), rel=3e-3)


def test_a_harder_touch_is_louder_and_another_sample(piano: object) -> None:
    soft, hard = (piano.note(69, velocity, 1.0, 0.25)[:RATE] for velocity in (40, 100))  # type: ignore[attr-defined]
    assert 20 * np.log10(np.abs(hard).max() / np.abs(soft).max()) == pytest.approx(60 * 0.25, abs=2)
    upper = [np.abs(np.fft.rfft(sound))[880] / np.abs(np.fft.rfft(sound))[440] for sound in (soft, hard)]
    assert upper[0] < 0.05 < 0.4 < upper[1]


def test_dampers_fall_but_for_the_highest_keys(piano: object) -> None:
    damped, held = (piano.note(69, 80, seconds, 0.28) for seconds in (0.5, 2.0))  # type: ignore[attr-defined]
    assert len(damped) < 1.0 * RATE < len(held)
    late = slice(round(0.6 * RATE), round(0.7 * RATE))
    assert np.abs(damped[late]).max() < 0.1 * np.abs(held[late]).max()
    assert len(piano.note(100, 80, 0.1, 0.28)) > 1.0 * RATE  # type: ignore[attr-defined]


def test_music_in_blocks_is_what_its_notes_are(sampler: ModuleType, piano: object) -> None:
    """Also where a note rings over the end of a block; the pedal holds."""
    onset = np.array([0.5, 29.9, 31.0])
    music = Performance(onset, onset + 0.2, np.array([57, 69, 60]), np.array([60, 90, 50]), np.array([[29.0, 127.0]]))
    blocks = list(sampler.play(music, piano, 0.28))
    assert [len(block) for block in blocks[:2]] == [30 * RATE, 30 * RATE]
    whole = np.concatenate(blocks)
    plain = np.zeros(len(whole))
    for number, seconds in enumerate((0.2, 1.3, 0.2)):
        note = piano.note(int(music.pitch[number]), int(music.velocity[number]), seconds, 0.28)  # type: ignore[attr-defined]
        plain[round(onset[number] * RATE) :][: len(note)] += note
    np.testing.assert_allclose(whole, plain, atol=1e-6)


def test_a_room_in_pieces_is_the_room(rendering: ModuleType) -> None:
    rng = np.random.default_rng(0)
    pieces, response = [rng.normal(size=n) for n in (1000, 10, 0, 3000)], rng.normal(size=700)
    wet = np.concatenate(list(rendering.in_room(iter(pieces), response)))
    np.testing.assert_allclose(wet[:4709], np.convolve(np.concatenate(pieces), response), rtol=1e-4, atol=1e-3)


def test_a_take_is_its_name_s(rendering: ModuleType) -> None:
    """Of 200 pieces a quarter is dry and a third without noise; the microphone tilts the spectrum as it says."""
    takes = [rendering.take_of(rendering.Job("", "train", "", f"{n}.wav", 1.0)) for n in range(200)]
    assert takes[3] == rendering.take_of(rendering.Job("other", "test", "x", "3.wav", 9.0))
    assert 30 <= sum(take.room_seconds == 0 for take in takes) <= 70
    assert 45 <= sum(take.noise_db == -200 for take in takes) <= 90
    dry = next(take for take in takes if take.room_seconds == 0 and abs(take.tilt) > 1)
    response = rendering.through_microphone(rendering.impulse(dry, np.random.default_rng(0)), dry)
    gain = 20 * np.log10(np.abs(np.fft.rfft(response, RATE)))
    assert gain[4000] - gain[1000] == pytest.approx(2 * dry.tilt, abs=0.3)
    assert np.sum(response[:48] ** 2) > 0.98 * np.sum(response**2)  # nothing smears
    hiss = rendering.noise(2 * RATE, dry, np.random.default_rng(1)) if dry.noise_db > -200 else np.zeros(1)
    assert len(hiss) in (1, 2 * RATE)
