"""Many recordings through the codec's encoder side by side: B rows, F frames, Q codebooks.

A row that has come to the end of its recording takes the next one, so that none waits for the longest.  The codes of
every recording are those of encoding it alone from its beginning; silence fills its last frame.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import parameters
from musicgen.model.codec.config import CodecConfig
from musicgen.model.codec.soundstream import Past, SoundStream


@functools.cache
def _program(config: CodecConfig) -> Callable[..., tuple[jax.Array, Past]]:
    def encode(
        params: Mapping[str, jax.Array], wave: jax.Array, past: Past, begins: jax.Array
    ) -> tuple[jax.Array, Past]:
        """Codes i16 [B, F, Q] of waves [B, T] that follow others or, where `begins` [B], silence."""
        past = tuple(jnp.where(begins[:, None, None], 0, each) for each in past)
        codes, past = parameters.bind(config, params, SoundStream).encode(wave, past)
        return codes.astype(jnp.int16), past

    return jax.jit(encode)


def encode_side_by_side(
    config: CodecConfig,
    params: Mapping[str, jax.Array],
    waves: Sequence[np.ndarray],
    to_float: Callable[[np.ndarray], np.ndarray],
    *,
    rows: int,
    frames: int,
    on_progress: Callable[[int], Any] = lambda samples: None,
) -> list[np.ndarray]:
    """The codes int16 [F, Q] of waves [T], in their order.

    params: the plain kernels by name, float32.  to_float: makes f32 -1..1 of a part of a wave.  rows: B.  frames: of a
    pass.  on_progress: gets the samples that a pass has read.
    """
    run, hop = _program(config), config.hop
    past = _silence(config, params, rows)
    counts = [-(-len(wave) // hop) for wave in waves]
    waiting = sorted((i for i in range(len(waves)) if counts[i]), key=lambda i: counts[i])  # the longest go first
    current: list[tuple[int, int] | None] = [None] * rows  # of each row its recording, and the frame it has come to
    parts: list[list[tuple[jax.Array, int, int]]] = [[] for _ in waves]
    while waiting or any(current):
        wave, begins, read = np.zeros((rows, frames * hop), np.float32), np.zeros(rows, bool), 0
        for row in range(rows):
            if current[row] is None and waiting:
                current[row], begins[row] = (waiting.pop(), 0), True
            if (at := current[row]) is not None:
                part = to_float(waves[at[0]][at[1] * hop : (at[1] + frames) * hop])
                wave[row, : len(part)] = part
                read += len(part)
        codes, past = run(params, wave, past, begins)
        for row, at in enumerate(current):
            if at is not None:
                number, first = at
                parts[number].append((codes, row, min(frames, counts[number] - first)))
                current[row] = (number, first + frames) if first + frames < counts[number] else None
        on_progress(read)
    empty = np.zeros((0, config.codebooks), np.int16)
    return [np.concatenate([empty, *(np.asarray(c)[row, :count] for c, row, count in each)]) for each in parts]


def _silence(config: CodecConfig, params: Mapping[str, jax.Array], rows: int) -> Past:
    """The past before anything was heard."""

    def past_of(wave: jax.Array) -> Past:
        return parameters.bind(config, params, SoundStream).latents(wave)[1]

    shapes = jax.eval_shape(past_of, jax.ShapeDtypeStruct((rows, config.hop), jnp.float32))
    return tuple(jnp.zeros(each.shape, each.dtype) for each in shapes)
