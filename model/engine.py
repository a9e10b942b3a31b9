"""Generation: primes of integers in, an endless stream of integers out.

    engine = JaxEngine(config, params, grammar)      # or OnnxEngine(config, weights, grammar), on a CPU
    stream = engine.start([prime], latents=2048, context=4096, sampling=Sampling(), seed=0)      # reads the primes
    for block in stream: ...                                                                     # int16 [B, k]

The stream knows no end: EOS is never drawn, and the caller stops when it has enough.  `grammar` says which token may
come next (musicgen.data_prep.rules.grammar, or anything with its three functions); the engine itself knows nothing of
music.  A grammar that also has `inclined`, such as musicgen.data_prep.rules.endings, decides about EOS itself; a row
that has drawn one goes on with nothing else until the caller has enough of the others.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from musicgen.model.config import ModelConfig
from musicgen.model.sampler import Sampling

PAD, EOS = 0, 2
NEVER_FORGOTTEN = 2**40  # more tokens than any row has
# The share of the latents that a refill reads.  Less costs quality right after it, more costs time, since the next
# one comes sooner: benchmarks/cpu has the curve.
KEPT = 0.25
SPARED = 1 / 8  # of the context, at least, is left free by a pass over the inputs, since few latents soon are full


Memory = Callable[[np.ndarray], int | None]


class Grammar(Protocol):
    """Pure functions over arrays, of NumPy or inside jax.jit."""

    def after(self, streams: Sequence[np.ndarray], xp: Any) -> Any:
        """The state after these streams."""

    def advance(self, state: Any, token: Any) -> Any:
        """The state after one more token i32 [B]."""

    def allowed(self, state: Any) -> Any:
        """bool [B, V]: which tokens may come next."""


class Inclined(Grammar, Protocol):
    """A grammar under which EOS may come."""

    def inclined(self, state: Any) -> Any:
        """f32 [B, V]: added to the logits."""


class Engine:
    """A model ready to generate; use one for many streams.

    What turns tokens into logits, and logits into tokens, is its backend's: jax_engine.py and onnx_engine.py.
    """

    block = 16  # tokens a dispatch: small enough to follow by ear, large enough to hide the dispatch
    xp: Any  # the namespace of the backend's arrays
    dtype: Any  # in which it computes
    params: Mapping[str, Any]  # its parameters as float arrays

    def __init__(
        self,
        config: ModelConfig,
        grammar: Grammar,
        preamble: Sequence[int] | np.ndarray = (),
        memory: Memory | None = None,
    ):
        """preamble: tokens that the model sees before every prime, and the grammar does not.

        memory: asked about the tokens int [T] of a row whenever they are read anew: how many of the last ones the
        model is to see from now on; None leaves it as it is.
        """
        self.config, self.grammar, self.memory = config, grammar, memory
        self.preamble = np.asarray(preamble, np.int16)

    def prefill(
        self, tokens: np.ndarray, start: np.ndarray, *, read: int, latents: int, context: int, ahead: int
    ) -> tuple[Any, Any]:
        """Read tokens i32 [B, T], rows beginning at start i32 [B], with the last `read` as latents, before at most
        `ahead` more are added one by one.

        Returns logits f32 [B, V] of the next token and a cache with room for `context` inputs and `latents` latents.
        """
        raise NotImplementedError

    def renew(self, cache: Any, *, read: int) -> tuple[Any, Any]:
        """Begin anew with the last `read` latents, over the inputs that are in the cache, which is given away.

        Returns what `prefill` does.
        """
        raise NotImplementedError

    def copied(self, logits: Any, cache: Any, copies: int) -> tuple[Any, Any]:
        """So many rows for the one that `prefill` has read: what it returned, for all of them."""
        raise NotImplementedError

    def nats(self, stream: np.ndarray, token: int, *, read: int, context: int) -> float:
        """Nats of `token` after a stream int [T], by its last `context` tokens, the last `read` of them as latents.

        The grammar is not asked.
        """
        tokens, start = last_of([np.concatenate([self.preamble, stream])], context)
        read = min(read, tokens.shape[1])
        logits, _ = self.prefill(tokens, start, read=read, latents=read, context=context, ahead=0)
        row = np.asarray(logits, np.float64)[0]
        return float(np.log(np.sum(np.exp(row - row.max()))) + row.max() - row[token])

    def draw(
        self,
        logits: Any,
        cache: Any,
        state: Any,
        *,
        seed: int,
        first: int,
        count: int,
        sampling: Mapping[str, float],
        grammar: Grammar | Inclined,
    ) -> tuple[Any, Any, Any, Any]:
        """Draw tokens number first .. first + count of a stream, each by the seed, its number and the fields of
        `sampling`: int16 [B, block] (PAD past count), and the logits, cache and state of the grammar after them.

        The cache is given away.
        """
        raise NotImplementedError

    def start(
        self,
        primes: Sequence[np.ndarray],
        *,
        latents: int | None = None,
        context: int | None = None,
        sampling: Sampling = Sampling(),
        seed: int = 0,
        grammar: Grammar | Inclined | None = None,
        copies: int = 1,
    ) -> Stream:
        """Read the primes (each int [T], BOS first, as much of its end as the context holds) and be ready to draw.

        copies: how many rows there are to be of the one prime, which is read once.
        grammar: for this stream, in place of the engine's own; hashed, and what is equal is compiled once.

        Raises ValueError unless 2 <= latents <= context and every prime has a token, or if several are to be copied.
        """
        M, N = dials(self.config, latents, context)
        if not primes or any(len(prime) == 0 for prime in primes):
            raise ValueError("every prime needs at least one token, BOS")
        if copies > 1 and len(primes) > 1:
            raise ValueError("only a single prime can be copied")
        rules = self.grammar if grammar is None else grammar
        return Stream(self, rules, [np.asarray(prime, np.int16) for prime in primes], M, N, sampling, seed, copies)


class Stream(Iterator[np.ndarray]):
    """One generation of B rows that go on together; `next` gives int16 [B, k], k >= 1 tokens for each row."""

    logits: Any  # of the next token, f32 [B, V]
    cache: Any

    def __init__(
        self,
        engine: Engine,
        grammar: Grammar | Inclined,
        primes: list[np.ndarray],
        M: int,
        N: int,
        sampling: Sampling,
        seed: int,
        copies: int,
    ):
        self.engine, self.grammar, self.M, self.N = engine, grammar, M, N
        self.history = [np.concatenate([engine.preamble, prime]) for prime in primes]
        self.seed = seed
        self.sampling = dataclasses.asdict(sampling)
        self.state = grammar.after(primes * copies, engine.xp)
        self.drawn = 0
        self.remembered = np.full(len(primes) * copies, NEVER_FORGOTTEN)  # how many of its last tokens each row may see
        self.kept = max(1, int(M * KEPT))
        self.read()
        if copies > 1:
            self.logits, self.cache = engine.copied(self.logits, self.cache, copies)
            self.history *= copies

    def read(self) -> None:
        """Read the last tokens of every row in one pass, with a few of the latents.

        `ahead` is how many tokens may come before the next pass, and `room` how many before a new beginning of the
        latents.
        """
        spared = spared_inputs(self.N, self.M)
        tokens, start = last_of(self.history, max(self.N - spared, self.kept))
        length = tokens.shape[1]
        if self.drawn and self.engine.memory is not None:  # a prime is read as it is
            told = [self.engine.memory(row) for row in self.history]
            self.remembered = np.array([n if m is None else m for n, m in zip(self.remembered, told, strict=True)])
            start = np.maximum(start, length - self.remembered).astype(np.int32)
        read = min(self.kept, length)
        self.ahead = self.N - length
        if self.engine.config.context < self.N:  # or inputs would come to stand too far back: perceiver_ar.within_reach
            self.ahead = min(self.ahead, spared)
        self.logits, self.cache = self.engine.prefill(
            tokens, start, read=read, latents=self.M, context=self.N, ahead=self.ahead
        )
        self.room = min(self.M - read, self.ahead)

    def refill(self) -> None:
        """Make room: for latents over the same inputs as long as there is any for inputs."""
        if self.ahead == 0:
            del self.cache  # free the old one before the new one is made
            self.read()
        else:
            self.logits, self.cache = self.engine.renew(self.cache, read=self.kept)
            self.room = min(self.M - self.kept, self.ahead)

    def __next__(self) -> np.ndarray:
        if self.room == 0:
            self.refill()
        count = min(self.engine.block, self.room)
        drawn, self.logits, self.cache, self.state = self.engine.draw(
            self.logits,
            self.cache,
            self.state,
            seed=self.seed,
            first=self.drawn,
            count=count,
            sampling=self.sampling,
            grammar=self.grammar,
        )
        block = np.asarray(drawn)[:, :count]
        self.history = [np.concatenate([old, new])[-self.N :] for old, new in zip(self.history, block, strict=True)]
        self.drawn += count
        self.remembered += count
        self.room -= count
        self.ahead -= count
        return block


def ruled(grammar: Grammar | Inclined, state: Any, logits: Any) -> tuple[Any, Any]:
    """What a grammar makes of logits f32 [B, V]: they, and which tokens may come, bool [B, V]; of NumPy or of JAX.

    Only a grammar with `inclined` lets EOS come.
    """
    xp = logits.__array_namespace__()
    allowed = grammar.allowed(state)
    if hasattr(grammar, "inclined"):
        return logits + grammar.inclined(state), allowed
    return logits, allowed & (xp.arange(logits.shape[-1]) != EOS)


def dials(config: ModelConfig, latents: int | None, context: int | None) -> tuple[int, int]:
    """M and N of a stream, the model's own where none is given.  Raises ValueError unless 2 <= M <= N."""
    N = config.context if context is None else context
    M = min(config.latents, N) if latents is None else latents
    if not 2 <= M <= N:
        raise ValueError(f"latents must be between 2 and the context ({N}), not {M}")
    return M, N


def spared_inputs(N: int, M: int) -> int:
    """How many inputs a pass over a full context leaves free: what some whole renewals of the latents take."""
    room = M - max(1, int(M * KEPT))
    return max(1, -(-int(N * SPARED) // room)) * room


@functools.cache
def pass_lengths(most: int) -> tuple[int, ...]:
    """The lengths a pass over the prime may have: 64, 256, 1024, ... and `most`."""
    lengths = [n for n in (64 * 4**i for i in range(12)) if n < most]
    return (*lengths, most)


def last_of(history: Sequence[np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    """The end of every row [T] or [T, Q], no more than `most`, in one array i32 [B, T, ..]: PAD, then the row from
    start i32 [B] on.

    T is one of a few lengths, so that only a few functions are ever compiled.
    """
    longest = min(most, max(len(row) for row in history))
    length = next(n for n in pass_lengths(most) if n >= longest)
    tokens = np.full((len(history), length, *history[0].shape[1:]), PAD, np.int32)
    start = np.zeros(len(history), np.int32)
    for i, row in enumerate(history):
        end = row[-length:]
        start[i] = length - len(end)
        tokens[i, start[i] :] = end
    return tokens, start
