"""The codec's benchmarks: distances by their definitions, and the whole way from MIDI to a table at toy size."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.dataset import audio_prep
from musicgen.data_prep.dataset.audio_shards import SAMPLE_RATE, AudioSet

ROOT = Path(__file__).parents[2]


def run_program(name: str, *arguments: object) -> None:
    """As a person runs it: its worker processes import the program anew."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, str(ROOT / name), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def distances(program: Callable[[str], ModuleType]) -> Iterator[ModuleType]:
    path = list(sys.path)
    yield program("benchmarks/codec/distances.py")
    sys.path[:] = path


def music(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return sum(0.2 * np.exp(-t) * np.sin(2 * np.pi * f * t) for f in rng.uniform(80, 2000, 4)) + rng.normal(
        0, 1e-3, t.size
    )


def test_distances_of_what_is_equal_softer_or_noisy(distances: ModuleType) -> None:
    real = music()
    same = distances.measure(real, real, SAMPLE_RATE)
    assert same["mel"] == same["mel_default"] == same["stft"] == 0
    assert same["si_sdr"] > 80
    noisy = real + 0.1 * np.std(real) * np.random.default_rng(1).normal(size=real.size)
    assert distances.measure(noisy, real, SAMPLE_RATE)["si_sdr"] == pytest.approx(20, abs=0.3)
    # A tenth is one decade at each of seven scales (mel), two of squares at each of two, and 0.9 of what there is.
    noise = np.random.default_rng(2).normal(0, 0.1, 48_000)  # nothing of it under the clamp
    assert distances.mel_distance(0.1 * noise, noise, SAMPLE_RATE) == pytest.approx(7, abs=0.05)
    plain = sum(np.mean(distances.spectrogram(noise, window)) for window in (2048, 512))
    assert distances.stft_distance(0.1 * noise, noise) == pytest.approx(4 + 0.9 * plain, rel=1e-2)


def test_the_training_loss_is_the_same_distance(distances: ModuleType) -> None:
    import jax.numpy as jnp

    from musicgen.model.codec.losses import LossConfig, mel_distance

    real, fake, losses = music(0.5), music(0.5, seed=1), LossConfig()
    loss = mel_distance(jnp.float32(fake)[None], jnp.float32(real)[None], SAMPLE_RATE, losses.windows, losses.mels)
    assert float(loss) == pytest.approx(distances.mel_distance(fake, real, SAMPLE_RATE), rel=1e-2)


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_loudness_of_a_tone_is_what_the_standard_says(distances: ModuleType, rate: int) -> None:
    """ITU-R BS.1770: a full-scale sine of 997 Hz in one channel has -3.01 LUFS."""
    tone = np.sin(2 * np.pi * 997 * np.arange(5 * rate) / rate)
    assert distances.loudness(tone, rate) == pytest.approx(-3.01, abs=0.1)
    paused = np.concatenate([0.1 * tone, np.zeros(5 * rate)])  # the gate leaves silence out
    assert distances.loudness(paused, rate) == pytest.approx(-23.01, abs=0.3)


@pytest.mark.parametrize("lag", [-300, 0, 45])
def test_alignment(distances: ModuleType, lag: int) -> None:
    real = music()
    moved = np.roll(np.pad(real, 500), lag)[500:-500]
    found = distances.aligned(moved, real)
    assert found.shape == real.shape
    np.testing.assert_allclose(found[500:-500], real[500:-500], atol=1e-12)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pieces in MAESTRO's layout, rendered by the script as a program with processes of its own."""
    folder = tmp_path_factory.mktemp("maestro")
    (folder / "2008").mkdir()
    lines = ["split,midi_filename,audio_filename,duration"]
    for i, split in enumerate(("train", "validation", "test")):
        rng = np.random.default_rng(i)
        onset = np.sort(rng.uniform(0, 9, 30))
        pedal = np.array([[0.0, 127.0], [5.0, 0.0]])
        piece = Performance(onset, onset + 0.4, rng.integers(40, 90, 30), rng.integers(30, 110, 30), pedal)
        write_midi(piece, folder / "2008" / f"{i}.midi")
        lines.append(f"{split},2008/{i}.midi,2008/{i}.wav,10.0")
    (folder / "maestro-v3.0.0.csv").write_text("\n".join(lines) + "\n")
    make_pianos(folder)
    pianos = ("--pianos", folder / "pianos", "--held-out", "old-upright")
    run_program("runs/render_maestro.py", folder, folder / "audio", *pianos, "--workers", 2)
    return folder / "audio"


def make_pianos(folder: Path) -> None:
    """Two pianos of decaying tones, as they are published, and packed: one with two touches, one with one."""
    import soundfile

    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    for name, touches in (("kawai-upright", ("vL", "vH")), ("old-upright", ("",))):
        samples = folder / "sources" / name / "samples"
        samples.mkdir(parents=True)
        for octave in range(2, 7):
            for number, touch in enumerate(touches):
                tone = np.sin(2 * np.pi * 440 * 2.0 ** (octave - 4) * t)
                tone += number * 0.5 * np.sin(4 * np.pi * 440 * 2.0 ** (octave - 4) * t)
                soundfile.write(samples / f"A{octave}{touch}.flac", 0.3 * tone * np.exp(-3 * t), SAMPLE_RATE)
    run_program("runs/pianos.py", folder / "sources", folder / "pianos", "kawai-upright", "old-upright")


def test_rendering_keeps_splits_and_the_audio_job_takes_it(rendered: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader((rendered / "renders.csv").read_text().splitlines()))
    pianos = {row["split"]: row["piano"] for row in rows}
    assert pianos == {"train": "kawai-upright", "validation": "kawai-upright", "test": "old-upright"}
    report = audio_prep.run(rendered, tmp_path / "set", csv=rendered / "renders.csv", workers=0)
    assert not len(report.rejected)
    for row in rows:
        recordings = AudioSet(tmp_path / "set", row["split"])
        assert recordings.name(0) == row["audio_filename"]
        assert recordings.items[0]["peak_db"] == pytest.approx(float(row["peak_db"]), abs=0.2)
        assert recordings.items[0]["seconds"] > 9.5


def test_a_render_is_its_name_s(rendered: Path, tmp_path: Path) -> None:
    """Whatever process makes it, and whenever."""
    maestro = rendered.parent
    pianos = ("--pianos", maestro / "pianos", "--held-out", "old-upright")
    run_program("runs/render_maestro.py", maestro, tmp_path / "again", *pianos, "--workers", 0)
    names = sorted(path.relative_to(rendered) for path in rendered.rglob("*.wav"))
    assert len(names) == 3
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (rendered / name).read_bytes()
    rows = [(folder / "renders.csv").read_text().splitlines() for folder in (rendered, tmp_path / "again")]
    assert sorted(rows[0]) == sorted(rows[1])


def test_a_folder_of_recordings_is_measured(tmp_path: Path) -> None:
    """Whatever its files are, and at whatever rate."""
    import soundfile

    t = np.arange(12 * 48_000) / 48_000
    tone = 0.3 * np.exp(-(t % 1.0)) * np.sin(2 * np.pi * 440 * t)
    (tmp_path / "real" / "deeper").mkdir(parents=True)
    soundfile.write(tmp_path / "real" / "a.flac", np.stack([tone, tone], axis=1), 48_000)
    soundfile.write(tmp_path / "real" / "deeper" / "b.ogg", tone[::2], 24_000)
    (tmp_path / "real" / "notes.txt").write_text("no recording\n")
    opus = ("--kbps", 12, "--others", "Opus", "--workers", 0)
    run_program("benchmarks/codec/evaluate.py", tmp_path / "real", tmp_path / "out", *opus)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [row["name"] for row in result["rows"]] == ["a.flac at 0 s", "deeper/b.ogg at 0 s"]
    assert result["codecs"][0]["codec"] == "Opus 12" and result["codecs"][0]["si_sdr"] > 10


@pytest.mark.nightly
def test_from_recordings_to_a_table(rendered: Path, tmp_path: Path) -> None:
    """A codec of random weights beside Opus and MP3."""
    import soundfile

    if "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile writes no MP3")
    audio_prep.run(rendered, tmp_path / "set", csv=rendered / "renders.csv", workers=0)
    from musicgen.checkpoints import codec_release
    from musicgen.model import parameters
    from musicgen.model.codec.config import CodecConfig
    from musicgen.model.codec.soundstream import SoundStream

    codec = CodecConfig(
        strides=(10, 32),
        encoder_widths=(2, 4, 8),
        decoder_widths=(2, 4, 8),
        dilations=(1,),
        frame_units=0,
        width=8,
        codebook_size=64,
        codebooks=14,
    )
    params = {name: np.asarray(x) for name, x in parameters.initial(codec, 0, SoundStream).items()}
    codec_release.release(tmp_path / "codec", codec, params, {}, "# Toy\n")
    run_program(
        "benchmarks/codec/evaluate.py",
        tmp_path / "set",
        tmp_path / "out",
        "--codec",
        tmp_path / "codec",
        "--kbps",
        6,
        "--workers",
        1,
        "--excerpts",
        1,
    )
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [line["codec"] for line in result["codecs"]] == ["Opus 6", "MP3 6", "ours 6"]
    opus, mp3, ours = result["codecs"]
    assert 4 < opus["kbps"] < 10
    assert 7 < mp3["kbps"] < 9
    assert ours["kbps"] == pytest.approx(5.85)
    assert opus["si_sdr"] > ours["si_sdr"]  # the one is a codec, the other has random weights
    assert len(result["perplexity"]) == 14
    assert all(1 <= value <= 64 for value in result["perplexity"])
