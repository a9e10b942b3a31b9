"""`from musicgen.app import generate` in a Python program; the documents' examples are run in tests/docs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from musicgen.app import generate
from musicgen.app.errors import BadInput
from musicgen.data_prep import read_midi


@pytest.fixture
def fake_weights(fake: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No model, and a folder of one's own with a prime in it."""
    monkeypatch.setattr(generate, "open_weights", lambda checkpoint: None)
    monkeypatch.setattr(generate, "open_model", lambda released: fake.fake_model())
    monkeypatch.chdir(tmp_path)
    generate._kept_model.cache_clear()
    yield
    generate._kept_model.cache_clear()


def test_pieces(fake_weights: None, prime_file: Path) -> None:
    """As many as asked for, each a whole file that says how it was made; the seed decides."""
    made = generate.pieces(prime_file, seconds=3, num_samples=2, seed=5)
    assert len(made) == 2 and made[0].midi != made[1].midi
    assert [piece.midi for piece in generate.pieces(prime_file, seconds=3, num_samples=2, seed=5)] == [
        piece.midi for piece in made
    ]
    music, _ = read_midi(made[1].midi)
    assert len(music) == len(made[1].music) and made[1].facts.sample == 2
    with pytest.raises(BadInput, match="there is no setting tempo"):
        generate.pieces(tempo=120)
    with pytest.raises(BadInput, match="no such MIDI file"):
        generate.pieces("mozart")
