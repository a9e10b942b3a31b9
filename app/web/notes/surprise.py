"""How little the model expected each note of a piece, in nats."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen.data_prep import EOS, VOCABULARY, Performance, encode
from musicgen.data_prep.events import KINDS, VALUES, Kind
from musicgen.data_prep.rules.preamble import preamble
from musicgen.data_prep.tokens import encoded_notes

if TYPE_CHECKING:
    from musicgen.checkpoints import Released

SHARE = 4  # of the model's own context: a picture needs no more, and it is asked for while others wait


class Scorer:
    """Scores pieces with released weights, whatever engine generates with them.  Call it from any thread."""

    def __init__(self, released: Released) -> None:
        """Nothing is loaded before the first piece."""
        self.released = released
        self._lock = threading.Lock()
        self._params: dict[str, Any] | None = None

    def __call__(self, performance: Performance) -> list[list[float]]:
        """[onset in seconds, pitch, nats] of each note as it sounds, pedal applied.

        The nats are those of its key and, where it differs from the one before, of its loudness.
        """
        from musicgen.model.evaluate import nats_of_pieces

        config = self.released.config
        tokens = encode(performance, bos=True)
        context = max(config.context // SHARE, 4)
        latents = min(context // 2, config.latents)
        pieces = [np.append(tokens, np.int16(EOS))]
        with self._lock:  # one at a time: it is the same machine that makes the music
            scored = nats_of_pieces(
                config,
                self._loaded(),
                pieces,
                latents=latents,
                context=context,
                preamble=preamble(),
                ids=VOCABULARY.size,
            )
            (nats,) = scored
        return by_note(tokens, nats, encoded_notes(performance).onset)

    def _loaded(self) -> dict[str, Any]:
        if self._params is None:
            import jax.numpy as jnp

            self._params = {name: jnp.asarray(x, jnp.float32) for name, x in self.released.params.items()}
        return self._params


def by_note(tokens: np.ndarray, nats: np.ndarray, onsets: np.ndarray) -> list[list[float]]:
    """[onset, pitch, nats] of each note in int16[T] tokens, BOS first.

    nats: f32[T - 1] of the tokens after BOS.  onsets: f64[n], seconds at which the notes were played.
    """
    struck = np.flatnonzero(KINDS[tokens] == Kind.NOTE_ON)
    loudness = KINDS[tokens[struck - 1]] == Kind.VELOCITY
    # nats[t] belongs to token t + 1: BOS is not scored.
    score = nats[struck - 1] + np.where(loudness, nats[np.maximum(struck - 2, 0)], 0.0)
    columns = (onsets.tolist(), VALUES[tokens[struck]].tolist(), score.tolist())
    return [[round(onset, 4), pitch, round(value, 3)] for onset, pitch, value in zip(*columns, strict=True)]
