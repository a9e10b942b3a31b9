"""Somebody's own pieces, from the folder to weights that generate: the real command, with a toy for a base."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import mido
import numpy as np
import pytest

import musicgen
from musicgen import checkpoints
from musicgen.app import cli
from musicgen.app.evaluation.likelihood import score
from musicgen.app.evaluation.memorisation_report import open_index
from musicgen.app.tuning import job, plan, report
from musicgen.checkpoints.training_files import HASH, read_training_files
from musicgen.data_prep import VOCABULARY, VOCABULARY_2, Performance, write_midi
from musicgen.data_prep.evaluation.memorisation_index import build_index, index_bytes
from musicgen.data_prep.files import locked
from musicgen.data_prep.performance import NO_PEDAL
from musicgen.data_prep.vocabulary import BOS
from musicgen.model import parameters
from musicgen.model.config import ModelConfig
from musicgen.model.training import tune

pytestmark = pytest.mark.slow

TOY = ModelConfig(
    vocab_size=VOCABULARY_2.size,
    width=32,
    heads=2,
    kv_heads=1,
    local_layers=1,
    local_window=16,
    cross_attends=1,
    layers=1,
    widening=2,
    context=64,
    latents=64,
)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of released weights: toy, in four bits, and plain, which knows no kinds."""
    folder = tmp_path_factory.mktemp("shipped")
    rng = np.random.default_rng(0)
    licence = "| | |\n|---|---|\n| Licence | the weights: CC BY-NC-SA 4.0; see below |\n"
    for name, vocabulary, bits in (("toy", VOCABULARY_2, 4), ("plain", VOCABULARY, 8)):
        config = dataclasses.replace(TOY, vocab_size=vocabulary.size)
        params = {
            name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in parameters.shapes(config).items()
        }
        checkpoints.release(folder / name, config, params, vocabulary.to_json(), {}, f"# {name}\n{licence}", bits)
    known = Performance(np.arange(3.0), np.arange(3.0) + 1, np.array([60, 62, 64]), np.full(3, 64), NO_PEDAL)
    (folder / "toy" / "memorisation.npz").write_bytes(index_bytes(build_index([("known.mid", "", known)])))
    return folder


@pytest.fixture(scope="module", autouse=True)
def toys(shipped: Path) -> Iterator[None]:
    """Those weights come with the package; runs are short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "FOLDER", shipped)
        patch.setattr(plan, "RATE", 5e-2 * TOY.width / plan.WIDTH)
        patch.setattr(plan, "FEWEST", 20)
        patch.setattr(plan, "WORK_ON_CPU", 0)
        patch.setattr(report, "SAMPLE_SECONDS", 2.0)
        patch.setattr(report, "PIECES", 2)
        patch.setattr(report, "AT_ONCE", 2)
        patch.setattr(report, "PIECE_SECONDS", 2.0)
        patch.setattr(report, "maestro_sample", lambda: [np.array([1, 60, 259, 188, 2], np.int16)])
        yield


@pytest.fixture
def unplayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is played or compared: what that takes is in the first test."""
    monkeypatch.setattr(report, "write_sample", lambda *given: None)
    monkeypatch.setattr(report, "copies", lambda *given: {"pieces": 2, "copies": 0, "longest": 0})
    monkeypatch.setattr(job, "open_model", lambda released: None)


@pytest.fixture
def unheard(unplayed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything scored."""
    monkeypatch.setattr(report, "nats", lambda *given: {"own": 2.0, "maestro": 2.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, piece: Callable[..., Performance]) -> Path:
    """Twelve pieces, two of them the same, drums, a broken file and something else."""
    folder = tmp_path_factory.mktemp("my-music")
    for seed in range(12):
        write_midi(piece(120, seed), folder / f"{seed:02}.mid")
    shutil.copy(folder / "03.mid", folder / "03 again.mid")
    (folder / "broken.mid").write_bytes(b"MThd nothing")
    (folder / "notes.txt").write_text("a list")
    drums = mido.MidiFile()
    drums.tracks.append(mido.MidiTrack())
    for _ in range(50):
        drums.tracks[0] += [mido.Message("note_on", channel=9, note=38, time=48)]
        drums.tracks[0] += [mido.Message("note_off", channel=9, note=38, time=48)]
    drums.save(folder / "drums.mid")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit code and what stands on stderr."""
    capsys.readouterr()
    code = cli.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


def teach(folder: Path, out: Path, *more: object) -> tuple[object, ...]:
    return ("train", "--from", "toy", "--midi-dir", folder, "--out", out, *more)


def weights_of(out: Path) -> bytes:
    return (out / "model-00001-of-00001.safetensors").read_bytes()


@pytest.fixture(scope="module")
def taught(toys: None, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was taught with seed 3; beside it, in `said`, what the command said."""
    out = tmp_path_factory.mktemp("taught") / "mine"
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert cli.main([str(argument) for argument in teach(folder, out, "--seed", 3)]) == 0, said.getvalue()
    out.with_name("said").write_text(said.getvalue())
    return out


def test_from_a_folder_to_weights(
    folder: Path, taught: Path, shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is used and dropped is told, own music is learnt, and what comes of it is used like any other weights."""
    said = taught.with_name("said").read_text()
    assert "11 pieces" in said and "held out: 1 piece (" in said
    assert "broken.mid: " in said and "drums.mid: " in said and "notes.txt: " in said and "the same music as" in said
    assert "done in " in said and f"musicgen --checkpoint {taught} --out new.mid" in said
    assert not taught.with_name("mine.tuning").exists()
    figures = json.loads((taught / "report" / "report.json").read_text())
    assert figures["after"]["own"] < figures["before"]["own"] - 0.03
    assert figures["before"].keys() == {"own", "maestro"} and figures["copied"]["pieces"] == 2
    for name in ("before.mid", "before.wav", "after.mid", "after.wav"):
        assert (taught / "report" / name).stat().st_size > 100
    card = (taught / "CARD.md").read_text()
    assert "derived: CC BY-NC-SA 4.0; and whatever" in card and "before | after" in card
    assert "copies" in figures["copied"]

    base, mine = checkpoints.load("toy"), checkpoints.load(taught)
    assert (base.bits, mine.bits) == (4, 8) and mine.about["base"]["sha256"] == base.sha256
    assert mine.name == "mine" and mine.sha256 != base.sha256
    assert len(read_training_files(taught)) == 11
    made = ("--checkpoint", taught, "--seconds", 2, "--seed", 1, "--avoid-copies", 32, "--quiet")
    assert run(capsys, *made, "--out", tmp_path / "new.mid")[0] == 0
    names = open_index(None, str(taught)).names
    assert len(names) == 12 and names[-1] == "known.mid"  # what the base learnt from, too

    code, said = run(capsys, *teach(folder, taught, "--seed", 3))
    assert code == 0 and "is finished; try it" in said
    code, said = run(capsys, *teach(folder, taught, "--seed", 4))
    assert code == 2 and "is of other settings (seed 3, not 4): give a new folder" in said


@pytest.mark.usefixtures("unheard")
def test_a_kill_and_the_same_seed(
    folder: Path, taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle and gone on with, the bytes are those of the run that was not; a state that is torn is
    none."""
    out, kept = tmp_path / "mine", tune.check
    calls: list[int] = []

    def stopped(*given: object) -> tuple[tune.State, float]:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return kept(*given)  # type: ignore[arg-type]

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(tune, "check", stopped)
    code, said = run(capsys, *teach(folder, out, "--seed", 3))
    assert code == 130 and "stopped; run the same command again to go on" in said and not out.exists()
    assert len(calls) == 3
    code, said = run(capsys, *teach(folder, out, "--seed", 3))
    assert code == 0 and len(calls) in (9, 10)  # the third, where it was left, is made again
    assert weights_of(out) == weights_of(taught)
    assert checkpoints.load(out).sha256 == checkpoints.load(taught).sha256
    lines: list[str] = []
    model = musicgen.load("toy").tune(folder, tmp_path / "again", seed=3, say=lines.append)
    assert (model.name, model.sha256) == ("again", checkpoints.load(taught).sha256) and "done in" in lines[-1]
    state = tune.read_state(out / "none", fresh := tune.State(0, {}, (), {}, 1.0, 0))
    assert state == fresh


@pytest.mark.usefixtures("unplayed")
def test_a_new_kind_of_music(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its token alone is taught: the base answers as before unless it is told, and keeps its four bits."""
    out = tmp_path / "mine"
    code, said = run(capsys, *teach(folder, out, "--style", "ragtime"))
    assert code == 0 and f"musicgen --checkpoint {out} --style ragtime --out new.mid" in said, said
    figures = json.loads((out / "report" / "report.json").read_text())
    assert figures["after"]["own"] != figures["before"]["own"]  # the style is told
    assert figures["after"]["maestro"] == figures["before"]["maestro"]  # it is not
    base, mine = checkpoints.load("toy"), checkpoints.load(out)
    token = VOCABULARY_2.encode("style", 5)
    piece = np.arange(60, 79, dtype=np.int16)
    logits = musicgen.load(str(out)).logits([BOS, token, *piece[:-1]], latents=20)[1:, : VOCABULARY.size]
    wanted = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(19), piece]
    scored = score(mine, [np.concatenate([[BOS], piece]).astype(np.int16)], latents=20, style_token=token)
    assert scored is not None and scored.tokens == 19
    np.testing.assert_allclose(scored.nats_per_token, wanted.mean(), atol=1e-3)
    changed = [name for name in base.weights if not np.array_equal(base.weights[name], mine.weights[name])]
    assert changed == ["embedding"] and mine.bits == 4
    assert np.flatnonzero((base.weights["embedding"] != mine.weights["embedding"]).any(axis=1)).tolist() == [token]
    made = ("--checkpoint", out, "--seconds", 2, "--seed", 1, "--quiet")
    assert run(capsys, *made, "--style", "ragtime", "--out", tmp_path / "new.mid")[0] == 0
    code, said = run(capsys, *made, "--style", "ragtimes", "--out", tmp_path / "new.mid")
    assert code == 2 and "cannot be told to make ragtimes: " in said and "roll, ragtime" in said
    for style, why in (("jazz", "give a new name"), ("a b", "give a new name")):
        code, said = run(capsys, *teach(folder, tmp_path / "other", "--style", style))
        assert code == 2 and why in said
    code, said = run(capsys, "train", "--from", "plain", "--midi-dir", folder, "--out", out, "--style", "blues")
    assert code == 2 and "plain knows no kinds of music" in said


def test_folders_of_all_kinds(
    folder: Path, taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], piece: Callable[..., Performance]
) -> None:
    """Each has its one line: nothing there, nothing of use, too little; what is known already is named."""
    mine, out = tmp_path / "mine", tmp_path / "out"

    def said_of() -> str:
        code, said = run(capsys, *teach(mine, out))
        assert code == 2 and "\n" not in said[said.index("musicgen: error") :].strip(), said
        return said

    (tmp_path / "others").mkdir()
    write_midi(piece(20, 2), tmp_path / "others" / "other.mid")
    assert run(capsys, *teach(tmp_path / "others", out))[0] == 2
    assert not (tmp_path / "out.tuning").exists()  # so that another folder can be given
    assert "is not a folder" in said_of()
    mine.mkdir()
    assert "no .mid, " in said_of()
    shutil.copy(folder / "drums.mid", mine)
    assert "too little music to learn from (a minute at least); drums.mid: " in said_of()
    write_midi(piece(20, 1), mine / "short.mid")
    assert "too little music" in said_of()
    (out / "x").mkdir(parents=True)
    assert "holds something else: give a new folder" in said_of()
    shutil.rmtree(out)
    code, said = run(capsys, *teach(mine, mine / "model"))
    assert code == 2 and "lies in --midi-dir" in said and not (mine / "model").exists()
    (tmp_path / "out.tuning").mkdir(exist_ok=True)
    with locked(tmp_path / "out.tuning" / ".lock"):
        assert "another run is writing" in said_of()
    code, said = run(capsys, "train", "--from", taught, "--midi-dir", mine, "--out", out)
    assert code == 2 and "give weights that come with the package, plain or toy" in said


@pytest.mark.usefixtures("unheard")
def test_one_file(
    tmp_path: Path,
    piece: Callable[..., Performance],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last tenth is held out; it is named where the base, or who tests with MAESTRO, knows it."""
    mine, out = tmp_path / "mine", tmp_path / "out"
    mine.mkdir()
    write_midi(piece(400, 1), mine / "one.mid")
    digest = hashlib.sha256((mine / "one.mid").read_bytes()).hexdigest()[:HASH]
    monkeypatch.setattr("musicgen.app.tuning.music.read_training_files", lambda *given: frozenset([digest]))
    code, said = run(capsys, *teach(mine, out))
    assert code == 0 and "the last tenth of it held out" in said
    assert "toy knows one.mid: " in said and "one.mid is of MAESTRO's validation or test split" in said
    assert "must not be scored there" in (out / "CARD.md").read_text()


def test_a_base_that_is_not_here(taught: Path, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters belong to weights of one hash: others of that name are refused, and so is none."""
    other = tmp_path / "shipped"
    shutil.copytree(shipped, other)
    base = checkpoints.load("toy")
    params = {name: x + 0.01 for name, x in base.params.items()}
    checkpoints.release(other / "toy", base.config, params, base.tokenizer, {}, "# Toy\n", 4)
    monkeypatch.setattr(checkpoints, "FOLDER", other)
    with pytest.raises(checkpoints.CheckpointError, match=r"belongs to the weights toy .*, and toy is .* here"):
        checkpoints.load(taught)
    shutil.rmtree(other / "toy")
    with pytest.raises(checkpoints.CheckpointError, match="needs the weights that it was taught to: no checkpoint toy"):
        checkpoints.load(taught)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "toy"), "--from needs --midi-dir DIR"),
        (("--midi-dir", "x"), "--midi-dir teaches weights your own music: give --from piano"),
        (("--preset", "toy"), "give --from piano --midi-dir DIR to teach it your own pieces, or --preset"),
        (("--from", "toy", "--midi-dir", "x", "--steps", "3"), "--steps does not go with --from"),
        (("--from", "toy", "--midi-dir", "x", "--preset", "tiny"), "--preset does not go with --from"),
    ],
)
def test_what_cannot_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, said = run(capsys, "train", *arguments, "--out", tmp_path / "out")
    assert code == 2 and message in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../taught/mine"}, "needs the weights that it was taught to"),
        ({"name": 3}, "needs the weights that it was taught to"),
        ({"sha256": "0"}, "belongs to the weights toy 0, and toy is"),
        ({"style_token": 10**6}, "is not one this version reads"),
        (None, "is not one this version reads"),
    ],
)
def test_adapters_from_strangers(taught: Path, tmp_path: Path, change: dict[str, object] | None, message: str) -> None:
    """What they say of their base is read as any other stranger's word: one line, and no file is opened for it."""
    other = tmp_path / "other"
    shutil.copytree(taught, other)
    config = json.loads((other / "config.json").read_text())
    config["base"] = {**config["base"], **change} if change is not None else None
    (other / "config.json").write_text(json.dumps(config))
    checkpoints.write_sums(other)
    if change == {"style_token": 10**6}:
        trained = {"embedding.style": np.zeros(TOY.width, np.float16)}
        documents = {name: json.loads((other / name).read_text()) for name in ("config.json", "tokenizer.json")}
        checkpoints.write(other, trained, documents, "# Other\n")
    with pytest.raises(checkpoints.CheckpointError, match=message):
        checkpoints.load(other)
