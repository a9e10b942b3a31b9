"""How loud frames of codes are, and what keeps a stream of them about as loud as its prime.

Left alone, sound that a model draws does not keep its level: each frame is as loud as it should be, but what is drawn
is never quite what was expected, and over seconds such small differences add up to noise or to silence.  So while the
last second is louder than the prime, softer entries of the first codebook are made likelier, and the other way round.
benchmarks/codes says what that brings.

Letters: B rows, F frames, Q codebooks, S entries, L lines of the transform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from musicgen.model.codec.config import CodecConfig
from musicgen.model.config import SPECIALS
from musicgen.model.shapes import Float, Int

HEARD = 20  # seconds at the end of a prime that say how loud it is
USUAL, SOFTEST = 4.0, -16.0  # dB: of a recording in the mean; of a prime that still says how loud its piece is
STRENGTH = 0.1  # nats for a dB of an entry and a dB too much
EVERY = 8  # frames: so often what is added to the logits follows the level
SPREAD = 30.0  # dB above or below the mean at which an entry counts as no louder or softer


class Loudness:
    """The loudness of frames by their codes.

    entries: f32 [Q, S, L], the lines of a transform that each code adds, as the codec scales them: by the fourth root
    of a frame's energy, so that the square of their energy is the frame's own.
    """

    def __init__(self, entries: Float[Any, "Q S L"]):
        self.entries = np.asarray(entries, np.float32)
        first = decibels(self.entries[0], 1e-3)
        self.first = np.clip(first - first.mean(), -SPREAD, SPREAD)  # f32 [S], of the first codebook's entries

    @classmethod
    def of_codec(cls, config: CodecConfig, params: Mapping[str, Any]) -> Loudness | None:
        """A codec's; None for one without a transform, whose codes do not say how loud they are."""
        from musicgen.model.codec.soundstream import LINES

        return cls(params["quantizer.entries"][..., : config.lines] / LINES) if config.mdct else None

    def of(self, codes: Int[Any, "... F Q"]) -> Float[Any, "... F"]:
        """dB of frames of codes; below 0 is no code, and as soft as silence."""
        return level_of(self.entries, codes)


class LevelState(NamedTuple):
    """How loud each row should be and is; arrays of one namespace."""

    entries: Any  # f32 [Q, S, L], see Loudness: they travel in the state, so that no compiled function holds them
    first: Any  # f32 [S]
    wanted: Any  # [B], dB
    power: Any  # [B], of the last second
    frames: Any  # i32 [], since the stream was taken up
    bias: Any  # f32 [B, S], for the logits of the first codebook


@dataclass(frozen=True)
class LevelControl:
    """A rule of samplers (`Rules` in model/engine.py) that keeps rows of frames as loud as their primes."""

    loudness: Loudness = field(compare=False)
    frame_rate: int  # of the codec

    def start(self, streams: Sequence[np.ndarray], xp: ModuleType = np) -> LevelState:
        """The state after primes, tokens [F, Q] each."""
        ends = [stream[-HEARD * self.frame_rate :].astype(np.int32) - SPECIALS for stream in streams]
        heard = np.array(
            [to_decibels(np.mean(from_decibels(self.loudness.of(end).astype(np.float64)))) for end in ends]
        )
        wanted = np.where(heard < SOFTEST, USUAL, heard)
        entries, first = self.loudness.entries[: streams[0].shape[1]], self.loudness.first
        bias = np.zeros((len(streams), len(first)), np.float32)
        arrays = entries, first, wanted, from_decibels(wanted), np.int32(0), bias
        return LevelState(*map(xp.asarray, arrays))

    def advance(self, state: LevelState, token: Any) -> LevelState:
        """The state after one more frame, tokens i32 [B, Q]."""
        xp = state.bias.__array_namespace__()
        level = xp.astype(level_of(state.entries, token - SPECIALS), state.power.dtype)
        power = state.power + (from_decibels(level) - state.power) / self.frame_rate
        over = to_decibels(power) - state.wanted
        frames = state.frames + 1
        bias = xp.astype(-STRENGTH * over[:, None] * state.first, xp.float32)
        bias = xp.where(frames % EVERY == 0, bias, state.bias)
        return state._replace(power=power, frames=frames, bias=bias)

    def apply(self, state: LevelState, logits: Any) -> Any:
        """Logits f32 [B, S] of the first codebook, softer or louder entries made likelier."""
        return logits + state.bias


def level_of(entries: Float[Any, "Q S L"], codes: Int[Any, "... Q"]) -> Float[Any, " ..."]:
    """dB of frames of codes by the lines of the entries; of NumPy or of JAX."""
    xp = entries.__array_namespace__()
    books = xp.arange(codes.shape[-1])
    lines = xp.sum(entries[books, xp.maximum(codes, 0)], axis=-2)
    return xp.where(codes[..., 0] < 0, xp.float32(-100.0), decibels(lines, 1e-6))


def decibels(lines: Float[Any, "... L"], least: float) -> Float[Any, " ..."]:
    """dB of lines scaled by the fourth root of their energy."""
    xp = lines.__array_namespace__()
    return 20 * xp.log10(xp.sum(xp.square(lines), axis=-1) + xp.float32(least))


def from_decibels(level: Any) -> Any:
    """Power."""
    return 10 ** (level / 10)


def to_decibels(power: Any) -> Any:
    """Of a power above zero."""
    return 10 * power.__array_namespace__().log10(power)
