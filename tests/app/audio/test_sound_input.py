"""Recordings and codes that cannot be used, through the command: one clear line, exit code 2, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen.app import cli
from musicgen.app.audio import codes_file
from musicgen.app.audio import model as audio_model

pytestmark = pytest.mark.slow

Complaint = Callable[..., str]
LOUD = np.sin(np.arange(24_000) / 10).astype(np.float32) * 0.3


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The real command in a folder."""
    command = [sys.executable, "-m", "musicgen.app", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def complaint(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Complaint:
    """The one line of a refusal, of the command in this process: complaint(folder, *arguments, code=2)."""

    def refused(folder: Path, *arguments: object, code: int = 2) -> str:
        monkeypatch.chdir(folder)
        before = sorted(path.name for path in folder.iterdir())
        capfd.readouterr()
        try:
            ended = cli.main([*map(str, arguments)])
        except SystemExit as stop:
            ended = int(stop.code or 0)
        out, err = capfd.readouterr()
        assert (ended, out) == (code, ""), err
        # A machine that is very slow reports progress first.
        (line,) = (line for line in err.strip().splitlines() if not line.endswith(" s of sound"))
        assert line.startswith("musicgen: error: ") and "unexpected" not in line
        assert sorted(path.name for path in folder.iterdir()) == before
        return line.removeprefix("musicgen: error: ")

    return refused


def silent(path: Path) -> None:
    soundfile.write(path, np.zeros(24_000), 24_000)


def one_sample(path: Path) -> None:
    soundfile.write(path, np.full(1, 0.5), 24_000)


def eight_channels(path: Path) -> None:
    soundfile.write(path, np.repeat(LOUD[:, None], 8, axis=1), 192_000)


def no_numbers(path: Path) -> None:
    sound = LOUD.copy()
    sound[12_000:] = np.nan
    soundfile.write(path, sound, 24_000, subtype="FLOAT")


def text(path: Path) -> None:
    path.write_text("This is no recording.\n" * 100)


def empty(path: Path) -> None:
    path.touch()


def cut_off(path: Path) -> None:
    soundfile.write(path.with_suffix(".flac"), LOUD, 24_000)
    data = path.with_suffix(".flac").read_bytes()
    path.with_suffix(".flac").unlink()
    path.write_bytes(data[: len(data) // 2])


BAD = [
    (silent, "is silent"),
    (one_sample, "lasts 0.0000 seconds, at least 0.5 are needed"),
    (eight_channels, "has 8 channels (192000 Hz): mix it down"),
    (no_numbers, "no numbers, the first 0.500 seconds in"),
    (text, "is no audio file"),
    (empty, "is no audio file"),
    (cut_off, "prime.wav"),
]


@pytest.mark.parametrize("make, said", BAD, ids=[make.__name__ for make, _ in BAD])
def test_recordings(released: Path, tmp_path: Path, make: object, said: str, complaint: Complaint) -> None:
    """As a prime, and to be encoded."""
    make(tmp_path / "prime.wav")  # type: ignore[operator]
    codec, model = released / "codec", released / "model"
    assert said in complaint(tmp_path, "prime.wav", "--out", "new.wav", "--checkpoint", model, "--codec", codec)
    encode = ("codec", "encode", "prime.wav", "--out", "p.codes.npz", "--codec", codec)
    assert said in complaint(tmp_path, *encode, "--quiet")  # a slow machine tells of its progress otherwise


def test_missing_recording(released: Path, tmp_path: Path, complaint: Complaint) -> None:
    models = ("--checkpoint", released / "model", "--codec", released / "codec")
    assert "prime.wav cannot be read" in complaint(tmp_path, "prime.wav", "--out", "new.wav", *models)


def test_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complaint: Complaint) -> None:
    """One line that says what is missing, where the weights have another name."""
    soundfile.write(tmp_path / "prime.wav", LOUD, 24_000)
    monkeypatch.setattr(audio_model, "MODEL", "not-here")
    assert "no weights for sound are installed" in complaint(tmp_path, "prime.wav", "--out", "new.wav", code=1)


def test_a_recording_by_its_name(released: Path, tmp_path: Path, complaint: Complaint) -> None:
    """Whatever its kind is called, it comes to the one reader of recordings; what is remarkable is said."""
    models = ("--checkpoint", released / "model", "--codec", released / "codec")
    soundfile.write(tmp_path / "prime.aiff", np.stack([LOUD, -LOUD], axis=1), 24_000)
    done = run(tmp_path, "prime.aiff", "--out", "new.wav", *models, "--seconds", 0.3, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["prime_seconds"] == 1.0, done.stderr
    assert "musicgen: prime.aiff: the two channels cancel each other for 1.0 seconds" in done.stderr
    done = run(tmp_path, "codec", "encode", "prime.aiff", "--out", "p.codes.npz", "--codec", released / "codec")
    assert done.returncode == 0 and "prime.aiff: the two channels cancel each other" in done.stderr
    (tmp_path / "memo.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    assert "memo.m4a is an M4A file" in complaint(tmp_path, "memo.m4a", "--out", "new.wav", *models)


def test_where_the_model_of_sound_makes_no_sense(tmp_path: Path, complaint: Complaint) -> None:
    """A MIDI prime, MIDI out, and what is for MIDI alone; said before anything is loaded."""
    (tmp_path / "prime.mid").write_bytes(b"MThd")
    soundfile.write(tmp_path / "prime.wav", LOUD, 24_000)
    line = complaint(tmp_path, "prime.mid", "--audio-model", "--out", "new.wav")
    assert "--audio-model continues recordings, and prime.mid is not one" in line and "musicgen render" in line
    assert "as audio, not as MIDI: --out new.mid" in complaint(tmp_path, "prime.wav", "--out", "new.mid")
    assert "--codec is for audio only" in complaint(tmp_path, "bach", "--codec", "x", "--out", "new.mid")
    assert "is the prime itself" in complaint(tmp_path, "prime.wav", "--out", "prime.wav")
    for option in (("--end",), ("--audio", "x.wav"), ("--avoid-copies", 32)):
        assert f"{option[0]} is for MIDI" in complaint(tmp_path, "prime.wav", "--out", "new.wav", *option)
    assert "need a prime" in complaint(tmp_path, "--audio-model", "--out", "new.wav", "--no-prime")


def test_settings_of_sound(released: Path, tmp_path: Path, complaint: Complaint) -> None:
    """Contexts and latents count codes, as tokens do elsewhere."""
    soundfile.write(tmp_path / "prime.wav", LOUD, 24_000)
    models = ("--checkpoint", released / "model", "--codec", released / "codec")
    line = complaint(tmp_path, "prime.wav", "--out", "new.wav", *models, "--context", 999_999)
    assert "--context 999999 is more than this model allows" in line
    line = complaint(tmp_path, "prime.wav", "--out", "new.wav", "--codec", released / "other", *models[:2])
    assert "another codec than other" in line


def saved(path: Path, **changes: object) -> None:
    """A file of two seconds of codes, changed."""
    about = {"format": codes_file.FORMAT, "samples": 48_000, "codec_sha256": "0" * 64}
    about |= {"codec": {"codebook_size": 1024, "codebooks": 16}}
    arrays = {"codes": np.zeros((150, 16), np.int16)}
    codes = changes.pop("codes", arrays["codes"])
    np.savez(path, codes=codes, about=np.frombuffer(json.dumps({**about, **changes}).encode(), np.uint8))


def test_codes(released: Path, tmp_path: Path, complaint: Complaint) -> None:
    """Out of range, of another codec, of another shape, cut off, no such file, something else."""
    codec, path = ("--codec", released / "codec"), tmp_path / "x.codes.npz"

    def said() -> str:
        return complaint(tmp_path, "codec", "decode", "x.codes.npz", "--out", "new.wav", *codec)

    assert "no such .codes.npz file" in said()
    saved(path)
    assert "made by another codec (000000000000) than codec" in said()
    for codes in (np.full((150, 16), 1024, np.int16), np.full((150, 16), -1, np.int16)):
        saved(path, codes=codes)
        assert "this codec's lie in 0..1023" in said()
    for codes in (np.zeros((150, 17), np.int16), np.zeros(150, np.int16), np.zeros((150, 16))):
        saved(path, codes=codes)
        assert "no rows of 1 to 16 codes" in said()
    saved(path, format="musicgen-codes-file/9")
    assert "another version of musicgen" in said()
    path.write_bytes(path.read_bytes()[:500])
    assert "is not a .codes.npz file" in said()
    np.savez(path, other=np.zeros(3))
    assert "is not a .codes.npz file" in said()
    assert "is not a .codes.npz file" in complaint(tmp_path, "codec", "info", "x.codes.npz")
    path.unlink()
    path.mkdir()
    assert "is a folder" in said()


def test_codec_command_line(released: Path, tmp_path: Path, complaint: Complaint) -> None:
    """What is missing or does not fit is named."""
    soundfile.write(tmp_path / "a.wav", LOUD, 24_000)
    codec = ("--codec", released / "codec")
    assert "needs a file" in complaint(tmp_path, "codec", "encode")
    assert "needs --out" in complaint(tmp_path, "codec", "encode", "a.wav")
    assert "must end in .codes.npz" in complaint(tmp_path, "codec", "encode", "a.wav", "--out", "a.npz")
    assert "must end in .wav" in complaint(tmp_path, "codec", "decode", "a.codes.npz", "--out", "a.mid")
    assert "--kbps is for encode" in complaint(tmp_path, "codec", "info", "--kbps", 3)
    line = complaint(tmp_path, "codec", "encode", "a.wav", "--out", "a.codes.npz", "--kbps", 99, *codec)
    assert "this codec has 0.75 to 12 kbps, not 99" in line
    assert "no codec nowhere" in complaint(tmp_path, "codec", "info", "--codec", "nowhere")


def test_there_and_back(released: Path, tmp_path: Path) -> None:
    """At a lower bitrate, in 75 frames a second and one more; the sound has the recording's length; info tells both."""
    soundfile.write(tmp_path / "a.wav", LOUD, 24_000)
    codec = ("--codec", released / "codec")
    done = run(tmp_path, "codec", "encode", "a.wav", "--out", "a.codes.npz", "--kbps", 6, "--json", *codec)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["codebooks"], told["frames"], told["kbps"], told["seconds"]) == (8, 76, 6.0, 1.0)
    told = json.loads(run(tmp_path, "codec", "info", "a.codes.npz", "--json").stdout)
    assert (told["codebooks"], told["kbps"]) == (8, 6.0)
    assert json.loads(run(tmp_path, "codec", "info", "--json", *codec).stdout)["codebooks"] == 16
    done = run(tmp_path, "codec", "decode", "a.codes.npz", "--out", "b.flac", *codec)
    assert done.returncode == 0 and "b.flac: 1.0 s at 6 kbps" in done.stderr
    assert soundfile.info(tmp_path / "b.flac").frames == 24_000


def test_a_recording_goes_on(released: Path, tmp_path: Path) -> None:
    """The whole command, with everything it tells."""
    soundfile.write(tmp_path / "prime.wav", LOUD, 24_000)
    models = ("--checkpoint", released / "model", "--codec", released / "codec")
    done = run(tmp_path, "prime.wav", "--out", "new.wav", *models, "--seconds", 0.3, "--seed", 5, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["out"] == ["new.wav"] and told["seed"] == 5 and told["checkpoint"] == "model"
    assert told["prime_seconds"] == 1.0 and told["context"] == 1024 and told["latents"] == 256
    assert 0 < told["first_sound_seconds"] <= told["wall_seconds"] and told["tokens"] % 16 == 0
    assert soundfile.info(tmp_path / "new.wav").frames == 24_000 + 7_200
    assert "0.3 s of new sound after 1.0 s of prime.wav, seed 5, model" in done.stderr
