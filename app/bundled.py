"""Finding a prime: a person's file, or one of the public-domain openings that come with the package."""

from __future__ import annotations

from pathlib import Path

from musicgen.app.errors import BadInput
from musicgen.app.output import STDIN

FOLDER = Path(__file__).with_name("primes")


def bundled_primes() -> list[str]:
    """The names of the primes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.mid"))


def find_prime(name: str) -> Path:
    """The path of a prime: a file, STDIN for '-', or else a bundled prime by its name ('bach' or 'bach.mid').

    Raises BadInput if there is neither, or only a folder.
    """
    path = Path(name)
    if name == "-":
        return STDIN
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder, not a MIDI file: give one file in it")
        if path.exists():
            return path
    except (OSError, ValueError) as error:  # a name no file can have
        raise BadInput(f"{name[:80]!r} cannot be a file name ({error}): give a MIDI file") from None
    if path.parent == Path() and path.suffix in ("", ".mid") and path.stem in bundled_primes():
        return FOLDER / f"{path.stem}.mid"
    known = ", ".join(bundled_primes())
    raise BadInput(f"no such MIDI file: {path} (bundled primes: {known}; for the commands: musicgen --help)")
