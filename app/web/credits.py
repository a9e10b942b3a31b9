"""The foot of the page: whose weights make the music, and what their licence asks."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from musicgen.app.licence import licence_of

if TYPE_CHECKING:
    from musicgen.checkpoints import Released


def credit(released: Released) -> str:
    """Name, SHA-256 and licence of released weights; the licence is the row of that name in their card."""
    return f"Weights: {released.name} ({released.sha256[:12]}). Licence: {licence_of(released)}."


def foot(credits: Sequence[str]) -> str:
    """The lines as HTML."""
    return f'<footer class="mg-credits">{"".join(f"<p>{html.escape(line)}</p>" for line in credits)}</footer>'
