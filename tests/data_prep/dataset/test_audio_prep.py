"""The audio job: the same bytes whoever makes them, restartable, one bad file never ends it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from other_files import other

from musicgen.data_prep.audio import SAMPLE_RATE, read_audio, to_int16
from musicgen.data_prep.dataset import audio_prep
from musicgen.data_prep.dataset.audio_shards import CHUNK, AudioSet, Crops
from musicgen.data_prep.dataset.shards import ShardError
from musicgen.data_prep.errors import PrepError


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven recordings of different lengths and formats and a csv as MAESTRO's.  Read only."""
    folder = tmp_path_factory.mktemp("audio")
    lines = ["canonical_title,split,midi_filename,audio_filename"]
    for i in range(7):
        path = folder / str(2008 + i % 2) / f"piece {i}{('.wav', '.flac')[i % 2]}"
        path.parent.mkdir(exist_ok=True)
        seconds = (3.0, 10.0, 12.5)[i % 3]
        noise = np.random.default_rng(i).uniform(-0.5, 0.5, round(seconds * SAMPLE_RATE))
        soundfile.write(path, noise, SAMPLE_RATE, "PCM_16")
        split = "test" if i == 6 else "train"
        lines.append(f"x,{split},{i}.midi,{path.relative_to(folder).as_posix()}")
    (folder / "splits.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def undisturbed(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set") / "out"
    report = audio_prep.run(music, out, csv=music / "splits.csv", workers=0)
    assert (report.shards, report.shards_kept, len(report.rejected)) == (3, 0, 0)
    return out


def test_what_comes_out_is_what_went_in(music: Path, undisturbed: Path) -> None:
    train = AudioSet(undisturbed, "train")
    assert [train.name(i) for i in range(len(train))] == sorted(
        path.relative_to(music).as_posix() for path in music.glob("*/*") if "6" not in path.name
    )
    for i in range(len(train)):
        np.testing.assert_array_equal(train.samples(i), to_int16(read_audio(music / train.name(i))))
    assert len(AudioSet(undisturbed, "test")) == 1
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    assert manifest["splits"]["train"] == {"recordings": 6, "seconds": 51.0}
    assert np.load(undisturbed / "test-00000.npy").shape == (1, CHUNK)


def test_workers_do_not_change_a_byte(music: Path, undisturbed: Path, tmp_path: Path) -> None:
    audio_prep.run(music, tmp_path / "two", csv=music / "splits.csv", workers=2)
    assert contents(tmp_path / "two") == contents(undisturbed)


@pytest.mark.slow
def test_beam_does_not_change_a_byte(music: Path, undisturbed: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam")
    audio_prep.run(music, tmp_path / "beam", csv=music / "splits.csv", runner="direct")
    assert contents(tmp_path / "beam") == contents(undisturbed)


@pytest.mark.parametrize("damage", ["no record", "cut off", "flipped", "no manifest", "left over"])
def test_only_what_is_missing_is_made_again(music: Path, undisturbed: Path, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "set"
    shutil.copytree(undisturbed, out)
    shard = out / "train-00000.npy"
    if damage == "no record":
        (out / "train-00000.json").unlink()
    elif damage == "cut off":
        shard.write_bytes(shard.read_bytes()[:-1000])
    elif damage == "flipped":
        shard.write_bytes(shard.read_bytes()[:-1] + b"\x55")
    elif damage == "no manifest":
        (out / "manifest.json").write_text("{")
    else:
        (out / "train-00007.npy").write_bytes(b"of a longer list")
        (out / "train-00000.npy.123.tmp").write_bytes(b"of a killed run")
    report = audio_prep.run(music, out, csv=music / "splits.csv", workers=0)
    assert report.shards_kept == (3 if damage in ("no manifest", "left over") else 2)
    assert contents(out) == contents(undisturbed)


def test_a_changed_file_is_read_again(music: Path, undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(music, tmp_path / "music")
    shutil.copytree(undisturbed, tmp_path / "set")
    changed = tmp_path / "music" / "2008" / "piece 0.wav"
    soundfile.write(changed, np.random.default_rng(9).uniform(-0.1, 0.1, SAMPLE_RATE), SAMPLE_RATE, "PCM_16")
    report = audio_prep.run(tmp_path / "music", tmp_path / "set", csv=music / "splits.csv", workers=0)
    assert report.shards_kept == 2
    assert AudioSet(tmp_path / "set", "train").items[0]["seconds"] == 1.0


def test_bad_files_and_copies_are_listed_and_the_rest_goes_on(music: Path, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    shutil.copytree(music / "2008", folder)
    (folder / "list.wav").write_text("milk, eggs")
    soundfile.write(folder / "quiet.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    shutil.copy(folder / "piece 0.wav", folder / "another name.wav")
    spoilt = np.full(15 * SAMPLE_RATE, 0.3)
    spoilt[-1] = np.nan  # a row is written before this shows
    soundfile.write(folder / "nan.wav", spoilt, SAMPLE_RATE, "FLOAT")
    report = audio_prep.run(folder, tmp_path / "set", workers=0)
    reasons = {entry["name"]: entry["reason"] for entry in json.loads((tmp_path / "set/rejects.json").read_text())}
    assert set(reasons) - {"piece 0.wav", "another name.wav"} == {"list.wav", "nan.wav", "quiet.wav"}
    assert sum("the same sound as" in reason for reason in reasons.values()) == 1
    assert all("\n" not in reason for reason in reasons.values())
    sets = [AudioSet(tmp_path / "set", split) for split in ("train", "validation", "test")]
    for each in sets:
        for i in range(len(each)):
            np.testing.assert_array_equal(each.samples(i), to_int16(read_audio(folder / each.name(i))))
    assert sum(map(len, sets)) == 4
    assert len(report.rejected) == 4


def test_a_phones_recordings_are_meant_too(tmp_path: Path) -> None:
    """Those that only FFmpeg reads; without PyAV each is listed with what would help."""
    av = importlib.util.find_spec("av") is not None
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.m4a").write_bytes(other("m4a", 4.0) if av else b"\0\0\0\x20ftypM4A \0\0\0\0")
    (tmp_path / "in/notes.txt").touch()
    report = audio_prep.run(tmp_path / "in", tmp_path / "out", workers=0)
    told = {entry["name"]: entry["reason"] for entry in report.rejected}
    assert told.pop("notes.txt") == "its name does not end in .wav, .flac, .mp3, .ogg, .oga, .opus ..."
    assert told == {} if av else "pip install av" in told["a.m4a"]


def test_the_job_refuses_what_it_cannot_do(music: Path, undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PrepError, match=r"no .wav, .flac, .mp3, .ogg,.* .opus ... file"):
        audio_prep.run(tmp_path / "empty", tmp_path / "set")
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(PrepError, match="is not empty and holds no data set"):
        audio_prep.run(music, tmp_path / "empty")
    table = tmp_path / "splits.csv"
    table.write_text("audio_filename,split\nabsent.wav,test\n")
    with pytest.raises(PrepError, match=r"1 of the 1 file .* cannot be found \(absent.wav\)"):
        audio_prep.run(music, tmp_path / "set", csv=table)
    with pytest.raises(ShardError, match="is no audio data set|does not exist"):
        AudioSet(tmp_path / "empty", "train")


def test_crops_are_fair_and_go_on_where_they_stopped(undisturbed: Path) -> None:
    train = AudioSet(undisturbed, "train")
    crops = Crops(train, batch=3, samples=2400, seed=1)
    first = [next(crops)["wave"] for _ in range(4)]
    assert first[0].shape == (3, 2400)
    assert first[0].dtype == np.float32
    assert max(np.abs(wave).max() for wave in first) <= 1.0
    again = Crops(train, batch=3, samples=2400, seed=1)
    next(again)
    state = again.get_state()
    resumed = Crops(train, batch=3, samples=2400, seed=1)
    resumed.set_state(json.loads(json.dumps(state)))
    np.testing.assert_array_equal(next(resumed)["wave"], first[1])
    with pytest.raises(ShardError, match="has no train recording of"):
        Crops(train, batch=1, samples=10**7, seed=0)
