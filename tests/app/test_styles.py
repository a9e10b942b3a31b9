"""A kind of music that is asked for: what the model is told, what the file says, who refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen.app import settings
from musicgen.app.cli import main
from musicgen.app.errors import BadInput
from musicgen.app.generate import Model, Request, generate, midi_file, open_model, open_weights
from musicgen.app.prime import Prime, make_prime
from musicgen.app.replay import read_generated, replay
from musicgen.app.settings import Settings
from musicgen.app.styles import styles_of, told
from musicgen.data_prep import BOS, VOCABULARY, VOCABULARY_2
from musicgen.data_prep.rules.preamble import preamble
from musicgen.data_prep.vocabulary import STYLES

from .toy_weights import release_toy

JAZZ = VOCABULARY_2.encode("style", STYLES.index("jazz"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of the second vocabulary, as small as can be."""
    folder = tmp_path_factory.mktemp("weights") / "taught"
    release_toy(folder, VOCABULARY_2)
    return open_model(open_weights(str(folder)))


@pytest.fixture
def read(taught: Model, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The tokens of the first row in each pass that the engine makes."""
    seen: list[list[int]] = []
    prefill = taught.engine.prefill

    def watched(tokens: np.ndarray, start: np.ndarray, **lengths: int) -> Any:
        seen.append(tokens[0, start[0] :].tolist())
        return prefill(tokens, start, **lengths)

    monkeypatch.setattr(taught.engine, "prefill", watched)
    return seen


def made(model: Model, prime: Prime | None, tmp_path: Path, **chosen: Any) -> Path:
    """A file of some seconds."""
    result = generate(Request(Settings.of(**{"seconds": 3.0, **chosen}), prime, seed=5), model)
    assert max(result.samples[0].tokens) < VOCABULARY.size
    out = tmp_path / f"{len(list(tmp_path.iterdir()))}.mid"
    out.write_bytes(midi_file(result.samples[0], None))
    return out


def test_a_kind_that_is_told_follows_the_beginning(taught: Model, read: list[list[int]], tmp_path: Path) -> None:
    """And leads where that is lost; the file says so, and from it come the same bytes."""
    few: dict[str, Any] = {"seconds": 9.0, "latents": 16, "context": 48}
    plain = made(taught, None, tmp_path, **few)
    assert read[0][-2:] == [preamble()[-1], BOS] and not any(JAZZ in row for row in read)
    read.clear()
    jazz = made(taught, None, tmp_path, style="jazz", **few)
    later = [row for row in read if BOS not in row]
    assert read[0][-2:] == [BOS, JAZZ] and later and all(row.index(JAZZ) == 0 for row in later)
    facts = read_generated(jazz)
    assert facts.provenance.settings.style == "jazz" and "style" not in read_generated(plain).provenance.to_json()
    assert replay(facts, None, taught) == jazz.read_bytes() != plain.read_bytes()


def test_a_prime_and_a_kind(taught: Model, read: list[list[int]], piece: Any, tmp_path: Path) -> None:
    """A short prime after its BOS, a long one in front of what is seen of it."""
    short, long = (make_prime(piece(notes, 1), None, "0" * 64) for notes in (3, 80))
    made(taught, short, tmp_path, style="jazz")
    assert read[0][-len(short.tokens) - 1 :] == [BOS, JAZZ, *short.tokens[1:]]
    read.clear()
    made(taught, long, tmp_path, style="jazz")
    assert read[0][0] == JAZZ and read[0][1:] == long.tokens[1 - len(read[0]) :].tolist()


def test_who_refuses(taught: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that names no kind; weights that know none."""
    assert main(["--style", "jaz", "--out", str(tmp_path / "new.mid")]) == 2
    line = capsys.readouterr().err
    assert (
        "cannot be told to make jaz: leave style out, or choose one of classical, jazz" in line
        and line.endswith(" (did you mean jazz?)\n")
        and line.count("\n") == 1
    )
    with pytest.raises(BadInput, match="style must be one of any, classical, jazz, .* not 'a kind'"):
        Settings.of(style="a kind")
    out = str(tmp_path / "new.mid")
    assert main(["--style", "jazz", "--checkpoint", "maestro-tiny", "--out", out, "--quiet"]) == 2
    assert "the weights maestro-tiny cannot be told to make jazz: leave style out" in capsys.readouterr().err
    assert main(["prime.wav", "--style", "jazz", "--out", str(tmp_path / "new.wav")]) == 2
    assert "--style is for MIDI only" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_kinds_are_those_of_the_vocabulary() -> None:
    assert (settings.ANY, *STYLES) == settings.STYLES
    assert styles_of(VOCABULARY_2.to_json()) == STYLES and styles_of(VOCABULARY.to_json()) == ()
    tokens = [told(style, STYLES, "new") for style in settings.STYLES]
    first = VOCABULARY_2.first("style")
    assert tokens == [(), *((first + number,) for number in range(len(STYLES)))]
