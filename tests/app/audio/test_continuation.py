"""Recordings that go on, at toy size: the join, the lengths, the settings, and what memory it takes."""

from __future__ import annotations

import dataclasses
import signal
import threading
import tracemalloc
import wave
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from musicgen.app.audio import codes_file, continuation
from musicgen.app.audio.continuation import continue_recording
from musicgen.app.audio.model import AudioModel, open_audio_model
from musicgen.app.audio.prompt import FADE, encode_prompt, load_prompt
from musicgen.app.audio.writer import FADE_IN, FADE_OUT, SoundWriter
from musicgen.app.errors import BadInput
from musicgen.app.settings import Settings
from musicgen.data_prep.audio import SAMPLE_RATE, read_audio
from musicgen.model.stop import Left, Stop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def model(released: Path) -> AudioModel:
    """Both, opened."""
    return open_audio_model(str(released / "model"), str(released / "codec"))


def settings(model: AudioModel, **changes: object) -> Settings:
    """Half a second of new sound."""
    config = model.released.config
    asked = dataclasses.replace(Settings(seconds=0.5), **changes)  # type: ignore[arg-type]
    return asked.resolve(config.latents * model.codebooks, config.context * model.codebooks)


def test_the_join(toy: ModuleType, model: AudioModel, tmp_path: Path) -> None:
    """The recording as it was, a short fade, then the codec's sound; nowhere a jump that sound itself has not."""
    toy.write_sound(tmp_path / "prime.wav", 3.0)
    prime = read_audio(tmp_path / "prime.wav")
    prompt = load_prompt(tmp_path / "prime.wav", model, None)
    made = continue_recording(model, prompt, settings(model), 7, [tmp_path / "new.wav"])
    out, rate = soundfile.read(tmp_path / "new.wav", dtype="float32")
    with soundfile.SoundFile(tmp_path / "new.wav") as file:
        assert f"checkpoint {model.released.name}" in file.comment and "seed 7, sample 1, prime " in file.comment
    fade, join, late = round(FADE * rate), prompt.samples, model.late
    assert rate == SAMPLE_RATE and join % model.codec.config.hop == 0 and len(prime) - join < model.codec.config.hop
    assert len(out) == join + rate // 2
    np.testing.assert_allclose(out[: join - late - fade], prime[: join - late - fade], atol=1e-4)
    steps = np.abs(np.diff(out))
    assert steps[join - late - fade - 1 : join + 1].max() < 0.2 + 2 * np.abs(np.diff(prime)).max()
    assert out[-1] == pytest.approx(0.0, abs=1e-3)
    # What follows is what the codec makes of old and new codes in one go.
    codes = encode_prompt(prompt, model)[-model.codec.config.memory :].astype(np.int32)
    sound: list[np.ndarray] = []
    assert late == model.codec.config.hop  # an MDCT's
    writer = SoundWriter(model, sound.append, rate // 2)
    writer.begin(prompt, encode_prompt(prompt, model), keep=True)
    rng = np.random.default_rng(0)
    new = rng.integers(0, 1024, (38, model.codebooks)).astype(np.int32)
    for start in range(0, 38, 8):
        writer.add(new[start : start + 8])
    whole = codes_file.decoder(model.codec, model.codebooks).push(np.concatenate([codes, new]))
    mine = np.concatenate(sound)[join - late :]
    steady = len(mine) - round(FADE_OUT * rate)
    np.testing.assert_allclose(mine[:steady], whole[len(codes) * model.codec.config.hop :][:steady], atol=1e-5)
    assert made.tokens >= 38 * model.codebooks and made.tokens_per_second > 0


def test_same_seed_same_sound(toy: ModuleType, model: AudioModel, tmp_path: Path) -> None:
    """And samples of one run differ; without the recording the new sound begins softly."""
    toy.write_sound(tmp_path / "prime.flac", 1.0, rate=44_100, channels=2)
    prompt = load_prompt(tmp_path / "prime.flac", model, None)
    outs = [tmp_path / name for name in ("a-1.wav", "a-2.wav")]
    asked = settings(model, keep_prime=False, num_samples=2)
    continue_recording(model, prompt, asked, 7, outs)
    one, two = (soundfile.read(out)[0] for out in outs)
    assert len(one) == len(two) == SAMPLE_RATE // 2 and (one != two).any()
    assert np.abs(one[: round(FADE_IN * SAMPLE_RATE) // 10]).max() <= 0.1
    continue_recording(model, prompt, asked, 7, [tmp_path / name for name in ("b-1.wav", "b-2.wav")])
    assert (tmp_path / "b-2.wav").read_bytes() == outs[1].read_bytes()


def test_from_nothing(model: AudioModel, tmp_path: Path) -> None:
    """Silence, as between two pieces, and then something."""
    continue_recording(model, None, settings(model), 1, [tmp_path / "new.wav"])
    assert soundfile.info(tmp_path / "new.wav").frames == SAMPLE_RATE // 2


def test_stopped_before_the_first_sound_nothing_is_left(
    model: AudioModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the codec is compiled, for which nobody waits."""
    never = threading.Event()

    def open_engine(*given: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        never.wait(30)

    monkeypatch.setattr(continuation, "open_engine", open_engine)
    with Stop() as stop, pytest.raises(Left):
        continue_recording(model, None, settings(model), 1, [tmp_path / "new.wav"], stop=stop)
    assert not never.is_set() and not list(tmp_path.iterdir())
    never.set()


def test_the_first_seconds(toy: ModuleType, model: AudioModel, tmp_path: Path) -> None:
    """Of a recording that is longer than the context: as many frames as the model has, from where it is cut."""
    toy.write_sound(tmp_path / "prime.wav", 6.0)
    prompt = load_prompt(tmp_path / "prime.wav", model, 4.0)
    frames = model.frames + model.codec.config.memory
    assert prompt.seconds == 4.0 and len(prompt.tail) == frames * model.codec.config.hop
    np.testing.assert_allclose(
        prompt.tail, read_audio(tmp_path / "prime.wav")[: 4 * SAMPLE_RATE][-len(prompt.tail) :], atol=1e-6
    )
    codes = encode_prompt(prompt, model)
    assert codes.shape == (model.frames, model.codebooks)
    whole = codes_file.encoder(model.codec).push(read_audio(tmp_path / "prime.wav")[: 4 * SAMPLE_RATE])
    assert (codes[-20:] == whole[-20:]).all()  # the codec has forgotten how it began


def long_wave(path: Path, hours: float) -> None:
    """Silence of so many hours, which takes no room on a disk that knows holes, and a loud second at its end."""
    count = round(hours * 3600 * SAMPLE_RATE)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, count, "NONE", ""))
        file.writeframesraw(b"")
        file._patchheader = lambda: None  # type: ignore[attr-defined]
    head = bytearray(path.read_bytes()[:44])
    head[4:8], head[40:44] = (36 + 2 * count).to_bytes(4, "little"), (2 * count).to_bytes(4, "little")
    loud = (8000 * np.sin(np.arange(SAMPLE_RATE) / 10)).astype("<i2").tobytes()
    with path.open("wb") as file:
        file.write(head)
        file.seek(44 + 2 * count - len(loud))
        file.write(loud)


def test_three_hours_in_bounded_memory(model: AudioModel, tmp_path: Path) -> None:
    """A gigabyte of samples goes by; what is kept is what the model can use."""
    long_wave(tmp_path / "long.wav", 3.0)
    tracemalloc.start()
    try:
        prompt = load_prompt(tmp_path / "long.wav", model, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert prompt.seconds == 3 * 3600 and peak < 30e6
    assert len(prompt.tail) <= (model.frames + model.codec.config.memory) * model.codec.config.hop


def test_what_does_not_belong_together(toy: ModuleType, released: Path, tmp_path: Path) -> None:
    """Weights of MIDI, weights of another codec, a codec that is none."""
    model, codec, other = (str(released / name) for name in ("model", "codec", "other"))
    with pytest.raises(BadInput, match="another codec than other"):
        open_audio_model(model, other)
    with pytest.raises(BadInput, match="piano write MIDI"):
        open_audio_model("piano", codec)
    with pytest.raises(BadInput, match="no codec nowhere"):
        open_audio_model(model, "nowhere")
    with pytest.raises(BadInput, match="no checkpoint nowhere"):
        open_audio_model("nowhere", codec)
    with pytest.raises(BadInput, match="holds a codec and no model: give it with --codec"):
        open_audio_model(codec, codec)
    with pytest.raises(BadInput, match="holds a model and no codec"):
        open_audio_model(model, model)
