"""musicgen as a library: what `import musicgen` gives, with the real tiny weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import musicgen
from musicgen.app import cli
from musicgen.app.errors import BadInput, EnvironmentProblem
from musicgen.data_prep import Performance, encode, read_midi, write_midi

pytestmark = pytest.mark.slow

SHORT = {"seconds": 3, "latents": 64, "context": 256}


@pytest.fixture(scope="module")
def model() -> musicgen.Model:
    return musicgen.load("maestro-tiny")


@pytest.fixture(scope="module")
def piece(model: musicgen.Model) -> musicgen.Piece:
    return model.generate("bach", prime_seconds=4, seed=7, **SHORT)


def test_importing_it_imports_nothing() -> None:
    """In less than 50 ms of the processor (the best of five), and every name is there when asked for."""
    program = (
        "import sys; before = set(sys.modules); import time; began = time.process_time(); import musicgen;"
        "print(time.process_time() - began, *set(sys.modules) - before)"
    )
    ran = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(5)
    ]
    seconds, *modules = min((run.stdout.split() for run in ran), key=lambda words: float(words[0]))
    assert float(seconds) < 0.05
    assert not {name for name in modules if name.startswith(("musicgen.", "numpy", "jax"))}
    assert all(getattr(musicgen, name) is not None for name in musicgen.__all__)
    assert set(musicgen.__all__) <= set(dir(musicgen))
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        musicgen.lode  # noqa: B018


def test_a_piece_is_what_the_command_makes(
    piece: musicgen.Piece, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = "--seconds 3 --latents 64 --context 256 --prime-seconds 4 --seed 7 --quiet"
    assert cli.main(["bach", "--out", "new.mid", "--checkpoint", "maestro-tiny", *options.split()]) == 0
    made, _ = read_midi(Path("new.mid"))
    assert np.allclose(piece.notes, np.stack([made.onset, made.end, made.pitch, made.velocity], axis=1), atol=1e-9)
    piece.save("again.mid")
    assert read_midi(Path("again.mid"))[0].onset.tolist() == made.onset.tolist()
    assert cli.main(["replay", "again.mid", "--quiet"]) == 0
    assert piece.provenance is piece.provenance and piece.provenance.seed == 7


def test_primes_of_every_kind(model: musicgen.Model, music: Performance, tmp_path: Path) -> None:
    """A file, its notes and a piece with the same notes are the same prime; several pieces come at once."""
    write_midi(music, tmp_path / "prime.mid")
    from_file = model.generate(tmp_path / "prime.mid", seed=1, prime_seconds=2, **SHORT)
    notes, _ = read_midi(tmp_path / "prime.mid")
    assert model.generate(notes, seed=1, prime_seconds=2, **SHORT).midi == from_file.midi
    assert model.generate(from_file, seed=1, **SHORT).music.duration > from_file.music.duration
    made = model.generate_many(2, seed=3, **SHORT)
    assert [piece.provenance.sample for piece in made] == [1, 2] and made[0].midi != made[1].midi


def test_files_and_notebooks(piece: musicgen.Piece, tmp_path: Path) -> None:
    for name, head in (("x.wav", b"RIFF"), ("x.svg", b"<svg"), ("x.png", b"\x89PNG"), ("x.mid", b"MThd")):
        assert piece.save(tmp_path / name).read_bytes().startswith(head)
    html = piece._repr_html_()
    assert html.startswith("<svg") and 'src="data:audio/mpeg;base64,' in html and "seed 7" in html
    with pytest.raises(EnvironmentProblem, match="needs a notebook"):
        piece.play()
    with pytest.raises(BadInput, match="must end in .mid"):
        piece.save(tmp_path / "x.doc")


def test_a_score_is_what_evaluate_says(
    model: musicgen.Model, music: Performance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_midi(music, tmp_path / "a.mid")
    options = "--checkpoint maestro-tiny --latents 64 --context 128 --json --quiet"
    assert cli.main(["evaluate", "--midi-dir", str(tmp_path), *options.split()]) == 0
    said = json.loads(capsys.readouterr().out)
    scored = model.score(tmp_path / "a.mid", latents=64, context=128)
    assert vars(scored) == said and 1 < scored.nats_per_token < 6
    assert model.score([tmp_path / "a.mid", music], latents=64, context=128).pieces == 2


def test_logits_are_the_engines(music: Performance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of JAX's engine, which computes with the same floats: the last row is what the next token is drawn from."""
    monkeypatch.setenv("MUSICGEN_BACKEND", "jax")
    model, tokens = musicgen.load("maestro-tiny"), encode(music, bos=True)[:200]
    logits = model.logits(tokens, latents=32, context=128)
    assert logits.shape == (32, model.released.config.vocab_size) and logits.dtype == np.float32
    nats = np.log(np.exp(logits[-1].astype(np.float64)).sum()) - logits[-1]
    engine = model.opened.engine
    for token in (5, 140, 360):
        assert nats[token] == pytest.approx(engine.nats(tokens, token, latents=32, context=128), abs=1e-3)
    assert model.logits(tokens[:10]).shape[0] == 10


@pytest.mark.parametrize(
    "asked, complaint",
    [
        (lambda model: model.generate(seconds=-1), "--seconds must be between 0.01 and 86400"),
        (lambda model: model.generate(tempo=3), "there is no setting tempo"),
        (lambda model: model.generate(num_samples=2), "use generate_many"),
        (lambda model: model.generate(avoid_copies=0), "--avoid-copies must be at least 1"),
        (lambda model: model.generate("no-such.mid"), "no such MIDI file"),
        (lambda model: model.generate_many(0), "--num-samples must be between 1 and 64"),
        (lambda model: model.score([]), "nothing to score"),
        (lambda model: model.score("bach", latents=9, context=4), "latents"),
        (lambda model: model.logits([]), "a row of integers"),
        (lambda model: model.logits([1, 9999]), "a row of integers from 0 to 390"),
        (lambda model: model.logits([1, 5], latents=3), "latents must be between 1"),
        (lambda model: musicgen.load("no-such-weights"), "no checkpoint no-such-weights"),
    ],
)
def test_mistakes_are_one_line(asked, complaint: str, model: musicgen.Model) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(musicgen.BadInput) as error:
        asked(model)
    assert complaint in str(error.value) and "\n" not in str(error.value)


def test_recordings(released: Path, toy: ModuleType, tmp_path: Path) -> None:
    """Sound is continued in the same way, and the function of earlier versions gives the same."""
    from musicgen.app.recording import sounds

    toy.write_sound(tmp_path / "prime.wav", 1.0)
    opened = musicgen.load_audio(released / "model", released / "codec")
    sound = opened.generate(tmp_path / "prime.wav", seconds=0.3, seed=4)
    names = {"checkpoint": str(released / "model"), "codec": str(released / "codec")}
    (again,) = sounds(tmp_path / "prime.wav", seconds=0.3, seed=4, **names)
    assert (sound.samples == again.samples).all() and sound.facts["seed"] == 4
    assert sound.save(tmp_path / "new.wav").stat().st_size > 1000
    assert "audio/mpeg" in sound._repr_html_()
    assert len(opened.generate_many(2, seconds=0.2)) == 2
    with pytest.raises(BadInput, match="use generate_many"):
        opened.generate(num_samples=2)
