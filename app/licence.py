"""What the licence of weights asks, from their card."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musicgen.checkpoints import Released

CARD = "CARD.md"


def licence_of(released: Released) -> str:
    """The row of that name in the card of released weights, without what it says of the rest of the card."""
    try:
        lines = (released.folder / CARD).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    said = next((row[1] for row in rows if len(row) == 2 and "licence" in row[0].lower()), "none is named")
    return (said.partition("the weights: ")[2] or said).removesuffix("; see below")
