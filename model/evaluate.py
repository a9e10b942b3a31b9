"""Nats per token: every token of every piece scored exactly once, in order.

A piece is a row of integers whose first (BOS) is context only; model/windows.py says what of it a call sees.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import parameters
from musicgen.model.config import PAD, ModelConfig
from musicgen.model.shapes import Array, Float, Int
from musicgen.model.windows import OnWindow, Window, check_lengths, windows


@functools.partial(jax.jit, static_argnames=("config", "latents"))
def logits_of(
    params: Mapping[str, Array], inputs: Int[Array, "B N"], config: ModelConfig, latents: int
) -> Float[Array, "B M V"]:
    """Of the tokens after each of the last M = `latents`; compiled once for each size."""
    return parameters.bind(config, params)(inputs, latents=latents)


@functools.partial(jax.jit, static_argnames=("config", "latents", "dtype", "ids"))
def _nats(
    params: Mapping[str, Array],
    inputs: Int[Array, "B N *Q"],
    targets: Int[Array, "B M *Q"],
    start: Int[Array, " B"],
    config: ModelConfig,
    latents: int,
    dtype: str,
    ids: int | None,
) -> Float[Array, "B M *Q"]:
    """Nats of each target, 0 where it is PAD; of tokens, or of frames of Q codes."""
    model = parameters.bind(config, {name: x.astype(dtype) for name, x in params.items()})
    logits = model(inputs, latents=latents, start=start, dtype=jnp.dtype(dtype), following=targets)[..., :ids]
    at = config.logit_of(targets)[..., None]
    nats = jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, at, axis=-1)[..., 0]
    return jnp.where(targets == PAD, 0.0, nats)


def nats_of_pieces(
    config: ModelConfig,
    params: Mapping[str, Array],
    pieces: Iterable[np.ndarray],
    *,
    latents: int,
    context: int,
    stride: int | None = None,
    batch: int = 1,
    dtype: str = "float32",
    preamble: Sequence[int] | np.ndarray = (),
    ids: int | None = None,
    windows: Callable[[int, int, int, int], Iterable[Window]] = windows,
    on_window: OnWindow = lambda targets, nats: None,
) -> Iterator[np.ndarray]:
    """For each piece [T + 1] (BOS first, EOS last) the nats f32 [T] of its tokens after BOS; or of frames, [.., Q].

    preamble: tokens that stand before every BOS wherever a window has room for them; they are not scored.
    ids: only the first so many can come; the others are no part of the distribution.  All of them unless given.
    windows: those that are looked at, from (targets, N, M, S); a target that none of them scores has 0.
    on_window: told of every window that has been scored, in order.

    Raises ValueError unless 1 <= stride <= latents <= context.
    """
    N, M, S = context, latents, max(1, latents // 2) if stride is None else stride
    check_lengths(M, N, S)
    score = functools.partial(_nats, params, config=config, latents=M, dtype=dtype, ids=ids)

    def flush(waiting: list[tuple[np.ndarray, np.ndarray, Window]]) -> None:
        inputs = np.full((batch, N, *waiting[0][0].shape[1:]), PAD, np.int32)
        targets = np.full((batch, M, *waiting[0][0].shape[1:]), PAD, np.int32)
        start = np.zeros(batch, np.int32)
        for row, (tokens, _, w) in enumerate(waiting):
            seen = tokens[w.first : w.stop]
            if w.first == 0 and len(preamble):
                seen = np.concatenate([preamble, seen])[-N:]
            start[row] = N - len(seen)
            inputs[row, start[row] :] = seen
            targets[row, M - w.scored :] = tokens[w.stop - w.scored + 1 : w.stop + 1]
        nats = np.asarray(score(inputs, targets, start))
        for row, (tokens, out, w) in enumerate(waiting):
            scored = slice(w.stop - w.scored, w.stop)
            out[scored] = nats[row, M - w.scored :]
            on_window(tokens[1:][scored], out[scored])
        waiting.clear()

    waiting: list[tuple[np.ndarray, np.ndarray, Window]] = []
    unfinished: list[np.ndarray] = []  # pieces in order, yielded once no window of theirs waits
    for tokens in pieces:
        out = np.zeros((len(tokens) - 1, *tokens.shape[1:]), np.float32)
        for window in windows(len(tokens) - 1, N, M, S):
            waiting.append((tokens, out, window))
            if len(waiting) == batch:
                flush(waiting)
        unfinished.append(out)
        if not waiting:
            yield from unfinished
            unfinished.clear()
    if waiting:
        flush(waiting)
    yield from unfinished
