"""Training one model for many latent counts and context lengths at once, at no extra cost.

A model trained at one N and M serves only those (2.85 instead of 1.83 nats at half the context).  Here one batch of
rows [B, N] is sliced in several ways.  Every row still has M latents, so that all matrix products run on the whole
batch; only the attention, which costs little, sees the difference:

    Slice(rows, context=n, latents=m, segment=s)   the last M/m chunks of n inputs; in each, the last m are latents,
                                                   which see the chunk's inputs only, and in self-attention only
                                                   their own segment of s latents

so Slice(n=1024, m=512) trains the setting N=1024, M=512 on four places of a row, and Slice(n=4096, m=2048, s=64) trains
64 latents before each of 32 contexts.  No masks, so the fused causal kernels stay in use.

A batch is a number of groups of `rows` rows; every group is sliced alike, so that groups can lie on different devices.
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
class Slice:
    """How `rows` rows of a group are sliced; see above."""

    rows: int
    context: int
    latents: int
    segment: int
    keep: float | None = None  # of the inputs before the latents, in place of the run's
    gaps: bool = False  # rows of another kind, whose inputs before the latents are all needed


def one_setting(N: int, M: int) -> tuple[Slice, ...]:
    """The paper's training: every row has N inputs and M latents."""
    return (Slice(1, N, M, M),)


def all_settings(N: int, M: int) -> tuple[Slice, ...]:
    """A group of 16 rows: half at the full setting, half over few latents, short contexts and starts from nothing.

    In the order that puts most of those side by side which one call of an attention can take together.
    """
    return (
        Slice(1, M, M, M),  # no inputs but the latents' own: the start of a piece
        Slice(8, N, M, M),
        Slice(1, N, M, M // 16),
        Slice(1, N, M, M // 64),
        Slice(1, N, M, M // 4),
        Slice(1, N // 4, M // 4, M // 4),
        Slice(1, N // 4, M // 4, M // 32),
        Slice(1, N // 2, M // 2, M // 2),
        Slice(1, N // 8, M // 8, M // 8),
    )


def all_contexts(N: int, M: int) -> tuple[Slice, ...]:
    """A group of 8 rows whose latents see N, N/2, N/4 or N/8 inputs, or none but their own: for long contexts."""
    each = ((2, N), (2, N // 2), (2, N // 4), (1, N // 8), (1, M))
    return tuple(Slice(rows, n, min(n, M), min(n, M)) for rows, n in each)


def with_gaps(N: int, M: int) -> tuple[Slice, ...]:
    """A group of 24 rows for all settings, eleven of them with gaps to fill.

    What a fill is conditioned on is never dropped, nor is what stands before two of the five plain rows at the full
    setting: a model whose inputs were always dropped does not learn to look things up.
    """
    return (
        Slice(1, N, M, M // 64),
        Slice(1, N, M, M // 16),
        Slice(1, N, M, M // 4),
        Slice(3, N, M, M),
        Slice(1, M, M, M),
        Slice(2, N, M, M, keep=1.0),
        Slice(9, N, M, M, keep=1.0, gaps=True),
        Slice(1, N, M, M // 16, keep=1.0, gaps=True),
        Slice(1, N, M, M // 4, keep=1.0, gaps=True),
        Slice(1, N // 4, M // 4, M // 4),
        Slice(1, N // 4, M // 4, M // 32),
        Slice(1, N // 2, M // 2, M // 2),
        Slice(1, N // 8, M // 8, M // 8),
    )


class MultiContext:
    """The attentions of a batch of rows sliced in several ways."""

    def __init__(
        self,
        slices: tuple[Slice, ...],
        N: int,
        M: int,
        *,
        fused: bool = True,
        attend: Callable[..., jax.Array] = attend,
    ):
        """fused, attend: see attention.py.  Raises ValueError if a slice does not fit rows of N and M."""
        for part in slices:
            nested = 1 <= part.segment <= part.latents <= min(M, part.context)
            if not nested or M % part.latents or part.latents % part.segment or part.context * (M // part.latents) > N:
                raise ValueError(f"{part} does not fit rows of {N} inputs and {M} latents")
        self.slices, self.N, self.M, self.fused, self.attend = slices, N, M, fused, attend
        self.rows = sum(part.rows for part in slices)

    def positions(self, groups: int) -> jax.Array:
        """Which inputs of each row are latents: i32 [B, M]."""
        group = []
        for part in self.slices:
            ends = self.N - part.context * jnp.arange(self.M // part.latents)[::-1]
            row = (ends[:, None] - part.latents + jnp.arange(part.latents)).reshape(self.M)
            group.append(jnp.broadcast_to(row, (part.rows, self.M)))
        return jnp.tile(jnp.concatenate(group), (groups, 1))

    @property
    def full(self) -> np.ndarray:
        """bool[rows]: which plain rows of a group train all N inputs with all M latents."""
        return ~self.gaps & np.concatenate(
            [np.full(part.rows, (part.context, part.segment) == (self.N, self.M)) for part in self.slices]
        )

    @property
    def gaps(self) -> np.ndarray:
        """bool[rows]: which rows of a group hold gaps."""
        return np.concatenate([np.full(part.rows, part.gaps) for part in self.slices])

    def _in_runs(
        self, alike: Callable[[Slice], Hashable], attend: Callable[..., jax.Array], *arrays: jax.Array
    ) -> jax.Array:
        """attend(number of the run, its first slice, its rows of each array) for neighbouring slices that are `alike`.

        Each of the arrays [B, ...], and what comes back.  By jax.lax.split: the gradient of x[:, a:b] is a sum of
        padded arrays, which took a tenth of a training step.
        """
        runs = [list(run) for _, run in itertools.groupby(self.slices, alike)]
        sizes = [sum(part.rows for part in run) for run in runs]
        groups = [jax.lax.split(x.reshape(-1, self.rows, *x.shape[1:]), sizes, axis=1) for x in arrays]
        out = [
            attend(i, run[0], *(x.reshape(-1, *x.shape[2:]) for x in rows))
            for i, (run, *rows) in enumerate(zip(runs, *groups, strict=True))
        ]
        joined = [x.reshape(-1, size, *x.shape[1:]) for size, x in zip(sizes, out, strict=True)]
        return jnp.concatenate(joined, axis=1).reshape(-1, *out[0].shape[1:])

    def local_attend(self, window: int) -> Attend:
        """Over whole rows: a chunk's first inputs also know the few before them."""
        return lambda q, k, v: local_attend(q, k, v, window, fused=self.fused)

    def self_attend(self, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        """q [B, M, H, K], k and v [B, M, G, K] -> [B, M, H, K]; each segment sees itself alone."""

        def own(_: int, part: Slice, *qkv: jax.Array) -> jax.Array:
            segments = [x.reshape(-1, part.segment, *x.shape[2:]) for x in qkv]
            return self.attend(*segments, fused=self.fused).reshape(qkv[0].shape)

        return self._in_runs(lambda part: part.segment, own, q, k, v)

    def cross_attend(self, keep: float, key: jax.Array) -> Attend:
        """The cross-attend of every slice, with cross-attend dropout (paper section 3.4).

        Of each chunk's inputs before its latents only a random share `keep` stays, drawn anew per chunk; the latents'
        own inputs always stay, so a latent can never lose its own key.  Dropping by gathering makes the dropout save
        time.
        """

        def kept(part: Slice) -> float:
            return keep if part.keep is None else part.keep

        def chunks(run: int, part: Slice, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            used = self.M // part.latents * part.context
            inputs = [x[:, self.N - used :].reshape(-1, part.context, *x.shape[2:]) for x in (k, v)]
            inputs = drop_prefix(inputs, part.context - part.latents, kept(part), jax.random.fold_in(key, run))
            queries = q.reshape(-1, part.latents, *q.shape[2:])
            return self.attend(queries, *inputs, fused=self.fused).reshape(q.shape)

        return lambda q, k, v: self._in_runs(lambda part: (part.context, part.latents, kept(part)), chunks, q, k, v)


def drop_prefix(inputs: list[jax.Array], prefix: int, keep: float, key: jax.Array) -> list[jax.Array]:
    """Keep the same random share of the first `prefix` positions of every array [B, T, ...], and all the rest."""
    kept = int(prefix * keep)
    if kept == prefix:
        return inputs
    B, T = inputs[0].shape[:2]
    # Their order does not matter: all lie before every latent.
    chosen = jnp.argsort(jax.random.uniform(key, (B, prefix)))[:, :kept]
    at = jnp.concatenate([chosen, jnp.broadcast_to(jnp.arange(prefix, T), (B, T - prefix))], axis=1)
    return [jnp.take_along_axis(x, at[..., None, None], axis=1) for x in inputs]
