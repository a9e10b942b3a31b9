"""The codes of all recordings of an audio data set: python benchmarks/codec/encode.py DATA CODEC OUT

DATA is an audio data set of `musicgen.data_prep.dataset.audio_prep`, CODEC a released codec
(checkpoints/codec_release.py), OUT gets what data_prep/dataset/codes.py describes.  Recordings of about the same length
go side by side in pieces of some seconds, each with its own past: every recording's codes are those of encoding it
alone from its beginning.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.checkpoints import codec_release
from musicgen.checkpoints.codec_release import ReleasedCodec
from musicgen.data_prep.audio import to_float
from musicgen.data_prep.dataset import codes
from musicgen.data_prep.dataset.audio_shards import AudioSet
from musicgen.data_prep.dataset.splits import SPLITS
from musicgen.model.codec import weight_norm as codec_parameters
from musicgen.model.codec.config import CodecConfig
from musicgen.model.codec.soundstream import Past, SoundStream


@functools.partial(jax.jit, static_argnames="config")
def step(params: dict[str, jax.Array], wave: jax.Array, past: Past, config: CodecConfig) -> tuple[jax.Array, Past]:
    """Codes int16 [B, F, Q] of waves [B, T] that follow others."""
    made, past = codec_parameters.bind(SoundStream, config, params).encode(wave, past)
    return made.astype(jnp.int16), past


def encoded(released: ReleasedCodec, recordings: AudioSet, rows: int, frames: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, codes int16 [F, Q]) of every recording; the last frame is filled up with silence."""
    config, hop = released.config, released.config.hop
    params = {name: jnp.asarray(value) for name, value in released.params.items()}

    def heard(wave: jax.Array) -> Past:
        return codec_parameters.bind(SoundStream, config, params).latents(wave)[1]

    silent = jax.eval_shape(heard, jax.ShapeDtypeStruct((rows, hop), jnp.float32))
    order = sorted(range(len(recordings)), key=lambda i: -int(recordings.items[i]["samples"]))
    made: dict[int, np.ndarray] = {}
    for start in range(0, len(order), rows):
        group = order[start : start + rows]
        counts = [-(-int(recordings.items[i]["samples"]) // hop) for i in group]
        past: Past = tuple(jnp.zeros(each.shape, each.dtype) for each in silent)
        parts = []
        for first in range(0, max(counts), frames):
            wave = np.zeros((rows, frames * hop), np.float32)
            for row, i in enumerate(group):
                piece = to_float(recordings.samples(i)[first * hop : (first + frames) * hop])
                wave[row, : len(piece)] = piece
            part, past = step(params, wave, past, config)
            parts.append(part)  # not fetched: the device works on while the next piece is read
        whole = np.concatenate([np.asarray(part) for part in parts], axis=1)
        made |= {i: whole[row, :count] for row, (i, count) in enumerate(zip(group, counts, strict=True))}
    for i in range(len(recordings)):
        yield recordings.name(i), made[i]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("codec", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=64, help="recordings side by side")
    parser.add_argument("--frames", type=int, default=750, help="of a piece")
    arguments = parser.parse_args()
    released = codec_release.load(arguments.codec)
    config, items, began = released.config, [], time.monotonic()
    # One number of rows for all splits: on a GPU the program takes longer to compile than to run.
    for split in SPLITS[::-1]:
        recordings = AudioSet(arguments.data, split)
        stream = encoded(released, recordings, arguments.rows, arguments.frames)
        items += codes.write_split(arguments.out, split, stream, config.frame_rate)
        print(f"{split}: {len(recordings)} recordings after {time.monotonic() - began:.0f} s", file=sys.stderr)
    facts = {
        "codec_sha256": released.sha256,
        "frame_rate": config.frame_rate,
        "codebooks": config.codebooks,
        "codebook_size": config.codebook_size,
    }
    codes.write_manifest(arguments.out, config.to_dict(), facts, items)


if __name__ == "__main__":
    main()
