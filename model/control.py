"""What a person can set: each setting's name, range, default and help stand once, beside the field that holds it.

    @dataclasses.dataclass(frozen=True)
    class Sampling:
        top_k: int = setting(0, minimum=0, label="Top-k", help="keep the K likeliest tokens; 0 keeps all")

The command line, the page and the endpoints take all of it from `controls(Sampling)`; `check(Sampling(...))` holds the
ranges.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

LONGEST_NAME = 40  # letters


@dataclasses.dataclass(frozen=True)
class Control:
    """One setting.

    name: of the field, in Python and in JSON.  flag: on the command line; "" is ``--name``.  former: flags of earlier
        versions, which are still understood.
    kind: int, float, bool or str, which takes one of the `choices`; named: or any other short name.
    unset: what a default of None means, such as "the model's own".
    minimum, maximum: the accepted range; excluded: which of its two ends is not accepted itself.
    label, help: what the page calls it, and what it does, in a few words.
    slider: the lowest and highest value the page offers, in steps of `step`; None: the page has no slider for it.
    """

    name: str
    label: str
    minimum: float
    maximum: float
    step: float
    default: Any
    help: str
    kind: type
    excluded: tuple[float, ...] = ()
    slider: tuple[float, float] | None = None
    flag: str = ""
    former: tuple[str, ...] = ()
    unset: str = ""
    choices: tuple[str, ...] = ()
    named: bool = False

    @property
    def option(self) -> str:
        """The flag as it is typed, such as --top-k."""
        return self.flag or "--" + self.name.replace("_", "-")

    def check(self, value: object) -> None:
        """Raise ValueError, in one line that begins with the option's name, unless `value` is accepted."""
        if value is None and self.default is None:
            return
        name = self.option.removeprefix("--")
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false, not {str(value)[:40]!r}")
            return
        if self.kind is str:
            other = self.named and isinstance(value, str) and value.isidentifier() and len(value) <= LONGEST_NAME
            if value not in self.choices and not other:
                raise ValueError(f"{name} must be one of {', '.join(self.choices)}, not {str(value)[:40]!r}")
            return
        wanted, called = (numbers.Integral, "whole number") if self.kind is int else (numbers.Real, "number")
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ValueError(f"{name} must be a {called}, not {str(value)[:40]!r}")
        try:
            number = float(value)
        except OverflowError:  # a whole number of hundreds of digits
            number = math.inf
        if not (math.isfinite(number) and self.minimum <= number <= self.maximum) or number in self.excluded:
            raise ValueError(f"{name} must be {self.range}, not {str(value)[:40]} ({self.help})")

    @property
    def range(self) -> str:
        """The accepted values in words."""
        low = f"{'more than' if self.minimum in self.excluded else 'at least'} {self.minimum:g}"
        if self.maximum == math.inf:
            return low
        if self.excluded:
            return f"{low} and {'below' if self.maximum in self.excluded else 'at most'} {self.maximum:g}"
        return f"between {self.minimum:g} and {self.maximum:.10g}"


def setting(
    default: Any,
    *,
    label: str,
    help: str,
    minimum: float = 0.0,
    maximum: float = math.inf,
    step: float = 1,
    **more: Any,
) -> Any:
    """A field of a dataclass with all of a `Control` but its name and kind, which are the field's own."""
    about = {"label": label, "help": help, "minimum": minimum, "maximum": maximum, "step": step, **more}
    return dataclasses.field(default=default, metadata=about)


def controls(settings: type) -> tuple[Control, ...]:
    """The controls of a dataclass, in the order of its fields."""
    kinds = {"int": int, "float": float, "bool": bool, "str": str}
    return tuple(
        Control(
            name=field.name,
            default=field.default,
            kind=kinds[str(field.type).removesuffix(" | None")],
            **field.metadata,
        )
        for field in dataclasses.fields(settings)
        if field.metadata
    )


def check(settings: Any) -> None:
    """Raise ValueError for the first field whose value its control does not accept."""
    for control in controls(type(settings)):
        control.check(getattr(settings, control.name))
