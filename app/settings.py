"""What a person can ask of a generation, checked once, and written into every file that comes of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from musicgen.app.errors import BadInput
from musicgen.model.control import check, setting
from musicgen.model.sampler import Sampling

SHORTEST_SECONDS, LONGEST_SECONDS = 0.01, 24 * 3600.0  # the former is a step of the tokens
MOST_SAMPLES = 64
FARTHER = 4  # times the trained context: so far more of it was seen to help (checkpoints/LOG.md, sections 7 and 9)
FEWEST = 2  # latents, and so context: half of them are kept free for new tokens
# Kinds of music, and none told.  The others are those of data_prep/vocabulary.py, which needs NumPy; --help does not.
ANY = "any"
STYLES = (ANY, "classical", "jazz", "pop", "arrangement", "roll")
LARGEST_SEED = 2**31 - 1  # what every JAX configuration takes as a plain integer

# The settings that every file holds.  One that is added later is written only where it is not off, and off where it is
# missing, so that files from before it still replay to the same bytes.
IN_EVERY_FILE = (
    *("seconds", "prime_seconds", "keep_prime", "latents", "context"),
    *("temperature", "top_p", "top_k", "min_p", "num_samples"),
)
WRITTEN = (*IN_EVERY_FILE, "end")  # the oldest files lack `end`


@contextlib.contextmanager
def complaints() -> Iterator[None]:
    """A value that a control does not accept becomes BadInput that begins with the flag."""
    try:
        yield
    except ValueError as error:
        raise BadInput(f"--{error}") from None


@dataclasses.dataclass(frozen=True)
class Settings:
    """One generation.  ``None`` is what the model was released with (latents, context), or the whole (prime).

    `Settings.of` takes the fields of `Sampling` along with its own.
    """

    seconds: float = setting(
        30.0,
        label="How much new music",
        help="length of the new music in seconds",
        minimum=SHORTEST_SECONDS,
        maximum=LONGEST_SECONDS,
        step=5,
    )
    prime_seconds: float | None = setting(
        None,
        label="How much of the prime",
        help="use only this many seconds of the prime, from its first note",
        unset="all of it",
        minimum=SHORTEST_SECONDS,
        maximum=LONGEST_SECONDS,
    )
    keep_prime: bool = setting(
        True, label="Begin with the prime", help="leave the prime out of the output", flag="--no-prime"
    )
    latents: int | None = setting(
        None,
        label="Thinking",
        help="number of latents: the latest tokens, which are processed in depth",
        unset="the model's own",
        minimum=FEWEST,
    )
    context: int | None = setting(
        None,
        label="Memory",
        help=f"context length in tokens, up to {FARTHER} times the model's own",
        unset="the model's own",
        minimum=FEWEST,
    )
    sampling: Sampling = Sampling()  # its defaults: see benchmarks/quality
    num_samples: int = setting(
        1, label="Takes", help="number of pieces to make at once", minimum=1, maximum=MOST_SAMPLES
    )
    end: bool = setting(
        False, label="Come to an end there", help="end musically near the requested time instead of cutting off"
    )
    style: str = setting(
        ANY,
        label="Kind of music",
        help="the kind of music to make, if the weights know kinds",
        choices=STYLES,
        named=True,  # weights of one's own may have been taught another kind
    )

    def __post_init__(self) -> None:
        """Raise BadInput for the first setting that cannot be meant."""
        with complaints():
            check(self)
        if self.latents is not None and self.context is not None and self.latents > self.context:
            raise BadInput(
                f"--latents {self.latents} is more than --context {self.context}: the latents are the last positions"
                " of the context; lower --latents or raise --context"
            )

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """Settings by the names of all fields, those of `Sampling` among them; what is left out is as usual.

        Raises BadInput for a name that is none, or for the first value that cannot be meant.
        """
        if unknown := [name for name in values if name not in NAMES]:
            raise BadInput(f"there is no setting {', '.join(unknown)}: there are {', '.join(NAMES)}")
        own = {name: value for name, value in values.items() if name not in SAMPLING}
        with complaints():
            sampling = Sampling(**{name: value for name, value in values.items() if name in SAMPLING})
        return cls(**own, sampling=sampling)

    def resolve(self, latents: int, context: int) -> Settings:
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

    def batch_key(self, tokens: int) -> Hashable:
        """Pieces of one key, which continue so many tokens with these settings, resolved, can be rows of one batch.

        The key is all settings but those that each row has for itself, and the length of the engine's passes.  The
        engine reads the rows of a batch in passes of one length, which their primes' lengths decide: only primes of as
        many tokens, or all longer than a pass, leave each other's music untouched.
        """
        assert self.latents is not None and self.context is not None  # resolved
        read = min(tokens, self.context - self.latents // 2)
        # Where a row is cut is its own; where it is to end is a rule of the whole batch.
        seconds = self.seconds if self.end else 1.0
        return dataclasses.replace(self, seconds=seconds, prime_seconds=None, keep_prime=True, num_samples=1), read

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, those of `sampling` side by side with the others; see IN_EVERY_FILE."""
        usual = _flat(Settings())
        return {name: value for name, value in _flat(self).items() if name in WRITTEN or value != usual[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Inverse of `to_dict`.  Raises BadInput for unknown fields or types."""
        if odd := ", ".join(sorted((set(values) - set(NAMES)) | (set(IN_EVERY_FILE) - set(values)))):
            raise BadInput(f"the settings in this file are of another musicgen version (differs in: {odd[:200]})")
        try:
            return cls.of(**values)
        except BadInput as error:
            raise BadInput(f"the settings in this file are damaged: {error}") from None


def _flat(settings: Settings) -> dict[str, Any]:
    """All values by name, those of `sampling` in its place."""
    flat: dict[str, Any] = {}
    for name, value in dataclasses.asdict(settings).items():
        flat |= value if name == "sampling" else {name: value}
    return flat


SAMPLING = tuple(field.name for field in dataclasses.fields(Sampling))
NAMES = tuple(_flat(Settings()))


def check_seed(seed: int) -> int:
    """The seed itself, or BadInput."""
    if not 0 <= seed <= LARGEST_SEED:
        raise BadInput(f"--seed must be between 0 and {LARGEST_SEED}, not {seed}")
    return seed


def derive_seed(*path: int) -> int:
    """The seed that follows from one and from what it is for, such as the number of an attempt."""
    import numpy as np  # here: the command's --help needs nothing slow

    return int(np.random.SeedSequence(path).generate_state(1)[0]) & LARGEST_SEED
