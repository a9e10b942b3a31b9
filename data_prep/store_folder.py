"""A folder of this machine that stands for one in a store: brought here, worked on as any other, sent back.

What is only whole together is sent in an order that shows it: the files that say "this is whole" (a manifest, sums, the
metadata of a checkpoint) go last, as they were before the others were looked at, and are the first that are removed.
A list beside the folder tells what was the same in both when they were last compared; so a job that was killed goes on
with what is only here, and takes over what only the store has.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import astuple, dataclass
from pathlib import Path

from musicgen.data_prep import limits
from musicgen.data_prep.files import checksum
from musicgen.data_prep.stores import NothingThereError, Place, Seen, StoreError

AT_ONCE = 16  # transfers
LAST = ("manifest.json", "SHA256SUMS", "_CHECKPOINT_METADATA")  # what says that the files around it are whole
# What is being written, put aside, or of this machine alone.
PASSING = re.compile(
    r"(.*/)?(\.lock|\..*\.musicgen-[0-9a-f]{8}.*|.*\.tmp|.*\.orbax-checkpoint-tmp.*|.*\.(new|old)|damaged-\d+)(/.*)?"
)
STEP = re.compile(r"((?:.*/)?checkpoints/\d+)/.*")  # of a run: a folder that is only whole with its metadata
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Known:
    """A file that is here as it is in the store: its object there; its size and time here."""

    seen: Seen
    size: int
    time: int


class Copy:
    """The copy of a folder in a store; whoever uses one sees to it that nobody else does (`files.locked`)."""

    def __init__(self, place: Place, home: Path) -> None:
        """home: the folder in which all copies lie."""
        self.place = place
        self.home = home / place.identity
        self.folder = self.home / place.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._list = self.home / "known.jsonl"
        self._known = _read_known(self._list)
        self._gone: set[str] = set()  # since the last time
        self._writing = threading.Lock()

    def pull(self, *, keep: bool, tell: Tell = lambda done, total: None) -> None:
        """Make this folder what the store's is.  Raises StoreError, OSError.

        keep: but for what was changed here alone.  tell: how many files are done, of how many.
        """
        there = _whole(self._names())
        for name in [name for name in self._known if name not in there]:
            if not keep or self._is_as_known(name):
                (self.folder / name).unlink(missing_ok=True)
            self._note(name, None)
        if not keep:
            for name in _walk(self.folder):
                if name not in there:
                    (self.folder / name).unlink()
        wanted = [name for name, seen in there.items() if not self._has(name, seen, keep)]
        for name in wanted:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)

        def bring(name: str) -> None:
            seen = self.place.download(self.folder / name, name)
            self._note(name, seen)

        for done in self._all(bring, wanted):
            tell(len(there) - len(wanted) + done, len(there))

    def push(self, *, last: bool = False) -> None:
        """Make the store's folder what this one is.  Raises StoreError.

        last: nobody writes here any more; else a file that is not here is removed the next time, as it may be back by
        then.
        """
        with tempfile.TemporaryDirectory(dir=self.home) as marks:
            copies = self._copy_marks(Path(marks))
            changed = [name for name in _walk(self.folder) if self._has_changed(name)]
            missing = {name for name in self._known if not (self.folder / name).exists()}
            gone = missing if last else missing & self._gone
            self._gone = missing - gone
            for name in sorted(gone, key=_is_mark, reverse=True):
                self.place.remove(name)
                self._note(name, None)
            for _ in self._all(self._send, [name for name in changed if not _is_mark(name)]):
                pass
            for name, path in copies.items():
                self.place.upload(path, name)
                self._note(name, self.place.seen(name), path)

    def _copy_marks(self, to: Path) -> dict[str, Path]:
        """By name, copies of the files that say what is whole, where they have changed."""
        copies: dict[str, Path] = {}
        for name in _walk(self.folder):
            if _is_mark(name) and self._has_changed(name):
                with contextlib.suppress(FileNotFoundError):
                    copies[name] = Path(shutil.copy2(self.folder / name, to / str(len(copies))))
        return copies

    def _send(self, name: str) -> None:
        path = self.folder / name
        try:
            before = path.stat()
            seen = self.place.upload(path, name)
            after = path.stat()
        except (FileNotFoundError, StoreError):
            if path.exists():
                raise
            return  # its writer has removed it
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            self._note(name, seen)

    def _names(self) -> dict[str, Seen]:
        if self.place.scheme not in ("http", "https"):
            found = self.place.files()
            if not found and self.place.is_file():
                raise StoreError(f"{self.place.address} is a file: give a folder")
            return {name: seen for name, seen in found.items() if not PASSING.fullmatch(name)}
        return _listed(self.place)  # a web server has no lists

    def _has(self, name: str, seen: Seen, keep: bool) -> bool:
        known = self._known.get(name)
        return known is not None and known.seen == seen and (keep or self._is_as_known(name))

    def _is_as_known(self, name: str) -> bool:
        known = self._known.get(name)
        try:
            status = (self.folder / name).stat()
        except OSError:
            return False
        return known is not None and (known.size, known.time) == (status.st_size, status.st_mtime_ns)

    def _has_changed(self, name: str) -> bool:
        """Whether a file is another one than that in the store; what was only written anew is noted."""
        if self._is_as_known(name):
            return False
        known, path = self._known.get(name), self.folder / name
        with contextlib.suppress(FileNotFoundError):
            if known is None or known.seen.md5 is None or path.stat().st_size != known.size:
                return True
            if checksum(path, "md5") != known.seen.md5:
                return True
            self._note(name, known.seen)
        return False

    def _note(self, name: str, seen: Seen | None, path: Path | None = None) -> None:
        """path: the file that was sent, if it is another one."""
        status = (path or self.folder / name).stat() if seen is not None else None
        with self._writing, self._list.open("a") as file:
            if seen is None or status is None:
                self._known.pop(name, None)
                file.write(json.dumps([name, None]) + "\n")
                return
            self._known[name] = Known(seen, status.st_size, status.st_mtime_ns)
            file.write(json.dumps([name, astuple(self._known[name])]) + "\n")

    def _all(self, work: Callable[[str], None], names: list[str]) -> Iterable[int]:
        """Do it for all, many at once; yields how many are done.  The first problem ends it."""
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for done, future in enumerate(as_completed([pool.submit(work, name) for name in names]), 1):
                future.result()
                yield done
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_known(path: Path) -> dict[str, Known]:
    known: dict[str, Known] = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return known
    with contextlib.suppress(ValueError, TypeError):  # a line that a kill has cut off: its file comes again
        for line in lines:
            name, entry = json.loads(line)
            known.pop(name, None)
            if entry is not None:
                known[name] = Known(Seen(*entry[0]), *entry[1:])
    path.write_text("".join(json.dumps([name, astuple(entry)]) + "\n" for name, entry in known.items()))
    return known


def _whole(there: dict[str, Seen]) -> dict[str, Seen]:
    """Without the checkpoints of which a part may be missing."""
    steps = {name: match[1] for name in there if (match := STEP.fullmatch(name))}
    return {name: seen for name, seen in there.items() if f"{steps.get(name)}/{LAST[2]}" in there or name not in steps}


def _listed(place: Place) -> dict[str, Seen]:
    """The files of a data set, as its manifest names them."""
    try:
        manifest = json.loads(place.read(LAST[0], limits.MANIFEST_BYTES))
        names = [f"{shard['name']}{end}" for shard in manifest["shards"] for end in (".npz", ".json")]
    except NothingThereError:
        raise StoreError(
            f"{place.address}: a web server lists no files, and there is no data set: use s3://, gs:// or az://"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{place.address}/{LAST[0]} is damaged: copy the data set there again") from None
    if any("/" in name or "\\" in name for name in names):
        raise StoreError(f"{place.address}/{LAST[0]} names files outside its folder: copy the data set there again")
    found = {name: place.seen(name) for name in [*names, LAST[0]]}
    return {name: seen for name, seen in found.items() if seen is not None}


def _walk(folder: Path) -> list[str]:
    """The names of all files that stay."""
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for name in names if not PASSING.fullmatch(name)]


def _is_mark(name: str) -> bool:
    return name.rpartition("/")[2] in LAST
