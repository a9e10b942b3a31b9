"""The recording that is continued: read in bounded memory, and encoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from musicgen.app.audio import codes_file
from musicgen.app.audio.model import AudioModel
from musicgen.app.errors import BadInput
from musicgen.data_prep.audio import SAMPLE_RATE, SHORTEST, AudioError, Level, is_silent, read_blocks

FADE = 0.03  # seconds from the recording to the codec's sound


@dataclasses.dataclass(frozen=True)
class AudioPrompt:
    """What the model is given of a recording: its last seconds f32 [n], whole frames; samples: of all that counts.

    path: the file; None if whoever listens has it already, so that nothing of it is written before the join.
    remarks: what is worth knowing about the file.
    """

    path: Path | None
    tail: np.ndarray
    samples: int
    remarks: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of the recording, as far as it is continued."""
        return self.samples / SAMPLE_RATE

    @property
    def fade(self) -> int:
        """The samples at the end that fade from the recording to the codec's sound."""
        return min(round(FADE * SAMPLE_RATE), self.samples)


def load_prompt(
    path: Path,
    model: AudioModel,
    seconds: float | None,
    frames: int | None = None,
    on_progress: Callable[[float], None] = lambda seconds: None,
) -> AudioPrompt:
    """Read a recording, or its first `seconds`, in bounded memory, for a context of so many frames (the model's own).

    on_progress: gets the seconds that have been read.

    Raises BadInput if it cannot be used, wherever in it the reason lies.
    """
    hop, level = model.codec.config.hop, Level()
    longest = ((model.frames if frames is None else frames) + model.codec.config.memory) * hop
    limit = None if seconds is None else round(seconds * SAMPLE_RATE)
    tail, samples = np.zeros(0, np.float32), 0
    try:
        for block in read_blocks(path, level):
            block = block[: None if limit is None else limit - samples]
            samples += len(block)
            tail = np.concatenate([tail, block])[-longest - hop :]
            on_progress(level.seconds)
            if samples == limit:
                break
    except AudioError as error:
        raise BadInput(str(error)) from None
    if samples < SHORTEST * SAMPLE_RATE:
        raise BadInput(f"{samples / SAMPLE_RATE:.2f} seconds of {path.name} are too few: give {SHORTEST:g} or more")
    if is_silent(tail):
        raise BadInput(f"the end of {path.name} is silent, so there is nothing to continue: try --prime-seconds")
    over = samples % hop
    tail = tail[: len(tail) - over][-longest:]
    return AudioPrompt(path, tail, samples - over, level.remarks())


def iterate_codes(prompt: AudioPrompt, model: AudioModel) -> Iterator[np.ndarray]:
    """Codes int16 [f, Q] of the tail, some seconds at a time, without those at a beginning that is none.

    Of all but a short one the first few frames are left out, too, so that what is left is whole passes of the codec:
    other lengths would have to be compiled.
    """
    from musicgen.model.codec.streaming import MOST_FRAMES

    hop = model.codec.config.hop
    frames = len(prompt.tail) // hop
    skipped = frames % MOST_FRAMES if frames > 4 * MOST_FRAMES else 0
    left_out = model.codec.config.memory if len(prompt.tail) < prompt.samples else 0
    coder = codes_file.encoder(model.codec, model.codebooks)
    for at in range(skipped * hop, len(prompt.tail), 4 * MOST_FRAMES * hop):
        codes = coder.push(prompt.tail[at : at + 4 * MOST_FRAMES * hop]).astype(np.int16)
        yield codes[left_out:]
        left_out = max(0, left_out - len(codes))


def encode_prompt(prompt: AudioPrompt, model: AudioModel) -> np.ndarray:
    """Codes int16 [F, Q] of the whole tail."""
    return np.concatenate([np.zeros((0, model.codebooks), np.int16), *iterate_codes(prompt, model)])
