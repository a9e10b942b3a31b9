"""Released weights of an audio codec, one folder each, in the form of all released weights.

    config.json                        the codec's shape and what it was trained on
    model-00001-of-00002.safetensors   parameters by name: kernels int8, one float32 scale an output; the rest float16
    CARD.md, SHA256SUMS                as in every release

`load` gives them back as float32 arrays, after checking every sum.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from musicgen import checkpoints
from musicgen.checkpoints import CARD, SCALE, SUMS, CheckpointError
from musicgen.model.codec_config import CodecConfig

FOLDER = Path(__file__).parent / "codecs"
DEFAULT = "piano"


@dataclasses.dataclass(frozen=True)
class ReleasedCodec:
    """A codec, whole.  weights: arrays as stored, by name (see `quantised`).  sha256: `checkpoints.identity`."""

    name: str
    folder: Path
    config: CodecConfig
    weights: dict[str, np.ndarray]
    about: dict[str, Any]
    sha256: str

    @functools.cached_property
    def params(self) -> dict[str, np.ndarray]:
        """The parameters as float32 arrays by name, as the codec's modules want them; made when first asked for."""
        return checkpoints.dequantised(self.weights)


def load(name_or_path: str | Path = DEFAULT) -> ReleasedCodec:
    """Read and verify a codec.  Raises UnknownCheckpointError if there is none of that name, CheckpointError if it is
    damaged or holds something else."""
    folder = checkpoints.find(name_or_path, FOLDER, "codec")
    files = checkpoints.verified(folder)
    try:
        about = json.loads(files["config.json"])
        if "codec" not in about:
            raise CheckpointError(f"{folder} holds a model and no codec: give the folder of a codec")
        config = CodecConfig.from_dict(about.pop("codec"))
        weights: dict[str, np.ndarray] = {}
        for name in sorted(name for name in files if name.endswith(".safetensors")):
            weights |= load_tensors(files[name])
        check_scales(weights)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, SafetensorError) as error:
        raise CheckpointError(f"codec {folder} is not one this version reads ({error})") from None
    return ReleasedCodec(folder.name, folder, config, weights, about, checkpoints.identity(files[SUMS].decode()))


def quantised(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernels [K, inputs, outputs] as int8 with a scale per output, everything else as float16."""
    stored: dict[str, np.ndarray] = {}
    for name, values in params.items():
        values = np.asarray(values, np.float32)
        if name.endswith(".kernel"):
            scale = np.maximum(np.abs(values).max(axis=(0, 1)), 1e-12).astype(np.float32) / 127
            stored[name] = np.rint(values / scale).astype(np.int8)
            stored[name + SCALE] = scale
        else:
            stored[name] = values.astype(np.float16)
    return stored


def check_scales(weights: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError if an int8 array has no scale for each of its outputs."""
    for name, values in weights.items():
        scale = weights.get(name + SCALE)
        if values.dtype == np.int8 and (scale is None or scale.shape != values.shape[-1:]):
            raise ValueError(f"{name} has no scale for each of its outputs")


def release(
    folder: Path, config: CodecConfig, params: Mapping[str, np.ndarray], about: Mapping[str, Any], card: str
) -> str:
    """Write a codec's folder and return its sha256.  `about`: facts of the training, for config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("model-*.safetensors"):
        old.unlink()
    shards = list(checkpoints.shards_of(quantised(params)))
    files = {checkpoints.shard_name(i, len(shards)): save_tensors(shard) for i, shard in enumerate(shards, start=1)}
    files["config.json"] = (json.dumps({"codec": config.to_dict(), **about}, indent=2) + "\n").encode()
    files[CARD] = card.encode()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return checkpoints.write_sums(folder)
