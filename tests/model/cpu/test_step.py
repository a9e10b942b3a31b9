"""The parts of a step on a CPU.  tests/model/cpu/test_engine.py compares whole steps with the model."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import TOY, AnyToken, random_parameters, random_tokens

from musicgen.model import int4
from musicgen.model.config import EOS
from musicgen.model.cpu import threads
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.cpu.memory import CHUNK, Cache, in_chunks, in_order
from musicgen.model.cpu.products import product
from musicgen.model.cpu.step import attend, exponential, gelu, merge_chunks, step
from musicgen.model.cpu.threads import ThreadTeam, thread_team


def test_exponentials() -> None:
    """To 2e-6 over the whole range of float32, and neither 0 nor infinite beyond."""
    x = np.linspace(-87, 87, 10_001).astype(np.float32)
    found = x.copy()
    exponential(found, np.empty(len(x), np.int32))
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=1e-5)
    near = np.abs(x) < 10
    np.testing.assert_allclose(found[near], np.exp(x[near].astype(np.float64)), rtol=2e-6)
    beyond = np.array([-1e9, 1e9], np.float32)
    exponential(beyond, np.empty(2, np.int32))
    assert 0 < beyond[0] < 1e-37 and 1e37 < beyond[1] < np.inf


def test_gelu() -> None:
    """By tanh, as in jax.nn.gelu; far from zero as well."""
    x = np.concatenate([np.linspace(-8, 8, 999), [-1e4, 1e4]]).astype(np.float32)
    found = x.copy()
    gelu(found, np.empty(len(x), np.float32), np.empty(len(x), np.int32))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(found, wide / 2 * (1 + np.tanh(0.7978845608 * (wide + 0.044715 * wide**3))), atol=2e-6)


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 60), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_products_in_four_bits(rows: int, outputs: int, groups: int, parts: int) -> None:
    """The same of halves of bytes, each group with its own scale."""
    rng = np.random.default_rng(outputs * groups)
    kernel = (rng.normal(size=(32 * groups, outputs)) * rng.uniform(0.01, 9, outputs)).astype(np.float32)
    packed, scales = int4.quantize(kernel)
    x = rng.normal(size=(rows, 32 * groups)).astype(np.float32)
    out = np.full((rows, outputs), np.nan, np.float32)
    for part in range(parts):
        product(packed, scales.astype(np.float32), x, out, part, parts)
    rounded = int4.dequantize(packed, scales).astype(np.float64)
    np.testing.assert_allclose(out, x @ rounded, atol=1e-6 * np.abs(rounded).sum(axis=0).max())


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 1500), st.integers(1, 5), st.booleans())
@settings(max_examples=30, deadline=None)
def test_products(rows: int, outputs: int, inputs: int, parts: int, bytes_: bool) -> None:
    """Any shape, in any number of parts: each output is written once."""
    rng = np.random.default_rng(outputs * inputs)
    x = rng.normal(size=(rows, inputs)).astype(np.float32)
    scale = rng.uniform(0.5, 2, outputs).astype(np.float32)
    kernel = rng.integers(-127, 128, (outputs, inputs))
    given_kernel = (kernel + 128).astype(np.uint8) if bytes_ else kernel.astype(np.float32)
    out = np.full((rows, outputs), np.nan, np.float32)
    for part in range(parts):
        product(given_kernel, scale, x, out, part, parts)
    expected = x.astype(np.float64) @ kernel.T * scale
    np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(kernel).sum(axis=1).max())


@given(st.integers(1, 3 * CHUNK), st.integers(1, 3), st.sampled_from([1, 6, 8, 64]))
@settings(max_examples=30, deadline=None)
def test_attention_in_chunks(count: int, R: int, K: int) -> None:
    """Merged, the chunks' attention is that to all keys, whatever lies behind the last of them."""
    rng = np.random.default_rng(count)
    q = rng.normal(size=(R, K)).astype(np.float32) * 3
    keys, values = rng.normal(size=(2, count, K)).astype(np.float32)
    chunks = in_chunks(np.stack([keys, values]))
    chunks[:, -1, :, (count - 1) % CHUNK + 1 :] = np.nan
    found = np.empty((chunks.shape[1], R, K + 2), np.float32)
    scores, powers = np.empty((R, CHUNK), np.float32), np.empty(CHUNK, np.int32)
    for c, (own_keys, own_values) in enumerate(np.ascontiguousarray(chunks.swapaxes(0, 1))):
        attend(q, own_keys, own_values, min(count - c * CHUNK, CHUNK), scores, powers, found[c])
    wide = q.astype(np.float64) @ keys.T
    weights = np.exp(wide - wide.max(axis=1, keepdims=True))
    expected = weights / weights.sum(axis=1, keepdims=True) @ values
    for r in range(R):
        out = np.empty(K, np.float32)
        merge_chunks(found[:, r], out)
        np.testing.assert_allclose(out, expected[r], atol=2e-5)


@given(st.integers(1, 3 * CHUNK), st.integers(1, 5))
def test_keys_lie_in_chunks(count: int, K: int) -> None:
    """There and back; what is behind the last key is zero."""
    keys = np.random.default_rng(count).normal(size=(2, count, K)).astype(np.float32)
    back = in_order(in_chunks(keys))
    assert back.shape == (2, -(-count // CHUNK) * CHUNK, K) and not back[:, count:].any()
    np.testing.assert_array_equal(back[:, :count], keys)


class EndsRow(AnyToken):
    """A rule by which one row has nothing but EOS after so many tokens; its state is how many were drawn."""

    def __init__(self, row: int, after: int):
        self.row, self.after = row, after

    def start(self, streams: Sequence[np.ndarray], xp: Any) -> int:
        return 0

    def advance(self, state: int, token: np.ndarray) -> int:
        return state + 1

    def apply(self, state: int, logits: np.ndarray) -> np.ndarray:
        allowed = super().apply(state, logits)
        if state >= self.after:
            allowed[self.row] = np.where(np.arange(self.vocab_size) == EOS, 0.0, -np.inf)
        return allowed


def test_rows_that_are_over_are_left_out() -> None:
    """Where a rule leaves nothing but EOS, no more is computed; the other rows are the same to the last bit."""
    engine = OnnxEngine(TOY, random_parameters(TOY), AnyToken(), threads=1)
    prime, ends, computed = random_tokens(20), 5, []
    step = engine.step

    def counting(token: np.ndarray, cache: Cache, over: np.ndarray | None = None) -> np.ndarray:
        assert over is not None
        computed.append(int((~over).sum()))
        return step(token, cache, over)

    engine.step = counting  # type: ignore[method-assign]
    drawn = [next(engine.start([prime] * 3, seed=2, rules=rules)) for rules in (AnyToken(), EndsRow(1, ends))]
    np.testing.assert_array_equal(drawn[0][[0, 2]], drawn[1][[0, 2]])
    assert (drawn[1][1, ends:] == EOS).all() and (drawn[1][1, :ends] == drawn[0][1, :ends]).all()
    count = drawn[0].shape[1]
    assert count > ends and computed == [3] * (count + ends) + [2] * (count - ends)


@pytest.mark.slow
def test_one_program_for_every_setting() -> None:
    """However long a stream is, and at any number of rows, latents and inputs, nothing is compiled anew."""
    engine = OnnxEngine(TOY, random_parameters(TOY), AnyToken(), threads=1)

    def programs(rows: int, latents: int, context: int, blocks: int) -> int:
        stream = engine.start([random_tokens(20)] * rows, latents=latents, context=context)
        for block in itertools.islice(stream, blocks):
            assert len(block) == rows
        return len(step.signatures)

    first = programs(1, 8, 24, 1)
    assert [programs(1, 8, 24, 40), programs(3, 16, 16, 3), programs(2, 2, 600, 3)] == [first] * 3


def test_a_team_that_is_busy_is_not_waited_for() -> None:
    """A second step meanwhile goes alone, and computes the same."""
    engine = OnnxEngine(TOY, random_parameters(TOY), AnyToken(), threads=2)
    start, tokens = np.zeros(2, np.int32), random_tokens(2, 12)

    def step() -> np.ndarray:
        _, cache = engine.prefill(tokens, start, latents=4, max_latents=8, max_inputs=24, free_inputs=4)
        return engine.step(tokens[:, 0], cache)

    together = step()
    with thread_team(2).busy:
        alone = step()
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, step())


def test_who_fails_leaves_nobody_waiting() -> None:
    """An interrupt in one part opens the barrier for the others, and the team goes on."""
    team, seen = ThreadTeam(2), threading.Event()

    def failing(part: int, parts: int, barrier: np.ndarray) -> None:
        if part == 0:
            raise KeyboardInterrupt
        while barrier[0] < parts:
            pass
        seen.set()

    def counting(part: int, parts: int, barrier: np.ndarray, found: list[int]) -> None:
        found[part] = parts

    with pytest.raises(KeyboardInterrupt):
        team.run(failing)
    assert seen.wait(10)
    found = [0, 0]
    team.run(counting, found)
    for _ in range(1000):
        if found == [2, 2]:
            break
        threading.Event().wait(0.01)
    assert found == [2, 2]


def test_a_worker_that_fails_is_heard_of() -> None:
    """Its exception comes out of the step, once."""
    team = ThreadTeam(2)

    def failing(part: int, parts: int, barrier: np.ndarray) -> None:
        if part == 1:
            raise MemoryError("no room")
        while barrier[0] < parts:
            pass

    with pytest.raises(MemoryError, match="no room"):
        team.run(failing)
    team.run(lambda part, parts, barrier: None)


@pytest.mark.parametrize(
    "share, most", [("150000 100000", 1), ("20000 100000", 1), ("300000 100000", 3), ("max 100000", None), (None, None)]
)
def test_a_containers_share(
    share: str | None, most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that spin for a core they do not get would take the time of those that have one."""
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(threads, "SHARE", tmp_path / "cpu.max")
    if share is not None:
        (tmp_path / "cpu.max").write_text(share + "\n")
    assert threads.cores() == (most or 16)
    assert ThreadTeam(None).parts == min(most or 16, threads.MOST_THREADS)
