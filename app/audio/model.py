"""The model of sound: weights over the codes of a codec, and that codec."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from musicgen.app.audio import codes_file
from musicgen.app.errors import BadInput, EnvironmentProblem, cannot_use

if TYPE_CHECKING:
    from musicgen.checkpoints import Released
    from musicgen.checkpoints.codec_release import ReleasedCodec

MODEL = "piano-codes"
CODES = "musicgen-codes/1"


@dataclasses.dataclass(frozen=True)
class AudioModel:
    """Weights over codes, and the codec whose codes they are."""

    released: Released
    codec: ReleasedCodec

    @property
    def codebooks(self) -> int:
        """Q."""
        return self.released.config.channels

    @property
    def frames(self) -> int:
        """N: the frames that the model looks back on."""
        return self.released.config.context

    @property
    def late(self) -> int:
        """Samples by which the codec gives sound back later than it was given it."""
        return self.codec.config.delay


def open_audio_model(checkpoint: str | None, codec: str | None) -> AudioModel:
    """Load both and see that they belong together.

    Raises BadInput for weights or a codec that are none or not each other's, EnvironmentProblem for damaged ones.
    """
    from musicgen import checkpoints

    try:
        released = checkpoints.load(checkpoint if checkpoint is not None else MODEL)
    except checkpoints.UnknownCheckpointError as error:
        if checkpoint is not None:
            raise BadInput(str(error)) from None
        raise EnvironmentProblem(
            "no weights for sound are installed: give --checkpoint and --codec, or a MIDI file to make MIDI"
        ) from None
    except checkpoints.CheckpointError as error:
        raise cannot_use(checkpoint, error, checkpoints.names()) from None
    if released.tokenizer.get("format") != CODES:
        raise BadInput(f"the weights {released.name} write MIDI, not audio: leave --checkpoint out to use {MODEL}")
    opened = codes_file.open_codec(codec)
    if released.tokenizer.get("codec_sha256") != opened.sha256:
        raise BadInput(
            f"the weights {released.name} were trained with another codec than {opened.name}: give it with --codec"
        )
    ours, codes = released.config, opened.config
    if not ours.depth_layers or ours.channels > codes.codebooks or ours.codes != codes.codebook_size:
        raise BadInput(f"the weights {released.name} do not fit the codec {opened.name} that they name: get them again")
    return AudioModel(released, opened)
