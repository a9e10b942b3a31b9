"""The model's shape, and the named presets.  N context, M latents, D width, H heads, K head size."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from musicgen.model import limits

# The tokens before all others, in every vocabulary that a model is made for: padding, the beginning and the end.
PAD, BOS, EOS = range(3)
SPECIALS = 3
BOUNDS = {
    "vocab_size": (SPECIALS, limits.VOCABULARY),
    **dict.fromkeys(("width", "code_width", "depth_width", "heads", "kv_heads", "widening"), (1, limits.WIDTH)),
    **dict.fromkeys(("layers", "cross_attends"), (1, limits.LAYERS)),
    **dict.fromkeys(("local_layers", "depth_layers"), (0, limits.LAYERS)),
    **dict.fromkeys(("local_window", "context", "latents"), (1, limits.CONTEXT)),
    "channels": (1, limits.CODEBOOKS),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shapes of the parameters, plus the N and M a person gets who does not choose."""

    vocab_size: int = 391  # V
    width: int = 640  # D
    heads: int = 10  # H
    kv_heads: int = 2  # G: groups of heads that share keys and values (grouped-query attention)
    local_layers: int = (
        2  # blocks over all N inputs that see `local_window` inputs each: what a key knows of its neighbours
    )
    local_window: int = 128
    cross_attends: int = 2
    layers: int = 6  # causal self-attend blocks over the latents
    widening: int = 4
    rotary_fraction: float = 0.5
    context: int = 4096  # default N
    latents: int = 2048  # default M
    # Over the codes of a codec (model/frames.py); S = vocab_size - 3.
    channels: int = 1  # Q: codebooks
    code_width: int = 128  # E
    depth_layers: int = 0  # blocks that go through a frame's codes; inputs, latents, N and M are frames then
    depth_width: int = 384  # W

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built."""
        limits.check_whole(vars(self), BOUNDS)
        if not isinstance(self.rotary_fraction, int | float) or not 0 <= self.rotary_fraction <= 1:
            raise ValueError(f"rotary_fraction must be between 0 and 1, not {str(self.rotary_fraction)[:40]!r}")
        if self.width % self.heads or self.heads % self.kv_heads:
            raise ValueError(f"width {self.width} / heads {self.heads} / kv_heads {self.kv_heads} do not divide")
        if not 1 <= self.cross_attends <= self.layers:
            raise ValueError(f"cross_attends must be between 1 and layers ({self.layers}), not {self.cross_attends}")
        if not 1 <= self.latents <= self.context:
            raise ValueError(f"latents ({self.latents}) must be between 1 and context ({self.context})")
        if self.channels > 1 and self.depth_layers < 1:
            raise ValueError("a model of codes goes frame by frame: depth_layers must be at least 1")

    @property
    def specials(self) -> int:
        """Tokens before the first that has a logit: all have one, but codes have none for PAD, BOS and EOS."""
        return 0 if self.channels == 1 else SPECIALS

    @property
    def token_shape(self) -> tuple[int, ...]:
        """Of one token as the model takes it: a frame is Q codes, all others are single integers."""
        return (self.channels,) if self.depth_layers else ()

    def logit_of(self, tokens: Any) -> Any:
        """Which logit is that of each token, i32 of any shape; of what has none, the first."""
        return (tokens - self.specials).clip(0) if self.specials else tokens

    @property
    def codes(self) -> int:
        """S."""
        return self.vocab_size - self.specials

    @property
    def head_size(self) -> int:
        """K."""
        return self.width // self.heads

    def crosses_before(self, layer: int) -> range:
        """Which cross-attends come just before self-attend block `layer`: they are spread evenly over the depth."""
        every = self.layers // self.cross_attends
        here = layer % every == 0 and layer // every < self.cross_attends
        return range(layer // every, layer // every + 1) if here else range(0)

    def to_dict(self) -> dict[str, int | float]:
        """Plain dictionary, as it travels inside every checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, int | float]) -> ModelConfig:
        """Inverse of `to_dict`; an unknown field is an error, since it would silently change the model."""
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"model config has unknown fields: {', '.join(sorted(unknown))}")
        return cls(**values)  # type: ignore[arg-type]  # names checked above, types by JSON

    def to_json(self) -> str:
        """Stable JSON text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"


PRESETS: dict[str, ModelConfig] = {
    # For tests and slow machines, 3.9 M parameters: a CPU takes a few steps of training in minutes.
    "tiny": ModelConfig(
        width=256, heads=4, kv_heads=2, local_layers=1, cross_attends=1, layers=3, context=2048, latents=512
    ),
    "small": ModelConfig(width=384, heads=6, kv_heads=2, layers=6),
    "release": ModelConfig(),
    # For GPUs: twice as wide, 171 M parameters.
    "large": ModelConfig(width=1280, heads=20, kv_heads=4),
}
