"""How loud frames of codes are, and what keeps a stream of them about as loud as its prime.

Left alone, sound that a model draws does not keep its level: each frame is as loud as it should be, but what is drawn
is never quite what was expected, and over seconds such small differences add up to noise or to silence.  So while the
last second is louder than the prime, a stream leans towards softer entries of the first codebook, and the other way
round.  benchmarks/codes says what that brings.

Letters: B rows, F frames, Q codebooks, S entries, L lines of the transform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from musicgen.model.codec_config import CodecConfig

SPECIALS = 3  # tokens before the codes
SECOND = 75  # frames of the running mean
HEARD = 20 * SECOND  # frames at the end of a prime that say how loud it is
USUAL, SOFTEST = 4.0, -16.0  # dB: of a recording in the mean; of a prime that still says how loud its piece is
STRENGTH = 0.1  # nats for a dB of an entry and a dB too much
SPREAD = 30.0  # dB above or below the mean at which an entry counts as no louder or softer


class Loudness:
    """The loudness of frames by their codes.

    entries: f32 [Q, S, L], the lines of a transform that each code adds, as the codec scales them: by the fourth root
    of a frame's energy, so that the square of their energy is the frame's own.
    """

    def __init__(self, entries: np.ndarray):
        self.entries = np.asarray(entries, np.float32)
        first = decibels(self.entries[0], 1e-3)
        self.first = np.clip(first - first.mean(), -SPREAD, SPREAD)  # f32 [S], of the first codebook's entries

    @classmethod
    def of_codec(cls, config: CodecConfig, params: Mapping[str, np.ndarray]) -> Loudness | None:
        """A codec's; None for one without a transform, whose codes do not say how loud they are."""
        from musicgen.model.soundstream import LINES

        return cls(params["quantizer.entries"][..., : config.lines] / LINES) if config.mdct else None

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """dB f32 [..., F] of frames of tokens [..., F, Q]; of what is no code, as of silence."""
        lines = np.zeros((*tokens.shape[:-1], self.entries.shape[-1]), np.float32)
        for q, entries in enumerate(self.entries[: tokens.shape[-1]]):
            lines += entries[np.maximum(tokens[..., q] - SPECIALS, 0)]
        return np.where(tokens[..., 0] < SPECIALS, -100.0, decibels(lines, 1e-6))


class Keeper:
    """What keeps the level of B rows that go on from their primes, tokens [F, Q] each."""

    def __init__(self, loudness: Loudness, primes: Sequence[np.ndarray]):
        heard = np.array([mean(loudness.of(prime[-HEARD:])) for prime in primes])
        self.loudness, self.wanted = loudness, np.where(heard < SOFTEST, USUAL, heard)
        self.loud = self.wanted

    def after(self, block: np.ndarray) -> np.ndarray:
        """What to add to the logits of the first codebook, f32 [B, S], after frames [B, k, Q] more."""
        for power in from_decibels(self.loudness.of(block)).T:
            self.loud = to_decibels(from_decibels(self.loud) + (power - from_decibels(self.loud)) / SECOND)
        return np.asarray(-STRENGTH * (self.loud - self.wanted)[:, None] * self.loudness.first, np.float32)


def decibels(lines: np.ndarray, least: float) -> np.ndarray:
    """dB f32 [...] of lines [..., L] scaled by the fourth root of their energy."""
    return np.asarray(20 * np.log10(np.sum(np.square(lines), axis=-1) + least), np.float32)


def from_decibels(level: np.ndarray) -> np.ndarray:
    """Power."""
    return np.asarray(10 ** (np.asarray(level, np.float64) / 10))


def to_decibels(power: np.ndarray) -> np.ndarray:
    """Of a power above zero."""
    return np.asarray(10 * np.log10(power))


def mean(level: np.ndarray) -> float:
    """dB of the mean power of frames, dB [F]."""
    return float(to_decibels(np.mean(from_decibels(level))))
