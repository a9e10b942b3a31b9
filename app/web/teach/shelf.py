"""The weights that the page has taught, a folder each, and the pieces that they are still to be taught."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from musicgen import checkpoints
from musicgen.app.errors import BadInput, cannot_read, cannot_write
from musicgen.app.tuning import FACTS, REPORT

NAME = re.compile(r"\w[\w -]{0,38}\w|\w")
PIECES = "pieces"  # NAME.pieces
WHENS, FORMS = ("before", "after"), ("mid", "wav")


class Shelf:
    """In a folder: NAME, taught weights; NAME.pieces, the files that they are being taught; NAME.tuning, the run."""

    def __init__(self, folder: Path, base: str, sha256: str) -> None:
        """base, sha256: of the weights that are taught; those that were taught to others are not shown."""
        self.folder, self.base, self.sha256 = folder, base, sha256

    def weights(self, name: object) -> Path:
        """Where weights of this name lie, or will.  Raises BadInput for a name that no folder is to have."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise BadInput("give the weights a name of at most 40 letters, digits, spaces, - and _")
        if name.lower() in checkpoints.names():
            raise BadInput(f"{name} comes with the package: give your own weights another name")
        return self.folder / name

    def pieces(self, name: object) -> Path:
        """Where their pieces lie until they are taught."""
        path = self.weights(name)
        return path.with_name(f"{path.name}.{PIECES}")

    def finished(self) -> list[dict[str, Any]]:
        """What is told of all that are finished, by name: their report."""
        try:
            folders = sorted(path for path in self.folder.iterdir() if NAME.fullmatch(path.name))
        except OSError:  # nothing was taught yet
            return []
        return [about for about in map(self._about, folders) if about is not None]

    def unfinished(self) -> list[str]:
        """Names of those whose pieces are here and that are not finished."""
        try:
            found = sorted(path.stem for path in self.folder.glob(f"*.{PIECES}") if path.is_dir())
        except OSError:
            return []
        return [name for name in found if NAME.fullmatch(name)]

    def _about(self, folder: Path) -> dict[str, Any] | None:
        try:
            report = json.loads((folder / REPORT / FACTS).read_bytes())
            if report["asked"]["sha256"] != self.sha256:
                return None
            kept = {key: report[key] for key in ("before", "after", "copied", "music", "warnings")}
            return {"name": folder.name, "style": report["asked"]["style"], **kept}
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def add(self, name: object, file: object, midi: bytes, most: int, most_bytes: int) -> int:
        """Put a piece to the others; returns how many there are.  Raises BadInput for too many."""
        folder = self.pieces(name)
        safe = re.sub(r"[^\w .-]", "_", str(file).rpartition("/")[2].rpartition("\\")[2]).strip(". ")[-80:] or "piece"
        stem, dot, suffix = safe.rpartition(".")
        if suffix.lower() not in ("mid", "midi", "kar", "smf") or not dot:
            stem, suffix = safe, "mid"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            there = [path.stat().st_size for path in folder.iterdir()]
            if len(there) >= most or sum(there) + len(midi) > most_bytes:
                raise BadInput(
                    f"{most} files of {most_bytes / 1e6:g} MB together are the most here: use musicgen train --from for"
                    " more"
                )
            path = folder / f"{stem}.{suffix}"
            for number in range(2, most + 2):  # files of several folders may have one name
                if not path.exists():
                    break
                path = folder / f"{stem}-{number}.{suffix}"
            path.write_bytes(midi)
        except OSError as error:
            raise cannot_write(folder, error) from None
        return len(there) + 1

    def begin(self, name: object) -> None:
        """Room for new pieces.  Raises BadInput if there are weights of that name, or some are being taught."""
        path, pieces = self.weights(name), self.pieces(name)
        if path.exists():
            raise BadInput(f"there are weights called {path.name} already: give another name, or remove them")
        if pieces.exists():
            raise BadInput(f"{path.name} has not been finished: go on with it, or remove it")

    def remove(self, name: object) -> None:
        """Take weights, or an unfinished run, away with all that belongs to it.  Raises BadInput."""
        path = self.weights(name)
        parts = [path, self.pieces(name), path.with_name(f"{path.name}.tuning")]
        if not any(part.exists() for part in parts):
            raise BadInput(f"there are no weights called {path.name} here")
        for part in parts:
            try:
                if part.exists():
                    shutil.rmtree(part)
            except OSError as error:
                raise cannot_write(part, error) from None

    def taught(self, name: object) -> None:
        """Their pieces are no longer needed: the weights hold what they were."""
        shutil.rmtree(self.pieces(name), ignore_errors=True)

    def sample(self, name: object, when: str, form: str) -> bytes:
        """Half a minute before or after.  form: mid or wav.  Raises BadInput."""
        if when not in WHENS or form not in FORMS:
            raise BadInput(f"a sample is {' or '.join(WHENS)}, as {' or '.join(FORMS)}")
        path = self.weights(name) / REPORT / f"{when}.{form}"
        try:
            return path.read_bytes()
        except OSError as error:
            raise cannot_read(path, error) from None
