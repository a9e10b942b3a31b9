"""Generation: primes of integers in, an endless stream of integers out.

    engine = JaxEngine(config, params, rules)        # or OnnxEngine(config, weights, rules), on a CPU
    stream = engine.start([prime], latents=2048, context=4096, sampling=Sampling(), seed=0)      # reads the primes
    for block in stream: ...                                                                     # int16 [B, k]

A token is an integer, or with a model of frames (model/frames.py) a frame of Q codes: primes are then [T, Q] and
blocks [B, k, Q].  Each token becomes both an input and a latent.  When the latents are full they are restarted over
the same inputs, and when the inputs are full the last of them are read again in one pass.

The stream has no end of its own: the caller stops when it has enough.  What may be drawn is for the rules to say
(musicgen.data_prep.rules, or anything with their three functions); the engine itself knows nothing of music.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from musicgen.model.config import PAD, ModelConfig
from musicgen.model.sampler import Sampling
from musicgen.model.shapes import Float, Int, Int16

FRAMES_BLOCK = 8  # frames a dispatch
NO_LIMIT = 2**40  # more tokens than any row has
# The share of the latents that is computed again when they are full.  Less costs quality right after it, more costs
# time, since the next restart comes sooner: benchmarks/cpu has the curve.
CARRIED = 0.25
SCORED_IN = 64  # tokens: what is scored is so many, or twice or three times as many ...
RESERVED = 1 / 8  # of the context, at least, is left free by a prefill, since few latents soon are full

Array = TypeVar("Array")  # of the backend
Cache = TypeVar("Cache")
RuleState = Any  # whatever a rule's `start` returns: a tree of arrays, batch first
ContextLimit = Callable[[np.ndarray], int | None]
Seed = int | Sequence[int]  # of all rows, or of each


@runtime_checkable
class Rules(Protocol):
    """What may be drawn, and what is made likelier: a logits processor with a state.

    Three pure functions over arrays of NumPy, or of JAX inside `jax.jit`.  A rule may wrap another one.  Rules are
    hashed: what is equal is compiled once.
    """

    def start(self, streams: Sequence[np.ndarray], xp: ModuleType, /) -> RuleState:
        """The state after these streams, int [T] or [T, Q] each, as arrays of the namespace xp."""

    def advance(self, state: RuleState, token: Any, /) -> RuleState:
        """The state after one more token i32 [B], or frame i32 [B, Q]."""

    def apply(self, state: RuleState, logits: Any, /) -> Any:
        """Logits f32 [B, V] as they are to be sampled from, -inf where a token must not come.

        Of a frame it is given those of the first codebook alone, which the finer ones refine.
        """


@dataclasses.dataclass(frozen=True)
class NoRules:
    """Anything may be drawn."""

    def start(self, streams: Sequence[np.ndarray], xp: ModuleType) -> RuleState:
        """Nothing."""
        return ()

    def advance(self, state: RuleState, token: Any) -> RuleState:
        """Nothing."""
        return state

    def apply(self, state: RuleState, logits: Array) -> Array:
        """The logits as they are."""
        return logits


@dataclasses.dataclass(frozen=True)
class SamplingState(Generic[Array, Cache]):
    """All that the next token of B rows depends on, besides the parameters, the settings and the seed.

    outputs: what the model says of the next token: logits f32 [B, V]; of a frame, what its codes are read out of.
    cache: keys and values of inputs and latents; a draw takes it over.
    rules: the state of the rules.
    drawn: i32 [], how many tokens were drawn so far: noise is drawn by this number, so blocks do not matter.
    """

    outputs: Array
    cache: Cache
    rules: RuleState
    drawn: Any


class Engine(Generic[Array, Cache]):
    """A model ready to generate; use one for many streams.

    What turns tokens into outputs and these into tokens is the backend's: jax_engine.py and cpu/engine.py.
    """

    rows_alike = False  # whether a row comes out to the last bit as in a batch of any other size
    compiles = False  # whether it compiles functions for each number of rows and length
    block = 16  # tokens a dispatch: small enough to follow by ear, large enough to hide the dispatch
    xp: ModuleType  # the namespace of the backend's arrays
    dtype: Any  # in which it computes
    params: Mapping[str, Any]  # its parameters as float arrays

    def __init__(
        self,
        config: ModelConfig,
        rules: Rules = NoRules(),
        preamble: Sequence[int] | np.ndarray = (),
        context_limit: ContextLimit | None = None,
    ):
        """preamble: tokens that the model sees before every prime, and the rules do not.

        context_limit: asked about the tokens int [T] of a row whenever they are read again: how many of the last ones
        the model is to see from now on; None leaves it as it is.
        """
        self.config, self.rules, self.context_limit = config, rules, context_limit
        self.block = FRAMES_BLOCK if config.depth_layers else Engine.block
        self.preamble = np.asarray(preamble, np.int16).reshape(-1, *config.token_shape)

    def prefill(
        self,
        tokens: Int[np.ndarray, "B T *Q"],
        start: Int[np.ndarray, " B"],
        *,
        latents: int,
        max_latents: int,
        max_inputs: int,
        free_inputs: int,
    ) -> tuple[Array, Cache]:
        """Read tokens, or frames, rows beginning at start, with the last `latents` as latents, before at most
        `free_inputs` more are added one by one.

        Returns the outputs for the next token and a cache with room for so many latents and inputs.
        """
        raise NotImplementedError

    def restart_latents(self, cache: Cache, *, latents: int) -> tuple[Array, Cache]:
        """Compute the last `latents` latents again over the inputs that are in the cache, which is taken over.

        Returns what `prefill` does.
        """
        raise NotImplementedError

    def repeat_rows(self, outputs: Array, cache: Cache, copies: int) -> tuple[Array, Cache]:
        """So many rows for the one that `prefill` has read: what it returned, for all of them."""
        raise NotImplementedError

    def draw(
        self, state: SamplingState[Array, Cache], *, seed: Seed, count: int, sampling: Mapping[str, float], rules: Rules
    ) -> tuple[Int16[np.ndarray, "B count *Q"], SamplingState[Array, Cache]]:
        """Draw `count` tokens, each by the seed, its number and the fields of `sampling`; and the state after them."""
        raise NotImplementedError

    def logits(self, outputs: Array, token: Int[np.ndarray, " B *Q"]) -> Float[np.ndarray, "B *Q V"]:
        """Logits f32 of the next token; of a frame each code's, knowing those before it."""
        raise NotImplementedError

    def nats(
        self,
        stream: Int[np.ndarray, " T *Q"],
        token: int | np.integer | Int[np.ndarray, " *Q"],
        *,
        latents: int,
        context: int,
    ) -> float:
        """Nats of `token`, or of a frame, after a stream, by its last `context` tokens, of which the
        last `latents` are latents.

        The rules are not asked.
        """
        tokens, start = last_tokens([np.concatenate([self.preamble, stream])], context)
        latents = min(latents, tokens.shape[1])
        outputs, _ = self.prefill(
            tokens, start, latents=latents, max_latents=latents, max_inputs=context, free_inputs=0
        )
        chosen = np.asarray(token, np.int32)
        rows = np.asarray(self.logits(outputs, chosen[None])[0], np.float64)
        own = np.take_along_axis(rows, np.asarray(self.config.logit_of(chosen))[..., None], axis=-1)[..., 0]
        most = rows.max(axis=-1)
        return float(np.sum(np.log(np.sum(np.exp(rows - most[..., None]), axis=-1)) + most - own))

    def logits_of_last(
        self, tokens: Int[np.ndarray, "1 T"], start: Int[np.ndarray, " 1"], *, latents: int
    ) -> Float[np.ndarray, "M V"]:
        """Logits f32 after each of the last `latents` tokens of a row that begins at start."""
        raise NotImplementedError

    def nats_of_last(self, stream: Int[np.ndarray, " T"], count: int, ids: int | None = None) -> np.ndarray:
        """Nats f32 [count] of each of the last tokens of a stream, knowing all before it.

        ids: only the first so many can come; all unless given.  The rules are not asked.
        """
        row = np.concatenate([self.preamble, stream]).astype(np.int32)
        length, latents = (-(-n // SCORED_IN) * SCORED_IN for n in (len(row) - 1, count))  # few shapes are compiled
        tokens = np.full((1, length), PAD, np.int32)
        tokens[0, length - len(row) + 1 :] = row[:-1]
        start = np.array([length - len(row) + 1], np.int32)
        logits = self.logits_of_last(tokens, start, latents=min(latents, len(row) - 1))[-count:, :ids]
        most = logits.max(axis=-1, keepdims=True)
        own = np.take_along_axis(logits, row[-count:, None].astype(np.int64), axis=-1)
        return np.asarray((np.log(np.sum(np.exp(logits - most), axis=-1, keepdims=True)) + most - own)[:, 0])

    def start(
        self,
        primes: Sequence[np.ndarray],
        *,
        latents: int | None = None,
        context: int | None = None,
        sampling: Sampling = Sampling(),
        seed: Seed = 0,
        rules: Rules | None = None,
        copies: int = 1,
        told: Sequence[int] = (),
        heads: Sequence[np.ndarray] = (),
    ) -> Stream[Array, Cache]:
        """Read the primes (each int [T], BOS first, as much of its end as the context holds) and be ready to draw.

        seed: of all rows, each of which has its part of the noise; or one for each row, whose noise is then that of a
            stream of its own.
        rules: for this stream, in place of the engine's own.
        copies: how many rows there are to be of the one prime, which is read once.
        told: tokens that the model sees, and the rules do not, after the first of every prime (BOS); where that is
            out of its sight, in place of the first tokens it sees.
        heads: int [H] for each prime, what the model is to see first when a row has become too long and its last tokens
            are read again; so many fewer of these are.

        Raises ValueError unless 2 <= latents <= context and every prime has a token, or if several are to be copied.
        """
        M, N = resolve_lengths(self.config, latents, context)
        check_primes(self.config, primes)
        if copies > 1 and len(primes) > 1:
            raise ValueError("only a single prime can be copied")
        rows = [np.asarray(prime, np.int16) for prime in primes]
        return Stream(self, self.rules if rules is None else rules, rows, M, N, sampling, seed, copies, told, heads)


class Stream(Iterator[np.ndarray], Generic[Array, Cache]):
    """One generation of B rows that go on together; `next` gives int16 [B, k], k >= 1 tokens for each row.

    free_inputs: how many tokens may come before the next prefill; free_latents: before the next restart of latents.
    """

    def __init__(
        self,
        engine: Engine[Array, Cache],
        rules: Rules,
        primes: list[np.ndarray],
        M: int,
        N: int,
        sampling: Sampling,
        seed: Seed,
        copies: int,
        told: Sequence[int],
        heads: Sequence[np.ndarray],
    ):
        self.engine, self.rules, self.M, self.N, self.seed = engine, rules, M, N, seed
        self.sampling = dataclasses.asdict(sampling)
        self.told = np.asarray(told, np.int16).reshape(-1, *engine.config.token_shape)
        parts = [(engine.preamble, prime[:1], self.told, prime[1:]) for prime in primes]
        self.history = [np.concatenate(row) for row in parts]
        self.heads = [np.concatenate([engine.preamble, head]).astype(np.int16) for head in heads]
        self.heads = self.heads or [row[:0] for row in primes]
        self.limits = np.full(len(primes), NO_LIMIT)  # how many of its last tokens each row may see
        self.carried_latents = max(1, int(M * CARRIED))
        outputs, cache = self.prefill()
        if copies > 1:
            outputs, cache = engine.repeat_rows(outputs, cache, copies)
            self.history, self.heads = self.history * copies, self.heads * copies
            self.limits = np.tile(self.limits, copies)
        state = rules.start(primes * copies, engine.xp)
        self.state = SamplingState(outputs, cache, state, engine.xp.int32(0))

    def prefill(self) -> tuple[Array, Cache]:
        """Read the last tokens of every row in one pass, with a few of the latents; those of equal rows once."""
        reserved = reserve(self.N, self.M)
        most = max(self.N - reserved, self.carried_latents)
        rows = [
            row if len(row) <= most else np.concatenate([head, row[len(row) - most + len(head) :]])
            for row, head in zip(self.history, self.heads, strict=True)
        ]
        tokens, start = last_tokens(rows, most)
        length = tokens.shape[1]
        start = np.maximum(start, length - self.limits).astype(np.int32)
        for row, first in zip(tokens, start, strict=True):
            if len(self.told) and not (row[first:] == self.told[0]).any():
                row[first:][: len(self.told)] = self.told
        latents = min(self.carried_latents, length)
        self.free_inputs = self.N - length
        if self.engine.config.context < self.N:  # or positions would exceed the trained range: `clamp_positions`
            self.free_inputs = min(self.free_inputs, reserved)
        self.free_latents = min(self.M - latents, self.free_inputs)
        count = len(rows)
        if self.engine.rows_alike and (tokens == tokens[0]).all() and (start == start[0]).all():
            tokens, start = tokens[:1], start[:1]
        outputs, cache = self.engine.prefill(
            tokens,
            start,
            latents=latents,
            max_latents=self.M,
            max_inputs=self.N,
            free_inputs=self.free_inputs,
        )
        return (outputs, cache) if len(tokens) == count else self.engine.repeat_rows(outputs, cache, count)

    def make_room(self) -> None:
        """Restart the latents over the same inputs, or read the last tokens again if there is no room for inputs."""
        rules, drawn = self.state.rules, self.state.drawn
        if self.free_inputs == 0:
            del self.state  # free the old cache before the new one is made
            self.limit_context()
            outputs, cache = self.prefill()
        else:
            outputs, cache = self.engine.restart_latents(self.state.cache, latents=self.carried_latents)
            self.free_latents = min(self.M - self.carried_latents, self.free_inputs)
        self.state = SamplingState(outputs, cache, rules, drawn)

    def limit_context(self) -> None:
        """Ask how much of its past each row is to see from now on."""
        if self.engine.context_limit is not None:
            asked = [self.engine.context_limit(row) for row in self.history]
            self.limits = np.array([n if m is None else m for n, m in zip(self.limits, asked, strict=True)])

    def __next__(self) -> np.ndarray:
        """The next block.  Raises FloatingPointError if the model's outputs are no numbers."""
        if self.free_latents == 0:
            self.make_room()
        count = min(self.engine.block, self.free_latents)
        block, self.state = self.engine.draw(
            self.state, seed=self.seed, count=count, sampling=self.sampling, rules=self.rules
        )
        if np.isnan(np.asarray(self.state.outputs)).any():  # then nothing more can be drawn but the same, for ever
            raise FloatingPointError("the model's outputs are no numbers (NaN): its weights are damaged, use others")
        self.history = [np.concatenate([old, new])[-self.N :] for old, new in zip(self.history, block, strict=True)]
        self.limits += count
        self.free_latents -= count
        self.free_inputs -= count
        return block


def check_primes(config: ModelConfig, primes: Sequence[np.ndarray]) -> None:
    """Raise ValueError if there is a prime that the model cannot go on from."""
    Q = config.channels
    if not config.token_shape:
        if not primes or any(len(prime) == 0 for prime in primes):
            raise ValueError("every prime needs at least one token, BOS")
    elif not primes or any(prime.ndim != 2 or prime.shape[1] != Q for prime in primes):
        raise ValueError(f"a prime is frames of {Q} codes")
    elif any(len(prime) == 0 or prime.min() < 0 or prime.max() >= config.vocab_size for prime in primes):
        raise ValueError(f"a prime has at least one frame, and its tokens are below {config.vocab_size}")


def resolve_lengths(config: ModelConfig, latents: int | None, context: int | None) -> tuple[int, int]:
    """M and N of a stream, the model's own where none is given.  Raises ValueError unless 2 <= M <= N."""
    N = config.context if context is None else context
    M = min(config.latents, N) if latents is None else latents
    if not 2 <= M <= N:
        raise ValueError(f"latents must be between 2 and the context ({N}), not {M}")
    return M, N


def reserve(N: int, M: int) -> int:
    """How many inputs a prefill of a full context leaves free: what some whole restarts of the latents take."""
    room = M - max(1, int(M * CARRIED))
    return max(1, -(-int(N * RESERVED) // room)) * room


@functools.cache
def pass_lengths(most: int) -> tuple[int, ...]:
    """The lengths a pass over the prime may have: 64, 256, 1024, ... and `most`."""
    lengths = [n for n in (64 * 4**i for i in range(12)) if n < most]
    return (*lengths, most)


def last_tokens(
    history: Sequence[Int[np.ndarray, " _ *Q"]], most: int
) -> tuple[Int[np.ndarray, "B T *Q"], Int[np.ndarray, " B"]]:
    """The end of every row, no more than `most`, in one array i32: PAD, then the row from start i32 on.

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
