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

from musicgen import checkpoints
from musicgen.checkpoints import SUMS, CheckpointError
from musicgen.model import storage
from musicgen.model.codec.config import CodecConfig

FOLDER = Path(__file__).parent / "codecs"
DEFAULT = "piano"
INPUTS = (0, 1)  # the axes of a kernel whose entries share a scale


@dataclasses.dataclass(frozen=True)
class ReleasedCodec:
    """A codec, whole.  weights: arrays as stored, by name (see `quantize`).  sha256: `checkpoints.identity`."""

    name: str
    folder: Path
    config: CodecConfig
    weights: dict[str, np.ndarray]
    about: dict[str, Any]
    sha256: str

    @functools.cached_property
    def params(self) -> dict[str, np.ndarray]:
        """The parameters as float32 arrays by name, as the codec's modules want them; made when first asked for."""
        return storage.dequantize(self.weights)


def load(name_or_path: str | Path = DEFAULT) -> ReleasedCodec:
    """Read and verify a codec.  Raises UnknownCheckpointError if there is none of that name, CheckpointError if it is
    damaged or holds something else."""
    folder = checkpoints.find(name_or_path, FOLDER, "codec")
    files = checkpoints.read_verified(folder)
    try:
        about = json.loads(files["config.json"])
        if "codec" not in about:
            raise CheckpointError(f"{folder} holds a model and no codec: give the folder of a codec")
        config = CodecConfig.from_dict(about.pop("codec"))
        weights = checkpoints.read_weights(files)
        storage.check(weights, INPUTS)
    except checkpoints.UNREADABLE as error:
        raise CheckpointError(f"codec {folder} is not one this version reads ({checkpoints.why(error)})") from None
    return ReleasedCodec(folder.name, folder, config, weights, about, checkpoints.identity(files[SUMS].decode()))


def quantize(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernels [K, inputs, outputs] as int8 with a scale per output, everything else as float16."""
    floats = {name: np.asarray(values, np.float32) for name, values in params.items()}
    return storage.quantize(floats, lambda name, _: name.endswith(".kernel"), INPUTS)


def release(
    folder: Path, config: CodecConfig, params: Mapping[str, np.ndarray], about: Mapping[str, Any], card: str
) -> str:
    """Write a codec's folder and return its sha256.  `about`: facts of the training, for config.json."""
    return checkpoints.write(folder, quantize(params), {"config.json": {"codec": config.to_dict(), **about}}, card)
