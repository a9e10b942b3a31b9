"""The page and Python hear the same: one table of cases, run through both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen.app.web.notes.take import music
from musicgen.data_prep import apply_pedal, read_midi
from tests.data_prep.test_playing import CASES, KINDS, file_of

SCRIPT = Path(__file__).with_name("music_cases.mjs")


def run_node(script: Path, given: object) -> Any:
    """What a script makes of JSON."""
    beside = Path(sys.executable).parent  # where it comes with the environment
    node = shutil.which("node", path=f"{beside}:{os.environ['PATH']}") or pytest.skip("there is no Node here")
    done = subprocess.run([node, script], input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_page_hears_the_cases_as_python_does() -> None:
    performances = [read_midi(file_of(case["tracks"]))[0] for case in CASES]
    heard = run_node(SCRIPT, [music(performance) for performance in performances])
    for case, performance, page in zip(CASES, performances, heard, strict=True):
        sounding = apply_pedal(performance)
        ours = np.stack([sounding.onset, np.maximum(sounding.end, sounding.onset + 0.01), sounding.pitch], axis=1)
        assert np.array(page) == pytest.approx(ours, abs=2e-4), case["name"]
        assert ours == pytest.approx(np.array(case["sounds"]), abs=0.011), case["name"]


def on_one_keyboard(case: dict[str, Any]) -> list[tuple[float, list[int]]] | None:
    """(seconds, message) of a case that one player can play: on one channel, no key struck while it is down."""
    events = sorted((event for track in case["tracks"] for event in track), key=lambda event: event[0])
    if any(len(event) > 3 and event[3] > 1 for event in events):
        return None
    down: set[int] = set()
    for _, kind, data, *_ in events:
        if kind == "on" and data in down:
            return None
        if kind in ("on", "off"):
            (down.add if kind == "on" else down.discard)(data)
    return [(event[0], KINDS[event[1]](event[2], 0).bytes()) for event in events]


def test_a_keyboard_is_heard_as_a_file_is() -> None:
    played = [(case, messages) for case in CASES if (messages := on_one_keyboard(case)) is not None]
    assert len(played) >= 14
    heard = run_node(SCRIPT.with_name("keyboard_cases.mjs"), [messages for _, messages in played])
    for (case, _), notes in zip(played, heard, strict=True):
        expected = [(onset, max(end, onset + 0.03), pitch) for onset, end, pitch in case["sounds"]]
        assert np.array(notes) == pytest.approx(np.array(expected), abs=2e-3), case["name"]
