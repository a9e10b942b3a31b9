"""`musicgen prep` as a command: it hands over to data_prep.prep and tells what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from musicgen.app import cli
from musicgen.app.commands import prep as prep_command
from musicgen.checkpoints import codec_release
from musicgen.data_prep import Performance, write_midi
from musicgen.data_prep.audio import SAMPLE_RATE, to_float
from musicgen.data_prep.dataset import prep
from musicgen.data_prep.dataset.audio_shards import AudioSet
from musicgen.data_prep.dataset.codes import CodeSet
from musicgen.data_prep.dataset.manifest import JobState
from musicgen.model import parameters
from musicgen.model.codec.config import CODEC_PRESETS
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.codec.streaming import StreamingEncoder


@pytest.fixture
def folder(tmp_path: Path, piece: Callable[..., Performance]) -> Path:
    """Three pieces, a file that is none, and one whose name does not tell."""
    source = tmp_path / "midi"
    source.mkdir()
    for seed in range(3):
        write_midi(piece(20, seed), source / f"{seed}.mid")
    (source / "noise.mid").write_bytes(b"noise")
    (source / "song.txt").write_bytes((source / "0.mid").read_bytes())
    return source


def test_report_and_restart(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts per split, what was left out and why; the second run keeps everything."""
    command = ["prep", "--midi-dir", str(folder), "--out", str(tmp_path / "data"), "--workers", "0"]
    assert cli.main(command) == 0
    text = capsys.readouterr()
    assert text.out == "" and "noise.mid: this is not a Standard MIDI File" in text.err
    assert cli.main([*command, "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert captured.err == ""
    assert sum(split["pieces"] for split in told["splits"].values()) == 3
    assert [item["name"] for item in told["rejected"]] == ["noise.mid", "song.txt"]
    assert "song.txt: its name does not end in .mid, .midi, .kar, .smf or .rmi" in text.err
    assert told["shards_kept"] == told["shards"] > 0


def test_a_foreign_folder_is_not_touched(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out on top of somebody's files: bad input, and they are still there."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    assert cli.main(["prep", "--midi-dir", str(folder), "--out", str(precious)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]


def test_a_runner_is_an_extra(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for but absent: exit code 1 and the command that installs it."""
    for runner, module, package in (("direct", "apache_beam", "apache-beam"), ("dask", "distributed", "dask")):
        monkeypatch.setitem(sys.modules, module, None)  # it cannot be imported
        command = ["prep", "--midi-dir", str(folder), "--out", str(tmp_path / "data"), "--runner", runner]
        assert cli.main(command) == 1
        assert f'pip install "{package}>=' in capsys.readouterr().err
        assert not (tmp_path / "data").exists()


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three recordings, one of them in the test split, a copy and a file that is none."""
    soundfile = pytest.importorskip("soundfile")
    source = tmp_path / "audio"
    source.mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).uniform(-0.5, 0.5, SAMPLE_RATE * (1 + i))
        soundfile.write(source / f"{i}.wav", noise, SAMPLE_RATE, "PCM_16")
    (source / "copy.wav").write_bytes((source / "0.wav").read_bytes())
    (source / "noise.wav").write_bytes(b"noise")
    rows = "".join(f"{name}.wav,{split}\n" for name, split in SPLITS.items())
    (source / "splits.csv").write_text("audio_filename,split\n" + rows)
    return source


SPLITS = {"0": "train", "1": "train", "2": "test", "copy": "train", "noise": "train"}


@pytest.fixture
def toy_codec(tmp_path: Path) -> Path:
    """A released codec that has learnt nothing."""
    config = CODEC_PRESETS["toy-mdct"]
    params = {name: np.asarray(x) for name, x in parameters.initial(config, 0, SoundStream).items()}
    codec_release.release(tmp_path / "codec", config, params, {}, "# toy\n")
    return tmp_path / "codec"


@pytest.mark.slow
def test_audio_and_its_codes(
    recordings: Path, toy_codec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data set of audio, and with --codec that of codes beside it; the second run keeps both."""
    out = tmp_path / "data"
    command = ["prep", "--audio-dir", str(recordings), "--csv", str(recordings / "splits.csv"), "--out", str(out)]
    command += ["--workers", "0"]
    assert cli.main([*command, "--json"]) == 0
    text = capsys.readouterr()
    told = json.loads(text.out)
    assert told["splits"]["train"] == {"recordings": 2, "seconds": 3.0} and "codes" not in told
    assert [item["name"] for item in told["rejected"]] == ["copy.wav", "noise.wav"]
    assert "copy.wav: the same sound as 0.wav" in text.err
    assert [AudioSet(out, "train").name(i) for i in range(2)] == ["0.wav", "1.wav"]

    command += ["--codec", str(toy_codec), "--json", "--quiet"]
    assert cli.main(command) == 0
    text = capsys.readouterr()
    told = json.loads(text.out)
    assert text.err == "" and told["shards_kept"] == told["shards"]
    assert told["codes"]["out"] == str(out / "codes") and told["codes"]["shards_kept"] == 0
    assert told["codes"]["splits"]["test"]["recordings"] == 1

    released, sound = codec_release.load(toy_codec), AudioSet(out, "test")
    encoder = StreamingEncoder(released.config, {name: jnp.asarray(x) for name, x in released.params.items()})
    alone = encoder.push(np.pad(to_float(sound.samples(0)), (0, -len(sound.samples(0)) % released.config.hop)))
    codes = CodeSet(out / "codes", "test")
    assert codes.manifest["codec_sha256"] == released.sha256 and codes.codes(0).shape == alone.shape
    assert np.mean(codes.codes(0) == alone) > 0.99  # sums in another order now and then find another nearest entry

    assert cli.main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["codes"]["shards_kept"] == told["codes"]["shards"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--midi-dir", "x", "--codec", "piano"], "--codec encodes audio: give --audio-dir, or leave it out"),
        (["--audio-dir", "{folder}", "--codec", "tuba"], "no codec tuba: give one"),
        (["--audio-dir", "nowhere"], "nowhere is not a folder: give the folder that holds the audio files"),
        (["--audio-dir", "{folder}", "--csv", "{folder}/splits.csv.no"], "splits.csv.no does not exist"),
    ],
)
def test_audio_that_cannot_be_prepared(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    """One line, exit code 2, and nothing is written."""
    given = [option.format(folder=recordings) for option in options]
    assert cli.main(["prep", *given, "--out", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert not (tmp_path / "data").exists()


def table(path: Path, *rows: str, columns: str = "midi_filename,split") -> Path:
    """A csv of splits."""
    path.write_text("\n".join((columns, *rows)) + "\n")
    return path


def prepared(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit code of `prep` and what stands on stderr."""
    code = cli.main(["prep", *map(str, arguments), "--workers", "0"])
    return code, capsys.readouterr().err


def test_the_csv_of_a_data_set_is_found(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The splits are its, and a line says so; a csv of something else does not matter."""
    table(folder / "notes.csv", "a,b", columns="bar,beat")
    named = table(folder / "set.csv", "0.mid,test", "1.mid,validation", "2.mid,train", "noise.mid,train")
    code, said = prepared(capsys, "--midi-dir", folder, "--out", tmp_path / "data")
    assert code == 0 and f"the splits are those of {named}" in said
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert {item["name"]: item["split"] for item in manifest["items"]} == {
        "0.mid": "test",
        "1.mid": "validation",
        "2.mid": "train",
    }


def test_a_csv_that_does_not_fit_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of several, one beside the folder or within it: nobody's test pieces become training data unasked."""
    out = ("--out", tmp_path / "data")
    first = table(folder / "one.csv", "0.mid,test", "1.mid,test", "2.mid,test", "noise.mid,test")
    table(folder / "two.csv", "0.mid,train")
    code, said = prepared(capsys, "--midi-dir", folder, *out)
    assert code == 2 and "several csv with splits (one.csv, two.csv): choose with --csv" in said
    (folder / "two.csv").unlink()
    code, said = prepared(capsys, "--midi-dir", tmp_path, *out)
    assert code == 2 and f"{first} says which of these files are in which split: give its folder, {folder}" in said
    first.unlink()
    above = table(tmp_path / "above.csv", "midi/0.mid,test", "midi/1.mid,test", "elsewhere/2.mid,train")
    code, said = prepared(capsys, "--midi-dir", folder, *out)
    assert code == 2 and f"{above} says which" in said and not (tmp_path / "data").exists()
    table(above, "elsewhere/2.mid,train")
    assert prepared(capsys, "--midi-dir", folder, *out)[0] == 0


def test_another_source_is_refused(
    folder: Path, tmp_path: Path, piece: Callable[..., Performance], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever its files are called; the data set stays as it is, and a folder that has grown is no other."""
    out = tmp_path / "data"
    assert prepared(capsys, "--midi-dir", folder, "--out", out)[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    other = tmp_path / "other"
    other.mkdir()
    for seed in range(3):
        write_midi(piece(20, seed + 10), other / f"{seed}.mid")
    code, said = prepared(capsys, "--midi-dir", other, "--out", out)
    assert code == 2 and "was made from other files" in said and said.count("\n") == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    write_midi(piece(20, 3), folder / "3.mid")
    assert prepared(capsys, "--midi-dir", folder, "--out", out)[0] == 0


def test_two_jobs_do_not_share_a_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While the first is at work the second is refused, and leaves no trace."""
    out = tmp_path / "data"
    with JobState(out, {}).alone():
        code, said = prepared(capsys, "--midi-dir", folder, "--out", out)
        assert code == 2 and f"another job is making {out}" in said and said.count("\n") == 1
        assert [path.name for path in out.iterdir()] == [".lock"]
    assert prepared(capsys, "--midi-dir", folder, "--out", out)[0] == 0


ADDRESSES = ("hdfs://host/set", "HDFS://host/set", "gs:/bucket", "s3:", "s3:set", "s3:///set", "swift:/set")


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Those that no store has, as source and as target, in one line; no folder of that name is made."""
    monkeypatch.chdir(tmp_path)
    for arguments in (("--midi-dir", folder, "--out", address), ("--midi-dir", address, "--out", "data")):
        code, said = prepared(capsys, *arguments)
        assert code == 2 and f"{address} is an address" in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["midi"]


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_stopped_it_says_how_to_go_on(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stop: BaseException,
    code: int,
) -> None:
    """Ctrl-C and SIGTERM: what is finished is kept, and the next run takes it up."""
    write = prep.write_shard

    def write_one(*given: Any) -> dict[str, Any]:
        if list((tmp_path / "data").glob("*.npz")):
            raise stop
        return write(*given)

    command = ("--midi-dir", folder, "--out", tmp_path / "data", "--csv", table(tmp_path / "two.csv", *TWO_SPLITS))
    monkeypatch.setattr(prep, "write_shard", write_one)
    assert prepared(capsys, *command) == (code, "musicgen: stopped; run the same command again to go on\n")
    monkeypatch.undo()
    assert "(1 were there already)" in prepared(capsys, *command)[1]


TWO_SPLITS = ("0.mid,test", "1.mid,train", "2.mid,train", "noise.mid,train")


def test_several_corpora(
    folder: Path, tmp_path: Path, piece: Callable[..., Performance], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with the csv in it, if there is one; the report tells what each of them holds."""
    more = tmp_path / "more"
    more.mkdir()
    write_midi(piece(20, 9), more / "one.mid")
    named = table(more / "more.csv", "one.mid,train")
    both = ("--midi-dir", folder, "--midi-dir", more, "--out", tmp_path / "data")
    code, said = prepared(capsys, *both, "--style", "jazz", "--style", "pop")
    assert code == 0 and f"the splits are those of {named}" in said
    assert "  midi (jazz): " in said and "  more (pop): 1 train, 0 validation, 0 test pieces, 0.0 h" in said
    assert "midi/noise.mid: this is not" in said
    told = json.loads((tmp_path / "data" / "manifest.json").read_text())["sources"]
    assert cli.main(["prep", *map(str, both), "--json", "--quiet"]) == 0
    again = json.loads(capsys.readouterr().out)["sources"]
    assert {name: source["splits"] for name, source in again.items()} == {name: x["splits"] for name, x in told.items()}

    for options, message in (
        (("--csv", named), "there are 2 folders, and --csv is given 1 time: give one for each folder"),
        (("--style", "pop"), "there are 2 folders, and --style is given 1 time"),
        (("--style", "rock", "--style", "pop"), "invalid choice: 'rock'"),
    ):
        code, said = prepared(capsys, *both, *options)
        assert code == 2 and message in said and said.count("\n") == 1
    code, said = prepared(capsys, "--audio-dir", folder, "--style", "pop", "--out", tmp_path / "sound")
    assert code == 2 and "--style is for MIDI files" in said


def test_one_is_not_several(capsys: pytest.CaptureFixture[str]) -> None:
    """In the report: a shard, a piece, a file."""
    totals = {"pieces": 1, "notes": 300, "tokens": 1, "seconds": 60.0}
    rejected = [{"name": "a.mid", "reason": "it is empty"}]
    prep_command._print_report(
        {
            "out": "set",
            "splits": {"test": totals},
            "shards": 1,
            "shards_kept": 0,
            "wall_seconds": 1.0,
            "rejected": rejected,
        }
    )
    told = capsys.readouterr().err
    assert "set: 1 shard in" in told and "1 file is not in it" in told
    assert " 1 piece  " in told and " 300 notes " in told and " 1 token  " in told
