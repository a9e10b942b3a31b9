"""One output of sound while it is made: the recording, the join, and new sound until there is enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from musicgen.app.audio import codes_file
from musicgen.app.audio.model import AudioModel
from musicgen.app.audio.prompt import AudioPrompt
from musicgen.app.sound_file import Write
from musicgen.data_prep.audio import SAMPLE_RATE, read_blocks

FADE_IN, FADE_OUT = 0.01, 0.25  # seconds at the ends that are cuts


class SoundWriter:
    """It gives its sound to `write` as it comes; total: samples of new sound that are wanted."""

    def __init__(self, model: AudioModel, write: Write, total: int):
        self.model, self.write, self.left, self.total = model, write, total, total
        self.decoder = codes_file.decoder(model.codec, model.codebooks)
        self.cut = True  # whether the new sound begins out of nothing
        self.early = model.late  # samples still to come of what was before the new sound

    def begin(self, prompt: AudioPrompt | None, codes: np.ndarray | None, keep: bool) -> None:
        """Bring the decoder to where the recording ends and, if it is kept, write it up to there, or rather up to
        where the decoder is: its last moments come with the first new frames."""
        if prompt is None or codes is None:
            return
        fade = prompt.fade
        known = self.decoder.push(codes[-self.model.codec.config.memory :].astype(np.int32))
        if keep:
            if prompt.path is not None:
                for block in _first_samples(prompt.path, prompt.samples - self.early - fade):
                    self.write(block)
            weight = (np.arange(fade, dtype=np.float32) + 0.5) / fade
            old = prompt.tail[: len(prompt.tail) - self.early][-fade:]
            self.write((1 - weight) * old + weight * known[-fade:])
            self.cut = False

    def add(self, codes: np.ndarray) -> None:
        """Add the sound of codes i32 [F, Q], or what of it is still wanted."""
        sound = self.decoder.push(codes)
        early, sound = sound[: self.early], sound[self.early :][: self.left]
        self.early -= len(early)
        if not self.cut:
            self.write(early)
        at = self.total - self.left + np.arange(len(sound))
        if self.cut:
            sound = sound * np.minimum(1.0, at / (FADE_IN * SAMPLE_RATE))
        self.write(sound * np.minimum(1.0, (self.total - at) / (FADE_OUT * SAMPLE_RATE)))
        self.left -= len(sound)

    @property
    def made(self) -> float:
        """Seconds of new sound so far."""
        return (self.total - self.left) / SAMPLE_RATE

    def shorten(self) -> None:
        """Let it end as soon as it can without a click."""
        done = self.total - self.left
        self.total = min(self.total, done + round(FADE_OUT * SAMPLE_RATE))
        self.left = self.total - done


def _first_samples(path: Path, count: int) -> Iterator[np.ndarray]:
    """The first `count` samples of a file that has been read before."""
    for block in read_blocks(path):
        yield block[:count]
        count -= len(block)
        if count <= 0:
            return
