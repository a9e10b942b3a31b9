"""What annotations say of arrays: Float[Array, "B T D"] is an array of floats of NumPy or JAX with these axes.

The letters are those of perceiver_ar.py; "#B" may also be 1, and "..." stands for any axes.  The tests check them at
every call (`--jaxtyping-packages` in pyproject.toml), and load jaxtyping for it first.  Elsewhere nobody reads an
annotation, and a program starts a tenth of a second earlier without jaxtyping.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    import jax
    from jaxtyping import Bool, Complex, Float, Int, Int16
else:
    Array = Bool = Complex = Float = Int = Int16 = None

if TYPE_CHECKING:
    from jax import Array
elif "jaxtyping" in sys.modules:
    import numpy

    Array = jax.Array | numpy.ndarray  # whoever calls a function of JAX may give it NumPy's

__all__ = ["Array", "Bool", "Complex", "Float", "Int", "Int16"]
