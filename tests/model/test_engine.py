"""The endless stream: at every token the logits of the uncached model, over windows that move on."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import Reference
from toys import TOY, AnyToken, assert_close, random_parameters, random_tokens

from musicgen.data_prep import VOCABULARY, VOCABULARY_2, decode, encode
from musicgen.data_prep.rules import grammar
from musicgen.data_prep.rules.note_limits import NoteLimits
from musicgen.model.config import EOS
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.cpu.tiles import best_dtype
from musicgen.model.engine import ContextLimit, Engine, Stream, pass_lengths
from musicgen.model.jax_engine import JaxEngine
from musicgen.model.sampler import Sampling

pytestmark = pytest.mark.slow

GREEDY = Sampling(temperature=0.0)
# One block of each kind: test_decoding.py has looked at more, and compiling is what takes the time here.
ONE_EACH = dataclasses.replace(TOY, local_layers=1, cross_attends=1, layers=1)


BACKENDS: dict[str, type[JaxEngine] | type[OnnxEngine]] = {"jax": JaxEngine, "onnxruntime": OnnxEngine}
ENGINES: dict[tuple[str, int], Engine] = {}


def of_toy(backend: str, block: int) -> Engine:
    """Engines of the toy that draw so many tokens a dispatch, compiled once."""
    if (backend, block) not in ENGINES:
        engine = BACKENDS[backend](ONE_EACH, random_parameters(ONE_EACH), AnyToken())
        engine.block = block
        ENGINES[backend, block] = engine
    return ENGINES[backend, block]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each by its name."""
    return str(request.param)


@pytest.fixture
def one_by_one(backend: str) -> Engine:
    """An engine that draws one token a dispatch, so that its logits can be looked at between any two."""
    return of_toy(backend, 1)


class Uncached:
    """What the stream should do, without a cache: which inputs and latents each row has, and the reference on them.

    When the latents are full, a quarter of them is computed again over the same inputs.  When the inputs are full,
    or have been added to for as long as fits a context that was never trained, they are read anew: as many as leaves
    room for an eighth of the context, in whole restarts.
    """

    def __init__(
        self,
        primes: list[np.ndarray],
        M: int,
        N: int,
        context_limit: ContextLimit = lambda row: None,
        told: Sequence[int] = (),
    ):
        self.M, self.N, self.context_limit, self.told = M, N, context_limit, list(told)
        self.forgotten = [0] * len(primes)  # how many of its first tokens each row does not see any more
        self.rows = [[*prime[:1], *told, *prime[1:]] for prime in primes]
        self.reference = Reference(ONE_EACH, random_parameters(ONE_EACH))
        self.prefills = self.restarts = 0
        self.quarter = max(1, M // 4)
        self.prefill()

    def prefill(self) -> None:
        quarter = self.quarter
        spared = (self.M - quarter) * max(1, math.ceil(self.N // 8 / (self.M - quarter)))
        most = max(self.N - spared, quarter)
        longest = min(most, max(len(row) for row in self.rows))
        length = min(n for n in (64, 256, most) if longest <= n <= most)
        read = min(quarter, length)
        if self.prefills:
            kept = [self.context_limit(np.array(row[-self.N :])) for row in self.rows]
            self.forgotten = [
                old if n is None else len(row) - n for old, n, row in zip(self.forgotten, kept, self.rows, strict=True)
            ]
        self.first = [max(gone, len(row) - length) for gone, row in zip(self.forgotten, self.rows, strict=True)]
        self.latents = [min(read, len(row) - first) for row, first in zip(self.rows, self.first, strict=True)]
        self.inputs, self.free_inputs = length, self.N - length
        if ONE_EACH.context < self.N:
            self.free_inputs = min(self.free_inputs, spared)
        self.free_latents = min(self.M - read, self.free_inputs)
        self.prefills += 1

    def restart(self) -> None:
        self.latents = [self.quarter for _ in self.rows]
        self.free_latents = min(self.M - self.quarter, self.free_inputs)
        self.restarts += 1

    def add(self, tokens: np.ndarray) -> None:
        for row, token in zip(self.rows, tokens, strict=True):
            row.append(int(token))
        self.latents = [count + 1 for count in self.latents]
        self.inputs, self.free_latents, self.free_inputs = self.inputs + 1, self.free_latents - 1, self.free_inputs - 1

    def logits(self) -> np.ndarray:
        """[B, V], of the token to come."""
        if self.free_latents == 0 and self.free_inputs == 0:
            self.prefill()
        elif self.free_latents == 0:
            self.restart()
        rows = zip(map(self.seen, self.rows, self.first), self.latents, strict=True)
        return np.stack([self.reference(np.array(row), M, free_inputs=self.free_inputs)[-1] for row, M in rows])

    def seen(self, row: list[int], first: int) -> list[int]:
        """The tokens of a row from its first visible one on."""
        row = row[first:]
        return row if not self.told or self.told[0] in row else self.told + row[len(self.told) :]


def follow(stream: Stream, uncached: Uncached, tokens: int) -> None:
    """Compare the logits after each of so many tokens."""
    for _ in range(tokens):
        expected = uncached.logits()
        if stream.free_latents > 0:  # or else the next call makes room before it draws
            assert stream.free_latents == uncached.free_latents
            inputs = [len(row) - first for row, first in zip(uncached.rows, uncached.first, strict=True)]
            assert stream.state.cache.inputs.tolist() in (uncached.inputs, inputs)  # with padding, or each row's own
            assert_close(np.asarray(stream.state.outputs), expected)
        drawn = next(stream)
        assert drawn.shape == (len(uncached.rows), 1)
        uncached.add(drawn[:, 0])


@pytest.mark.parametrize("M, N", [(8, 24), (8, 8), (3, 23), (8, 60)])  # the model was trained with N = 24
def test_every_token_comes_from_the_uncached_logits(one_by_one: Engine, M: int, N: int) -> None:
    """Rows of a short prime, a middling one and one longer than the context, at once, over several prefills."""
    primes = [random_tokens(n, seed=n) for n in (1, 9, 40)]
    stream = one_by_one.start(primes, latents=M, context=N, seed=3)
    uncached = Uncached(primes, M, N)
    follow(stream, uncached, 3 * M + 2)
    assert uncached.prefills + uncached.restarts > 3 and uncached.prefills > 1
    assert N != 60 or uncached.restarts > 1


def test_the_context_of_a_row_is_limited(one_by_one: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of it holds from the next prefill on, for that row alone, and is not taken back."""
    primes = [random_tokens(40, seed=n) for n in range(3)]

    def context_limit(row: np.ndarray) -> int | None:
        return 7 if row.sum() % 5 < 2 else None  # as good as chance

    monkeypatch.setattr(one_by_one, "context_limit", context_limit)
    uncached = Uncached(primes, 8, 40, context_limit)
    follow(one_by_one.start(primes, latents=8, context=40, seed=3), uncached, 26)
    assert uncached.prefills > 3 and len(set(uncached.forgotten)) > 1  # not at the same time


def test_what_is_told_is_never_out_of_sight(one_by_one: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It follows the first token of a prime; a row that has lost its beginning begins with it.  No rule sees it."""
    style, others = TOY.vocab_size - 1, dataclasses.replace(TOY, vocab_size=TOY.vocab_size - 1)
    primes = [random_tokens(n, config=others, seed=n) for n in (1, 9, 60)]
    begun: list[list[list[int]]] = []

    class NoStyle(AnyToken):
        def start(self, streams: Sequence[np.ndarray], xp: Any) -> Any:
            begun.append([stream.tolist() for stream in streams])
            return super().start(streams, xp)

        def apply(self, state: Any, logits: Any) -> Any:
            xp = logits.__array_namespace__()
            return xp.where(xp.arange(self.vocab_size) == style, -xp.inf, super().apply(state, logits))

    def context_limit(row: np.ndarray) -> int | None:
        return 7 if row.sum() % 5 < 2 else None

    monkeypatch.setattr(one_by_one, "context_limit", context_limit)
    stream = one_by_one.start(primes, latents=8, context=40, seed=3, rules=NoStyle(), told=[style])
    uncached = Uncached(primes, 8, 40, context_limit, [style])

    def places() -> list[int]:
        seen = [uncached.seen(row, first) for row, first in zip(uncached.rows, uncached.first, strict=True)]
        assert all(row.count(style) == 1 for row in seen)
        return [row.index(style) for row in seen]

    assert places() == [1, 1, 0]
    follow(stream, uncached, 40)
    assert uncached.prefills > 3 and places() == [0, 0, 0]
    assert begun == [[prime.tolist() for prime in primes]]


def test_a_head_stands_first_when_a_row_is_read_again(one_by_one: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In front of so many fewer of its last tokens; copies of a row have the same."""
    primes, heads = [random_tokens(n, seed=n) for n in (6, 14)], [random_tokens(n, seed=9) for n in (2, 3)]
    read: list[list[list[int]]] = []
    prefill = one_by_one.prefill

    def watched(tokens: np.ndarray, start: np.ndarray, **more: Any) -> Any:
        read.append([row[first:].tolist() for row, first in zip(tokens, start.tolist(), strict=True)])
        return prefill(tokens, start, **more)

    monkeypatch.setattr(one_by_one, "prefill", watched)
    for chosen, copies in ((2, 1), (1, 2)):
        read.clear()
        stream = one_by_one.start(primes[:chosen], latents=8, context=24, seed=3, heads=heads[:chosen], copies=copies)
        rows = [prime.tolist() for prime in primes[:chosen]] * copies
        assert read == [rows[:chosen]]
        for _ in range(40):
            seen, rows = rows, [[*row, int(new[0])] for row, new in zip(rows, next(stream), strict=True)]
            if len(read) > 1:
                for last, row, head in zip(read.pop(), seen, heads[:chosen] * copies, strict=True):
                    kept = head.tolist() + row[len(row) - len(last) + len(head) :]
                    assert last == (kept if len(last) < len(row) else row)
        assert len(seen[0]) > 40


def test_passes_of_several_lengths(one_by_one: Engine) -> None:
    """A short prime is read in a short pass; what comes of it grows into a longer one, as long as fits."""
    prime = random_tokens(60)
    stream = one_by_one.start([prime], latents=8, context=80)
    uncached = Uncached([prime], 8, 80)
    assert uncached.inputs == 64
    follow(stream, uncached, 13)
    assert uncached.inputs == 69


def test_a_row_with_its_own_seed_is_a_stream_of_its_own(backend: str) -> None:
    """Through latents that restart and inputs that are read again: on a CPU to the bit, on JAX as far as it rounds."""
    engine, seeds = of_toy(backend, 16), (3, 4, 2**31 - 1)
    primes = [random_tokens(9, config=ONE_EACH, seed=seed).astype(np.int16) for seed in range(3)]

    def drawn(primes: list[np.ndarray], seed: int | Sequence[int]) -> np.ndarray:
        stream = engine.start(primes, latents=8, context=16, seed=seed)
        return np.concatenate([next(stream) for _ in range(12)], axis=1)

    together = drawn(primes, seeds)
    for prime, seed, row in zip(primes, seeds, together, strict=True):
        assert np.array_equal(drawn([prime], seed)[0], row)
    assert not np.array_equal(together[0], drawn([primes[0]], 5)[0])


def test_blocks_are_what_single_tokens_are(backend: str) -> None:
    """The same seed draws the same tokens, however many at once; a block ends where the room does."""

    def first_tokens(engine: Engine) -> tuple[np.ndarray, list[int]]:
        stream = engine.start([random_tokens(n) for n in (1, 9, 40)], latents=8, context=24, seed=5)
        blocks: list[np.ndarray] = []
        while sum(block.shape[1] for block in blocks) < 18:
            blocks.append(next(stream))
        return np.concatenate(blocks, axis=1), [block.shape[1] for block in blocks]

    single, sizes = first_tokens(of_toy(backend, 1))
    assert sizes == [1] * 18
    fours, sizes = first_tokens(of_toy(backend, 4))
    assert sizes == [4, 2] * 3
    np.testing.assert_array_equal(single, fours)


def test_the_usual_block(backend: str) -> None:
    """Sixteen tokens a dispatch, and greedy ones are those of the reference."""
    primes = [random_tokens(30), random_tokens(17)]
    stream = of_toy(backend, Engine.block).start(primes, latents=40, context=60, sampling=GREEDY)
    uncached = Uncached(primes, 40, 60)
    for size in (16, 14, 16):
        block = next(stream)
        assert block.shape == (2, size) and block.dtype == np.int16
        for drawn in block.T:
            logits = uncached.logits()
            logits[:, EOS] = -np.inf  # which is never drawn
            np.testing.assert_array_equal(drawn, logits.argmax(axis=-1))
            uncached.add(drawn)


def test_rows_do_not_know_of_each_other(one_by_one: Engine) -> None:
    """Greedy, every row of a batch goes on as it would alone."""
    primes = [random_tokens(n, seed=n) for n in (3, 14, 30)]

    def tokens(primes: list[np.ndarray]) -> np.ndarray:
        stream = one_by_one.start(primes, latents=8, context=24, sampling=GREEDY)
        return np.concatenate(list(itertools.islice(stream, 20)), axis=1)

    together = tokens(primes)
    for row, prime in enumerate(primes):
        np.testing.assert_array_equal(tokens([prime])[0], together[row])


def test_seeds(one_by_one: Engine) -> None:
    """A seed gives the same samples again, another gives others, and the samples of one batch differ."""

    def tokens(seed: int) -> np.ndarray:
        stream = one_by_one.start([random_tokens(6)] * 3, latents=8, context=24, seed=seed)
        return np.concatenate(list(itertools.islice(stream, 20)), axis=1)

    np.testing.assert_array_equal(tokens(1), tokens(1))
    assert not np.array_equal(tokens(1), tokens(2))
    assert len({tuple(row) for row in tokens(1)}) == 3


def test_eos_is_never_drawn(backend: str) -> None:
    """However likely it is, if the rules do not let it come: how long a piece is, the caller says."""
    params = random_parameters(ONE_EACH)
    kernel = params["logits.kernel"].copy()
    kernel[:, EOS] *= 100
    engine = BACKENDS[backend](ONE_EACH, params | {"logits.kernel": kernel}, AnyToken())
    engine.block = 1
    stream = engine.start([random_tokens(n) for n in (1, 9, 40)], latents=8, context=24, seed=1)
    likeliest = 0
    for _ in range(20):
        likeliest += (np.asarray(stream.state.outputs).argmax(axis=-1) == EOS).sum()
        assert not (next(stream) == EOS).any()
    assert likeliest > 10


class EndsOnceLikely(AnyToken):
    """Any token until EOS, which is all but sure from the fifth token on; then nothing else."""

    def start(self, streams: Sequence[np.ndarray], xp: Any) -> Any:
        return xp.zeros((len(streams), 2), dtype=xp.int32)

    def advance(self, state: Any, token: Any) -> Any:
        xp = state.__array_namespace__()
        return xp.stack([state[:, 0] + 1, state[:, 1] | (token == EOS)], axis=1)

    def apply(self, state: Any, logits: Any) -> Any:
        xp = state.__array_namespace__()
        is_eos = xp.arange(ONE_EACH.vocab_size) == EOS
        at = xp.where(state[:, :1] < 5, xp.float32(-1e3), xp.float32(1e3))
        return xp.where(is_eos | (state[:, 1:] == 0), logits + at * is_eos, -xp.inf)


def test_rules_that_make_the_end_likely(one_by_one: Engine) -> None:
    """What it adds to the logits decides when EOS comes; the same engine goes on without end under its own rules."""
    start = {"primes": [random_tokens(4)] * 2, "latents": 8, "context": 24, "seed": 1}
    ending = one_by_one.start(**start, rules=EndsOnceLikely())  # type: ignore[arg-type]
    tokens = np.concatenate(list(itertools.islice(ending, 8)), axis=1)
    assert (tokens[:, :5] != EOS).all() and (tokens[:, 5:] == EOS).all()
    usual = np.concatenate(list(itertools.islice(one_by_one.start(**start), 8)), axis=1)  # type: ignore[arg-type]
    assert (usual != EOS).all() and np.array_equal(usual[:, :5], tokens[:, :5])


def test_copies_are_rows_of_one_prime(one_by_one: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read once, and from there on, refills included, what so many equal primes are, which are read once, too, where
    that changes no bit."""
    prime = random_tokens(19)
    setting = {"latents": 8, "context": 24, "seed": 1}
    copies = one_by_one.start([prime], copies=3, **setting)  # type: ignore[arg-type]
    uncached = Uncached([prime] * 3, 8, 24)
    follow(copies, uncached, 14)
    assert uncached.prefills + uncached.restarts > 2
    drawn = np.stack([row[-14:] for row in copies.history])
    read: list[int] = []
    prefill = one_by_one.prefill

    def counting(tokens: np.ndarray, start: np.ndarray, **how: int) -> object:
        read.append(len(tokens))
        return prefill(tokens, start, **how)

    monkeypatch.setattr(one_by_one, "prefill", counting)
    alike = one_by_one.start([prime] * 3, **setting)  # type: ignore[arg-type]
    assert read == [1 if one_by_one.rows_alike else 3]
    np.testing.assert_array_equal(np.concatenate(list(itertools.islice(alike, 14)), axis=1), drawn)
    assert len(np.unique(drawn, axis=0)) == 3
    with pytest.raises(ValueError, match="only a single prime can be copied"):
        one_by_one.start([prime, prime], copies=2)


def test_nats_of_a_token(one_by_one: Engine) -> None:
    """By as much of the stream as is asked for, whatever the rules say."""
    stream = random_tokens(30)
    reference = Reference(ONE_EACH, random_parameters(ONE_EACH))
    for token, latents, context in ((EOS, 8, 24), (5, 3, 60)):
        tail = stream[-context:]
        logits = reference(tail, min(latents, len(tail)), free_inputs=0)[-1]
        expected = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[token]
        assert one_by_one.nats(stream, token, latents=latents, context=context) == pytest.approx(expected, abs=1e-4)


def test_nats_of_the_last_tokens(one_by_one: Engine) -> None:
    """Each knows all tokens before it; over all ids, or over the first."""
    stream = random_tokens(90)
    rows = Reference(ONE_EACH, random_parameters(ONE_EACH))(stream[:-1], 64, free_inputs=0)[-20:]
    for ids in (None, int(stream[-20:].max()) + 1):
        logits = rows[:, :ids]
        most = logits.max(axis=1)
        own = logits[np.arange(20), stream[-20:]]
        expected = np.log(np.exp(logits - most[:, None]).sum(axis=1)) + most - own
        rounded = isinstance(one_by_one, OnnxEngine) and best_dtype() != np.float32
        np.testing.assert_allclose(one_by_one.nats_of_last(stream, 20, ids), expected, atol=0.5 if rounded else 1e-4)


def test_primes_are_kept_as_they_are(one_by_one: Engine) -> None:
    """Any integers will do, and the caller's array is not written to."""
    prime = random_tokens(6).astype(np.int64)
    before = prime.copy()
    next(one_by_one.start([prime] * 3, latents=8, context=24))
    np.testing.assert_array_equal(prime, before)


def blocks_of_music(backend: str, vocab_size: int = VOCABULARY.size) -> tuple[Engine, Stream, list[np.ndarray]]:
    """An engine with the real rules, and the first block of a stream of it."""
    config = dataclasses.replace(ONE_EACH, vocab_size=vocab_size)
    params = dict(random_parameters(config))
    params["logits.kernel"] = params["logits.kernel"] * 0.1  # many tokens likely
    engine = BACKENDS[backend](config, params, NoteLimits(8.0))
    stream = engine.start([np.array([1], np.int16)] * 2, latents=16, context=32, seed=2)
    return engine, stream, [next(stream)]


def test_a_long_stream_compiles_nothing_after_its_first_block() -> None:
    """Whatever is in the cache."""
    engine, stream, _ = blocks_of_music("jax")
    assert isinstance(engine, JaxEngine)
    for _ in range(10):
        assert (engine.compiled_draw._cache_size(), engine.compiled_prefill._cache_size()) == (1, 1)
        next(stream)


@pytest.mark.parametrize("vocab_size", [VOCABULARY.size, VOCABULARY_2.size])
def test_music(backend: str, vocab_size: int) -> None:
    """With the real rules a long stream is music, whatever else the model knows."""
    _, stream, blocks = blocks_of_music(backend, vocab_size)
    for _ in range(60):
        blocks.append(next(stream))
    assert len(stream.history[0]) <= 32
    for row in np.concatenate(blocks, axis=1):
        state = grammar.start([[]])
        for token in row:
            assert grammar.allowed(state)[0, token]
            state = grammar.advance(state, np.array([token]))
        performance = decode(row)
        assert len(performance) > 20
        np.testing.assert_array_equal(encode(decode(encode(performance))), encode(performance))


@pytest.mark.parametrize("latents, context", [(1, 24), (25, 24), (0, 24), (-3, 24), (2, 1)])
def test_impossible_settings(one_by_one: Engine, latents: int, context: int) -> None:
    """One line says what the limits are."""
    with pytest.raises(ValueError, match=f"latents must be between 2 and the context .{context}., not {latents}"):
        one_by_one.start([random_tokens(4)], latents=latents, context=context)


@pytest.mark.parametrize("primes", [[], [np.array([], np.int16)], [np.array([1]), np.array([], np.int16)]])
def test_no_prime(one_by_one: Engine, primes: list[np.ndarray]) -> None:
    """A stream cannot begin without a token."""
    with pytest.raises(ValueError, match="every prime needs at least one token"):
        one_by_one.start(primes)


@given(most=st.integers(1, 10_000))
def test_pass_lengths(most: int) -> None:
    """A few, rising, up to exactly the most; none is more than four times as long as need be."""
    lengths = pass_lengths(most)
    assert list(lengths) == sorted(set(lengths)) and lengths[-1] == most and len(lengths) < 6
    assert all(b <= 4 * a for a, b in itertools.pairwise(lengths))


def test_a_preamble_is_before_every_prime(backend: str) -> None:
    """For the model, which draws as if it belonged to the prime; the rules begin with the prime."""
    seen: list[list[int]] = []

    class Watching(AnyToken):
        def start(self, streams: Sequence[np.ndarray], xp: Any) -> Any:
            seen.append([len(stream) for stream in streams])
            return super().start(streams, xp)

    preamble, prime = random_tokens(4, seed=7), random_tokens(3, seed=8)
    params = random_parameters(ONE_EACH)
    plain = BACKENDS[backend](ONE_EACH, params, AnyToken())
    with_preamble = BACKENDS[backend](ONE_EACH, params, Watching(), preamble)
    whole = plain.start([np.concatenate([preamble, prime])], latents=8, context=24, sampling=GREEDY)
    parts = with_preamble.start([prime], latents=8, context=24, sampling=GREEDY)
    for _ in range(8):  # past a refill
        np.testing.assert_array_equal(next(whole), next(parts))
    assert seen == [[3]]
