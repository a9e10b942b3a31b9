"""Sound: loud enough, never clipped, with the pedal, the same in chunks as in one go."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen.app import render as rendering
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.render import PEAK, chunks, render
from musicgen.app.soundfont import find_soundfont
from musicgen.data_prep import Performance, apply_pedal, read_midi, write_midi
from tests.data_prep.plain_reader import play
from tests.data_prep.test_playing import file_of

NO_PEDAL = np.zeros((0, 2))


def notes(*rows: tuple[float, float, int, int], pedal: list[tuple[float, int]] | None = None) -> Performance:
    """Notes given as (onset, end, pitch, velocity)."""
    onset, end, pitch, velocity = (np.array(column) for column in zip(*rows, strict=True))
    return Performance(onset, end, pitch, velocity, np.array(pedal, np.float64) if pedal else NO_PEDAL)


def loudness(path: Path, start: float, stop: float) -> float:
    """Root mean square of a stretch of a sound file."""
    sound, rate = soundfile.read(path)
    return float(np.sqrt((sound[int(start * rate) : int(stop * rate)] ** 2).mean()))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_every_format_can_be_written_and_read(tmp_path: Path, music: Performance, suffix: str) -> None:
    """As long as the music with its tail, at -1 dB, sounding."""
    out = tmp_path / f"piece{suffix}"
    seconds = render(music, out)
    sound, rate = soundfile.read(out)
    assert rate >= 44100 and sound.shape[1] == 2
    assert seconds == pytest.approx(music.duration + rendering.TAIL, abs=0.1)
    assert len(sound) / rate == pytest.approx(seconds, abs=0.1)
    lossy = 0.1 if suffix in (".ogg", ".mp3") else 0.001
    assert np.abs(sound).max() == pytest.approx(PEAK, abs=lossy)
    assert loudness(out, 1, 3) > 0.01
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_the_pedal_is_heard(tmp_path: Path) -> None:
    """Key up after half a second: with the pedal the string rings until the foot comes up."""
    dry, wet = tmp_path / "dry.wav", tmp_path / "wet.wav"
    row = (0.0, 0.5, 60, 80)
    last = (4.0, 4.2, 36, 80)  # the same loudest note in both, so that both are scaled alike
    render(notes(row, last), dry)
    render(notes(row, last, pedal=[(0.1, 127), (3.0, 0)]), wet)
    assert loudness(wet, 1.0, 1.5) > 20 * loudness(dry, 1.0, 1.5)
    assert loudness(wet, 3.5, 3.9) < 0.1 * loudness(wet, 2.0, 2.5)


def test_loud_chords_do_not_clip(tmp_path: Path) -> None:
    """Forty keys at once, as loud as can be."""
    out = tmp_path / "loud.wav"
    render(notes(*[(0.0, 2.0, pitch, 127) for pitch in range(40, 80)]), out)
    sound, _ = soundfile.read(out)
    assert np.abs(sound).max() <= PEAK + 1e-3
    assert (np.abs(sound) > PEAK - 1e-3).mean() < 1e-3


def test_chunks_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch, piece: Callable[..., Performance]) -> None:
    """Dealt into chunks of three seconds, pedal and long notes crossing their borders, the sound stays what it was."""
    music = piece(60, 3)
    font = find_soundfont().read_bytes()
    rate = 48000
    whole = np.concatenate(list(rendering._segments(music, font, rate)))
    monkeypatch.setattr(rendering, "CHUNK", 3.0)
    dealt = np.concatenate(list(rendering._segments(music, font, rate)))
    assert len(list(chunks(music))) > 4
    length = min(len(whole), len(dealt))
    assert abs(len(whole) - len(dealt)) < rate * 0.1
    error = dealt[:length] - whole[:length]
    assert np.square(error).mean() < 1e-3 * np.square(whole).mean()  # -30 dB: the chorus has another phase


def test_chunks_keep_every_note_and_its_length(
    monkeypatch: pytest.MonkeyPatch, piece: Callable[..., Performance]
) -> None:
    """What a chunk's notes sound like with the chunk's pedal is what they sound like in the piece."""
    monkeypatch.setattr(rendering, "CHUNK", 2.0)  # many borders, about half of them with the pedal down
    music = piece(400, 1)
    parts = list(chunks(music))
    assert sum(len(part) for _, part in parts) == len(music)
    there = {
        (round(t, 6), p): e
        for t, p, e in zip(apply_pedal(music).onset, apply_pedal(music).pitch, apply_pedal(music).end, strict=True)
    }
    for start, part in parts:
        sounding = apply_pedal(part)
        for onset, pitch, end in zip(sounding.onset, sounding.pitch, sounding.end, strict=True):
            expected = there[(round(onset + start, 6), pitch)]
            assert end + start >= expected - 1e-6


def test_a_long_silence_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour between two notes comes as seconds of silence, one after the other."""
    music = notes((0.0, 1.0, 60, 80), (3600.0, 3601.0, 60, 80))
    rate, total = 48000, 0
    for segment in rendering._segments(music, find_soundfont().read_bytes(), rate):
        assert len(segment) <= 70 * rate
        total += len(segment)
    assert total / rate == pytest.approx(3601 + rendering.TAIL, abs=1)


def test_long_music_is_rendered_twice_rather_than_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, music: Performance
) -> None:
    """The bounded-memory path writes the same file, and its progress goes once from nothing to all."""
    told: list[float] = []
    seconds = render(music, tmp_path / "kept.wav", on_progress=told.append)
    assert told == sorted(told) and told[-1] == pytest.approx(seconds)
    told.clear()
    monkeypatch.setattr(rendering, "KEPT", 0.0)
    render(music, tmp_path / "twice.wav", on_progress=told.append)
    assert told == sorted(told) and told[-1] == pytest.approx(seconds)
    assert (tmp_path / "kept.wav").read_bytes() == (tmp_path / "twice.wav").read_bytes()


def test_too_long_is_refused(tmp_path: Path) -> None:
    """Ten hours would not fit a WAV file."""
    with pytest.raises(BadInput, match="hours"):
        render(notes((36000.0, 36001.0, 60, 80)), tmp_path / "x.wav")
    assert list(tmp_path.iterdir()) == []


def test_bad_soundfonts(tmp_path: Path, music: Performance) -> None:
    """Missing, not one, and one whose inside is broken."""
    with pytest.raises(BadInput, match="no such soundfont"):
        find_soundfont(tmp_path / "none.sf2")
    wrong = tmp_path / "wrong.sf2"
    wrong.write_bytes(b"MThd" + bytes(100))
    with pytest.raises(BadInput, match="SoundFont"):
        find_soundfont(wrong)
    broken = tmp_path / "broken.sf2"
    broken.write_bytes(b"RIFF\xff\xff\xff\x7fsfbk" + b"LIST" + bytes(200))
    with pytest.raises(BadInput, match="--soundfont"):
        render(music, tmp_path / "x.wav", soundfont=broken)
    assert not (tmp_path / "x.wav").exists()
    os.mkfifo(tmp_path / "pipe.sf2")
    with pytest.raises(BadInput, match="is a pipe or a device and no soundfont"):
        find_soundfont(tmp_path / "pipe.sf2")


def test_a_renderer_that_panics_is_one_line(
    tmp_path: Path, music: Performance, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own words, a backtrace of 75 lines, reach nobody."""

    class Panic(BaseException):
        pass

    def panic(*_: object) -> bytes:
        os.write(2, b"thread panicked, stack backtrace:\n" * 75)
        raise Panic("index out of bounds")

    monkeypatch.setattr("midirenderer.render_wave_from", panic)
    font = find_soundfont()
    with pytest.raises(BadInput, match="the renderer failed on this soundfont: choose another with --soundfont"):
        render(music, tmp_path / "x.wav", soundfont=font)
    with pytest.raises(EnvironmentProblem, match="the renderer failed"):
        render(music, tmp_path / "x.wav")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(8))
def test_damaged_soundfonts_never_crash(tmp_path: Path, music: Performance, seed: int) -> None:
    """Random damage in the tables of a real font: sound or one line, the process lives."""
    rng = np.random.default_rng(seed)
    data = bytearray(find_soundfont().read_bytes())
    for at in rng.integers(len(data) - 20_000, len(data), 400):
        data[at] = rng.integers(0, 256)
    font = tmp_path / "damaged.sf2"
    font.write_bytes(data)
    try:
        render(notes((0.0, 0.5, 60, 80)), tmp_path / "x.wav", soundfont=font)
    except BadInput as error:
        assert "\n" not in str(error)


def test_a_silent_soundfont_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, music: Performance) -> None:
    """No file full of zeros."""
    monkeypatch.setattr(rendering, "_play", lambda font, music: (48000, np.zeros((4800, 2), np.float32)))
    with pytest.raises(EnvironmentProblem, match="no sound"):
        render(music, tmp_path / "x.wav")
    assert not (tmp_path / "x.wav").exists()


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="the fluidsynth program is not installed")
def test_fluidsynth_plays_when_asked(tmp_path: Path, music: Performance) -> None:
    """The other renderer gives sound of the same length."""
    out = tmp_path / "piece.wav"
    seconds = render(music, out, synth="fluidsynth")
    assert music.duration < seconds < music.duration + 8  # it waits for its reverberation to die away
    assert np.abs(soundfile.read(out)[0]).max() == pytest.approx(PEAK, abs=0.001)
    assert loudness(out, 1, 3) > 0.01


def test_fluidsynth_missing_says_so(tmp_path: Path, music: Performance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for but absent."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="fluidsynth program is not installed"):
        render(music, tmp_path / "x.wav", synth="fluidsynth")


def test_wave_bytes_are_what_soundfile_reads() -> None:
    """The renderer's answer is a WAV file of 16 bits, so that scaling it to -1 dB costs nothing audible."""
    import midirenderer

    from musicgen.data_prep import write_midi

    wave = midirenderer.render_wave_from(find_soundfont().read_bytes(), write_midi(notes((0.0, 0.5, 60, 80)), None))
    assert soundfile.info(io.BytesIO(wave)).subtype == "PCM_16"


def test_sound_keeps_the_order_of_a_tick() -> None:
    """A key released before the pedal goes down, on the same tick, is not held in the sound either."""
    tracks = [[[0, "on", 60], [0, "on", 64], [1, "off", 60], [1, "pedal", 127], [1, "off", 64], [2, "pedal", 0]]]
    music, _ = read_midi(file_of(tracks))
    ((start, part),) = chunks(music)
    heard = [(onset, end, pitch) for onset, end, pitch, _ in play(write_midi(part))]
    assert start == 0
    assert np.array(heard) == pytest.approx(np.array([(0, 1, 60), (0, 2, 64)]), abs=5e-5)
