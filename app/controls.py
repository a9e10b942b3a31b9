"""All that a person can choose of a generation, in one table: the command line, the page and its endpoints take each
name, range, default and help from here, and pass values by name."""

from __future__ import annotations

import math

from musicgen.app.settings import LARGEST_SEED, NAMES, Settings
from musicgen.model.control import Control, controls
from musicgen.model.sampler import Sampling

SAMPLING = controls(Sampling)
SEED = Control(
    name="seed",
    label="Seed",
    minimum=0,
    maximum=LARGEST_SEED,
    step=1,
    default=None,
    help="the same seed gives the same piece",
    kind=int,
    unset="random, and printed",
)
AVOID_COPIES = Control(
    name="avoid_copies",
    label="Avoid copies of training pieces",
    minimum=1,
    maximum=math.inf,
    step=1,
    default=None,
    help="retry pieces that share this many notes or more with a training piece; below 32 is usual for any music",
    kind=int,
    former=("--no-memorised",),
)
CONTROLS: tuple[Control, ...] = (
    *sorted((*controls(Settings), *SAMPLING), key=lambda control: NAMES.index(control.name)),
    SEED,
    AVOID_COPIES,
)


def control(name: str) -> Control:
    """The control of that name."""
    return next(control for control in CONTROLS if control.name == name)
