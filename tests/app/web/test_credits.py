"""The foot of the page says whose weights make the music."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from musicgen.app.web.credits import credit, foot


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("# hers\n\n| | |\n|---|---|\n| Data, licence | as <hers>: MIT |\n", "as <hers>: MIT"),
        ("| Licence | the weights: CC0; see below |\n", "CC0"),
        ("# of my own\n", "none is named"),
        (None, "none is named"),
    ],
)
def test_the_licence_is_the_cards(tmp_path: Path, card: str | None, licence: str) -> None:
    """A card may say little, or not be there; what it says is text."""
    if card is not None:
        (tmp_path / "CARD.md").write_text(card)
    line = credit(SimpleNamespace(name="mine", sha256="ab" * 32, folder=tmp_path))  # type: ignore[arg-type]
    assert line == f"Weights: mine (abababababab). Licence: {licence}."
    assert "<hers>" not in foot([line])
