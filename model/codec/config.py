"""The codec's shape, and the named presets.  Q codebooks, S entries each, D width of a latent frame.

Frame rate, bitrate, delay and memory all follow from a config.  Another codec is a preset here and a recipe in
app/recipes.py; that it is the one a person gets is said in checkpoints/codec_release.py, and for the model of its codes
in app/audio/model.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from musicgen.model import limits

ACTIVATIONS = ("snake", "elu")
BOUNDS = {
    "sample_rate": (1, limits.SAMPLE_RATE),
    "mdct": (0, limits.HOP),
    **dict.fromkeys(("lines", "frame_units"), (0, limits.LAYERS)),
    "kernel": (1, limits.LAYERS),
    "width": (1, limits.WIDTH),
    "codebooks": (1, limits.CODEBOOKS),
    "codebook_size": (1, limits.VOCABULARY),
}
BOUNDS_OF_EACH = {
    **dict.fromkeys(("strides", "encoder_widths", "decoder_widths"), (1, limits.WIDTH)),
    "dilations": (1, limits.LAYERS),
}


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """Everything that decides the shapes of the parameters and what a code means."""

    sample_rate: int = 24_000  # samples a second, one channel
    mdct: int = 0  # samples of a hop of the transform in front (mdct.py), which has the place of stages; 0: none
    lines: int = 0  # of the transform, the lowest, that go through the quantiser as they are
    strides: tuple[int, ...] = (2, 4, 5, 8)  # of the encoder's stages
    encoder_widths: tuple[int, ...] = (24, 48, 96, 192, 512)  # channels of each stage, and at the frame rate
    decoder_widths: tuple[int, ...] = (24, 48, 96, 192, 512)  # in the encoder's order: the last is next to the codes
    dilations: tuple[int, ...] = (1, 3, 9)  # of the residual units of a stage
    frame_units: int = 3  # residual units at the frame rate: wide, and cheap because frames are few
    kernel: int = 7
    activation: str = "snake"
    width: int = 96  # D
    codebooks: int = 16  # Q
    codebook_size: int = 1024  # S

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built."""
        limits.check_whole(vars(self), BOUNDS)
        for name, bounds in BOUNDS_OF_EACH.items():
            value = getattr(self, name)
            if not isinstance(value, tuple) or len(value) > limits.LAYERS:
                raise ValueError(f"{name} must be a few whole numbers, not {str(value)[:40]!r}")
            for one in value:
                limits.check_whole({name: one}, {name: bounds})
        if self.frame_units and not self.dilations:
            raise ValueError("units at the frame rate need dilations")
        for name in ("encoder_widths", "decoder_widths"):
            if len(getattr(self, name)) != len(self.strides) + 1:
                raise ValueError(f"{name} must name {len(self.strides) + 1} widths, one more than there are strides")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}")
        if self.mdct and (self.strides or not 0 < self.lines <= min(self.width, self.mdct)):
            raise ValueError("a codec with an MDCT has no strides, and lines between 1 and its width")
        if self.sample_rate % self.hop:
            raise ValueError(f"a hop of {self.hop} samples does not divide the sample rate {self.sample_rate}")

    @property
    def hop(self) -> int:
        """Samples to a frame."""
        return math.prod(self.strides) * max(1, self.mdct)

    @property
    def delay(self) -> int:
        """Samples by which the decoder's sound is later than the encoder's, apart from the frame that must be full."""
        return self.mdct

    @property
    def frame_dilations(self) -> tuple[int, ...]:
        """Those of the units at the frame rate: the stages' in turn."""
        return tuple(self.dilations[i % len(self.dilations)] for i in range(self.frame_units))

    @property
    def memory(self) -> int:
        """Frames after which encoder and decoder have forgotten how they began, rounded up to a power of two."""
        reach, rate = self.kernel - 1, 1  # of a convolution, in steps; steps to a frame
        frames = reach * (1 + sum(self.frame_dilations)) + (1 if self.mdct else 0)
        for stride in reversed(self.strides):
            rate *= stride
            frames += math.ceil(stride / rate + reach * sum(self.dilations) / rate)
        return 1 << (frames + math.ceil(reach / rate)).bit_length()

    @property
    def frame_rate(self) -> int:
        """Frames a second."""
        return self.sample_rate // self.hop

    def bitrate(self, codebooks: int | None = None) -> float:
        """Bits a second of the first so many codebooks (None: of all)."""
        return self.frame_rate * (self.codebooks if codebooks is None else codebooks) * math.log2(self.codebook_size)

    def codebooks_at(self, bits_per_second: float) -> int:
        """How many codebooks make this bitrate, rounded down.  Raises ValueError if there are none or too many."""
        number = int(bits_per_second / self.bitrate(1) + 1e-9)
        if not 1 <= number <= self.codebooks:
            lowest, highest = self.bitrate(1) / 1000, self.bitrate() / 1000
            raise ValueError(f"this codec has {lowest:g} to {highest:g} kbps, not {bits_per_second / 1000:g}")
        return number

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as it travels inside every checkpoint."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CodecConfig:
        """Inverse of `to_dict`; an unknown field is an error, since it would silently change the codec."""
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"codec config has unknown fields: {', '.join(sorted(unknown))}")
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**fields)


CODEC_PRESETS: dict[str, CodecConfig] = {
    # For tests: milliseconds to run, seconds to train.
    "toy": CodecConfig(
        sample_rate=8_000,
        strides=(4, 8),
        encoder_widths=(4, 8, 16),
        decoder_widths=(4, 8, 16),
        dilations=(3,),
        frame_units=1,
        width=12,
        codebooks=4,
        codebook_size=32,
    ),
    # The same behind an MDCT, with the rates of the real ones.
    "toy-mdct": CodecConfig(
        mdct=320,
        lines=8,
        strides=(),
        encoder_widths=(16,),
        decoder_widths=(16,),
        dilations=(1,),
        frame_units=1,
        width=12,
    ),
    # 75 frames a second, 750 bits a second per codebook: 3, 6 and 12 kbps with 4, 8 and 16 of them.
    "piano-75": CodecConfig(),
    # The same codes; an MDCT has the place of the stages near the samples, and all that is learned runs at 75 Hz.
    "piano-mdct": CodecConfig(
        mdct=320,
        lines=64,
        strides=(),
        encoder_widths=(384,),
        decoder_widths=(384,),
        frame_units=5,
    ),
    # 50 frames a second, 500 bits a second per codebook: 3, 6 and 12 kbps with 6, 12 and 24 (the paper's layout).
    # Fewer steps from the second stage on, so that the stages near the samples can be wider at the same speed.
    "piano-50": CodecConfig(
        strides=(2, 5, 6, 8),
        encoder_widths=(32, 64, 128, 256, 384),
        decoder_widths=(32, 64, 128, 256, 384),
        codebooks=24,
    ),
}
