"""Released weights that describe themselves, one folder each.

    config.json                        the model's shape, of how many bits its matrices are, what it was trained on
    tokenizer.json                     what each integer means
    model-00001-of-00003.safetensors   parameters by name: matrices in whole numbers, the rest in float16
    CARD.md                            data, licence, command, figures, limits
    SHA256SUMS                         of those files; the hash of its lines, the card's apart, names the checkpoint
    memorisation.npz                   the training set's notes, for `musicgen evaluate --memorisation`
    training_files.txt                 which files those are (training_files.py)

Weights that somebody's own music was taught (`musicgen train --from`) hold adapters alone, and in config.json the name
and sha256 of their base: `load` adds them to it.

`load` gives weights back, as stored or as float32 arrays, after checking every sum.  `write` replaces a folder as one
(replace.py): a training that is killed while it writes leaves the weights of before.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from musicgen.checkpoints.replace import current, replacing
from musicgen.data_prep.files import read_regular
from musicgen.model import int4, low_rank, storage
from musicgen.model.config import ModelConfig
from musicgen.model.storage import dequantize

FOLDER = Path(__file__).parent
READS = 20  # at most, of weights that are being replaced
DEFAULT = "piano"
FORMER = {"maestro-piano": "3d31579"}  # weights that no longer come with the package, and a commit that has them
SUMS = "SHA256SUMS"
CARD = "CARD.md"
SHARD_BYTES = 16_000_000
SUMS_BYTES, DOCUMENT_BYTES, FILE_BYTES, TOTAL_BYTES = 2**20, 2**20, 2**30, 2**32  # at most, of weights from anybody
# What reading them raises where they are not what they should be.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, SafetensorError)
BASE = "base"  # in config.json of adapters: name and sha256 of the weights they belong to, style and style_token
INPUTS = -2  # the axis of a matrix whose entries share a scale


class CheckpointError(Exception):
    """Weights that are damaged or cannot be read: what, where, what to do, in one line."""


class UnknownCheckpointError(CheckpointError):
    """No checkpoint of that name or path."""


class Name(str):
    """The name of weights that come with the package, as a stranger's file gives it: never taken for a path."""


@dataclasses.dataclass(frozen=True)
class Released:
    """A checkpoint, whole.  weights: arrays as stored, by name (see `quantize`), matrices of so many bits.  sha256:
    `identity`."""

    name: str
    folder: Path
    config: ModelConfig
    weights: dict[str, np.ndarray]
    tokenizer: dict[str, Any]
    about: dict[str, Any]
    sha256: str
    bits: int = 8

    @functools.cached_property
    def params(self) -> dict[str, np.ndarray]:
        """The parameters as float32 arrays by name; made when first asked for."""
        return dequantize(self.weights)


def names(shipped: Path | None = None) -> list[str]:
    """What comes with the package: the models, or what is in the folder `shipped`."""
    return sorted(path.parent.name for path in (shipped or FOLDER).glob(f"*/{SUMS}"))


def find(name_or_path: str | Path, shipped: Path | None = None, kind: str = "checkpoint") -> Path:
    """The folder of a checkpoint that comes with the package, or of one's own unless it is asked for by `Name`.

    Raises UnknownCheckpointError.
    """
    places = [(shipped or FOLDER) / str(name_or_path), Path(name_or_path)]
    if isinstance(name_or_path, Name):
        places = places[:1] if name_or_path in names(shipped) else []
    for folder in places:
        try:
            if (current(folder, SUMS) / SUMS).is_file():
                return folder
        except OSError:  # a name no file can have
            continue
    known = ", ".join(names(shipped)) or "none here"
    asked = str(name_or_path)[:80]
    if shipped is None and asked in FORMER:
        raise UnknownCheckpointError(
            f"{asked} came with earlier versions: in a full clone of the repository, git checkout {FORMER[asked]} --"
            f" checkpoints/{asked} brings it back, and --checkpoint checkpoints/{asked} uses it"
        )
    asked = asked if asked.isprintable() else repr(asked)
    raise UnknownCheckpointError(
        f"no {kind} {asked}: give one that comes with the package ({known}) or a folder with {SUMS} in it"
    )


def read_verified(folder: Path) -> dict[str, bytes]:
    """Every file of a checkpoint by name, its sum checked; SHA256SUMS too.  Raises CheckpointError.

    Where a training replaces the weights while they are read, the new ones are read.
    """
    for _ in range(READS - 1):
        before = _version(folder)
        try:
            return _read(current(folder, SUMS))
        except CheckpointError:
            if before is not None and _version(folder) == before:
                raise
    return _read(current(folder, SUMS))


def _version(folder: Path) -> tuple[bytes, int, int] | None:
    """What SHA256SUMS holds, which file it is and of when, as equal weights may have come twice; None if unreadable."""
    path = current(folder, SUMS) / SUMS
    try:
        status = path.stat()
        return read_regular(path, SUMS_BYTES), status.st_ino, status.st_mtime_ns
    except OSError:
        return None


def _read(folder: Path) -> dict[str, bytes]:
    try:
        files, room = {SUMS: read_regular(folder / SUMS, SUMS_BYTES)}, TOTAL_BYTES
        for line in files[SUMS].decode().splitlines():
            expected, name = line.split(maxsplit=1)
            if Path(name).name != name:
                raise CheckpointError(
                    f"{folder / SUMS} names a file outside its folder ({name}): install the weights again"
                )
            files[name] = read_regular(folder / name, DOCUMENT_BYTES if name.endswith(".json") else FILE_BYTES)
            room -= len(files[name])
            if room < 0:
                raise CheckpointError(f"{folder} holds more than {TOTAL_BYTES >> 30} GiB, too much for weights")
            if hashlib.sha256(files[name]).hexdigest() != expected:
                raise CheckpointError(f"{folder / name} is damaged (its checksum differs): install the weights again")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise CheckpointError(f"cannot read checkpoint {folder} ({error}): install the weights again") from None
    return files


def why(error: BaseException) -> str:
    """What is said of one of `UNREADABLE`; Python's own words for a value of another kind are for who wrote this."""
    other = isinstance(error, LookupError | TypeError | AttributeError | RecursionError)
    return "what its JSON files hold is of another form" if other else str(error)[:200]


def load(name_or_path: str | Path = DEFAULT) -> Released:
    """Read and verify a checkpoint.

    Raises UnknownCheckpointError if there is none of that name, CheckpointError if it is damaged.
    """
    folder = find(name_or_path)
    files = read_verified(folder)
    try:
        about = json.loads(files["config.json"])
        if "codec" in about:
            raise CheckpointError(f"{folder} holds a codec and no model: give it with --codec")
        config = ModelConfig.from_dict(about.pop("model"))
        tokenizer = dict(json.loads(files["tokenizer.json"]))
        weights = read_weights(files)
        storage.check(weights, INPUTS)
        bits = storage.bits(weights)
        if about.pop("bits", 8) != bits:
            raise ValueError(f"its matrices are of {bits} bits, and config.json says otherwise")
    except UNREADABLE as error:
        raise CheckpointError(f"checkpoint {folder} is not one this version reads ({why(error)})") from None
    where, sha256 = current(folder, SUMS), identity(files[SUMS].decode())
    released = Released(folder.name, where, config, weights, tokenizer, about, sha256, bits)
    return _with_base(released) if BASE in about else released


def _with_base(adapters: Released) -> Released:
    """The weights that adapters make of their base.  Raises CheckpointError if that is not here or is another one."""
    try:
        name, sha256 = str(adapters.about[BASE]["name"]), str(adapters.about[BASE]["sha256"])
        base = load(Name(name))
        if base.sha256 != sha256:
            raise CheckpointError(
                f"{adapters.folder} belongs to the weights {name} {sha256[:12]}, and {name} is {base.sha256[:12]} here:"
                " install the version of musicgen that it was made with, or teach it again"
            )
        if adapters.config != base.config:
            raise ValueError(f"its shape is not that of {name}")
        changed = low_rank.changes(base.weights, adapters.weights, adapters.about[BASE].get("style_token"))
    except UnknownCheckpointError as error:
        raise CheckpointError(f"{adapters.folder} needs the weights that it was taught to: {error}") from None
    except UNREADABLE as error:
        raise CheckpointError(
            f"checkpoint {adapters.folder} is not one this version reads ({str(error)[:200]})"
        ) from None
    weights = {**base.weights, **quantize(changed)}
    return dataclasses.replace(adapters, weights=weights, bits=storage.bits(weights))


def base_of(folder: Path) -> Name | None:
    """The weights that adapters in a folder belong to; None if it holds whole weights, or nothing that can be read."""
    try:
        return Name(_read_config(folder)[BASE]["name"])
    except (OSError, *UNREADABLE):
        return None


def makes_sound(name: str) -> bool:
    """Whether weights that come with the package make sound, not notes; False if they cannot be read."""
    try:
        return int(_read_config(FOLDER / name)["model"].get("channels", 1)) > 1
    except (OSError, *UNREADABLE):
        return False


def _read_config(folder: Path) -> Any:
    """What config.json says, of weights that are not loaded.  Raises OSError, or one of UNREADABLE."""
    return json.loads(read_regular(current(folder, SUMS) / "config.json", DOCUMENT_BYTES))


def quantize(params: Mapping[str, np.ndarray], bits: int = 8) -> dict[str, np.ndarray]:
    """Float32 parameters as they are stored: matrices of 8 or 4 bits, everything else as float16 (model/storage.py)."""
    return storage.quantize(params, int4.is_matrix, INPUTS, bits)


def read_weights(files: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """The weights in the files of a checkpoint.  Raises ValueError if some are missing, SafetensorError."""
    shards = [name for name in sorted(files) if name.endswith(".safetensors")]
    if shards != [shard_name(i, len(shards)) for i in range(1, len(shards) + 1)]:
        raise ValueError(f"of its weights {SUMS} names only {', '.join(shards) or 'none'}")
    weights: dict[str, np.ndarray] = {}
    for name in shards:
        weights |= load_tensors(files[name])
    return weights


def shard_name(number: int, count: int) -> str:
    return f"model-{number:05}-of-{count:05}.safetensors"


def split_shards(stored: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    shard: dict[str, np.ndarray] = {}
    for name in sorted(stored):
        if shard and sum(x.nbytes for x in shard.values()) + stored[name].nbytes > SHARD_BYTES:
            yield shard
            shard = {}
        shard[name] = stored[name]
    yield shard


def release(
    folder: Path,
    config: ModelConfig,
    params: Mapping[str, np.ndarray],
    tokenizer: Mapping[str, Any],
    about: Mapping[str, Any],
    card: str,
    bits: int = 8,
) -> str:
    """Write a checkpoint's folder and return its sha256.

    params: float32 arrays by name, of which the matrices are rounded to 8 or 4 bits.  about: facts of the training, for
    config.json.
    """
    stored = quantize(params, bits)
    about = {"model": config.to_dict(), "bits": storage.bits(stored), **about}
    return write(folder, stored, {"config.json": about, "tokenizer.json": tokenizer}, card)


def write(folder: Path, stored: dict[str, np.ndarray], documents: Mapping[str, Any], card: str) -> str:
    """Write weights as they are stored, JSON documents by name, the card and the sums of all; returns the sha256.

    At any moment `load` finds the weights of before or these.
    """
    shards = list(split_shards(stored))
    files = {shard_name(i, len(shards)): save_tensors(shard) for i, shard in enumerate(shards, start=1)}
    files |= {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in documents.items()}
    files[CARD] = card.encode()
    with replacing(folder) as new:
        if folder.exists():  # what else lies there stays, an index of the training set say
            others = shutil.ignore_patterns("model-*.safetensors", SUMS, *files)
            shutil.copytree(folder, new, ignore=others, dirs_exist_ok=True)
        for name, data in files.items():
            (new / name).write_bytes(data)
        return write_sums(new)


def identity(sums: str) -> str:
    """The sha256 that names a checkpoint: of all that decides what it computes, so not of the card."""
    lines = [line for line in sums.splitlines(keepends=True) if not line.endswith(f"  {CARD}\n")]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_sums(folder: Path) -> str:
    """Write SHA256SUMS anew, after an edit of the card say; returns the checkpoint's sha256."""
    paths = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".md"))
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)
    beside = folder / f"{SUMS}.tmp"
    beside.write_text(sums)
    beside.replace(folder / SUMS)
    return identity(sums)
