"""Weights at an address: brought once, checked by their sums, kept under the sum of these."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path

from musicgen.checkpoints import FILE_BYTES, SUMS, SUMS_BYTES, TOTAL_BYTES, CheckpointError, read_verified
from musicgen.checkpoints.training_files import FILE as TRAINING_FILES
from musicgen.data_prep.stores import TRIES, NothingThereError, Place, StoreError

BESIDE = ("memorisation.npz", TRAINING_FILES)  # what belongs to weights without a sum, if it is there


def fetch(address: str, home: Path) -> Path:
    """The folder on this machine of the weights at an address, once they are whole: those that are there now.

    home: where all such folders lie.  Raises StoreError if there are none, or if they do not fit their sums.
    """
    place = Place(address)
    for number in range(1, TRIES + 1):
        try:
            sums = place.read(SUMS, SUMS_BYTES)
        except NothingThereError:
            raise StoreError(f"there is no {SUMS} in {place.address}: give a folder of weights") from None
        folder = home / hashlib.sha256(sums).hexdigest()[:32] / place.name
        if _is_whole(folder):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=folder.parent) as new:
                _bring(place, sums, Path(new))
                shutil.rmtree(folder, ignore_errors=True)
                with contextlib.suppress(OSError):  # another process was faster
                    Path(new).rename(folder)
                Path(new).mkdir(exist_ok=True)  # for who removes it
            return folder
        except StoreError:
            if number == TRIES or place.read(SUMS, SUMS_BYTES) == sums:
                raise
            # they were replaced meanwhile: the new ones
    raise AssertionError


def _is_whole(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        read_verified(folder)
    except CheckpointError:  # damaged on this machine
        return False
    return True


def _bring(place: Place, sums: bytes, to: Path) -> None:
    (to / SUMS).write_bytes(sums)
    room = TOTAL_BYTES
    try:
        named = [line.split(maxsplit=1) for line in sums.decode().splitlines()]
        files = {name: digest for digest, name in named}
    except ValueError:
        raise StoreError(f"{place.address}/{SUMS} is not a list of checksums: give a folder of weights") from None
    if any(Path(name).name != name or "\\" in name for name in files):
        raise StoreError(f"{place.address}/{SUMS} names files outside its folder: give a folder of weights")
    for name, digest in files.items():
        place.download(to / name, name, most=min(FILE_BYTES, room), sha256=digest)
        room -= (to / name).stat().st_size
    for name in BESIDE:
        with contextlib.suppress(NothingThereError):
            place.download(to / name, name, most=FILE_BYTES)
