"""How well a model predicts pieces: nats per token, every token of every piece scored exactly once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.app.errors import BadInput
from musicgen.data_prep.events import KINDS, STEPS_PER_SECOND, Kind, steps
from musicgen.data_prep.rules.preamble import preamble
from musicgen.data_prep.vocabulary import BOS, VOCABULARY

if TYPE_CHECKING:
    from musicgen.checkpoints import Released
    from musicgen.model.windows import OnWindow

BATCH_INPUTS = {"cpu": 4096, "gpu": 131_072, "tpu": 131_072}  # inputs in one call of the model by JAX


@dataclasses.dataclass(frozen=True)
class Score:
    """What `musicgen evaluate --json` prints.

    nats_per_token: the mean of all tokens but BOS; less is better.
    bits_per_note, bits_per_second: of the music.
    latents, context, stride: M, N and how many targets each window scores.
    """

    nats_per_token: float
    bits_per_note: float
    bits_per_second: float
    tokens: int
    pieces: int
    latents: int
    context: int
    stride: int


def score(
    released: Released,
    pieces: Sequence[np.ndarray],
    *,
    latents: int | None = None,
    context: int | None = None,
    stride: int | None = None,
    style_token: int | None = None,
    on_progress: Callable[[Score], None] = lambda so_far: None,
    on_piece: Callable[[np.ndarray], None] = lambda nats: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Score | None:
    """Score pieces, each int16 [T] from BOS to EOS.

    Args:
        released: the weights.
        pieces: at least one.
        latents, context, stride: M, N and S; the model's own, and M/2.
        style_token: what stands behind each BOS, and is not scored.
        on_progress: called after each window with the score so far.
        on_piece: called after each whole piece with the nats of its tokens.
        should_stop: asked after each window; then the score is that of what has been scored, None if nothing has.

    Raises:
        BadInput: M, N and S do not fit each other.
    """
    M, N, S = lengths(released, latents, context, stride)
    tally = Tally(M, N, S, on_progress, should_stop)
    try:
        for nats in nats_of_pieces(released, pieces, M, N, S, tally.add, style_token):
            tally.pieces += 1
            on_piece(nats)
    except Enough:
        pass
    except ValueError as error:
        raise BadInput(str(error)) from None
    return tally.score() if tally.tokens else None


def lengths(released: Released, latents: int | None, context: int | None, stride: int | None) -> tuple[int, int, int]:
    """M, N and S: those asked for, or the model's own and M/2."""
    N = context or released.config.context
    M = latents or min(released.config.latents, N)
    return M, N, stride or max(1, M // 2)


class Enough(Exception):
    """The score so far is wanted."""


class Tally:
    """What the windows so far come to."""

    def __init__(
        self, M: int, N: int, S: int, on_progress: Callable[[Score], None], should_stop: Callable[[], bool]
    ) -> None:
        self.sizes, self.on_progress, self.should_stop = (M, N, S), on_progress, should_stop
        self.nats, self.tokens, self.notes, self.ticks, self.pieces = 0.0, 0, 0, 0, 0

    def add(self, targets: np.ndarray, nats: np.ndarray) -> None:
        """One more window. Raises Enough."""
        self.nats += float(nats.astype(np.float64).sum())
        self.tokens += len(targets)
        self.notes += int((KINDS[targets] == Kind.NOTE_ON).sum())
        self.ticks += int(steps(targets)[-1])
        self.on_progress(self.score())
        if self.should_stop():
            raise Enough

    def score(self) -> Score:
        """Of at least one window."""
        bits = self.nats / math.log(2)
        per_second = bits / max(self.ticks / STEPS_PER_SECOND, 1e-9)
        mean = self.nats / self.tokens
        return Score(mean, bits / max(self.notes, 1), per_second, self.tokens, self.pieces, *self.sizes)


def nats_of_pieces(
    released: Released,
    pieces: Sequence[np.ndarray],
    M: int,
    N: int,
    S: int,
    on_window: OnWindow,
    style_token: int | None = None,
) -> Iterator[np.ndarray]:
    """The nats f32 [T] of each piece, by whatever is fastest here."""
    from musicgen.app import backend

    before = preamble()
    if style_token is not None:  # in the place of the BOS, which is not scored either
        before = np.append(before, np.int16(BOS))
        pieces = [np.concatenate([np.array([style_token], np.int16), piece[1:]]) for piece in pieces]
    sizes: dict[str, Any] = {"latents": M, "context": N, "stride": S, "preamble": before}
    sizes |= {"ids": VOCABULARY.size, "on_window": on_window}
    if backend.chosen() == backend.ONNX:
        engine, _ = backend.open_engine(released)
        from musicgen.model.cpu import scoring
        from musicgen.model.cpu.engine import OnnxEngine

        assert isinstance(engine, OnnxEngine)
        yield from scoring.nats_of_pieces(engine, pieces, **sizes)
        return
    platform = backend.jax_platform()
    import jax

    from musicgen.model.evaluate import nats_of_pieces

    backend.keep_compiled()
    params = {name: jax.numpy.asarray(x) for name, x in released.params.items()}
    dtype = "float32" if platform == "cpu" else "bfloat16"
    batch = max(1, BATCH_INPUTS.get(platform, 4096) // N)
    yield from nats_of_pieces(released.config, params, pieces, batch=batch, dtype=dtype, **sizes)
