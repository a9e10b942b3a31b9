"""A list of pieces, one JSON object a line: read, checked line by line, and compared with what is there already.

    {"out": "waltz", "prime": "bach", "seed": 7, "seconds": 60, "temperature": 0.9}

`out` names the file; `prime` is a MIDI file or a bundled opening, and without it a piece begins from nothing; `seed`,
`avoid_copies` and the settings have the names and ranges of the command's flags (app/controls.py), whose values they
take where a line does not have them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

from musicgen.app.bundled import find_prime
from musicgen.app.controls import AVOID_COPIES, CONTROLS, SEED
from musicgen.app.errors import BadInput, MusicgenError, cannot_read, is_plain
from musicgen.app.novelty import ATTEMPTS, next_seed
from musicgen.app.output import MIDI_SUFFIXES
from musicgen.app.prime import Prime, read_prime
from musicgen.app.provenance import Provenance
from musicgen.app.replay import read_generated
from musicgen.app.settings import NAMES, Settings, check_seed, complaints

SETTINGS = tuple(name for name in NAMES if name != "num_samples")  # a line is one piece
FIELDS = ("out", "prime", SEED.name, AVOID_COPIES.name, *SETTINGS)
FLOATS = frozenset(control.name for control in CONTROLS if control.kind is float)
LONGEST_NAME = 200  # letters
KEPT = 64  # primes in memory at once


@dataclasses.dataclass(frozen=True)
class Job:
    """One piece that is asked for.

    line: of the list, from 1.  out: the name of its file.  prime: the path of what it continues; None begins from
    nothing.  seed: None draws one.  settings: resolved.  prime_sha256: of the prime's file, as it was when the list was
    read.  key: pieces of one key can be rows of one batch.
    """

    line: int
    out: str
    prime: str | None
    seed: int | None
    avoid_copies: int | None
    settings: Settings
    prime_sha256: str | None
    key: Hashable


@functools.lru_cache(maxsize=KEPT)
def prime_of(path: str, seconds: float | None) -> Prime:
    """The prime in a file.  Raises BadInput."""
    return read_prime(Path(path), seconds)[0]


def read_jobs(
    path: Path, usual: Mapping[str, Any], resolve: Callable[[Settings], Settings]
) -> tuple[list[Job], list[str]]:
    """The pieces that a list asks for, and a complaint about each line that cannot be meant.

    usual: the values of fields that a line leaves out.  resolve: fills in and checks what the weights decide.
    Raises BadInput if there is no such list, or nothing in it.
    """
    jobs: list[Job] = []
    problems: list[str] = []
    names: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    job = _job(number, line, usual, resolve)
                    if (first := names.setdefault(job.out.casefold(), number)) != number:
                        raise BadInput(f"line {first} is called {job.out}, too: give each piece a name of its own")
                    jobs.append(job)
                except MusicgenError as error:
                    problems.append(f"{path}:{number}: {error}")
    except OSError as error:
        raise cannot_read(path, error, "list of pieces") from None
    if not jobs and not problems:
        raise BadInput(f'{path} is empty: give one piece a line, such as {{"out": "new", "seed": 1}}')
    return jobs, problems


def _job(number: int, line: bytes, usual: Mapping[str, Any], resolve: Callable[[Settings], Settings]) -> Job:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"this is not JSON ({error}): one object is one line") from None
    if not isinstance(given, dict):
        raise BadInput('this is not a JSON object: {"out": "new", "seed": 1} is one')
    if unknown := [name for name in given if name not in FIELDS]:
        raise BadInput(f"there is no field {unknown[0][:40]!r}: there are {', '.join(FIELDS)}")
    fields = {**usual, **given}
    out, seed, avoid = _file_name(fields.get("out")), fields.get(SEED.name), fields.get(AVOID_COPIES.name)
    with complaints():
        SEED.check(seed)
        AVOID_COPIES.check(avoid)
    settings = resolve(Settings.of(**{name: _plain(name, fields[name]) for name in SETTINGS if name in fields}))
    prime = _prime_path(fields.get("prime"), settings)
    opening = prime_of(prime, settings.prime_seconds) if prime is not None else None
    return Job(
        number,
        out,
        prime,
        check_seed(seed) if seed is not None else None,
        avoid,
        settings,
        opening.sha256 if opening is not None else None,
        settings.batch_key(len(opening.tokens) if opening is not None else 1),
    )


def _plain(name: str, value: object) -> object:
    """60 is 60.0 where the facts of a piece say so."""
    if name in FLOATS and type(value) is int and abs(value) < 2**53:
        return float(value)
    return value


def _file_name(name: object) -> str:
    """The name of a MIDI file.  It names no other folder, whoever wrote the list."""
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or not is_plain(name):
        raise BadInput('"out" must name the piece\'s file, such as "new"')
    if name.startswith(".") or any(mark in name for mark in "/\\:"):
        raise BadInput(f'"out" must be a name without a folder, not {name[:80]!r}')
    return name if Path(name).suffix.lower() in MIDI_SUFFIXES else f"{name}.mid"


def _prime_path(prime: object, settings: Settings) -> str | None:
    if prime is None:
        if settings.prime_seconds is not None or not settings.keep_prime:
            raise BadInput("prime_seconds and keep_prime need a prime")
        return None
    if not isinstance(prime, str) or prime == "-":
        raise BadInput('"prime" must be a MIDI file or a bundled opening')
    return str(find_prime(prime).absolute())


def is_there(job: Job, folder: Path, sha256: str) -> bool:
    """Whether the piece of this job, made with the weights of this SHA-256, lies in the folder.

    Raises BadInput if something else has its name.  Files are written whole or not at all, so what is there is whole.
    """
    path = folder / job.out
    if not path.exists():
        return False
    try:
        facts = read_generated(path).provenance
    except MusicgenError:
        facts = None
    if facts is None or not _is_of(facts, job, sha256):
        raise BadInput(f"{path} exists and is another piece: give another name, or another --out-dir")
    return True


def _is_of(facts: Provenance, job: Job, sha256: str) -> bool:
    wanted = dataclasses.replace(job.settings, num_samples=facts.settings.num_samples)
    seeds = {facts.seed}
    if job.seed is not None:
        again = range(1, ATTEMPTS) if job.avoid_copies is not None else ()
        seeds = {job.seed, *(next_seed(job.seed, attempt) for attempt in again)}
    return (
        (facts.settings, facts.prime_sha256, facts.checkpoint_sha256) == (wanted, job.prime_sha256, sha256)
        and facts.seed in seeds
        and facts.asked is None
        and facts.fill is None
    )
