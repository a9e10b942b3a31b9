"""Files in object stores and on web servers, by fsspec (the `cloud` extra): s3://, gs://, az://, https://.

Whoever opens an address here has it from a person who typed it, never from a file, a recipe or a page.

A store shows an object whole or not at all; what can be torn is a transfer.  So nothing counts as read before its size
and its sum, or else its tag before and after, are those of the store.  What fails for a moment is tried again, a few
times; everything else is one line that says what, where, and what to do.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib.util
import json
import logging
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from musicgen.data_prep.extras import install_command
from musicgen.data_prep.files import checksum

Result = TypeVar("Result")
ADDRESS = re.compile(r"(s3|gs|az|https?)://[^/\s?#][^\s]*")
NEEDED = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "http": "aiohttp", "https": "aiohttp"}
CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run aws configure",
    "gs": "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "http": "it must be readable by everybody",
    "https": "it must be readable by everybody",
}
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST", "AZURE_STORAGE_ACCOUNT_NAME")
SETS = re.compile("AWS_|AZURE_|GOOGLE_|STORAGE_EMULATOR_HOST")  # of the environment, what the libraries go by
TRIES, WAIT = 5, 0.5  # of one transfer; seconds before the second, twice as many before each that follows
CONNECT, READ = 10, 60  # seconds without an answer
REFUSED = re.compile(
    r"credential|AccessDenied|Access ?Denied|Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken"
    r"|InvalidToken|does not exist in our records|\b40[13]\b|authenticat|account_name",
    re.IGNORECASE,
)
NO_BUCKET = re.compile(r"(bucket|container) does not exist|NoSuchBucket|ContainerNotFound", re.IGNORECASE)
UNREACHABLE = re.compile(
    r"Could not connect|Cannot connect|timed? ?out|Name or service|resolve|unreachable", re.IGNORECASE
)
BUSY = re.compile(r"SlowDown|reduce your request rate|Too ?Many|\b(429|503)\b|Server ?Busy|throttl", re.IGNORECASE)


class StoreError(ValueError):
    """An address cannot be used: one line that says what is wrong, where, and what to do."""


class NothingThereError(StoreError):
    """There is no such object."""


class TornError(Exception):
    """What came is not what the store has; the next try may bring it."""


@dataclass(frozen=True)
class Seen:
    """What a store says of an object: bytes (None: it does not say), a tag that changes with them, their MD5 if the
    tag may be that."""

    size: int | None
    tag: str
    md5: str | None = None


def is_address(text: object) -> bool:
    """Whether this is an address that can be read here."""
    return isinstance(text, str) and ADDRESS.fullmatch(text) is not None


class Place:
    """A file, or a folder with all that is in it, in a store.  Its methods raise StoreError."""

    def __init__(self, address: str) -> None:
        """Touches no network."""
        self.address = address if address.startswith("http") else address.rstrip("/")
        self.scheme = address.partition("://")[0]
        if importlib.util.find_spec("fsspec") is None or importlib.util.find_spec(NEEDED[self.scheme]) is None:
            raise StoreError(f"{self.scheme}:// needs {NEEDED[self.scheme]}: {install_command('cloud')}")
        environment = sorted(f"{name}={value}" for name, value in os.environ.items() if SETS.match(name))
        self.fs = _file_system(self.scheme, *environment)
        self.root = str(self.fs._strip_protocol(self.address)).rstrip("/")

    @property
    def name(self) -> str:
        """The last part of the address, without what a server is asked with it."""
        return self.address.split("?")[0].split("#")[0].rstrip("/").rpartition("/")[2]

    @property
    def identity(self) -> str:
        """A name for the place that no other place has, wherever its scheme leads on this machine."""
        endpoints = [os.environ.get(name, "") for name in ENDPOINTS]
        return hashlib.sha256(json.dumps([self.address, *endpoints]).encode()).hexdigest()[:24]

    def refuse_writing(self) -> None:
        """Raise StoreError if nothing can ever be written there."""
        if self.scheme in ("http", "https"):
            raise StoreError(f"{self.address} can only be read: give a file of this machine, or s3://, gs:// or az://")

    def path(self, name: str = "") -> str:
        return f"{self.root}/{name}" if name else self.root

    def files(self) -> dict[str, Seen]:
        """All objects below this folder, by relative name; none if there is no such folder."""

        def find() -> dict[str, Seen]:
            try:
                found = self.fs.find(self.root, detail=True)
            except FileNotFoundError as error:
                if NO_BUCKET.search(str(error)):
                    raise
                return {}
            return {
                path[len(self.root) + 1 :]: _seen(info)
                for path, info in found.items()
                if info.get("type") == "file" and path.startswith(f"{self.root}/") and not path.endswith("/")
            }

        found = self._again(find, "list")
        for name in found:
            if not _is_plain(name):
                raise StoreError(f"{self.address} holds {name!r}, which no file here can be called: rename it")
        return found

    def seen(self, name: str = "") -> Seen | None:
        """What the store says of one object; None if it is not there."""
        try:
            return self._again(lambda: _seen(self.fs.info(self.path(name))), "read", name)
        except NothingThereError:
            return None

    def is_file(self) -> bool:
        """Whether it is one object."""
        return self._again(lambda: bool(self.fs.isfile(self.root)), "read")

    def read(self, name: str, most: int) -> bytes:
        """The bytes of a small object.  Raises StoreError, too, if it is larger."""

        def get() -> bytes:
            seen = self._bounded(name, most)
            data = bytes(self.fs.cat_file(self.path(name)))
            if len(data) > most or (seen.size is not None and len(data) != seen.size):
                raise TornError(f"{len(data):,} bytes came of {seen.size}")
            return data

        return self._again(get, "read", name)

    def download(self, to: Path, name: str = "", most: int | None = None, sha256: str | None = None) -> Seen:
        """Bring an object to a new file, whole or not at all; says which it was.

        most: bytes.  sha256: what its content must have.
        """
        beside = to.with_name(f".{to.name[:40]}.{os.getpid()}.{random.getrandbits(32):08x}.tmp")

        def get() -> Seen:
            seen = self._bounded(name, most)
            self.fs.get_file(self.path(name), str(beside))
            self._check(beside, name, seen, sha256)
            beside.replace(to)
            return seen

        try:
            return self._again(get, "read", name)
        finally:
            beside.unlink(missing_ok=True)

    def _bounded(self, name: str, most: int | None) -> Seen:
        """What the store says of an object.  Raises StoreError if it has more bytes."""
        seen = _seen(self.fs.info(self.path(name)))
        if most is not None and seen.size is not None and seen.size > most:
            raise StoreError(f"{self._at(name)} has {seen.size:,} bytes, {most:,} are the most")
        return seen

    def _check(self, path: Path, name: str, seen: Seen, sha256: str | None) -> None:
        """Raise TornError unless the file is the object that was seen."""
        size = path.stat().st_size
        if seen.size is not None and size != seen.size:
            raise TornError(f"{size:,} bytes came of {seen.size:,}")
        if sha256 is not None:
            if checksum(path, "sha256") != sha256:
                raise TornError("its checksum differs")
        elif seen.md5 != checksum(path, "md5") and _seen(self.fs.info(self.path(name))) != seen:
            raise TornError("it changed meanwhile")

    def upload(self, path: Path, name: str = "") -> Seen:
        """Send a file; the object is the old one, or the new one when this returns."""
        self.refuse_writing()

        def put() -> Seen:
            size = path.stat().st_size
            self.fs.put_file(str(path), self.path(name))
            seen = _seen(self.fs.info(self.path(name)))
            if seen.size != size:
                raise TornError(f"{seen.size} bytes arrived of {size:,}")
            return seen

        return self._again(put, "write", name)

    def write(self, name: str, data: bytes) -> None:
        """Make a small object, or replace it."""
        self.refuse_writing()
        self._again(lambda: self.fs.pipe_file(self.path(name), data), "write", name)

    def create(self, name: str, data: bytes) -> bool:
        """Make a small object if it is not there, and say so; of several who try, one does."""
        self.refuse_writing()

        def make() -> bool:
            try:
                self.fs.pipe_file(self.path(name), data, mode="create")
            except FileExistsError:  # it may be of our own try, whose answer was lost
                return bool(self.fs.cat_file(self.path(name)) == data)
            return True

        return self._again(make, "write", name)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with contextlib.suppress(NothingThereError):
            self._again(lambda: self.fs.rm_file(self.path(name)), "remove", name)

    def _at(self, name: str) -> str:
        return f"{self.address.rstrip('/')}/{name}" if name else self.address

    def _again(self, attempt: Callable[[], Result], what: str, name: str = "") -> Result:
        """What it comes to, after some tries at the most."""
        for number in range(1, TRIES + 1):
            try:
                return attempt()
            except StoreError:
                raise
            except Exception as error:  # each library has kinds of its own, and many of them
                cause = error.__cause__
                if self.scheme in ("http", "https") and isinstance(cause, Exception):
                    error = error if getattr(cause, "status", None) == 404 else cause  # all are "not found" to fsspec
                if isinstance(error, FileNotFoundError):
                    raise self._missing(error, name) from None
                said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                if _is_refused(error, said):
                    raise StoreError(
                        f"cannot {what} {self._at(name)}: access is refused ({said}): {CREDENTIALS[self.scheme]}"
                    ) from None
                tried = self.scheme == "gs" and not isinstance(error, TornError)  # by gcsfs, six times
                if number == TRIES or tried or _is_of_this_disk(error):
                    raise StoreError(f"cannot {what} {self._at(name)}: {_advice(said)}") from None
                time.sleep(WAIT * 2 ** (number - 1) * random.uniform(0.75, 1.25))
        raise AssertionError

    def _missing(self, error: FileNotFoundError, name: str) -> StoreError:
        bucket = self.root.partition("/")[0]
        if NO_BUCKET.search(str(error)):
            return StoreError(f"there is no bucket {bucket} for {self.address}: make it first, or mend the address")
        return NothingThereError(f"there is no {self._at(name)}: is the address right?")


@functools.lru_cache(maxsize=8)  # a client is made in a third of a second
def _file_system(scheme: str, *environment: str) -> Any:
    """That of fsspec, for what stands in the environment."""
    import fsspec

    for name in ("s3fs", "gcsfs", "fsspec", "adlfs", "azure", "botocore", "aiobotocore", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they log they also raise
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme == "s3":
        retries = {"mode": "standard", "total_max_attempts": 1}  # s3fs tries a part again, and `Place._again` all
        options["config_kwargs"] = {"retries": retries, "connect_timeout": CONNECT, "read_timeout": READ}
    if scheme in ("http", "https"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=READ)
        plain = {"Accept-Encoding": "identity"}  # sizes are compared
        options["client_kwargs"] = {"timeout": timeout, "headers": plain}
    try:
        found = fsspec.filesystem(scheme, **options)
    except Exception as error:  # of what stands in the environment
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise StoreError(f"{scheme}:// cannot be used ({said}): {CREDENTIALS[scheme]}") from None
    if scheme == "s3":
        found.retries = 2
    return found


def _seen(info: dict[str, Any]) -> Seen:
    """What an entry says, in the words of each of the stores."""
    size = info.get("size")
    more = info.get("content_settings") or {}
    tags = (info.get(key) for key in ("ETag", "etag", "generation", "mtime", "LastModified"))
    tag = next((str(found).strip('"') for found in tags if found), "")
    md5 = info.get("md5Hash") or (more.get("content_md5") if isinstance(more, dict) else None)
    if isinstance(md5, str):
        md5 = base64.b64decode(md5)
    plain = md5.hex() if isinstance(md5, bytes | bytearray) else tag
    return Seen(None if size is None else int(size), tag, plain if re.fullmatch(r"[0-9a-f]{32}", plain) else None)


def _is_plain(name: str) -> bool:
    """Whether it is a path below a folder, on any system: names in a store are anybody's."""
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and not re.search(r"[\\\0]|^[A-Za-z]:", name)


def _is_refused(error: Exception, said: str) -> bool:
    return isinstance(error, PermissionError) or (REFUSED.search(said) is not None and BUSY.search(said) is None)


def _is_of_this_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.filename is not None and not isinstance(error, ConnectionError)


def _advice(said: str) -> str:
    if BUSY.search(said):
        return f"the store is too busy for us ({said}): try again later"
    if UNREACHABLE.search(said):
        return f"the store cannot be reached ({said}): check the network, and the address of the endpoint"
    return f"{said}: try again"
