"""What annotations say of arrays is checked in the tests, and costs a program nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from musicgen.model.attention import attend
from musicgen.model.codec import mdct
from musicgen.model.engine import last_tokens
from musicgen.model.sampler import sample

pytestmark = pytest.mark.slow


def test_a_wrong_shape_is_found() -> None:
    """Between arguments, and in types."""
    q, k = np.zeros((1, 2, 4, 8), np.float32), np.zeros((1, 3, 2, 8), np.float32)
    assert attend(q, k, k).shape == q.shape
    with pytest.raises(TypeCheckError):
        attend(q, k, k[:, :2])
    with pytest.raises(TypeCheckError):
        sample(np.zeros((2, 5), np.float32), np.zeros((2, 4), np.float32), {})
    with pytest.raises(TypeCheckError):
        mdct.windows(np.zeros((2, 8), np.float32), 8)
    with pytest.raises(TypeCheckError):
        last_tokens([np.zeros(3, np.float32)], 4)


def test_programs_do_not_wait_for_it() -> None:
    """The engines import without jaxtyping."""
    modules = "musicgen.model.jax_engine, musicgen.model.cpu.engine"
    code = f"import sys, {modules}; sys.exit('jaxtyping' in sys.modules or 'beartype' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
