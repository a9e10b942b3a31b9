"""The piano roll: every note is drawn where and when it sounds."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ElementTree
import zlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from musicgen.app import cli, roll
from musicgen.app.generate import Request, generate, midi_file
from musicgen.app.prime import make_prime
from musicgen.app.settings import Settings
from musicgen.data_prep import Performance, write_midi

SVG = "{http://www.w3.org/2000/svg}"


def pixels(data: bytes) -> np.ndarray:
    """uint8[H, W, 3] of a PNG file, every checksum checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0]
        parts[kind] = body
        at += 12 + size
    assert list(parts) == [b"IHDR", b"IDAT", b"IEND"]
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_svg_shows_every_note(music: Performance) -> None:
    """One rectangle of a note's colour per note, and the picture is well-formed."""
    picture = roll.draw(music, given=np.arange(len(music)) < 10)
    root = ElementTree.fromstring(roll.svg(picture))
    fills = [node.get("fill") for node in root.iter(f"{SVG}rect") if node.get("fill-opacity") is None]
    old = {roll._hex(roll._shade(roll.OLD, velocity / 127)) for velocity in range(128)}
    new = {roll._hex(roll._shade(roll.NEW, velocity / 127)) for velocity in range(128)}
    assert sum(fill in old for fill in fills) == 10
    assert sum(fill in new for fill in fills) == len(music) - 10
    assert sum(fill == roll._hex(roll.PEDAL) for fill in fills) == int((music.pedal[:, 1] > 0).sum())


def test_png_has_the_notes_where_they_sound() -> None:
    """Colour at a note's own place, none beside it; louder is darker; the prime has another hue."""
    music = Performance(
        np.array([0.0, 5.0, 5.0]),
        np.array([2.0, 10.0, 10.0]),
        np.array([40, 60, 80]),
        np.array([80, 20, 120]),
        np.zeros((0, 2)),
    )
    image = pixels(roll.png(roll.draw(music, given=np.arange(len(music)) < 1, width=600, height=300), scale=2)).astype(
        int
    )
    assert image.shape == (600, 1200, 3)

    def at(seconds: float, pitch: int) -> np.ndarray:
        picture = (600 - roll.MARGIN_LEFT - roll.MARGIN_RIGHT) / 10
        floor = 300 - roll.MARGIN_BOTTOM - roll.PEDAL_LANE - 4
        row = (floor - roll.MARGIN_TOP) / (82 - 38 + 1)
        y = floor - (pitch - 38 + 0.5) * row
        return image[round(2 * y), round(2 * (roll.MARGIN_LEFT + seconds * picture))]

    prime, soft, loud = at(1.1, 40), at(7.1, 60), at(7.1, 80)
    assert prime[0] > prime[2] and soft[2] > soft[0] and loud[2] > loud[0]
    assert soft.sum() > loud.sum() + 100
    for nothing in (at(3.1, 40), at(1.1, 60), at(3.1, 80), at(7.1, 70)):
        assert nothing.tolist() == list(roll.BACKGROUND)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_command_writes_the_picture(tmp_path: Path, prime_file: Path, suffix: str) -> None:
    """Any MIDI file, not only ours; the same file gives the same picture."""
    out, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (out, again):
        assert cli.main(["roll", str(prime_file), "--out", str(path), "--quiet"]) == 0
    assert out.read_bytes() == again.read_bytes()
    assert len(out.read_bytes()) > 2000


def test_one_very_long_and_one_single_note(tmp_path: Path) -> None:
    """Hours of music and one short high note are pictures too."""
    for onset, pitch in ((20_000.0, 0), (0.0, 127)):
        music = Performance(
            np.array([onset]), np.array([onset + 0.01]), np.array([pitch]), np.array([1]), np.zeros((0, 2))
        )
        assert roll.svg(roll.draw(music))
        assert len(roll.draw(music).labels) < 60
        assert pixels(roll.png(roll.draw(music))).shape == (720, 2400, 3)


@pytest.mark.parametrize("text", ["musicgenerator 3000", "musicgen is nice", 'musicgen {"format": 1, "settings": 7}'])
def test_text_events_of_others_do_no_harm(tmp_path: Path, music: Performance, text: str) -> None:
    """A picture is drawn of every MIDI file, whatever stands in its text events."""
    strange = tmp_path / "strange.mid"
    write_midi(music, strange, text=(text,))
    assert cli.main(["roll", str(strange), "--out", str(tmp_path / "x.svg"), "--quiet"]) == 0


def test_what_is_not_drawn_is_told(tmp_path: Path, music: Performance, capsys: pytest.CaptureFixture[str]) -> None:
    """A pause of hours is cut in the picture, too."""
    much_later = np.append(np.zeros(len(music) - 1), 9000.0)
    late = replace(music, onset=music.onset + much_later, end=music.end + much_later)
    write_midi(late, tmp_path / "late.mid")
    assert cli.main(["roll", str(tmp_path / "late.mid"), "--out", str(tmp_path / "x.svg")]) == 0
    assert "hours" in capsys.readouterr().err


def test_facts_in_the_file_colour_the_prime(fake: ModuleType, tmp_path: Path, music: Performance) -> None:
    """The notes of the prime, and no others, are drawn in its hue."""
    prime = make_prime(music, 3.0, "0" * 64)
    sample = generate(Request(Settings(seconds=4), prime, 1), fake.fake_model()).samples[0]
    (tmp_path / "new.mid").write_bytes(midi_file(sample, None))
    assert cli.main(["roll", str(tmp_path / "new.mid"), "--out", str(tmp_path / "x.svg"), "--quiet"]) == 0
    old = {roll._hex(roll._shade(roll.OLD, velocity / 127)) for velocity in range(128)}
    root = ElementTree.fromstring((tmp_path / "x.svg").read_bytes())
    drawn = [node.get("fill") in old and node.get("fill-opacity") is None for node in root.iter(f"{SVG}rect")]
    assert sum(drawn) == len(prime.performance)
