"""Addresses in a command's place for files: s3://, gs://, az://, https://.

    what is read           brought to this machine first; the command reads that
    what is written        written here, then sent
    the folder of a job    a copy of it is worked on here; what is new goes to the store now and then, and at the end

So commands know files of this machine alone, and only what a person typed is ever looked for elsewhere: a file, a
recipe or a page that names an address gets nothing.  What is said names the addresses.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from musicgen.app import terminal
from musicgen.app.arguments import addressed
from musicgen.app.errors import BadInput, MusicgenError
from musicgen.app.output import cache_folder
from musicgen.app.progress import Progress
from musicgen.data_prep.files import locked, temporary_folder
from musicgen.data_prep.store_folder import Copy
from musicgen.data_prep.store_lock import Lease
from musicgen.data_prep.stores import Place, StoreError, is_address

FILES = ("prime", "song", "piece", "file", "csv", "leave_out", "soundfont", "keep", "index", "batch")
FOLDERS = ("midi_dir", "audio_dir", "data", "memorisation", "build_index", "samples")
WEIGHTS = ("checkpoint", "audio_checkpoint", "codec", "start")
JOBS = (("prep", "out"), ("train", "out"))  # folders that a job goes on with
WRITTEN_FOLDERS = ("out_dir", "plots")
WRITTEN = ("out", "audio", "save")
SEND_EVERY = 30.0  # seconds, of a job
WAIT = 0.2  # seconds between two looks at a lock on this machine


@contextlib.contextmanager
def as_files(command: str, parsed: argparse.Namespace) -> Iterator[None]:
    """Put files of this machine in the place of the addresses in these options; at the end, send what was written.

    Raises BadInput for what cannot be read or written there, and says where what could not be sent is kept.
    """
    _check(command, parsed)
    store = _Store(getattr(parsed, "quiet", False))
    try:
        with contextlib.ExitStack() as stack:
            # What is written comes first: whether that is possible is known at once.
            for name in sorted(
                vars(parsed), key=lambda name: _kind(parsed, command, name) not in ("job", "out", "out_dir")
            ):
                value, kind = getattr(parsed, name), _kind(parsed, command, name)
                words = value if isinstance(value, list) else [value]
                local = [
                    stack.enter_context(store.stands_for(word, kind)) if is_address(word) else word for word in words
                ]
                setattr(parsed, name, local if isinstance(value, list) else local[0])
            yield
    except StoreError as error:
        raise BadInput(str(error)) from None


def _kind(parsed: argparse.Namespace, command: str, name: str) -> str:
    kinds = {"file": FILES, "folder": FOLDERS, "weights": WEIGHTS, "out_dir": WRITTEN_FOLDERS, "out": WRITTEN}
    job = (command, name) in JOBS or (name == "out_dir" and getattr(parsed, "batch", None) is not None)
    return "job" if job else next((kind for kind, names in kinds.items() if name in names), "none")


def _check(command: str, parsed: argparse.Namespace) -> None:
    """Raises BadInput for what is not read, would write over what it reads, or needs a folder that others see, too."""
    read: dict[str, bool] = {}
    for name, word in addressed(parsed):
        kind = _kind(parsed, command, name)
        if kind == "none" or not is_address(word):
            raise BadInput(
                f"{word[:200]} is an address that cannot be used here: s3://, gs://, az:// and https:// can, where a"
                " file or a folder belongs; copy or mount others"
            )
        reads = kind in ("file", "folder", "weights")
        if read.setdefault(word.rstrip("/"), reads) != reads:
            raise BadInput(f"{word} would be read and written: choose another name")
    if getattr(parsed, "runner", "local") not in ("local", "direct"):
        raise BadInput(
            f"--runner {parsed.runner}: its workers see no copies that lie on this machine; give folders that all of"
            " them see, or leave --runner out"
        )
    if getattr(parsed, "distributed", None) and is_address(parsed.out):
        raise BadInput(f"--distributed: all processes write {parsed.out} together: give a folder that all of them see")


class _Store:
    """What stands for addresses, for the time of a command."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.home = cache_folder("stores")

    @contextlib.contextmanager
    def stands_for(self, address: str, kind: str) -> Iterator[str]:
        """A path of this machine, whose content is brought before and sent after.  Raises StoreError, BadInput."""
        if kind == "weights":
            from musicgen.checkpoints.remote import fetch

            self.say(f"reading {address} ...")
            with self.told(fetch(address, self.home / "weights"), address) as path:
                yield path
            return
        place = Place(address)
        if place.name in ("", ".", "..") or "\\" in place.name:
            raise StoreError(f"{address} names a bucket and nothing in it: give a file or a folder in it")
        ways = {"folder": self.folder, "job": self.job, "out": self.written, "out_dir": self.written_folder}
        with ways.get(kind, self.file)(place) as local, self.told(local, address) as path:
            yield path

    @contextlib.contextmanager
    def told(self, path: Path, address: str) -> Iterator[str]:
        """Let messages name the address."""
        terminal.INSTEAD[str(path)] = address.rstrip("/")
        yield str(path)

    def say(self, line: str) -> None:
        if not self.quiet:
            print(f"musicgen: {line}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def file(self, place: Place) -> Iterator[Path]:
        with temporary_folder() as folder:
            place.download(folder / place.name)
            yield folder / place.name

    @contextlib.contextmanager
    def folder(self, place: Place) -> Iterator[Path]:
        if place.scheme not in ("http", "https") and place.is_file():  # NoteSequences
            with self.file(place) as path:
                yield path
            return
        copy = Copy(place, self.home / "read")
        with _turn(copy.home / "lock"):  # of several who read it here, one brings it
            self.pull(copy, keep=False)
        if not any(copy.folder.iterdir()):
            raise StoreError(f"{place.address} is empty, or there is no such folder: is the address right?")
        yield copy.folder

    def pull(self, copy: Copy, *, keep: bool) -> None:
        with Progress(0, f"files of {copy.place.address}", quiet=self.quiet) as progress:

            def tell(done: int, total: int) -> None:
                progress.total = total
                progress.update(done)

            copy.pull(keep=keep, tell=tell)

    @contextlib.contextmanager
    def job(self, place: Place) -> Iterator[Path]:
        place.refuse_writing()
        copy = Copy(place, self.home / "jobs")  # apart: what was not sent yet is only here
        with locked(copy.home / "lock") as free:
            if not free:
                raise StoreError(
                    f"another job on this machine uses {place.address}: wait for it, or give another folder"
                )
            with Lease(place, _mark(copy.home), self.say) as lease:
                self.pull(copy, keep=True)
                with _sending(copy, lease):
                    yield copy.folder

    @contextlib.contextmanager
    def written(self, place: Place) -> Iterator[Path]:
        place.refuse_writing()
        parent = place.address.rpartition("/")[0]
        if not is_address(parent):
            raise StoreError(f"{place.address} names a bucket: give the file's name in it, too")
        with self.written_folder(Place(parent)) as folder:
            yield folder / place.name

    @contextlib.contextmanager
    def written_folder(self, place: Place) -> Iterator[Path]:
        place.refuse_writing()
        probe = f".musicgen-{uuid.uuid4().hex}"
        place.write(probe, b"")  # before the work is done
        place.remove(probe)
        with temporary_folder() as folder, self.told(folder, place.address):
            try:
                yield folder
            except MusicgenError:  # of several pieces, some may be there
                self.send(folder, place)
                raise
            self.send(folder, place)

    def send(self, folder: Path, place: Place) -> None:
        """Raises BadInput if that fails; what was made is kept then."""
        try:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                place.upload(path, path.relative_to(folder).as_posix())
        except StoreError as error:
            kept = self.home / "unsent" / folder.name
            shutil.copytree(folder, kept)
            raise BadInput(f"{error}; what was made is in {kept}") from None


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait for a lock."""
    while True:
        with locked(path) as free:
            if free:
                yield
                return
        threading.Event().wait(WAIT)


def _mark(home: Path) -> str:
    """A name that no other copy has, on any machine."""
    path = home / "name"
    if not path.exists():
        path.write_text(uuid.uuid4().hex)
    return path.read_text()


@contextlib.contextmanager
def _sending(copy: Copy, lease: Lease) -> Iterator[None]:
    """Send what is new every now and then, and all at the end, whatever the end is.

    Raises StoreError if the last time fails; until then, there is a next time.
    """
    over = threading.Event()

    def send_now_and_then() -> None:
        while not over.wait(SEND_EVERY):
            with contextlib.suppress(StoreError, OSError):
                lease.check()
                copy.push()

    def send_last() -> None:
        over.set()
        thread.join()
        lease.check()
        copy.push(last=True)

    thread = threading.Thread(target=send_now_and_then, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        with contextlib.suppress(StoreError):  # the first problem is told
            send_last()
        raise
    try:
        send_last()
    except StoreError as error:
        terminal.INSTEAD.pop(str(copy.folder), None)  # here the path itself is meant
        raise StoreError(f"{error}; all of it is in {copy.folder}, and the same command sends it") from None
