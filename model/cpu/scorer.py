"""Logits after the last tokens of a window, by blocks over many rows at once.

Windows overlap, and what the local blocks make of an input depends on the few inputs before it alone: it is computed
once for all windows, but for the first inputs of each, which see less than they did in the window before.  The last
block goes no further than the latents that are scored.

Letters: T inputs, R latents.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from musicgen.model.cpu.blocks import Blocks
from musicgen.model.cpu.memory import rotations
from musicgen.model.cpu.tiles import TILE, whole_tiles
from musicgen.model.cpu.weights import decode_names, local_names
from musicgen.model.shapes import Float, Int


class Scorer:
    """Logits of a stream of tokens, window by window."""

    def __init__(self, blocks: Blocks, embed: Callable[[np.ndarray], np.ndarray], latents: int, context: int):
        """embed: tokens to f32 [T, D].  latents, context: M and N."""
        self.blocks, self.config, self.embed, self.M, self.N = blocks, blocks.config, embed, latents, context
        self.reach = self.config.local_layers * self.config.local_window  # before it nothing matters to the encoded
        self.cos, self.sin = rotations(self.config, whole_tiles(max(context + self.reach, self.config.context) + TILE))

    def begin(self, stream: Int[np.ndarray, " T"]) -> None:
        """Take up a new stream, whose windows are then asked for in order."""
        self.stream, self.end = stream, 0
        self.encoded = np.zeros((0, self.config.width), np.float32)  # of the last inputs before `end`

    def encode(self, tokens: Int[np.ndarray, " T"]) -> Float[np.ndarray, "T D"]:
        """What the local blocks make of inputs before which there is nothing."""
        T = whole_tiles(len(tokens))
        h = np.zeros((T, self.config.width), np.float32)
        h[: len(tokens)] = self.embed(tokens)
        at = self.cos[:T], self.sin[:T]
        for name in local_names(self.config):
            self.blocks.apply(name, h, at, h, at, 0, self.config.local_window)
        return h[: len(tokens)]

    def window(self, first: int, stop: int) -> Float[np.ndarray, "T D"]:
        """The encoded inputs first..stop of the stream, before which there is nothing."""
        if stop > self.end:
            begin = max(self.end, stop - self.N)  # later than the end, where windows are left out
            new = self.encode(self.stream[max(0, begin - self.reach) : stop])[begin - stop :]
            self.encoded, self.end = np.concatenate([self.encoded, new])[-self.N :], stop
        found = self.encoded[first - stop :].copy()
        if first and self.reach:
            found[: self.reach] = self.encode(self.stream[first : min(first + self.reach, stop)])
        return found

    def logits(self, first: int, stop: int, scored: int) -> Float[np.ndarray, "scored V"]:
        """Of the tokens after the last `scored` inputs of the window first..stop of the stream."""
        T = stop - first
        R = min(self.M, T)
        before, rows = T - R, whole_tiles(R)
        h = np.zeros((before + rows, self.config.width), np.float32)
        h[:T] = self.window(first, stop)
        x = h[before:].copy()
        positions = np.arange(len(h))
        at = self.cos[before : len(h)], self.sin[before : len(h)]
        farthest = np.maximum(positions, T - max(self.config.context, self.M))  # perceiver_ar.clamp_positions
        inputs_at = self.cos[farthest], self.sin[farthest]
        names = decode_names(self.config)
        for name in names:
            if name.startswith("cross"):
                self.blocks.apply(name, x, at, h, inputs_at, before)
            elif name != names[-1]:
                self.blocks.apply(name, x, at, x, at, 0)
        skipped = (R - scored) // TILE * TILE
        last = x[skipped:].copy()
        self.blocks.apply(names[-1], last, (at[0][skipped:], at[1][skipped:]), x, at, skipped)
        return self.blocks.outputs(last)[R - skipped - scored : R - skipped]
