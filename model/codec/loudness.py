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

from musicgen.model.codec.config import CodecConfig

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
        from musicgen.model.codec.soundstream import LINES

        return cls(params["quantizer.entries"][..., : config.lines] / LINES) if config.mdct else None

    def of(self, codes: np.ndarray) -> np.ndarray:
        """dB f32 [..., F] of frames of codes [..., F, Q]; below 0 is no code, and as soft as silence."""
        lines = np.zeros((*codes.shape[:-1], self.entries.shape[-1]), np.float32)
        for q, entries in enumerate(self.entries[: codes.shape[-1]]):
            lines += entries[np.maximum(codes[..., q], 0)]
        return np.where(codes[..., 0] < 0, -100.0, decibels(lines, 1e-6))


class Keeper:
    """What keeps the level of B rows that go on from their primes, codes [F, Q] each."""

    def __init__(self, loudness: Loudness, primes: Sequence[np.ndarray]):
        heard = np.array([to_decibels(np.mean(from_decibels(loudness.of(prime[-HEARD:])))) for prime in primes])
        self.loudness, self.wanted = loudness, np.where(heard < SOFTEST, USUAL, heard)
        self.power = from_decibels(self.wanted)  # f64 [B], of the last second

    def after(self, block: np.ndarray) -> np.ndarray:
        """What to add to the logits of the first codebook, f32 [B, S], after frames of codes [B, k, Q] more."""
        for power in from_decibels(self.loudness.of(block)).T:
            self.power = self.power + (power - self.power) / SECOND
        over = to_decibels(self.power) - self.wanted
        return np.asarray(-STRENGTH * over[:, None] * self.loudness.first, np.float32)


def decibels(lines: np.ndarray, least: float) -> np.ndarray:
    """dB f32 [...] of lines [..., L] scaled by the fourth root of their energy."""
    return np.asarray(20 * np.log10(np.sum(np.square(lines), axis=-1) + least), np.float32)


def from_decibels(level: np.ndarray) -> np.ndarray:
    """Power."""
    return np.asarray(10 ** (np.asarray(level, np.float64) / 10))


def to_decibels(power: np.ndarray) -> np.ndarray:
    """Of a power above zero."""
    return np.asarray(10 * np.log10(power))
