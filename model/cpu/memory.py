"""What a step on a CPU reads and writes: weights, caches, and where its parts leave things for each other.

Letters: B rows, D width, H heads, G key/value heads, R = H/G heads of a group, K head size, F width of the MLP, O
outputs, L blocks, C keys of a chunk, "." any number of chunks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from musicgen.model.config import ModelConfig

CHUNK = 256  # C: 128 KB of keys and values of 64, which stay in the second cache while all heads of a group use them
LOCAL, CROSS, LATENT = range(3)  # whose caches a block reads
KINDS = ("local", "cross", "layers")  # how the names of such blocks begin


class Weights(NamedTuple):
    """Matrices [L, outputs, inputs], their scales [L, outputs], and which caches each block reads."""

    kinds: np.ndarray  # i64 [L, 2]: LOCAL, CROSS or LATENT, and which of them
    qkv: np.ndarray
    qkv_scale: np.ndarray
    head_scales: np.ndarray  # [L, 2, K], of queries and of keys
    out: np.ndarray
    out_scale: np.ndarray
    up: np.ndarray
    up_scale: np.ndarray
    down: np.ndarray
    down_scale: np.ndarray
    output: np.ndarray  # [O, D], the logits' matrix, or the views' of a frame
    output_scale: np.ndarray


class Caches(NamedTuple):
    """Keys and values f32 [blocks of the kind, B, G, ., K, C]; i64 [B], how many inputs and latents.

    A local cache is a ring of a window's inputs: their positions are in the keys, so that their order does not matter.
    """

    local_keys: np.ndarray
    local_values: np.ndarray
    cross_keys: np.ndarray
    cross_values: np.ndarray
    latent_keys: np.ndarray
    latent_values: np.ndarray
    inputs: np.ndarray
    latents: np.ndarray


class Shared(NamedTuple):
    """Where the parts of a step leave things for each other, f32, for as many rows as it has."""

    queries: np.ndarray  # [B, H*K]
    keys_values: np.ndarray  # [B, 2*G*K], the new ones
    chunks: np.ndarray  # [B, G, ., R, K+2]: what `attend` makes of each chunk
    mixed: np.ndarray  # [B, D]
    wide: np.ndarray  # [B, F]
    latent_inputs: np.ndarray  # [B, D]: what the latents begin as
    outputs: np.ndarray  # [B, O]


class Cache:
    """The memory that every step reads and adds to; batch B first, rows aligned on the left.

    inputs and latents i64 [B], how many each row has; latent_inputs f32 [B, M, D], what the latents began as.
    """

    def __init__(self, config: ModelConfig, inputs: np.ndarray, latents: np.ndarray, N: int, M: int, outputs: int):
        """inputs, latents: how many each row has; N, M: room for how many; outputs: O."""
        c, B, K = config, len(inputs), config.head_size
        self.config = config
        self.cos, self.sin = rotations(config, N)
        memory = [
            np.zeros((count, B, c.kv_heads, chunks_for(rows), K, CHUNK), np.float32)
            for count, rows in ((c.local_layers, c.local_window), (c.cross_attends, N), (c.layers, M))
            for _ in ("keys", "values")
        ]
        self.caches = Caches._make([*memory, inputs.astype(np.int64), latents.astype(np.int64)])
        self.inputs, self.latents = self.caches.inputs, self.caches.latents
        most = max(keys.shape[3] for keys in memory)
        self.shared = Shared(
            *(
                np.zeros((B, *shape), np.float32)
                for shape in (
                    (c.heads * K,),
                    (2 * c.kv_heads * K,),
                    (c.kv_heads, most, c.heads // c.kv_heads, K + 2),
                    (c.width,),
                    (c.widening * c.width,),
                    (c.width,),
                    (outputs,),
                )
            )
        )
        self.latent_inputs = np.zeros((B, M, c.width), np.float32)

    def fill(self, name: str, new: np.ndarray) -> None:
        """Put keys or values [B, T, G*K] of a whole pass where steps look for them."""
        block, _, what = name.rpartition(".")
        kind, _, which = block.partition(".")
        cache = getattr(self.caches, f"{'latent' if kind == 'layers' else kind}_{what}")[int(which)]
        for row, count in enumerate(self.latents if kind == "layers" else self.inputs):
            kept = new[row, :count].reshape(count, self.config.kv_heads, -1).swapaxes(0, 1)
            if kind == "local" and count > (window := self.config.local_window):  # a ring
                kept = np.roll(kept[:, count - window :], count % window, axis=1)
            cache[row, :, : chunks_for(kept.shape[1])] = in_chunks(kept)

    def cross_in_order(self) -> dict[str, np.ndarray]:
        """Keys and values f32 [B, G, rows, K] of the cross-attends by name, as a graph wants them."""
        return {
            f"cross.{i}.{what}": in_order(chunks)
            for what in ("keys", "values")
            for i, chunks in enumerate(getattr(self.caches, f"cross_{what}"))
        }


def rotations(config: ModelConfig, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines f32 [count, pairs] of the positions 0 .. count, as in perceiver_ar.rotary."""
    pairs = int(config.head_size * config.rotary_fraction) // 2
    frequency = (10_000.0 ** (-np.arange(pairs, dtype=np.float32) / np.float32(max(pairs, 1)))).astype(np.float32)
    angle = np.arange(count, dtype=np.float32)[:, None] * frequency
    return np.cos(angle), np.sin(angle)


def chunks_for(count: int) -> int:
    """How many chunks hold so many keys."""
    return -(-count // CHUNK)


def in_chunks(heads: np.ndarray) -> np.ndarray:
    """Keys or values f32 [.., T, K] -> [.., chunks, K, C], zeros behind the last."""
    *before, T, K = heads.shape
    padded = np.zeros((*before, chunks_for(T) * CHUNK, K), np.float32)
    padded[..., :T, :] = heads
    return padded.reshape(*before, -1, CHUNK, K).swapaxes(-1, -2)


def in_order(chunks: np.ndarray) -> np.ndarray:
    """Inverse of `in_chunks`, with the zeros: [.., chunks, K, C] -> [.., chunks * C, K]."""
    turned = chunks.swapaxes(-1, -2)
    return np.ascontiguousarray(turned.reshape(*chunks.shape[:-3], -1, chunks.shape[-2]))
