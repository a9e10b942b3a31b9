"""What is told note by note is what the finished piece holds."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from musicgen.app.bundled import FOLDER
from musicgen.app.join import close_at
from musicgen.app.prime import make_prime
from musicgen.app.web.notes.decoder import NoteStream
from musicgen.app.web.notes.take import opening
from musicgen.data_prep import BOS, decode, read_midi


def drawn(fake: ModuleType, before: np.ndarray, seed: int, blocks: int) -> np.ndarray:
    stream = fake.FakeEngine().start([before], latents=8, context=16, sampling=(1.0,), seed=seed)
    return np.concatenate([next(stream)[0] for _ in range(blocks)])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [1, 7, 16])
def test_told_notes_are_the_decoded_ones(fake: ModuleType, seed: int, size: int) -> None:
    """However the tokens are cut into blocks, and with the same end."""
    bos = np.array([BOS], np.int16)
    tokens = drawn(fake, bos, seed, 30)
    listener = NoteStream(bos, 0.0)
    notes: dict[tuple[float, int], list[float]] = {}
    for start in range(0, len(tokens), size):
        before = listener.seconds
        for onset, end, pitch, velocity, _ in listener.feed(tokens[start : start + size].tolist()):
            assert end is None or end > onset
            if (onset, pitch) in notes:
                assert notes[onset, pitch][0] is None, "a note is told again only while it is held"
            else:
                assert onset >= before, "no note may come before what was called certain"
            notes[onset, pitch] = [end, velocity]
    limit = listener.seconds
    for onset, end, pitch, velocity, _ in listener.close(limit):
        notes[onset, pitch] = [end, velocity]
    music = decode(close_at(np.append(tokens, np.int16(0)), bos, limit + 0.01))
    assert listener.notes == len(music) > 20
    for onset, end, pitch, velocity in zip(music.onset, music.end, music.pitch, music.velocity, strict=True):
        told_end, told_velocity = notes[round(float(onset), 2), int(pitch)]
        assert told_velocity == velocity
        assert told_end == pytest.approx(end, abs=0.011)


def test_a_held_key_of_the_prime_is_told_when_it_ends(fake: ModuleType) -> None:
    """It keeps the onset that the page has drawn already."""
    music, _ = read_midi(FOLDER / "bach.mid")
    prime = make_prime(music, 6.1, "x")
    shown = opening(prime)
    held = {pitch: (onset, velocity) for onset, end, pitch, velocity, _ in shown["notes"] if end is None}
    assert held, "the test needs a prime that is cut through a note"
    listener = NoteStream(prime.tokens, prime.seconds, held)
    told = listener.close(0.5)
    assert {note[2]: note[0] for note in told} == {pitch: onset for pitch, (onset, _) in held.items()}
    assert all(note[1] == pytest.approx(prime.seconds + 0.5) for note in told)
