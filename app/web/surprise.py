"""How little the model expected each note of a piece, in nats."""

from __future__ import annotations

import numpy as np

from musicgen.app.errors import EnvironmentProblem
from musicgen.app.generate import Model
from musicgen.data_prep import EOS, STEPS_PER_SECOND, VOCABULARY, Performance, encode, steps
from musicgen.data_prep.vocabulary import NOTE_ON, PITCHES

SHARE = 4  # of the model's own context: a picture needs no more, and it is asked for while others wait


def surprises(performance: Performance, model: Model) -> list[list[float]]:
    """[onset in seconds, pitch, nats] of each note as it sounds, pedal applied.

    The nats are those of its key and, where it differs from the one before, of its loudness.
    Raises EnvironmentProblem if the engine is none that can score.
    """
    from musicgen.model.engine import Engine
    from musicgen.model.evaluate import nats_of_pieces

    engine = model.engine
    if not isinstance(engine, Engine):
        raise EnvironmentProblem("this model cannot say what surprises it")
    tokens = encode(performance, bos=True)
    context = max(model.context // SHARE, 4)
    latents = min(context // 2, model.latents)
    pieces = [np.append(tokens, np.int16(EOS))]
    (nats,) = nats_of_pieces(
        engine.config, engine.params, pieces, latents=latents, context=context, dtype=str(engine.dtype)
    )
    struck = np.flatnonzero((tokens >= NOTE_ON) & (tokens < NOTE_ON + PITCHES))
    loudness = VOCABULARY.mask("velocity")[tokens[struck - 1]]
    # nats[t] belongs to token t + 1: BOS is not scored.
    score = nats[struck - 1] + np.where(loudness, nats[np.maximum(struck - 2, 0)], 0.0)
    onsets = steps(tokens)[struck] / STEPS_PER_SECOND
    columns = (onsets.tolist(), (tokens[struck] - NOTE_ON).tolist(), score.tolist())
    return [[round(onset, 4), pitch, round(value, 3)] for onset, pitch, value in zip(*columns, strict=True)]
