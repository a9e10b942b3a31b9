"""What adapters are as stored arrays, and how they become part of the weights that they belong to; NumPy only.

    kernel + left @ right        kernel [D, F] as it was released, left [D, R], right [R, F]

A sum is kept in 8 bits, since 4 would round most of it away (benchmarks/tuning); it is decoded as fast.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from musicgen.model.storage import SCALE, Weights, dequantize

LEFT, RIGHT = ".left", ".right"  # of a kernel NAME: its factors are NAME.left and NAME.right
STYLE = ".style"  # of a table NAME: NAME.style [D] is its row for a new style


def changes(
    stored: Weights, trained: Mapping[str, np.ndarray], style_token: int | None = None
) -> dict[str, np.ndarray]:
    """Parameters f32 by name, those alone that differ from the stored weights of the base.

    Raises ValueError if the two do not belong together.
    """
    changed = {}
    for name, values in trained.items():
        if name.endswith(RIGHT):
            continue
        of = name.removesuffix(LEFT).removesuffix(STYLE)
        if of not in stored:
            raise ValueError(f"the base has no {of}")
        before = dequantize({part: stored[part] for part in (of, of + SCALE) if part in stored})[of]
        now = values.astype(np.float32)
        if name.endswith(LEFT):
            now = before + now @ trained[of + RIGHT].astype(np.float32)
        elif name.endswith(STYLE):
            now, row = before.copy(), now
            now[style_token] = row
        if now.shape != before.shape:
            raise ValueError(f"{of} is {list(before.shape)} in the base, not {list(now.shape)}")
        changed[of] = now
    return changed
