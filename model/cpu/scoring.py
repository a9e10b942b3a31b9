"""Nats of whole pieces on a CPU: what model/evaluate.py says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from musicgen.model.config import PAD
from musicgen.model.cpu.blocks import Blocks
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.cpu.scorer import Scorer
from musicgen.model.shapes import Float, Int
from musicgen.model.windows import OnWindow, Window, check_lengths, windows


def nats_of_pieces(
    engine: OnnxEngine,
    pieces: Iterable[np.ndarray],
    *,
    latents: int,
    context: int,
    stride: int,
    preamble: Sequence[int] | np.ndarray = (),
    ids: int | None = None,
    windows: Callable[[int, int, int, int], Iterable[Window]] = windows,
    on_window: OnWindow = lambda targets, nats: None,
) -> Iterator[np.ndarray]:
    """See model/evaluate.py; of a model of tokens."""
    check_lengths(latents, context, stride)
    blocks = Blocks(engine.config, engine.matrices, engine.threads)
    scorer = Scorer(blocks, engine.head.embed, latents, context)
    for piece in pieces:
        out = np.zeros(len(piece) - 1, np.float32)
        stream = np.concatenate([preamble, piece]).astype(np.int32)
        scorer.begin(stream)
        for w in windows(len(out), context, latents, stride):
            stop = len(preamble) + w.stop
            first = len(preamble) + w.first if w.first else max(0, stop - context)
            scored = slice(w.stop - w.scored, w.stop)
            out[scored] = nats(scorer.logits(first, stop, w.scored)[:, :ids], piece[1:][scored])
            on_window(piece[1:][scored], out[scored])
        yield out


def nats(logits: Float[np.ndarray, "T V"], targets: Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Of each target, 0 where it is PAD."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    own = logits[np.arange(len(targets)), targets]
    return np.where(targets == PAD, 0.0, np.log(np.exp(logits).sum(axis=-1)) - own).astype(np.float32)
