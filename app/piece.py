"""A finished piece for a Python program: its notes, its files, and how it looks and sounds in a notebook."""

from __future__ import annotations

import base64
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from musicgen.app import roll
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.app.given import given_notes
from musicgen.app.output import AUDIO_SUFFIXES, MIDI_SUFFIXES, PICTURE_SUFFIXES, check_output, write_bytes
from musicgen.app.provenance import Provenance, summary_line
from musicgen.app.render import render
from musicgen.data_prep import Performance
from musicgen.data_prep.files import temporary_folder
from musicgen.data_prep.midi import read_text


class Note(NamedTuple):
    """A note: onset and end of the key in seconds, MIDI pitch 0..127, velocity 1..127."""

    onset: float
    end: float
    pitch: int
    velocity: int


@dataclasses.dataclass(frozen=True)
class Piece:
    """A finished piece.  A notebook shows it as a piano roll with a player.

    music: its notes and pedal, those of the prime first.
    midi: the bytes of its MIDI file, from which `musicgen replay` makes it again.
    provenance: how it was made: settings, seed, weights, backend.
    filler: `Model.fill` of the model that made it.
    """

    music: Performance
    midi: bytes
    provenance: Provenance
    filler: Callable[..., Piece] | None = dataclasses.field(default=None, repr=False, compare=False)

    def fill(self, start: float, stop: float, **how: Any) -> Piece:
        """The piece with a passage written anew by the model that made it: see `Model.fill`.

        start, stop: seconds.  how: such as ``pitches``, ``hand``, ``seed``.

        Raises BadInput if the passage cannot be used, or the weights have not learnt to fill.
        """
        if self.filler is None:
            raise BadInput("no model came with this piece: use fill of one that musicgen.load gives")
        return self.filler(self, start, stop, **how)

    @property
    def notes(self) -> list[Note]:
        """All notes in order of onset; the first ``provenance.prime_notes`` are the prime's."""
        music = self.music
        columns = (music.onset.tolist(), music.end.tolist(), music.pitch.tolist(), music.velocity.tolist())
        return [Note(*values) for values in zip(*columns, strict=True)]

    @property
    def facts(self) -> Provenance:
        """What `provenance` was called at first."""
        return self.provenance

    def save(self, path: str | Path, *, soundfont: str | Path | None = None) -> Path:
        """Write the piece as MIDI (.mid), sound (.wav, .flac, .ogg, .mp3) or a piano roll (.svg, .png), by the suffix.

        Args:
            path: the file; it appears whole or not at all.
            soundfont: the piano of the sound, a .sf2 file; None for the one that came with the install.

        Raises:
            BadInput: another suffix, a missing folder or soundfont.
            EnvironmentProblem: the file cannot be written here.
        """
        out = check_output(path, (*MIDI_SUFFIXES, *AUDIO_SUFFIXES, *PICTURE_SUFFIXES), "the file")
        suffix = out.suffix.lower()
        if suffix in AUDIO_SUFFIXES:
            render(self.music, out, soundfont=soundfont, comment=self._summary)
        else:
            write_bytes(out, self.midi if suffix in MIDI_SUFFIXES else self._picture(suffix))
        return out

    def play(self) -> None:
        """Show a player in a notebook.  Raises EnvironmentProblem anywhere else."""
        show_player(self._mp3, "audio/mpeg")

    def _repr_html_(self) -> str:
        """The piano roll and a player, for notebooks."""
        return self._picture(".svg").decode("ascii") + player(self._mp3, "audio/mpeg")

    @property
    def _summary(self) -> str:
        return summary_line(dataclasses.asdict(self.provenance))

    def _picture(self, suffix: str) -> bytes:
        picture = roll.draw(self.music, given=given_notes(self.music, read_text(self.midi)))
        return (roll.svg if suffix == ".svg" else roll.png)(picture, description=self._summary)

    @functools.cached_property
    def _mp3(self) -> bytes:
        with temporary_folder() as folder:
            return self.save(folder / "piece.mp3").read_bytes()


def player(sound: bytes, kind: str) -> str:
    """HTML that plays a sound file of the given MIME type."""
    source = f"data:{kind};base64,{base64.b64encode(sound).decode('ascii')}"
    return f'<p><audio controls preload="metadata" src="{source}"></audio></p>'


def show_player(sound: bytes, kind: str) -> None:
    """Show a player in the notebook that is running.  Raises EnvironmentProblem if none is."""
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        get_ipython = None
    if get_ipython is None or get_ipython() is None:
        raise EnvironmentProblem('play() needs a notebook: save("new.wav") writes a file for any player')
    display(HTML(player(sound, kind)))
