"""Sheet music of MIDI files, read again with partitura's own reader."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from mido import Message, MetaMessage

from musicgen.app import sheet
from musicgen.app.cli import main
from tests.app.test_prime_score import Events, saved, tempo

Note = tuple[float, float, int]  # quarter, length, pitch


def piece(right: list[Note], left: list[Note], *marks: tuple[float, MetaMessage], division: int = 480) -> bytes:
    """As a notation program writes it: a track for each hand, keys released a little early."""

    def track(notes: list[Note]) -> Events:
        events: Events = []
        for at, length, pitch in notes:
            events.append((round(at * division), Message("note_on", note=pitch, velocity=80)))
            events.append((round((at + 0.97 * length) * division), Message("note_off", note=pitch)))
        return events

    conductor = [(round(at * division), mark) for at, mark in marks]
    return saved([tempo(0, 500_000), *conductor], track(right), track(left), division=division)


def waltz() -> bytes:
    """Two bars of 3/4 with a dotted figure, triplets and a tie over the bar line, then a bar of 6/8."""
    right = [(0, 0.75, 74), (0.75, 0.25, 76), (1, 1 / 3, 78), (4 / 3, 1 / 3, 79), (5 / 3, 1 / 3, 81), (2, 2, 83)]
    right += [(4, 1, 81), (5, 1, 78), *((6 + n / 2, 0.5, 74 + n) for n in range(6))]
    left = [(0, 3, 50), (0, 3, 57), (3, 3, 52), (6, 1.5, 50), (7.5, 1.5, 45)]
    return piece(
        right,
        left,
        (0, MetaMessage("time_signature", numerator=3, denominator=4)),
        (0, MetaMessage("key_signature", key="D")),
        (6, MetaMessage("time_signature", numerator=6, denominator=8)),
    )


def read_again(xml: bytes, folder: Path) -> Any:
    path = folder / "again.musicxml"
    path.write_bytes(xml)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import partitura

        return partitura.load_musicxml(path)


@pytest.fixture(scope="module")
def xml() -> bytes:
    return sheet.musicxml(sheet.write_down(waltz(), "A <waltz> & more"))


def bar_lengths(xml: bytes) -> list[int]:
    """The parts of each bar, counted as MusicXML says; every staff's first voice fills it."""
    found = []
    for bar in ElementTree.fromstring(xml).iter("measure"):
        now, furthest, filled = 0, 0, {"1": 0, "5": 0}
        for element in bar:
            duration = int(element.findtext("duration") or 0)
            if element.tag == "backup":
                now -= duration
            elif element.tag == "forward" or (element.tag == "note" and element.find("chord") is None):
                now += duration
                voice = element.findtext("voice")
                if voice in filled:
                    filled[voice] += duration
            assert now >= 0
            furthest = max(furthest, now)
        assert set(filled.values()) == {furthest}
        found.append(furthest)
    return found


@pytest.mark.slow
def test_a_score_comes_back_as_it_was(xml: bytes, tmp_path: Path) -> None:
    score = read_again(xml, tmp_path)
    found = score.note_array()
    notes = sorted(
        (round(float(at), 3), round(float(length), 3), int(pitch))
        for at, length, pitch in zip(found["onset_quarter"], found["duration_quarter"], found["pitch"], strict=True)
    )
    right = [(0, 0.75, 74), (0.75, 0.25, 76), (1, 0.333, 78), (1.333, 0.333, 79), (1.667, 0.333, 81), (2, 2, 83)]
    right += [(4, 1, 81), (5, 1, 78), *((6 + n / 2, 0.5, 74 + n) for n in range(6))]
    assert notes == sorted([*right, (0, 3, 50), (0, 3, 57), (3, 3, 52), (6, 1.5, 50), (7.5, 1.5, 45)])
    part = score[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [(float(a.start.t), float(a.end.t)) for a in part.measures] == [(0, 72), (72, 144), (144, 216)]
    assert [(mark.beats, mark.beat_type) for mark in part.time_sigs] == [(3, 4), (6, 8)]
    assert [key.fifths for key in part.key_sigs] == [2]
    assert bar_lengths(xml) == [72, 72, 72]


@pytest.mark.slow
def test_ties_triplets_beams_and_title(xml: bytes) -> None:
    tree = ElementTree.fromstring(xml)
    assert tree.findtext("movement-title") == "A <waltz> & more"
    assert "the beat is the file's own" in str(tree.findtext(".//miscellaneous-field"))
    tied = [note for note in tree.iter("note") if note.find("tie") is not None]
    assert [[tie.get("type") for tie in note.iter("tie")] for note in tied] == [["start"], ["stop"]]
    assert {note.findtext("pitch/step") for note in tied} == {"B"}
    three = [note for note in tree.iter("note") if note.find("time-modification") is not None]
    assert len(three) == 3 and {note.findtext("time-modification/actual-notes") for note in three} == {"3"}
    assert [one.get("type") for one in tree.iter("tuplet")] == ["start", "stop"]
    last = [[beam.text for beam in note.iter("beam")] for note in list(tree.iter("measure"))[2].iter("note")]
    assert last[:6] == [["begin"], ["continue"], ["end"]] * 2


@pytest.mark.slow
def test_the_picture_has_all_bars(xml: bytes) -> None:
    picture = sheet.svg(xml).decode()
    assert picture.count('class="measure"') == 3
    assert "http" not in picture.replace("http://www.w3.org/", "")  # nothing is fetched


def test_a_performance_has_its_beat_estimated() -> None:
    """Of a steady accompaniment at 92 to the minute, a little uneven, in a file that says 120."""
    uneven = np.random.default_rng(3).normal(0, 0.01, 400)
    beat = 60 / 92
    notes = [(0.7 + (n / 2) * beat + uneven[n], 0.25, (48, 64, 60, 64)[n % 4]) for n in range(160)]
    data = piece([(2 * at, 2 * length, pitch) for at, length, pitch in notes], [], division=384)
    written = sheet.write_down(data)
    assert written.estimated and written.near > 0.9
    assert min(abs(written.tempo / at - 1) for at in (46, 92, 184)) < 0.03  # whichever level is counted
    assert "estimated" in written.remark and "drum" not in written.remark


def test_drums_are_left_out_and_told() -> None:
    """Those of channel 10."""
    strokes = [(480 * i, Message("note_on", channel=9, note=38, velocity=64)) for i in range(5)]
    notes = [(480 * i, Message("note_on", note=60 + i, velocity=64 * (i < 8))) for i in range(8)]
    written = sheet.write_down(saved([tempo(0, 500_000)], notes, strokes, division=480))
    assert written.remark.endswith("; 5 drum notes left out") and len(written.notation.moved) == 8


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"nothing", "MIDI"),
        (piece([(0, 1, 60), (40_000, 1, 60)], []), "too long"),
        (piece([(0.1234, 1, 60), (0.7, 1, 60)], []), "four strokes that stand apart"),
        (piece([(0.0123 + 0.01 * i, 1, 40 + i) for i in range(50)], []), "no beat can be heard"),
    ],
)
def test_what_cannot_be_written_down_is_one_line(
    data: bytes, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.mid").write_bytes(data)
    out = tmp_path / "out.musicxml"
    assert main(["score", str(tmp_path / "in.mid"), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert complaint in told and told.count("\n") == 1 and not out.exists()


def test_other_kinds_of_files_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["score", "bach", "--out", str(tmp_path / "bach.pdf")]) == 2
    assert ".musicxml, .svg or .mid" in capsys.readouterr().err


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from musicgen.app.errors import EnvironmentProblem

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(sheet.importlib, "import_module", missing)
    with pytest.raises(EnvironmentProblem, match="pip install"):
        sheet.musicxml(sheet.write_down(waltz()))


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "waltz.mid").write_bytes(waltz())
    for kind in ("musicxml", "svg"):
        assert main(["score", str(tmp_path / "waltz.mid"), "-o", str(tmp_path / f"out.{kind}")]) == 0
    assert "3 bars, a reading aid: the beat is the file's own" in capsys.readouterr().err
    (tmp_path / "bar.mid").write_bytes(piece([(0, 1, 60)], []))
    assert main(["score", str(tmp_path / "bar.mid"), "-o", str(tmp_path / "bar.musicxml")]) == 0
    assert ": 1 bar, a reading aid" in capsys.readouterr().err
    assert (tmp_path / "out.musicxml").read_bytes().startswith(b"<?xml")
    assert b"<svg" in (tmp_path / "out.svg").read_bytes()[:200]
