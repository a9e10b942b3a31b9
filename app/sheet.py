"""Sheet music of a MIDI file: MusicXML with partitura, pictures of it with Verovio; both come with the extra `score`.

A file whose notes lie on its own beat is written down on that; for any other the beat is estimated
(data_prep/beats.py), and with it the bars.  Either way it is a reading aid, and `Sheet` says how far it is to be
trusted.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.data_prep.beats import find_beats
from musicgen.data_prep.errors import counted
from musicgen.data_prep.extras import install_command
from musicgen.data_prep.metre import find_bars
from musicgen.data_prep.notation import (
    LEFT,
    PARTS,
    REST,
    RIGHT,
    Metre,
    Notation,
    Symbol,
    TooLong,
    beams,
    brackets,
    notate,
    staves,
)
from musicgen.data_prep.score import KEY, METRE
from musicgen.data_prep.smf import META
from musicgen.data_prep.song import Song

EXACT = 0.02  # quarters: how far a note of a file with a beat is from its place at most
SHARE = 0.9  # of the notes that have to be there
DOCTYPE = (
    '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN"'
    ' "http://www.musicxml.org/dtds/partwise.dtd">'
)
NEAR = 0.1  # quarters: what a reader would take for the same place


@dataclass(frozen=True)
class Sheet:
    """A piece written down.

    estimated: whether the beat is a guess.
    heard: whether a guessed beat is clear enough to be taken for one.
    near: the share of notes that were struck where they are written, to a tenth of a quarter.
    keys: (part, sharps or minus flats, whether minor), in order; empty for one that is to be found.
    tempo: quarters a minute at the beginning.
    drums: notes of drums, which are left out.
    """

    notation: Notation
    estimated: bool
    heard: bool
    near: float
    keys: tuple[tuple[int, int, bool], ...]
    tempo: float
    title: str
    drums: int = 0

    @property
    def remark(self) -> str:
        """How far it is to be trusted, and what is missing, in a sentence."""
        share = f"{self.near:.0%} of the notes were played where they are written"
        if self.drums:
            share += f"; {counted(self.drums, 'drum note')} left out"
        if self.estimated and not self.heard:
            return f"no clear beat can be heard, and the bars are no more than a grid: {share}"
        if self.estimated:
            return f"the beat and the bars are estimated: {share}"
        return f"the beat is the file's own: {share}"


def write_down(data: bytes, title: str = "") -> Sheet:
    """The sheet music of a MIDI file's bytes.  Raises MidiError if it is none, BadInput if it is too long."""
    song = Song.read(data)
    keys = song.keys
    onset, end = keys.onset, np.where(np.isfinite(keys.end), keys.end, keys.onset + 1.0)
    quarters = None if song.events.time_base.in_frames else song.events.tick[keys.down] / song.events.division
    estimated = quarters is None or not lies_on_beat(quarters)
    try:
        written = (_estimated if estimated else _by_the_file)(song, onset, end, title)
    except TooLong as error:
        raise BadInput(f"this is too long to be written down ({error}): cut it first") from None
    return replace(written, drums=song.drums)


def lies_on_beat(quarters: np.ndarray) -> bool:
    """Whether notes at these places, in quarters, lie on a beat as those of a score do."""
    off = np.min([np.abs(quarters * grid - np.rint(quarters * grid)) / grid for grid in (8, 6)], axis=0)
    return bool(np.mean(off <= EXACT / 2) >= SHARE)


def _by_the_file(song: Song, onset: np.ndarray, end: np.ndarray, title: str) -> Sheet:
    events, keys = song.events, song.keys
    division = events.division
    begin = events.tick[keys.down] / division
    finish = begin + (end - onset)  # of what nothing releases
    released = keys.up < len(events.tick)
    finish[released] = events.tick[keys.up[released]] / division
    marks = sorted((event.tick, event.data) for event in events.long if event.data[:1] == bytes([META]))
    told = [(tick / division, data[2:]) for tick, data in marks if data[1] == METRE and len(data) == 6]
    metres = _metres([(at, data[0], 2 ** data[1]) for at, data in told])
    notation = notate(begin, finish, keys.pitch, _staff(song), metres, guessed=False)
    signs = [
        (round(tick / division * PARTS), int(np.int8(data[2])), bool(data[3]))
        for tick, data in marks
        if data[1] == KEY and len(data) == 4 and abs(int(np.int8(data[2]))) <= 7
    ]
    seconds = events.seconds(np.array([0, division]))
    return _sheet(notation, False, True, tuple(signs), 60 / float(seconds[1] - seconds[0]), title)


def _metres(told: list[tuple[float, int, int]]) -> list[Metre]:
    """Metres from the first part on; 4/4 where none is told. What no bar could be drawn of is passed over."""
    known = [
        Metre(round(at * PARTS), beats, unit)
        for at, beats, unit in told
        if 1 <= beats <= 32 and unit in (1, 2, 4, 8, 16, 32)
    ]
    found: list[Metre] = []
    for metre in known:
        if found and found[-1].start == metre.start:
            found.pop()
        if not found or found[-1][1:] != metre[1:]:
            found.append(metre)
    if not found or found[0].start > 0:
        found.insert(0, Metre(0, 4, 4))
    return found


def _estimated(song: Song, onset: np.ndarray, end: np.ndarray, title: str) -> Sheet:
    velocity = song.events.data2[song.keys.down].astype(np.int64)
    beats = find_beats(onset, song.keys.pitch, velocity)
    if beats is None:
        raise BadInput("no beat can be heard in it: four strokes that stand apart are the least")
    bars = find_bars(beats.seconds, onset, song.keys.pitch, velocity)
    seconds = beats.seconds[bars.first :] if bars.first else beats.seconds
    begin, finish = (_in_beats(seconds, times) for times in (onset, end))
    lead = bars.beats * int(np.ceil(max(0.0, -float(np.rint(begin.min() * 4) / 4)) / bars.beats))
    notation = notate(
        begin + lead, finish + lead, song.keys.pitch, _staff(song), [Metre(0, bars.beats, 4)], guessed=True
    )
    return _sheet(notation, True, beats.heard, (), 60 / float(np.median(np.diff(beats.seconds))), title)


def _in_beats(beats: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """f64: times as numbers of beats; before the first and behind the last at the distance of the nearest two."""
    number = np.arange(len(beats), dtype=np.float64)
    inside = np.interp(seconds, beats, number)
    before, behind = beats[1] - beats[0], beats[-1] - beats[-2]
    inside = np.where(seconds < beats[0], (seconds - beats[0]) / before, inside)
    return np.where(seconds > beats[-1], number[-1] + (seconds - beats[-1]) / behind, inside)


def _sheet(
    notation: Notation, estimated: bool, heard: bool, keys: tuple[tuple[int, int, bool], ...], tempo: float, title: str
) -> Sheet:
    return Sheet(notation, estimated, heard, float(np.mean(np.abs(notation.moved) <= NEAR)), keys, tempo, title)


def _staff(song: Song) -> np.ndarray:
    """Two tracks are the two hands, as notation programs write them; else the line between the hands parts them."""
    tracks = np.unique(song.keys.track)
    if len(tracks) == 2:
        means = [song.keys.pitch[song.keys.track == track].mean() for track in tracks]
        return np.where(song.keys.track == tracks[int(np.argmax(means))], RIGHT, LEFT)
    return staves(song.keys.onset, song.keys.pitch)


def musicxml(sheet: Sheet) -> bytes:
    """A MusicXML file.  Raises EnvironmentProblem where partitura is not installed."""
    partitura = _import("partitura")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what it does, such as adding no key
        part = _part(sheet, partitura)
        whole = partitura.score.Score(part, work_title=None, movement_title=None)
        text = partitura.save_musicxml(whole)
    return _completed(text, sheet)


def _completed(text: bytes, sheet: Sheet) -> bytes:
    """With beams, title and remark, which partitura does not write."""
    from lxml import etree

    tree = etree.fromstring(text)
    tree.set("version", "4.0")
    if sheet.title:
        title = etree.Element("movement-title")
        title.text = sheet.title
        tree.insert(0, title)
    about = etree.fromstring(
        "<identification><encoding><software>musicgen</software></encoding><miscellaneous>"
        '<miscellaneous-field name="reading-aid"/></miscellaneous></identification>'
    )
    about.find(".//miscellaneous-field").text = sheet.remark
    tree.insert(int(bool(sheet.title)), about)
    told, symbols = beams(sheet.notation), sheet.notation.symbols
    for note in tree.iter("note"):
        symbol = symbols[int(note.get("id")[1:])]
        if symbol.pitch == REST or note.find("chord") is not None:
            continue
        for level, what in enumerate(told.get((symbol.voice, symbol.start), ()), start=1):
            beam = etree.Element("beam", number=str(level))
            beam.text = what
            note.insert(len(note) - (note.find("notations") is not None), beam)
    kinds = {"encoding": "UTF-8", "xml_declaration": True, "pretty_print": True}
    return etree.tostring(tree, doctype=DOCTYPE, **kinds)


def _part(sheet: Sheet, partitura: Any) -> Any:
    score = partitura.score
    notation = sheet.notation
    part = score.Part("P1", part_name="Piano", quarter_duration=PARTS)
    for number, bar in enumerate(notation.bars, start=1):
        part.add(score.Measure(number=number, name=str(number)), bar.start, bar.stop)
        if number == 1 or bar.metre is not notation.bars[number - 2].metre:
            part.add(score.TimeSignature(bar.metre.beats, bar.metre.unit), bar.start)
    for at, fifths, minor in _keys(sheet, partitura):
        part.add(score.KeySignature(fifths, "minor" if minor else "major"), at)
    part.add(score.Clef(staff=RIGHT, sign="G", line=2, octave_change=0), 0)
    part.add(score.Clef(staff=LEFT, sign="F", line=4, octave_change=0), 0)
    part.add(score.Tempo(round(sheet.tempo), unit="q"), 0)
    spelling = _spelling(notation, partitura)
    drawn: list[Any] = []
    last: dict[tuple[int, int], Any] = {}  # what the next one may be tied to, by voice and pitch
    for number, symbol in enumerate(notation.symbols):
        how = {"id": f"n{number}", "voice": symbol.voice, "staff": symbol.staff, "symbolic_duration": _duration(symbol)}
        name = spelling.get((symbol.pitch, symbol.start))
        if symbol.pitch == REST:
            note = score.Rest(**how)
        else:
            if symbol.tied_back:
                before = last[symbol.voice, symbol.pitch]
                name = (before.step, before.octave, before.alter)
            assert name is not None  # every note that is not tied back begins here
            step, octave, alter = name
            note = score.Note(step=step, octave=octave, alter=alter, **how)
            if symbol.tied_back:
                note.tie_prev, before.tie_next = before, note
            last[symbol.voice, symbol.pitch] = note
        part.add(note, symbol.start, symbol.stop)
        drawn.append(note)
    for first, past in brackets(notation):
        tuplet = score.Tuplet(drawn[first], drawn[past])
        part.add(tuplet, drawn[first].start.t, drawn[past].end.t)
    return part


def _duration(symbol: Symbol) -> dict[str, Any]:
    three = {"actual_notes": 3, "normal_notes": 2} if symbol.triplet else {}
    return {"type": symbol.kind, "dots": symbol.dots, **three}


def _notes(notation: Notation) -> np.ndarray:
    """The whole notes as partitura takes them."""
    table = [((start / PARTS), (stop - start) / PARTS, pitch, 64) for start, stop, pitch, _, _ in notation.lengths]
    kinds = [("onset_beat", "f4"), ("duration_beat", "f4"), ("pitch", "i4"), ("velocity", "i4")]
    return np.array(sorted(table), dtype=kinds)


def _spelling(notation: Notation, partitura: Any) -> dict[tuple[int, int], tuple[str, int, int]]:
    """(step, octave, alter) of each pitch where it begins."""
    notes = _notes(notation)
    names = partitura.musicanalysis.estimate_spelling(notes)
    starts = np.rint(notes["onset_beat"] * PARTS).astype(int).tolist()
    return {
        (pitch, start): (str(name["step"]), int(name["octave"]), int(name["alter"]))
        for pitch, start, name in zip(notes["pitch"].tolist(), starts, names, strict=True)
    }


def _keys(sheet: Sheet, partitura: Any) -> tuple[tuple[int, int, bool], ...]:
    """The file's, or the likeliest one."""
    if sheet.keys:
        return sheet.keys
    name = partitura.musicanalysis.estimate_key(_notes(sheet.notation))
    fifths, mode = partitura.utils.music.key_name_to_fifths_mode(name)
    return ((0, int(fifths), mode == "minor"),)


def svg(xml: bytes, width: int = 1200) -> bytes:
    """A picture of a MusicXML file, all pages below each other.  Raises EnvironmentProblem without Verovio."""
    verovio = _import("verovio")
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    scale = 40
    toolkit.setOptions(
        {
            "pageWidth": width * 100 // scale,
            "pageHeight": 60_000,
            "adjustPageHeight": True,
            "scale": scale,
            "header": "auto",
            "footer": "none",
            "svgViewBox": True,
        }
    )
    if not toolkit.loadData(xml.decode()):
        raise EnvironmentProblem("Verovio could not draw this score: please report it")
    return _stack([toolkit.renderToSVG(page + 1) for page in range(toolkit.getPageCount())])


def _stack(pages: list[str]) -> bytes:
    sizes = [tuple(map(float, re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', page).groups())) for page in pages]  # type: ignore[union-attr]
    if len(pages) == 1:
        return pages[0].encode()
    parts, y = [], 0.0
    for page, (width, height) in zip(pages, sizes, strict=True):
        parts.append(page.replace("<svg ", f'<svg x="0" y="{y:g}" width="{width:g}" height="{height:g}" ', 1))
        y += height
    width = max(width for width, _ in sizes)
    whole = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {y:g}">'
    return (whole + "".join(parts) + "</svg>").encode()


def installed() -> bool:
    """Whether what writes and draws sheet music is there."""
    return all(importlib.util.find_spec(name) is not None for name in ("partitura", "verovio"))


def _import(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        raise EnvironmentProblem(f"sheet music needs {name}: {install_command('score')}") from None
