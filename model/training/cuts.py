"""Training one model for many latent counts and context lengths at once, at no extra cost.

A model trained at one N and M serves only those (2.85 instead of 1.83 nats at half the context).  Here one batch of
rows [B, N] is cut in several ways.  Every row still has M latents, so that all matrix products run on the whole
batch; only the attention, which costs little, sees the difference:

    Cut(rows, context=n, latents=m, segment=s)   the last M/m chunks of n inputs; in each, the last m are latents, which
                                                 see the chunk's inputs only, and in self-attention only their own
                                                 segment of s latents

so Cut(n=1024, m=512) trains the setting N=1024, M=512 on four places of a row, and Cut(n=4096, m=2048, s=64) trains 64
latents before each of 32 contexts.  No masks, so the fused causal kernels stay in use.

A batch is a number of decks of `rows` rows; every deck is cut alike, so that decks can lie on different devices.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model.attention import attend, local_attend
from musicgen.model.perceiver_ar import Attend


@dataclasses.dataclass(frozen=True)
class Cut:
    """How `rows` rows of a deck are cut; see above."""

    rows: int
    context: int
    latents: int
    segment: int


def one_setting(N: int, M: int) -> tuple[Cut, ...]:
    """The paper's training: every row has N inputs and M latents."""
    return (Cut(1, N, M, M),)


def all_settings(N: int, M: int) -> tuple[Cut, ...]:
    """A deck of 16 rows: half at the full setting, half over few latents, short contexts and starts from nothing.

    In the order that puts most of those side by side which one call of an attention can take together.
    """
    return (
        Cut(1, M, M, M),  # no inputs but the latents' own: the start of a piece
        Cut(8, N, M, M),
        Cut(1, N, M, M // 16),
        Cut(1, N, M, M // 64),
        Cut(1, N, M, M // 4),
        Cut(1, N // 4, M // 4, M // 4),
        Cut(1, N // 4, M // 4, M // 32),
        Cut(1, N // 2, M // 2, M // 2),
        Cut(1, N // 8, M // 8, M // 8),
    )


def all_contexts(N: int, M: int) -> tuple[Cut, ...]:
    """A deck of 8 rows whose latents see N, N/2, N/4 or N/8 inputs, or none but their own: for long contexts."""
    each = ((2, N), (2, N // 2), (2, N // 4), (1, N // 8), (1, M))
    return tuple(Cut(rows, n, min(n, M), min(n, M)) for rows, n in each)


class Dials:
    """The attentions of a batch of rows cut in several ways."""

    def __init__(self, cuts: tuple[Cut, ...], N: int, M: int, *, fused: bool = True):
        """fused: see attention.py.  Raise ValueError if a cut does not fit rows of N inputs and M latents."""
        for cut in cuts:
            nested = 1 <= cut.segment <= cut.latents <= min(M, cut.context)
            if not nested or M % cut.latents or cut.latents % cut.segment or cut.context * (M // cut.latents) > N:
                raise ValueError(f"{cut} does not fit rows of {N} inputs and {M} latents")
        self.cuts, self.N, self.M, self.fused = cuts, N, M, fused
        self.rows = sum(cut.rows for cut in cuts)

    def positions(self, decks: int) -> jax.Array:
        """Which inputs of each row are latents: i32 [B, M]."""
        deck = []
        for cut in self.cuts:
            ends = self.N - cut.context * jnp.arange(self.M // cut.latents)[::-1]
            row = (ends[:, None] - cut.latents + jnp.arange(cut.latents)).reshape(self.M)
            deck.append(jnp.broadcast_to(row, (cut.rows, self.M)))
        return jnp.tile(jnp.concatenate(deck), (decks, 1))

    @property
    def full(self) -> np.ndarray:
        """bool[rows]: which rows of a deck train all N inputs with all M latents."""
        return np.concatenate([np.full(c.rows, (c.context, c.segment) == (self.N, self.M)) for c in self.cuts])

    def _in_runs(
        self, alike: Callable[[Cut], Hashable], attend: Callable[..., jax.Array], *arrays: jax.Array
    ) -> jax.Array:
        """attend(number of the run, its first cut, its rows of each array) for neighbouring cuts that are `alike`.

        Each of the arrays [B, ...], and what comes back.  Split, not sliced: the gradient of slices is a sum of
        padded arrays, which took a tenth of a training step.
        """
        runs = [list(run) for _, run in itertools.groupby(self.cuts, alike)]
        sizes = [sum(cut.rows for cut in run) for run in runs]
        decks = [jax.lax.split(x.reshape(-1, self.rows, *x.shape[1:]), sizes, axis=1) for x in arrays]
        out = [
            attend(i, run[0], *(x.reshape(-1, *x.shape[2:]) for x in rows))
            for i, (run, *rows) in enumerate(zip(runs, *decks, strict=True))
        ]
        joined = [x.reshape(-1, size, *x.shape[1:]) for size, x in zip(sizes, out, strict=True)]
        return jnp.concatenate(joined, axis=1).reshape(-1, *out[0].shape[1:])

    def local_attend(self, window: int) -> Attend:
        """Over whole rows: a chunk's first inputs also know the few before them."""
        return lambda q, k, v: local_attend(q, k, v, window, fused=self.fused)

    def self_attend(self, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        """q [B, M, H, K], k and v [B, M, G, K] -> [B, M, H, K]; each segment sees itself alone."""

        def own(_: int, cut: Cut, *qkv: jax.Array) -> jax.Array:
            segments = [x.reshape(-1, cut.segment, *x.shape[2:]) for x in qkv]
            return attend(*segments, fused=self.fused).reshape(qkv[0].shape)

        return self._in_runs(lambda cut: cut.segment, own, q, k, v)

    def cross_attend(self, keep: float, key: jax.Array) -> Attend:
        """The cross-attend of every cut, with cross-attend dropout (paper section 3.4).

        Of each chunk's inputs before its latents only a random share `keep` stays, drawn anew per chunk; the latents'
        own inputs always stay, so a latent can never lose its own key.  Dropping by gathering makes the dropout save
        time.
        """

        def chunks(run: int, cut: Cut, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            used = self.M // cut.latents * cut.context
            inputs = [x[:, self.N - used :].reshape(-1, cut.context, *x.shape[2:]) for x in (k, v)]
            inputs = drop_prefix(inputs, cut.context - cut.latents, keep, jax.random.fold_in(key, run))
            queries = q.reshape(-1, cut.latents, *q.shape[2:])
            return attend(queries, *inputs, fused=self.fused).reshape(q.shape)

        return lambda q, k, v: self._in_runs(lambda cut: (cut.context, cut.latents), chunks, q, k, v)


def drop_prefix(inputs: list[jax.Array], prefix: int, keep: float, key: jax.Array) -> list[jax.Array]:
    """Keep the same random share of the first `prefix` positions of every array [B, T, ...], and all the rest."""
    kept = int(prefix * keep)
    if kept == prefix:
        return inputs
    B, T = inputs[0].shape[:2]
    chosen = jnp.argsort(jax.random.uniform(key, (B, prefix)))[
        :, :kept
    ]  # order is no matter: all lie before every latent
    at = jnp.concatenate([chosen, jnp.broadcast_to(jnp.arange(prefix, T), (B, T - prefix))], axis=1)
    return [jnp.take_along_axis(x, at[..., None, None], axis=1) for x in inputs]
