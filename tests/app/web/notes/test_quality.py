"""The table of the two dials: what was measured for these weights, at settings that are offered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from musicgen import checkpoints
from musicgen.app.web.dials import Dials
from musicgen.app.web.notes.quality import Quality, quality_of
from musicgen.app.web.notes.speeds import Speeds, describe_preset

DIALS = Dials(64, 256)
MEASURED = {(64, 256): 1.75, (32, 256): 1.76, (16, 128): 1.9, (16, 512): 1.7, (4, 256): 1.8}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [{"latents": M, "context": N, "nats_per_token": nats} for (M, N), nats in MEASURED.items()]
    path = tmp_path / "quality.json"
    path.write_text(json.dumps({"a" * 64: {"pieces": "3 pieces", "rows": rows}, "b" * 64: {"pieces": "none"}}))
    return path


def test_only_what_is_offered_counts(file: Path) -> None:
    """A context that this server does not offer is not the best of anything."""
    found = quality_of("a" * 64, DIALS, file)
    assert found is not None and set(found.nats) == {(64, 256), (32, 256), (16, 128)}
    assert found.lost(64, 256) == 0 and found.lost(16, 128) == pytest.approx(0.15) and found.lost(16, 512) is None


def test_what_a_preset_loses_is_said() -> None:
    """In nats, but for the thousandths that the stride makes."""
    known = Quality("3 pieces", {(64, 256): 1.753, (32, 256): 1.75, (16, 128): 1.9})
    assert describe_preset((64, 256), None, known).startswith(
        "Remembers about the last 6 seconds; nothing here does notably better."
    )
    behind = "; 0.150 nats per token behind the best. Here, 30 seconds"
    assert behind in describe_preset((16, 128), Speeds({(16, 128): 40.0}), known)
    assert ";" not in describe_preset((8, 64), Speeds({(8, 64): 40.0}), known) and ";" not in describe_preset(
        (64, 256), Speeds({(64, 256): 40.0}), None
    )


def test_nothing_is_known_of_other_weights(file: Path) -> None:
    """Or from a file that says nothing, or is not there."""
    for sha256, path in (("b" * 64, file), ("c" * 64, file), ("a" * 64, file.with_name("absent.json"))):
        assert quality_of(sha256, DIALS, path) is None
    assert quality_of("a" * 64, Dials(5, 7), file) is None


def test_the_best_preset_of_the_released_weights_was_measured() -> None:
    """Else the page says nothing of what others lose: new weights want `benchmarks/app/quality.py` again."""
    released = checkpoints.load(checkpoints.DEFAULT)
    dials = Dials(released.config.latents, released.config.context)
    found = quality_of(released.sha256, dials)
    assert found is not None
    assert found.lost(*dials.presets["Best"]) == 0.0


def test_the_picture_names_the_presets_and_leaves_gaps() -> None:
    """A button for each setting, the best the darkest; nothing where nothing was measured."""
    picture = Quality("3 pieces", {(64, 256): 1.75, (16, 128): 1.9, (16, 256): 1.8}).picture(DIALS)
    cell = r'data-latents="(\d+)" data-context="(\d+)".*?--share:([\d.]+)">([\d.]+)(?:<small>(\w+))?'
    cells = re.findall(cell, picture)
    assert cells == [
        ("64", "256", "1.00", "1.750", "Best"),
        ("16", "256", "0.67", "1.800", ""),
        ("16", "128", "0.00", "1.900", "Balanced"),
    ]
    assert picture.count("<td></td>") == 2 and "3 pieces" in picture
