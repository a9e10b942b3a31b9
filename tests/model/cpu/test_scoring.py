"""Nats on a CPU are those of JAX on the same windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from toys import TOY, random_parameters, random_tokens

from musicgen import checkpoints
from musicgen.model import evaluate
from musicgen.model.config import PAD
from musicgen.model.cpu import blocks, scorer, scoring, tiles
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.windows import windows

PREAMBLE = random_tokens(5, seed=99)
# latents, context, stride: a few windows; one latent; all of them; more than the trained context; several tiles, and
# more rows than go through a block together.
SETTINGS = [(6, 14, 2), (1, 3, 1), (12, 12, 12), (8, 40, 3), (7, 2 * TOY.context, 5), (40, 70, 9), (140, 145, 70)]


def pieces(*lengths: int) -> list[np.ndarray]:
    """Int16 as shards hold them, one with a token that is not scored."""
    found = [random_tokens(n + 1, seed=n).astype(np.int16) for n in lengths]
    found[-1][2] = PAD
    return found


def stored(bits: int) -> dict[str, np.ndarray]:
    """Parameters as released, or as they were trained."""
    params = {name: np.asarray(x) for name, x in random_parameters(TOY).items()}
    return checkpoints.quantize(params, bits) if bits < 32 else params


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "bits", "ids"),
    [(np.float32, 32, None), (np.float32, 8, None), (np.float32, 4, TOY.vocab_size - 2), (np.uint16, 4, None)],
)
@pytest.mark.parametrize(("latents", "context", "stride"), SETTINGS)
def test_nats_are_those_of_jax(
    latents: int,
    context: int,
    stride: int,
    dtype: type,
    bits: int,
    ids: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each token's, of pieces under, at and over every length, with a preamble before them."""
    if dtype not in (np.float32, tiles.best_dtype()):
        pytest.skip("this processor has no AMX")
    monkeypatch.setattr(blocks, "best_dtype", lambda: dtype)
    engine = OnnxEngine(TOY, stored(bits))
    sizes: dict[str, Any] = {"latents": latents, "context": context, "stride": stride, "preamble": PREAMBLE, "ids": ids}
    music = [np.minimum(x, TOY.vocab_size - 3) for x in pieces(1, latents, latents + 1, context, context + 1, 150)]
    expected = evaluate.nats_of_pieces(TOY, engine.params, music, batch=4, **sizes)
    for found, nats in zip(scoring.nats_of_pieces(engine, music, **sizes), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, nats, atol=5e-5 if dtype == np.float32 else 0.5)
        assert abs(found.mean() - nats.mean()) < (1e-3 if dtype == np.float32 else 0.1) or len(nats) < 10


@pytest.mark.parametrize("score", [scoring.nats_of_pieces, None])
def test_every_window_is_told_of(score: Callable[..., Any] | None) -> None:
    """In order, by both: together they are the pieces."""
    engine = OnnxEngine(TOY, stored(32))
    told: list[tuple[np.ndarray, np.ndarray]] = []
    sizes: dict[str, Any] = {"latents": 6, "context": 14, "stride": 2, "on_window": lambda *window: told.append(window)}
    music = pieces(3, 40)
    if score is None:
        found = list(evaluate.nats_of_pieces(TOY, engine.params, music, **sizes))
    else:
        found = list(score(engine, music, **sizes))
    targets, nats = (np.concatenate(parts) for parts in zip(*told, strict=True))
    np.testing.assert_array_equal(targets, np.concatenate([piece[1:] for piece in music]))
    np.testing.assert_array_equal(nats, np.concatenate(found))


@pytest.mark.parametrize(("latents", "context", "stride"), [(6, 14, 2), (100, 100, 100)])
def test_windows_may_be_left_out(latents: int, context: int, stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As benchmarks/dials does: those that are scored have the nats that they have among all."""
    monkeypatch.setattr(blocks, "best_dtype", lambda: np.float32)
    engine = OnnxEngine(TOY, stored(32))
    (music,) = pieces(1000)
    sizes: dict[str, Any] = {"latents": latents, "context": context, "stride": stride, "preamble": PREAMBLE}

    def some(*lengths: int) -> list[Any]:
        return list(windows(*lengths))[1::3]

    (expected,), (found,) = (
        list(scoring.nats_of_pieces(engine, [music], windows=which, **sizes)) for which in (windows, some)
    )
    scored = found != 0
    assert 300 <= scored.sum() <= 400
    np.testing.assert_allclose(found[scored], expected[scored], atol=5e-5)


def test_what_is_encoded_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs go through the local blocks a few times at most, and not in every window that sees them."""
    engine = OnnxEngine(TOY, stored(32))
    seen = 0
    encode = scorer.Scorer.encode

    def count(self: scorer.Scorer, tokens: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += len(tokens)
        return encode(self, tokens)

    monkeypatch.setattr(scorer.Scorer, "encode", count)
    (music,) = pieces(1000)
    list(scoring.nats_of_pieces(engine, [music], latents=64, context=512, stride=32))
    windows = 1 + (1000 - 64) / 32
    reach = TOY.local_layers * TOY.local_window
    assert seen < 1000 + 2 * windows * reach < windows * 512 / 4


def test_impossible_windows() -> None:
    """One line says what the limits are."""
    with pytest.raises(ValueError, match="need 1 <= stride <= latents <= context, got"):
        list(scoring.nats_of_pieces(OnnxEngine(TOY, stored(32)), pieces(5), latents=6, context=4, stride=2))
