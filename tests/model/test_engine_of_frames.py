"""Generation over codes: cached is uncached, streams go on past a refill, and the same seed gives the same frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_frames import FRAMES, Q, S, forward, random_parameters
from toys import assert_close

from musicgen import checkpoints
from musicgen.model import parameters
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.decoding import prefill, step
from musicgen.model.engine import Engine, NoRules
from musicgen.model.frames import FrameCodes
from musicgen.model.jax_engine import JaxEngine
from musicgen.model.sampler import Sampling

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[JaxEngine, OnnxEngine])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Compiled once."""
    return request.param(FRAMES, random_parameters(FRAMES))


def frames(count: int, seed: int = 0) -> np.ndarray:
    """Random codes, as tokens."""
    return np.random.default_rng(seed).integers(3, S + 3, (count, Q)).astype(np.int16)


def test_cached_is_uncached() -> None:
    """After reading, and after every frame more, the forward pass over all of it says the same; with padding, too."""
    params = random_parameters(FRAMES)
    model = parameters.bind(FRAMES, params)
    assert isinstance(model, FrameCodes)
    N, M, T = FRAMES.context, FRAMES.latents, 7
    tokens = np.stack([frames(T + 3, 1), frames(T + 3, 2)]).astype(np.int32)
    start = np.array([0, 2], np.int32)
    dtype = jnp.dtype(jnp.float32)
    x, cache = jax.jit(lambda t: prefill(model, t, start, latents=1, max_latents=M, max_inputs=N, dtype=dtype))(
        tokens[:, :T]
    )
    add = jax.jit(lambda t, cache: step(model, t, cache, dtype=dtype))
    for t in range(T, T + 4):
        following = np.full((2, t - T + 1, Q), 3, np.int32)
        logits = forward(FRAMES, params, tokens[:, :t], following, t - T + 1, start)
        assert_close(np.asarray(model.decode(x[:, None], following[:, :1]))[:, 0], logits[:, -1])
        if t < T + 3:
            x, cache = add(tokens[:, t], cache)


def test_a_stream_goes_on(engine: Engine) -> None:
    """Past several refills; every token is a code; rows of primes of different lengths are each their own."""
    primes = [frames(5, 1), frames(40, 2)]
    stream = engine.start(primes, seed=3)
    drawn = np.concatenate([next(stream) for _ in range(9)], axis=1)
    assert drawn.shape[1] >= 20 and drawn.dtype == np.int16
    assert drawn.min() >= 3 and drawn.max() < S + 3
    again = engine.start(primes, seed=3)
    np.testing.assert_array_equal(np.concatenate([next(again) for _ in range(9)], axis=1), drawn)
    other = engine.start(primes, seed=4)
    assert (np.concatenate([next(other) for _ in range(9)], axis=1) != drawn).any()


def test_the_likeliest_frames(engine: Engine) -> None:
    """At temperature 0 each code is the largest logit of the forward pass over all before it."""
    prime = frames(6, 5)
    stream = engine.start([prime], sampling=Sampling(temperature=0.0), seed=0)
    room = stream.free_latents
    drawn = np.concatenate([next(stream) for _ in range(room)], axis=1)[0, :room].astype(np.int32)
    params = random_parameters(FRAMES)
    whole = np.concatenate([prime.astype(np.int32), drawn])[None]
    read = 1  # a quarter of M = 4
    for t in range(room):
        inputs = whole[:, : len(prime) + t]
        following = whole[:, len(prime) + 1 - read : len(prime) + t + 1]
        logits = forward(FRAMES, params, inputs, following, read + t)
        np.testing.assert_array_equal(np.asarray(logits)[0, -1].argmax(axis=-1) + 3, drawn[t])


def test_latents_are_restarted(engine: Engine) -> None:
    """When the latents are full, one of them is computed again over the same inputs, and all go on from there."""
    prime = frames(20, 5)
    stream = engine.start([prime], latents=2, sampling=Sampling(temperature=0.0), seed=0)
    assert (stream.free_latents, stream.free_inputs) == (1, 2)
    whole = np.concatenate([prime[-14:].astype(np.int32), *(next(stream)[0].astype(np.int32) for _ in range(2))])
    assert (stream.free_latents, stream.free_inputs) == (0, 0)
    for t in (14, 15):
        logits = forward(FRAMES, random_parameters(FRAMES), whole[None, :t], whole[None, t : t + 1], 1)
        np.testing.assert_array_equal(np.asarray(logits)[0, 0].argmax(axis=-1) + 3, whole[t])


def test_nats_of_a_frame(engine: Engine) -> None:
    """The sum over its codes, each of which knows those before it."""
    stream, frame = frames(9, 7), frames(1, 8)
    logits = forward(FRAMES, random_parameters(FRAMES), stream[None].astype(np.int32), frame[None].astype(np.int32), 1)
    rows = np.asarray(logits, np.float64)[0, 0]
    expected = np.log(np.exp(rows).sum(axis=-1)) - rows[np.arange(Q), frame[0] - 3]
    assert engine.nats(stream, frame[0], latents=1, context=16) == pytest.approx(expected.sum(), abs=1e-4)


@dataclasses.dataclass(frozen=True)
class OnlyCode(NoRules):
    """Of the first codebook one code alone may come, the next one after every frame."""

    def start(self, streams: Sequence[np.ndarray], xp: ModuleType) -> Any:
        return xp.asarray(np.array([len(stream) for stream in streams], np.int32))

    def advance(self, state: Any, token: Any) -> Any:
        return state + (token.shape[-1] == Q)

    def apply(self, state: Any, logits: Any) -> Any:
        xp = logits.__array_namespace__()
        return xp.where(xp.arange(S)[None] == state[:, None] % S, logits, -xp.inf)


def test_rules_say_what_the_first_codebook_may_be(engine: Engine) -> None:
    """Frame by frame, with a state for each row; the finer codebooks are not theirs."""
    stream = engine.start([frames(5), frames(7)], rules=OnlyCode())
    drawn = np.concatenate([next(stream) for _ in range(9)], axis=1)
    wanted = np.array([[5], [7]]) + np.arange(drawn.shape[1])
    np.testing.assert_array_equal(drawn[..., 0] - 3, wanted % S)
    assert len(np.unique(drawn[..., 1])) > S // 2


@pytest.mark.parametrize(
    "prime, message",
    [(frames(0), "at least one frame"), (frames(3)[:, :2], "frames of 4 codes"), (frames(3) + S, "below 11")],
)
def test_no_prime(engine: Engine, prime: np.ndarray, message: str) -> None:
    """What is no prime of this model is refused before anything is computed."""
    with pytest.raises(ValueError, match=message):
        engine.start([prime])


@pytest.mark.parametrize("kind", [JaxEngine, OnnxEngine])
def test_other_models(kind: type[Engine]) -> None:
    """Parameters of another shape, impossible latents."""
    with pytest.raises(ValueError, match="do not fit"):
        kind(dataclasses.replace(FRAMES, width=64), random_parameters(FRAMES))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="between 2 and the context"):
        kind(FRAMES, random_parameters(FRAMES)).start([frames(3)], latents=17)  # type: ignore[call-arg]


@pytest.mark.parametrize("bits", [8, 4])
def test_whole_numbers_are_nearly_what_they_were(bits: int) -> None:
    """Weights as stored through ONNX Runtime, against the same weights as floats through JAX; codes, too."""
    config = dataclasses.replace(FRAMES, width=64, depth_width=32)
    stored = checkpoints.quantize(random_parameters(config), bits)
    assert stored["view.kernel"].dtype == stored["readout.kernel"].dtype == (np.uint8 if bits == 4 else np.int8)
    jax_engine, onnx_engine = JaxEngine(config, checkpoints.dequantize(stored)), OnnxEngine(config, stored)
    tokens, start = frames(12)[None].astype(np.int32), np.zeros(1, np.int32)
    x, _ = jax_engine.prefill(tokens, start, latents=1, max_latents=4, max_inputs=16, free_inputs=3)
    views, _ = onnx_engine.prefill(tokens, start, latents=1, max_latents=4, max_inputs=16, free_inputs=3)
    kernel = np.asarray(jax_engine.params["view.kernel"])
    normal = np.asarray(x) / np.sqrt((np.asarray(x) ** 2).mean(axis=-1, keepdims=True) + 1e-6)
    assert_close(views.reshape(1, Q, -1), np.einsum("bd,qdw->bqw", normal, kernel), 0.1)
    token = frames(1, seed=3).astype(np.int32)
    assert_close(onnx_engine.logits(views, token), jax_engine.logits(x, token), 0.2)
