"""The two attentions of the model: causal with queries aligned to the last keys, and the same within a sliding window.

On a GPU in bfloat16 both are cuDNN's fused kernels; elsewhere plain XLA.  cuDNN's gradient adds in no fixed order: on
an H200 two calls with the same inputs differ in their last bits.  XLA's are equal (`fused=False`).
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from musicgen.model.shapes import Array, Bool, Float, Int

CHUNK = 256  # queries


def _fused(q: Array) -> bool:
    return q.dtype == jnp.bfloat16 and jax.default_backend() == "gpu" and q.shape[1] > 1


def attend(
    q: Float[Array, "B M H K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T G K"],
    start: Int[Array, " B"] | None = None,
    *,
    fused: bool = True,
) -> Float[Array, "B M H K"]:
    """Causal attention, bottom-right aligned: query j of M sees keys 0 .. T-M+j of T, its own included.

    Keys before start are padding: seen by nobody but
    the query of that same position, whose output nobody reads (with every key masked softmax would turn uniform over
    the future).
    """
    M, T = q.shape[1], k.shape[1]
    implementation: Literal["cudnn", "xla"] = "cudnn" if fused and _fused(q) else "xla"
    if (
        start is None and M == T
    ):  # the one case for which `is_causal`, aligned top-left, is right; it skips half the work
        return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=implementation)
    if start is None and implementation == "cudnn" and T <= 2 * M:
        # Queries of zeros in front: T * T / 2 products and no mask to read, in place of M * T with one.
        return attend(jnp.pad(q, [(0, 0), (T - M, 0), (0, 0), (0, 0)]), k, v)[:, T - M :]
    own = jnp.arange(T - M, T)[:, None]
    keys = jnp.arange(T)[None]
    mask = (keys <= own)[None]
    if start is not None:
        mask = mask & ((keys >= start[:, None, None]) | (keys == own))
    return attend_where(q, k, v, mask, fused=fused)


def attend_where(
    q: Float[Array, "B M H K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T G K"],
    mask: Bool[Array, "#B M T"],
    *,
    fused: bool = True,
) -> Float[Array, "B M H K"]:
    """The same where each query sees the keys that the mask says, at least one."""
    implementation: Literal["cudnn", "xla"] = "cudnn" if fused and _fused(q) else "xla"
    return jax.nn.dot_product_attention(q, k, v, mask=mask[:, None], implementation=implementation)


def attend_in_chunks(
    q: Float[Array, "B M H K"], k: Float[Array, "B T G K"], v: Float[Array, "B T G K"], *, fused: bool = True
) -> Float[Array, "B M H K"]:
    """What `attend` gives, without padding, by CHUNK queries at a time, which skip the keys behind them.

    A CPU keeps a chunk in its caches: with its gradient, M = T = 1024 takes a third of the time (benchmarks/tuning).
    """
    (B, M, H, K), (T, G) = q.shape, k.shape[1:3]
    keys, values = k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)
    queries = (q * K**-0.5).reshape(B, M, G, H // G, K).transpose(0, 2, 3, 1, 4)
    out = []
    for first in range(0, M, CHUNK):
        past = min(first + CHUNK, M)
        seen, rows = T - M + past, (H // G) * (past - first)
        scores = queries[:, :, :, first:past].reshape(B, G, rows, K) @ keys[..., :seen]
        scores = scores.reshape(B, G, H // G, past - first, seen)
        mask = jnp.arange(seen) <= jnp.arange(T - M + first, seen)[:, None]
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
        sums = weights.sum(axis=-1, keepdims=True)
        attended = weights.reshape(B, G, rows, seen) @ values[:, :, :seen]
        out.append(attended.reshape(B, G, H // G, past - first, K) / sums)
    return jnp.concatenate(out, axis=3).transpose(0, 3, 1, 2, 4).reshape(B, M, H, K)


def local_attend(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T G K"],
    window: int,
    start: Int[Array, " B"] | None = None,
    *,
    fused: bool = True,
) -> Float[Array, "B T H K"]:
    """Causal attention in which each query sees itself and the `window` - 1 keys before it; linear in T."""
    B, T, H, K = q.shape
    if fused and _fused(q) and start is None:
        return jax.nn.dot_product_attention(
            q, k, v, is_causal=True, local_window_size=(window - 1, 0), implementation="cudnn"
        )
    # Blocks of `window` queries, each with its own block of keys and the one before: 2 * window keys a query, not T.
    blocks = -(-T // window)
    pad = [(0, 0), (0, blocks * window - T), (0, 0), (0, 0)]
    q = jnp.pad(q, pad).reshape(B * blocks, window, H, K)

    def with_block_before(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0), (window, pad[1][1]), (0, 0), (0, 0)]).reshape(B, blocks + 1, window, *x.shape[2:])
        return jnp.concatenate([x[:, :-1], x[:, 1:]], axis=2).reshape(B * blocks, 2 * window, *x.shape[3:])

    own = jnp.arange(blocks * window).reshape(blocks, window, 1)
    keys = own[:, :1] + jnp.arange(-window, window)  # [blocks, 1, 2 * window]
    first = jnp.zeros(1, jnp.int32) if start is None else start
    visible = (keys <= own) & (keys > own - window)
    mask = visible & ((keys >= first[:, None, None, None]) | (keys == own))  # [B or 1, blocks, window, 2 * window]
    mask = jnp.broadcast_to(mask, (B, *mask.shape[1:])).reshape(B * blocks, 1, window, 2 * window)
    out = jax.nn.dot_product_attention(q, with_block_before(k), with_block_before(v), mask=mask, implementation="xla")
    return out.reshape(B, blocks * window, H, K)[:, :T]
