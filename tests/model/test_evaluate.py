"""Every token of every piece is scored once, by the uncut model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Reference
from toys import TOY, random_parameters, random_tokens

from musicgen.model.evaluate import Window, nats_of_pieces, windows

pytestmark = pytest.mark.slow

N, M, S = 14, 6, 2
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)).map(lambda x: sorted(x, reverse=True))


@settings(max_examples=300)
@given(targets=st.integers(1, 300), sizes=sizes)
def test_windows(targets: int, sizes: list[int]) -> None:
    """Each target once and in order, at most N inputs, each scored one a latent, and after the first S at a time."""
    N, M, S = sizes
    scored: list[int] = []
    found = list(windows(targets, N, M, S))
    for i, window in enumerate(found):
        inputs = window.stop - window.first
        assert 1 <= window.scored <= min(M, inputs) and inputs <= N
        # Input p predicts target p (the token after it), so these are the last `scored` predictions.
        scored += range(window.stop - window.scored, window.stop)
        if i == 0:
            assert window == (0, min(M, targets), min(M, targets))
        else:
            assert inputs == min(N, window.stop)
            assert window.scored == S or i == len(found) - 1
    assert scored == list(range(targets))


PREAMBLE = random_tokens(5, seed=99).astype(np.int16)


def direct(piece: np.ndarray, N: int, M: int, S: int, preamble: np.ndarray = PREAMBLE[:0]) -> np.ndarray:
    """Nats of each token after the first; written from the protocol, one window after another."""
    reference = Reference(TOY, random_parameters(TOY))
    nats: list[float] = []
    while len(nats) < len(piece) - 1:
        new = min(S if nats else M, len(piece) - 1 - len(nats))
        stop = len(nats) + new
        inputs = piece[max(0, stop - N) : stop]
        if stop <= N:
            inputs = np.concatenate([preamble, inputs])[-N:]
        logits = reference(inputs, min(M, len(inputs)))[-new:]
        logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        nats += (-logits[np.arange(new), piece[stop - new + 1 : stop + 1]]).tolist()
    return np.array(nats)


def pieces() -> list[np.ndarray]:
    """Of one token, just under, at and over M and N, and long ones; int16 as shards hold them."""
    return [random_tokens(n + 1, seed=n).astype(np.int16) for n in (1, M - 1, M, M + 1, N, 33, N + 1, 2, 40)]


def score(batch: int, *, stride: int | None = S) -> list[np.ndarray]:
    """All pieces in batches."""
    params = random_parameters(TOY)
    return list(nats_of_pieces(TOY, params, pieces(), latents=M, context=N, stride=stride, batch=batch))


@pytest.mark.parametrize("batch", [1, 4])
def test_nats_are_those_of_the_model_one_window_at_a_time(batch: int) -> None:
    """Each piece in order, whatever the batch size."""
    for piece, nats in zip(pieces(), score(batch), strict=True):
        assert nats.shape == (len(piece) - 1,) and nats.dtype == np.float32
        np.testing.assert_allclose(nats, direct(piece, N, M, S), rtol=2e-4, atol=1e-5)


def test_only_the_windows_asked_for_are_scored() -> None:
    """What they score has the nats it has anyway, everything else 0."""
    params = random_parameters(TOY)

    def last(targets: int, N: int, M: int, S: int) -> list[Window]:
        return list(windows(targets, N, M, S))[-1:]

    found = nats_of_pieces(TOY, params, pieces(), latents=M, context=N, stride=S, batch=2, windows=last)
    for piece, nats, whole in zip(pieces(), found, score(2), strict=True):
        scored = list(windows(len(piece) - 1, N, M, S))[-1].scored
        np.testing.assert_allclose(nats[-scored:], whole[-scored:], rtol=1e-5)
        assert not nats[:-scored].any()


def test_of_the_first_ids_alone() -> None:
    """Nats are those of a model that has no logits for the others, and less than with them."""
    params, ids = random_parameters(TOY), TOY.vocab_size - 3
    music = [np.minimum(piece, ids - 1) for piece in pieces()]
    fewer = dict(params)
    for name, kept in (("embedding", np.s_[:ids]), ("logits.kernel", np.s_[:, :ids])):
        fewer[name] = params[name][kept]
    size = {"latents": M, "context": N, "stride": S, "batch": 2}
    small = dataclasses.replace(TOY, vocab_size=ids)
    alone = nats_of_pieces(small, fewer, music, **size)
    found, whole = (nats_of_pieces(TOY, params, music, ids=only, **size) for only in (ids, None))
    for mine, more, expected in zip(found, whole, alone, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)
        assert (mine < more).all()


def test_a_preamble_is_seen_where_there_is_room_and_not_scored() -> None:
    """Before the BOS of the windows that begin with it."""
    params = random_parameters(TOY)
    scored = nats_of_pieces(TOY, params, pieces(), latents=M, context=N, stride=S, batch=4, preamble=PREAMBLE)
    for piece, nats in zip(pieces(), scored, strict=True):
        assert nats.shape == (len(piece) - 1,)
        np.testing.assert_allclose(nats, direct(piece, N, M, S, PREAMBLE), rtol=2e-4, atol=1e-5)


def test_half_of_the_latents_are_the_usual_stride() -> None:
    """M/2."""
    for usual, asked in zip(score(4, stride=None), score(4, stride=M // 2), strict=True):
        np.testing.assert_array_equal(usual, asked)


def test_pieces_are_read_as_they_are_needed() -> None:
    """A data set is never held in memory: a piece is given back once all of it has been scored."""
    read = 0

    def reading() -> Iterator[np.ndarray]:
        nonlocal read
        for piece in pieces():
            read += 1
            yield piece

    scored = nats_of_pieces(TOY, random_parameters(TOY), reading(), latents=M, context=N, stride=S, batch=1)
    for i, _ in enumerate(scored, start=1):
        assert read == i


@pytest.mark.parametrize("stride, latents, context", [(0, 6, 14), (7, 6, 14), (2, 15, 14), (-1, 6, 14)])
def test_impossible_windows(stride: int, latents: int, context: int) -> None:
    """One line says what the limits are."""
    with pytest.raises(ValueError, match="need 1 <= stride <= latents <= context, got"):
        list(nats_of_pieces(TOY, {}, pieces(), latents=latents, context=context, stride=stride))
