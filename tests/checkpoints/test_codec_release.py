"""Released codecs: what was written is what is read, damage and other things are refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.checkpoints import CheckpointError, UnknownCheckpointError, codec_release
from musicgen.model import parameters
from musicgen.model.codec.config import CODEC_PRESETS
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.codec.streaming import StreamingDecoder, StreamingEncoder

CODEC = CODEC_PRESETS["toy-mdct"]


@pytest.fixture(scope="module")
def params() -> dict[str, np.ndarray]:
    return {n: np.asarray(x) for n, x in parameters.initial(CODEC, 0, SoundStream).items()}


@pytest.fixture
def released(tmp_path: Path, params: dict[str, np.ndarray]) -> Path:
    codec_release.release(tmp_path / "codec", CODEC, params, {"steps": 3}, "# A codec\n")
    return tmp_path / "codec"


def test_a_codec_comes_back(released: Path, params: dict[str, np.ndarray]) -> None:
    codec = codec_release.load(released)
    assert (codec.name, codec.config, codec.about) == ("codec", CODEC, {"steps": 3})
    assert codec.sha256 == checkpoints.identity((released / "SHA256SUMS").read_text())
    parameters.bind(codec.config, codec.params, SoundStream)
    for name, value in params.items():
        if name.endswith(".kernel"):
            assert codec.weights[name].dtype == np.int8
            step = np.abs(value).max(axis=(0, 1)) / 127
            assert (np.abs(codec.params[name] - value) <= 0.5 * step + 1e-7).all()
        else:
            np.testing.assert_allclose(codec.params[name], value, rtol=1e-3, atol=1e-3)


def test_what_is_no_codec_is_refused(released: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownCheckpointError, match="no codec nowhere: give one"):
        codec_release.load("nowhere")
    with pytest.raises(CheckpointError, match="holds a model and no codec"):
        codec_release.load(checkpoints.find(checkpoints.DEFAULT))
    weights = next(released.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged"):
        codec_release.load(released)


@pytest.mark.slow
def test_the_codec_that_ships() -> None:
    """It fits in 20 MiB with a card, nothing lies beside it, and notes of a piano come back at 6 kbps."""
    codec = codec_release.load()
    files = checkpoints.read_verified(codec.folder)
    assert {path.name for path in codec.folder.iterdir()} == set(files)
    assert sum(map(len, files.values())) <= 20 << 20
    assert "CC BY-NC-SA 4.0" in (codec.folder / "CARD.md").read_text()
    time = np.arange(24_000) / 24_000
    notes = [
        sum(np.exp(-3 * k * time) / k**1.5 * np.sin(2 * np.pi * k * hertz * time) for k in range(1, 9))
        for hertz in (261.6, 329.6)
    ]
    wave = (0.2 * np.concatenate([notes[0], notes[0] + notes[1]])).astype(np.float32)
    number = codec.config.codebooks_at(6_000)
    codes = StreamingEncoder(codec.config, codec.params, number)
    back = StreamingDecoder(codec.config, codec.params, number).push(np.concatenate([codes.push(wave), codes.finish()]))
    back = back[codec.config.delay :][: len(wave)]
    gain = float(back @ wave / (wave @ wave))
    si_sdr = 10 * np.log10(np.sum((gain * wave) ** 2) / np.sum((back - gain * wave) ** 2))
    assert si_sdr > 5.0
