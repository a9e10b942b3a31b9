"""What stands before a piece is the end of another."""

from __future__ import annotations

import numpy as np

from musicgen.data_prep import EOS, decode, encode
from musicgen.data_prep.rules import grammar
from musicgen.data_prep.rules.preamble import preamble


def test_a_preamble_is_an_end_that_music_can_have() -> None:
    """Allowed by the grammar, nothing sounds after it, and it is short."""
    tokens = preamble()
    assert tokens.dtype == np.int16 and tokens[-1] == EOS and len(tokens) < 64
    state = grammar.start([[]])
    for token in tokens:
        assert grammar.allowed(state)[0, token]
        state = grammar.advance(state, np.array([token]))
    np.testing.assert_array_equal(encode(decode(tokens[:-1])), tokens[:-1])
    assert not tokens.flags.writeable
