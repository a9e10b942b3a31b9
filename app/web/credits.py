"""The foot of the page: whose weights make the music, and what their licence asks."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musicgen.checkpoints import Released

CARD = "CARD.md"


def credit(released: Released) -> str:
    """Name, SHA-256 and licence of released weights; the licence is the row of that name in their card."""
    try:
        lines = (released.folder / CARD).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    said = next((row[1] for row in rows if len(row) == 2 and "licence" in row[0].lower()), "none is named")
    licence = said.partition("the weights: ")[2] or said
    return f"Weights: {released.name} ({released.sha256[:12]}). Licence: {licence}."


def foot(credits: Sequence[str]) -> str:
    """The lines as HTML."""
    return f'<footer class="mg-credits">{"".join(f"<p>{html.escape(line)}</p>" for line in credits)}</footer>'
