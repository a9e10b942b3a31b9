"""What is generated says so in every kind of file, and the files stay the same, byte for byte."""

from __future__ import annotations

import argparse
import dataclasses
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest
import soundfile

from musicgen.app import cli
from musicgen.app.commands import generate as generate_command
from musicgen.app.generate import Request, Sample, generate, midi_file
from musicgen.app.prime import make_prime
from musicgen.app.provenance import LONGEST_SUMMARY, Provenance, printable, summary_in, summary_line, texts
from musicgen.app.settings import Settings
from musicgen.data_prep import Performance, write_midi

LABEL = "musicgen, checkpoint fake (ffffffffffff), seed 5, sample 1, prime 0123456789ab"


@pytest.fixture
def sample(fake: ModuleType, music: Performance) -> Sample:
    prime = make_prime(music, 3.0, "0123456789abcdef" * 4)
    return generate(Request(Settings(seconds=4), prime, 5), fake.fake_model()).samples[0]


@pytest.fixture
def piece(sample: Sample, tmp_path: Path) -> Path:
    (tmp_path / "new.mid").write_bytes(midi_file(sample, None))
    return tmp_path / "new.mid"


def comment(path: Path) -> str:
    with soundfile.SoundFile(path) as file:
        return file.comment


def described(data: bytes) -> dict[bytes, bytes]:
    """The texts in a PNG file by their names."""
    at, found = 8, {}
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"tEXt":
            name, _, value = data[at + 8 : at + 8 + size].partition(b"\0")
            found[name] = value
        at += 12 + size
    return found


def test_a_piece_by_the_default_weights_of_earlier_versions(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which weights it wants, and how to get them."""
    before = dataclasses.replace(sample.provenance, checkpoint="maestro-piano", prime_sha256=None)
    (tmp_path / "old.mid").write_bytes(midi_file(dataclasses.replace(sample, provenance=before), None))
    assert cli.main(["replay", str(tmp_path / "old.mid"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "made with weights called maestro-piano" in said
    assert "git checkout 3d31579 -- checkpoints/maestro-piano" in said and "--checkpoint" in said


def test_the_line(sample: Sample) -> None:
    facts = dataclasses.asdict(sample.provenance)
    assert summary_line(facts) == LABEL == summary_in(texts(sample.provenance, None))
    assert summary_line({**facts, "prime_sha256": None}).endswith("sample 1, no prime")
    assert summary_in(()) is None and summary_in(('musicgen {"format": 9}',)) is None
    assert printable("a\0b\né" + "x" * 999) == "a?b??" + "x" * (LONGEST_SUMMARY - 5)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_sound(piece: Path, suffix: str) -> None:
    """The same file each time, but for OGG, whose streams have random numbers."""
    outs = [piece.with_name(name + suffix) for name in ("one", "two")]
    for out in outs:
        assert cli.main(["render", str(piece), "--out", str(out), "--quiet"]) == 0
    assert comment(outs[0]) == LABEL
    assert suffix == ".ogg" or outs[0].read_bytes() == outs[1].read_bytes()


def test_sound_that_is_made_with_the_piece(sample: Sample, tmp_path: Path) -> None:
    arguments = argparse.Namespace(prime=None, quiet=True, soundfont=None)
    generate_command._render(sample, tmp_path / "new.wav", arguments)
    assert comment(tmp_path / "new.wav") == LABEL


def test_pictures(piece: Path) -> None:
    pictures = []
    for name in ("one.svg", "two.svg", "one.png", "two.png"):
        assert cli.main(["roll", str(piece), "--out", str(piece.with_name(name)), "--quiet"]) == 0
        pictures.append(piece.with_name(name).read_bytes())
    assert pictures[0] == pictures[1] and pictures[2] == pictures[3]
    (told,) = ElementTree.fromstring(pictures[0]).iter("{http://www.w3.org/2000/svg}desc")
    assert told.text == LABEL
    assert described(pictures[2]) == {b"Description": LABEL.encode()}


def test_music_of_others_is_not_called_ours(music: Performance, tmp_path: Path) -> None:
    write_midi(music, tmp_path / "old.mid")
    for name in ("old.wav", "old.svg", "old.png"):
        command = "render" if name.endswith("wav") else "roll"
        assert cli.main([command, str(tmp_path / "old.mid"), "--out", str(tmp_path / name), "--quiet"]) == 0
        assert b"checkpoint" not in (tmp_path / name).read_bytes()


def test_facts_of_a_stranger_stay_text(sample: Sample, music: Performance, tmp_path: Path) -> None:
    """A name with markup in it is a name; one that is too long is cut; one that no file of ours has is not told."""
    for odd in ("two\nlines", "\x1b[2J", "\u202eturned", "x" * 2000):
        assert summary_in(texts(dataclasses.replace(sample.provenance, checkpoint=odd), None)) is None
    facts: Provenance = dataclasses.replace(sample.provenance, checkpoint="</desc><script>é&" + "x" * 500)
    write_midi(music, tmp_path / "strange.mid", text=texts(facts, None))
    for name in ("x.svg", "x.png", "x.mp3"):
        command = "render" if name.endswith("mp3") else "roll"
        assert cli.main([command, str(tmp_path / "strange.mid"), "--out", str(tmp_path / name), "--quiet"]) == 0
    (told,) = ElementTree.fromstring((tmp_path / "x.svg").read_bytes()).iter("{http://www.w3.org/2000/svg}desc")
    assert (
        told.text
        == comment(tmp_path / "x.mp3")
        == described((tmp_path / "x.png").read_bytes())[b"Description"].decode()
    )
    assert told.text.startswith("musicgen, checkpoint </desc><script>?&xxx") and len(told.text) == LONGEST_SUMMARY
