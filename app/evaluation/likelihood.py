"""How well a model predicts pieces: nats per token, every token of every piece scored exactly once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from musicgen.app.errors import BadInput

if TYPE_CHECKING:
    from musicgen.checkpoints import Released

BATCH_INPUTS = {"cpu": 4096, "gpu": 131_072, "tpu": 131_072}  # inputs in one call of the model


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
    on_progress: Callable[[int, float], None] = lambda tokens, nats: None,
) -> Score:
    """Score pieces, each int16 [T] from BOS to EOS.

    Args:
        released: the weights.
        pieces: at least one.
        latents, context, stride: M, N and S; the model's own, and M/2.
        on_progress: called after each piece with the tokens so far and their mean in nats.

    Raises:
        BadInput: M, N and S do not fit each other.
    """
    import jax

    from musicgen.data_prep.events import KINDS, STEPS_PER_SECOND, Kind, steps
    from musicgen.data_prep.rules.preamble import preamble
    from musicgen.model.evaluate import nats_of_pieces

    N = context or released.config.context
    M = latents or min(released.config.latents, N)
    S = stride or max(1, M // 2)
    backend = jax.default_backend()
    nats, tokens, notes, ticks = 0.0, 0, 0, 0
    try:
        scored = nats_of_pieces(
            released.config,
            {name: jax.numpy.asarray(x) for name, x in released.params.items()},
            pieces,
            latents=M,
            context=N,
            stride=S,
            batch=max(1, BATCH_INPUTS.get(backend, 4096) // N),
            dtype="float32" if backend == "cpu" else "bfloat16",
            preamble=preamble(),
        )
        for piece, of_piece in zip(pieces, scored, strict=True):
            nats += float(of_piece.astype(np.float64).sum())
            tokens += len(of_piece)
            notes += int((KINDS[piece] == Kind.NOTE_ON).sum())
            ticks += int(steps(piece)[-1])
            on_progress(tokens, nats / tokens)
    except ValueError as error:
        raise BadInput(str(error)) from None
    bits = nats / math.log(2)
    per_second = bits / max(ticks / STEPS_PER_SECOND, 1e-9)
    return Score(nats / tokens, bits / max(notes, 1), per_second, tokens, len(pieces), M, N, S)
