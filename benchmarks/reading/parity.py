"""Is a MIDI file read as an independent player plays it, and written again so that it sounds the same?

    python benchmarks/reading/parity.py FOLDER [FOLDER ...] [--json result.json]

Every MIDI file under the folders goes through `read_midi` and `write_midi`, and through
tests/data_prep/plain_reader.py, which shares no code with them. Where the two differ for a reason that has a name, the
name is counted; a difference without one is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from musicgen.data_prep import MidiError, Performance, apply_pedal, read_midi, smf, write_midi  # noqa: E402
from musicgen.data_prep.drums import find_drums  # noqa: E402
from tests.data_prep.plain_reader import Strange, play  # noqa: E402

KINDS = {".mid", ".midi", ".kar", ".smf", ".rmi"}
CLOSE = 1.1e-3  # seconds: an end that the file does not say is a whole tick of it
WRITTEN = 6e-5  # seconds: times, and notes of no length, are on a grid of 25 microseconds


def compare(data: bytes) -> str:
    """The outcome for one file: "equal", the name of a rule, or what differs, beginning with DIFFERENT."""
    try:
        music, remarks = read_midi(data)
    except MidiError as error:
        return _refused(data, str(error))
    try:
        expected = np.array(play(data, _drum_channels(data)), float).reshape(-1, 4)
    except Strange:
        return "read by us alone: the container was mended"
    if any("cut to" in remark for remark in remarks):
        return "a pause of more than ten minutes was cut"
    read = _sounds(music)
    if not _same(read, expected, CLOSE):
        return (
            "a channel is for drums and for melody" if _changes_its_mind(data) else _difference("read", read, expected)
        )
    again = np.array(play(write_midi(music)), float).reshape(-1, 4)
    if not _same(again, read, WRITTEN + _tick(data)):
        return _difference("written", again, read)
    return "equal"


def _refused(data: bytes, why: str) -> str:
    try:
        notes = play(data, _drum_channels(data))
    except (Strange, MidiError):
        return "refused by both"
    if not notes:
        return "no notes for both"
    if "are the most" in why:
        return "refused by us alone: more than a piece has"
    return "DIFFERENT: refused by us alone: " + why


def _drums(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(channels, whether for drums) of the note messages of a file."""
    events = smf.parse(data)
    notes = (events.status & 0xE0) == 0x80
    return (events.status & 0x0F)[notes], find_drums(events)[notes]


def _drum_channels(data: bytes) -> set[int]:
    channel, drums = _drums(data)
    return {9} - set(channel.tolist()) | set(channel[drums].tolist())


def _changes_its_mind(data: bytes) -> bool:
    channel, drums = _drums(data)
    return bool(set(channel[drums].tolist()) & set(channel[~drums].tolist()))


def _tick(data: bytes) -> float:
    """Half a tick of a file whose own ticks are coarser than ours are fine."""
    base = smf.parse(data).time_base
    return float(base.seconds(np.array([1]))[0]) if base.in_frames else 0.0


def _sounds(music: Performance) -> np.ndarray:
    notes = apply_pedal(music)
    return np.stack([notes.onset, notes.end, notes.pitch, notes.velocity], axis=1).astype(float)


def _same(one: np.ndarray, other: np.ndarray, close: float) -> bool:
    if one.shape != other.shape:
        return False
    order = [np.lexsort((notes[:, 0].round(4), notes[:, 2])) for notes in (one, other)]
    one, other = one[order[0]], other[order[1]]
    return bool(
        np.array_equal(one[:, 2:], other[:, 2:]) and np.allclose(one[:, :2], other[:, :2], rtol=1e-7, atol=close)
    )


def _difference(what: str, got: np.ndarray, expected: np.ndarray) -> str:
    if got.shape != expected.shape:
        return f"DIFFERENT: {what}: {len(got)} notes, {len(expected)} expected"
    worst = np.argmax(np.abs(got - expected).max(axis=1))
    return f"DIFFERENT: {what}: {got[worst].tolist()}, {expected[worst].tolist()} expected"


def line(name: str, counts: collections.Counter[str]) -> str:
    """One row of the table."""
    return f"{name}: {sum(counts.values()):,} files; " + "; ".join(f"{n:,} {rule}" for rule, n in counts.most_common())


def main() -> int:
    """Print a table; 1 if there is a difference without a name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table: dict[str, collections.Counter[str]] = {}
    for folder in arguments.folders:
        counts = table.setdefault(folder.name, collections.Counter())
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS and path.is_file()):
            outcome = compare(path.read_bytes())
            if outcome.startswith("DIFFERENT"):
                print(f"{path}: {outcome}", flush=True)
                outcome = "DIFFERENT"
            counts[outcome] += 1
        print(line(folder.name, counts), flush=True)
    total = sum(table.values(), collections.Counter())
    print(line("all", total))
    if arguments.json:
        arguments.json.write_text(json.dumps({**table, "all": total}, indent=2) + "\n")
    return 1 if total["DIFFERENT"] else 0


if __name__ == "__main__":
    sys.exit(main())
