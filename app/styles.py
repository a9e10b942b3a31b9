"""Kinds of music that weights can be told to make: one token of the vocabulary for each.

In training the token stood after BOS in most pieces, or, in some windows that had lost their BOS, first of all
(data_prep/dataset/mixture.py); the engine puts it into the same places (model/engine.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from musicgen.app.errors import BadInput, similar
from musicgen.app.settings import ANY
from musicgen.data_prep import VOCABULARY_2
from musicgen.data_prep.vocabulary import STYLES
from musicgen.model.control import LONGEST_NAME


def styles_of(tokenizer: Mapping[str, Any], about: Mapping[str, Any] = {}) -> tuple[str, ...]:
    """The kinds that weights with such a tokenizer.json and config.json were taught, in the order of their tokens; none
    in the first vocabulary.  The last one may be of one's own (app/tuning)."""
    own = dict(about.get("base", {})).get("style")
    more = (own,) if isinstance(own, str) and own.isidentifier() and len(own) <= LONGEST_NAME else ()
    return (*STYLES, *more) if tokenizer == VOCABULARY_2.to_json() else ()


def told(style: str, known: Sequence[str], weights: str) -> tuple[int, ...]:
    """The tokens that tell weights of that name, which know these kinds, what to make; nothing for ANY.

    Raises BadInput for a kind that they were not taught.
    """
    if style == ANY:
        return ()
    if style not in known:
        other = "choose weights that were taught kinds, such as piano"
        if known:
            other = f"choose one of {', '.join(known)}{similar(style, known)}"
        raise BadInput(f"the weights {weights} cannot be told to make {style}: leave style out, or {other}")
    return (VOCABULARY_2.encode("style", known.index(style)),)
