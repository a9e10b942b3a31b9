"""The command with the real engine and real (small, untrained) weights, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.app.bundled import find_prime
from musicgen.app.prime import read_prime
from musicgen.data_prep import VOCABULARY, VOCABULARY_2, encode, read_midi

from .toy_weights import release_toy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights as `musicgen train` leaves it; the model is as small as can be and knows nothing."""
    folder = tmp_path_factory.mktemp("weights") / "little"
    release_toy(folder, VOCABULARY)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled functions shared by the processes of this module."""
    return tmp_path_factory.mktemp("cache")


def run(folder: Path, cache: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The real command."""
    return subprocess.run(
        [sys.executable, "-m", "musicgen.app", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_piece_and_its_replay(tmp_path: Path, weights: Path, cache: Path) -> None:
    """Prime, two samples, sound and JSON; then, in another process, the same bytes from the file alone."""
    options = ["--seconds", "6", "--prime-seconds", "5", "--num-samples", "2", "--seed", "11", "--json", "--checkpoint"]
    done = run(tmp_path, cache, "bach", "--out", "new.mid", "--audio", "new.ogg", *options, weights)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seed"] == 11 and told["checkpoint"] == "little" and told["tokens"] > 20
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["new-1.mid", "new-1.ogg", "new-2.mid", "new-2.ogg"]
    prime, _ = read_prime(find_prime("bach"), 5.0)
    for name in ("new-1.mid", "new-2.mid"):
        music, _ = read_midi(tmp_path / name)
        assert music.duration <= prime.seconds + 6.02
        # What the file says, read back and encoded, begins with what the model was given.
        assert np.array_equal(encode(music, bos=True)[: len(prime.tokens)], prime.tokens)
    again = run(tmp_path, cache, "replay", "new-2.mid", "--out", "again.mid", "--checkpoint", weights)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.mid").read_bytes() == (tmp_path / "new-2.mid").read_bytes()
    lost = run(tmp_path, cache, "replay", "new-2.mid")
    assert lost.returncode == 2 and "give their folder with --checkpoint" in lost.stderr


def test_pieces_that_end(tmp_path: Path, weights: Path, cache: Path) -> None:
    """With the rules compiled: both rows end in their time, in silence, and replay makes the same bytes."""
    options = ["--seconds", "4", "--num-samples", "2", "--seed", "3", "--end", "--json", "--checkpoint", weights]
    done = run(tmp_path, cache, "--out", "new.mid", *options)
    assert done.returncode == 0, done.stderr
    assert "without an index of their training set" in done.stderr
    told = json.loads(done.stdout)
    assert len(told["ended"]) == 2 and all(2 <= seconds <= 14 for seconds in told["ended"])
    for number, seconds in enumerate(told["ended"], start=1):
        music, _ = read_midi(tmp_path / f"new-{number}.mid")
        assert music.duration <= seconds + 1e-3 and music.onset.max() < 4.02
    again = run(tmp_path, cache, "replay", "new-2.mid", "--checkpoint", weights)
    assert again.returncode == 0, again.stderr


def refused(folder: Path, cache: Path, checkpoint: object, code: int) -> str:
    """The one line of a refusal; nothing is written."""
    done = run(folder, cache, "--out", "new.mid", "--seconds", 2, "--quiet", "--checkpoint", checkpoint)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("musicgen: error: ")
    assert not (folder / "new.mid").exists()
    return done.stderr


def test_unknown_checkpoint(tmp_path: Path, cache: Path) -> None:
    """Neither a name nor a folder."""
    assert "no checkpoint mozart" in refused(tmp_path, cache, "mozart", 2)


@pytest.mark.parametrize("name", ["model-00001-of-00001.safetensors", "config.json", "tokenizer.json", "SHA256SUMS"])
def test_corrupted_weights(tmp_path: Path, weights: Path, cache: Path, name: str) -> None:
    """One flipped bit in any file is noticed before anything is generated."""
    copy = tmp_path / "little"
    copy.mkdir()
    for path in weights.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    line = refused(tmp_path, cache, copy, 2)  # a person's own: those that come with the package are 1
    assert "little" in line and "install the weights again" in line


def test_weights_of_the_second_vocabulary(tmp_path: Path, cache: Path) -> None:
    """In four bits: a piece without a token of gaps or styles, its replay, and a score over the ids of plain music."""
    folder = tmp_path / "second"
    release_toy(folder, VOCABULARY_2, logits=0.0, bits=4)
    done = run(tmp_path, cache, "bach", "--out", "new.mid", "--seconds", 4, "--json", "--checkpoint", folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["notes"] > 0
    done = run(tmp_path, cache, "replay", "new.mid", "--out", "again.mid", "--checkpoint", folder)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again.mid").read_bytes() == (tmp_path / "new.mid").read_bytes()
    done = run(tmp_path, cache, "evaluate", "--midi-dir", tmp_path, "--json", "--checkpoint", folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["nats_per_token"] == pytest.approx(np.log(VOCABULARY.size))  # and not of 448 ids


def test_weights_of_another_vocabulary(tmp_path: Path, weights: Path, cache: Path) -> None:
    """Valid checksums, but the integers mean something else."""
    copy = tmp_path / "little"
    copy.mkdir()
    for path in weights.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["steps_per_second"] = 50
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    checkpoints.write_sums(copy)
    assert "another vocabulary" in refused(tmp_path, cache, copy, 2)


def test_more_context_than_the_model_has(tmp_path: Path, weights: Path, cache: Path) -> None:
    """Four times the model's own N is the limit."""
    done = run(tmp_path, cache, "--out", "new.mid", "--quiet", "--checkpoint", weights, "--context", 385)
    assert done.returncode == 2 and "(384)" in done.stderr


def test_bench_measures(tmp_path: Path, weights: Path, cache: Path) -> None:
    """One setting of the dials, with its speed."""
    options = ["bench", "--json", "--seconds", "0.1", "--latents", "32", "--context", "96", "--checkpoint"]
    done = run(tmp_path, cache, *options, weights)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (row,) = told["settings"]
    assert row["tokens_per_second"] > 0 and (row["latents"], row["context"]) == (32, 96)
    assert told["checkpoint"] == "little"


def test_both_engines_fill_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fills within the rules, and rates the real passage, its own fill and the other's as the other does."""
    from musicgen.app.fill import fill, request_fill
    from musicgen.app.fill_score import nats_a_note
    from musicgen.app.generate import open_model, open_weights

    release_toy(tmp_path / "second", VOCABULARY_2, logits=3.0)
    data = find_prime("bach").read_bytes()
    models, music = [], [read_midi(data)[0]]
    for name in ("onnxruntime", "jax"):
        monkeypatch.setenv("MUSICGEN_BACKEND", name)
        models.append(open_model(open_weights(str(tmp_path / "second"))))
        assert name in models[-1].backend
        made = fill(request_fill(data, start=4, stop=5, seed=1), models[-1]).fills[0]
        assert all(4 <= note.onset < 5 and note.end <= 7.001 for note in made.notes)
        music.append(made.music)
    for one in music:
        ours, theirs = (nats_a_note(model.engine, one, 4, 5) for model in models)
        assert ours == pytest.approx(theirs, rel=0.01)
