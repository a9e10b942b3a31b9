"""What the tests of data_prep share."""

from __future__ import annotations

import builtins
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from musicgen.data_prep.midi import write_midi
from musicgen.data_prep.performance import Performance

# sound_files.py lies beside the tests, which import it by this name.
sys.path.insert(0, str(Path(__file__).parent))

# Machines differ in speed and test data in size: what a test may take is not Hypothesis's to say.
settings.register_profile("data_prep", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("data_prep")


@pytest.fixture(scope="session")
def midi_file() -> Callable[..., bytes]:
    """Tracks, each a list of (tick, message) in any order, to the bytes of a MIDI file as mido writes it."""
    return build_midi


def build_midi(
    *tracks: Sequence[tuple[int, mido.Message | mido.MetaMessage]], division: int = 480, end: int = 0, type: int = 1
) -> bytes:
    import io

    file = mido.MidiFile(type=type, ticks_per_beat=division, charset="utf-8")
    for events in tracks:
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(events, key=lambda event: event[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        track.append(mido.MetaMessage("end_of_track", time=max(end - now, 0)))
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def note_seq_tokens() -> Callable[[bytes], list[int]]:
    """The oracle: the tokens of note-seq's own path for a MIDI file's bytes. Skips where note-seq does not work."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from note_seq import midi_io, performance_lib, sequences_lib
    except Exception as error:  # it pulls in much that may break on a new Python
        pytest.skip(f"note-seq cannot be imported: {error!r}")

    from musicgen.data_prep.vocabulary import VOCABULARY

    kinds = performance_lib.PerformanceEvent
    names = {
        kinds.NOTE_ON: "note_on",
        kinds.NOTE_OFF: "note_off",
        kinds.TIME_SHIFT: "time_shift",
        kinds.VELOCITY: "velocity",
    }

    def tokens(content: bytes) -> list[int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sequence = midi_io.midi_to_note_sequence(content)
        sequence = sequences_lib.apply_sustain_control_changes(sequence)
        quantized = sequences_lib.quantize_note_sequence_absolute(sequence, 100)
        events = performance_lib.Performance(quantized, num_velocity_bins=32)
        return [VOCABULARY.encode(names[event.event_type], event.event_value) for event in events]

    return tokens


@pytest.fixture(scope="session")
def maestro() -> Path:
    """The folder of MAESTRO v3, named by MUSICGEN_MAESTRO."""
    import os

    folder = os.environ.get("MUSICGEN_MAESTRO", "")
    if not folder:
        pytest.skip("MUSICGEN_MAESTRO does not name a folder with MAESTRO v3")
    return Path(folder)


@pytest.fixture(scope="session")
def play() -> Callable[..., Performance]:
    """A made-up piece for the data set tests: `play(seed, notes)`, the same for the same numbers."""

    def made_up(seed: int, notes: int = 40) -> Performance:
        rng = np.random.default_rng(seed)
        onset = np.cumsum(rng.exponential(0.15, notes))
        end = onset + rng.exponential(0.4, notes) + 0.02
        pedal = np.stack([np.sort(rng.uniform(0, onset[-1], 6)), np.tile([127.0, 0.0], 3)], axis=1)
        return Performance(onset, end, rng.integers(21, 109, notes), rng.integers(1, 128, notes), pedal)

    return made_up


@pytest.fixture(scope="session")
def music_folder(tmp_path_factory: pytest.TempPathFactory, play: Callable[..., Performance]) -> Path:
    """Twelve MIDI files in two folders. Read only: tests that change files copy it."""
    folder = tmp_path_factory.mktemp("music")
    for i in range(12):
        path = folder / ("early" if i < 5 else "late") / f"piece {i:02d}.mid"
        path.parent.mkdir(exist_ok=True)
        write_midi(play(i, 20 + 15 * i), path)
    return folder


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`uninstall(package)`: for the rest of the test it cannot be imported."""
    real = builtins.__import__

    def remove(package: str) -> None:
        def absent(name: str, *rest: Any) -> Any:
            if name.startswith(package):
                raise ImportError(f"No module named {package!r}")
            return real(name, *rest)

        monkeypatch.setattr(builtins, "__import__", absent)

    return remove
