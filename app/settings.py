"""What a person can ask of a generation, checked once, and written into every file that comes of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from musicgen.app.errors import BadInput

LONGEST_SECONDS = 24 * 3600.0
MOST_SAMPLES = 64
HIGHEST_TEMPERATURE = 100.0
FARTHER = 4  # times the trained context: so far more of it was seen to help (checkpoints/LOG.md, sections 7 and 9)
FEWEST = 2  # latents, and so context: half of them are kept free for new tokens
LATER_FIELDS = {"end"}  # that files of earlier versions lack
LARGEST_SEED = 2**31 - 1  # what every JAX configuration takes as a plain integer


@dataclasses.dataclass(frozen=True)
class Settings:
    """One generation.  ``None`` is what the model was released with (latents, context), or the whole (prime)."""

    seconds: float = 30.0  # of new music
    prime_seconds: float | None = None  # how much of the prime's beginning is used, counted from its first note
    keep_prime: bool = True  # the output begins with the prime
    latents: int | None = None  # M
    context: int | None = None  # N
    temperature: float = 1.0  # this and top_p: see benchmarks/quality
    top_p: float = 1.0
    top_k: int = 0  # 0: off
    min_p: float = 0.0
    num_samples: int = 1
    end: bool = False  # let the piece end near ``seconds``, instead of cutting it there

    def __post_init__(self) -> None:
        """Raise BadInput for the first setting that cannot be meant."""
        _between("--seconds", self.seconds, 0.0, LONGEST_SECONDS, "seconds of music")
        if self.prime_seconds is not None:
            _between("--prime-seconds", self.prime_seconds, 0.0, LONGEST_SECONDS, "seconds of music")
        if not 0.0 <= self.temperature <= HIGHEST_TEMPERATURE:
            raise BadInput(
                f"--temperature must be between 0 (always the likeliest) and {HIGHEST_TEMPERATURE:g}, not"
                f" {self.temperature:g}; 1 is the model as trained"
            )
        _between("--top-p", self.top_p, 0.0, 1.0, "a share of the probability; 1 turns it off")
        if not 0.0 <= self.min_p < 1.0:
            raise BadInput(f"--min-p must be at least 0 and below 1, not {self.min_p}; 0 turns it off")
        if self.top_k < 0:
            raise BadInput(f"--top-k must be 0 (off) or a number of tokens, not {self.top_k}")
        if not 1 <= self.num_samples <= MOST_SAMPLES:
            raise BadInput(f"--num-samples must be between 1 and {MOST_SAMPLES}, not {self.num_samples}")
        for name in ("latents", "context"):
            value = getattr(self, name)
            if value is not None and value < FEWEST:
                raise BadInput(f"--{name} must be at least {FEWEST}, not {value}")
        if self.latents is not None and self.context is not None and self.latents > self.context:
            raise BadInput(
                f"--latents {self.latents} is more than --context {self.context}: the latents are the last positions"
                " of the context; lower --latents or raise --context"
            )

    def resolved(self, latents: int, context: int) -> Settings:
        """These settings with a model's own M and N filled in where none were chosen.

        Args:
            latents: M the model was released with.
            context: N the model was released with; up to FARTHER times as much is allowed.

        Raises:
            BadInput: the choice does not fit this model.
        """
        if self.context is not None and self.context > FARTHER * context:
            raise BadInput(
                f"--context {self.context} is more than this model allows ({FARTHER * context}): lower --context"
            )
        chosen = self.context if self.context is not None else context
        if self.latents is not None and self.latents > chosen:
            raise BadInput(f"--latents {self.latents} is more than this model's context ({chosen}): lower --latents")
        return dataclasses.replace(
            self, context=chosen, latents=self.latents if self.latents is not None else min(latents, chosen)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Inverse of `to_dict`; what older files lack is off.  Raises BadInput for unknown fields or types."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if odd := ", ".join(sorted((set(values) - set(fields)) | (set(fields) - set(values) - LATER_FIELDS))):
            raise BadInput(f"the settings in this file are of another musicgen version (differs in: {odd})")
        kinds = {"float": (float, int), "int": (int,), "bool": (bool,), "None": (type(None),)}
        for name, value in values.items():
            allowed = tuple(kind for part in str(fields[name].type).split(" | ") for kind in kinds[part])
            if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
                raise BadInput(f"the settings in this file are damaged: {name} is {value!r}")
        return cls(**values)


def checked_seed(seed: int) -> int:
    """The seed itself, or BadInput."""
    if not 0 <= seed <= LARGEST_SEED:
        raise BadInput(f"--seed must be between 0 and {LARGEST_SEED}, not {seed}")
    return seed


def derived_seed(*path: int) -> int:
    """The seed that follows from one and from what it is for, such as the number of an attempt."""
    import numpy as np  # here: the command's --help needs nothing slow

    return int(np.random.SeedSequence(path).generate_state(1)[0]) & LARGEST_SEED


def _between(option: str, value: float, above: float, most: float, meaning: str) -> None:
    if not (math.isfinite(value) and above < value <= most):
        raise BadInput(f"{option} must be more than {above:g} and at most {most:g} ({meaning}), not {value:g}")
