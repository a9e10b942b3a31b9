"""What the page asks for: pieces to be taught, a run that is begun and stopped, the weights that came of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from musicgen.app.errors import BadInput, Busy
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes.request import decode_midi
from musicgen.app.web.teach.lesson import Lesson, study
from musicgen.app.web.teach.shelf import Shelf

Use = Callable[[str | Path], Awaitable[None]]


class Teacher:
    """One run at a time.  Its methods are called from the server's loop."""

    def __init__(self, shelf: Shelf, limits: Limits, use: Use, work: Callable[..., None] = study) -> None:
        """Begin nothing yet.

        Args:
            shelf: where all of it lies.
            limits: of what is sent.
            use: has the notes made with weights, by name or folder.
            work: see `Lesson`.
        """
        self.shelf, self.limits, self._use, self._work = shelf, limits, use, work
        self.lesson: Lesson | None = None
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """The weights that were taught, what is unfinished, and how far the run is, if there was one."""
        going_on = self.lesson.name if self.lesson is not None and self.lesson.going_on else None
        return {
            "base": self.shelf.base,
            "weights": self.shelf.finished(),
            "unfinished": [name for name in self.shelf.unfinished() if name != going_on],
            "lesson": self.lesson.about() if self.lesson is not None else None,
            "limits": {"files": self.limits.taught_files, "bytes": self.limits.taught_bytes},
        }

    def begin(self, name: object) -> None:
        """Make room for the pieces of weights to come.  Raises BadInput, Busy."""
        self._check_free()
        self.shelf.begin(name)

    async def add(self, name: object, file: object, midi: object) -> int:
        """Put a piece to the others.  midi: base64.  Returns how many there are.  Raises BadInput."""
        data = decode_midi(midi, self.limits)
        most = self.limits.taught_files, self.limits.taught_bytes
        return await asyncio.to_thread(self._add, name, file, data, most)

    def _add(self, name: object, file: object, data: bytes, most: tuple[int, int]) -> int:
        with self._lock:
            return self.shelf.add(name, file, data, *most)

    def start(self, name: object) -> None:
        """Teach the pieces that are there, or go on.  Raises BadInput, Busy."""
        self._check_free()
        pieces, out = self.shelf.pieces(name), self.shelf.weights(name)
        if not pieces.is_dir():
            raise BadInput(f"there are no pieces for {out.name}: choose some")
        done = lambda: self.shelf.taught(name)  # noqa: E731
        self.lesson = Lesson(out.name, self.shelf.base, pieces, out, done, self._work)

    def stop(self) -> None:
        """Have the run save and leave."""
        if self.lesson is not None:
            self.lesson.stop()

    def remove(self, name: object) -> None:
        """Take weights, or an unfinished run, away.  Raises BadInput, Busy."""
        if self.lesson is not None and self.lesson.name == name:
            self._check_free()
            self.lesson = None
        self.shelf.remove(name)

    async def use(self, name: object) -> None:
        """Have music made with these weights, or with those that they were taught to.  Raises MusicgenError."""
        if name == self.shelf.base:
            await self._use(self.shelf.base)
            return
        path = self.shelf.weights(name)
        if not path.is_dir():
            raise BadInput(f"there are no weights called {path.name} here")
        await self._use(path)

    def close(self) -> None:
        """The server ends."""
        if self.lesson is not None:
            self.lesson.close()

    def _check_free(self) -> None:
        if self.lesson is not None and self.lesson.going_on:
            raise Busy(f"{self.lesson.name} is being taught: wait for its end, or stop it")
