"""The scripts of runs/: each walks its whole way, from an archive to weights that load, at toy size."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen import checkpoints
from musicgen.app import cli
from musicgen.checkpoints import codec_release
from musicgen.checkpoints.training_files import read_training_files
from musicgen.data_prep.evaluation.memorisation_index import read_index
from musicgen.model import int4
from musicgen.model.cpu import graph

RUNS = Path(__file__).parents[2] / "runs"
SCRIPTS = sorted(path.name for path in RUNS.glob("*.sh") if os.access(path, os.X_OK))


def walk(script: str, run: Path, **settings: str) -> str:
    """Run the script as a person does, with the musicgen of this environment; what it prints."""
    return started("sh", RUNS / script, RUN=str(run), **settings)


def started(*command: object, **settings: str) -> str:
    """What a command prints, run as the scripts run theirs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quick = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    environment = {**os.environ, **quick, "PATH": path, "TOY": "1", "WORKERS": "0"}
    words = [*map(str, command)]
    done = subprocess.run(words, env={**environment, **settings}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_there_is_one_for_each_of_the_released_weights() -> None:
    assert SCRIPTS == ["maestro-tiny.sh", "maestro.sh", "piano-codec.sh", "piano-codes.sh", "piano-tiny.sh", "piano.sh"]
    assert checkpoints.names() == ["maestro-tiny", "piano", "piano-codes", "piano-tiny"]
    assert checkpoints.names(codec_release.FOLDER) == ["piano"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_head_says_what_to_expect(script: str) -> None:
    head = (RUNS / script).read_text().split("\n. ")[0]
    for word in ("Hardware", "Time", "Expected", "Recorded", f"TOY=1 runs/{script}"):
        assert word in head
    for path in re.findall(r"(?:checkpoints|benchmarks)/[\w/.-]+\w", head):
        assert (RUNS.parent / path).exists(), path


@pytest.mark.slow
@pytest.mark.parametrize("script", ["maestro.sh", "maestro-tiny.sh"])
def test_weights_of_notes(script: str, tmp_path: Path) -> None:
    told = walk(script, tmp_path)
    (weights,) = re.findall(r"released weights: (.*)", told)
    assert checkpoints.load(weights).about["steps"] == 10
    assert "nats" in told
    assert (Path(weights) / "memorisation.npz").is_file() == (script == "maestro.sh")


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """What `musicgen` says on stderr, which ends with this exit code."""
    capsys.readouterr()
    assert cli.main([*map(str, arguments)]) == code
    return capsys.readouterr().err


def stopped_codec(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first half of what piano-codec.sh does: it is to find all this and to go on from there."""
    started("sh", "-c", ". runs/archive.sh", RUNS / "none.sh", RUN=str(run))
    started("sh", RUNS / "pianos.sh", RUN=str(run))
    render = (sys.executable, RUNS / "render_maestro.py", run / "maestro", run / "renders")
    pianos = ("--pianos", run / "pianos", "--held-out", "splendid")
    started(*render, *pianos, "--train-hours", 40, "--held-out-hours", 3.5)
    data = ("--out", run / "recordings", "--csv", run / "renders" / "renders.csv", "--workers", 0)
    said(capsys, 0, "prep", "--audio-dir", run / "renders", *data)
    # In a process of its own, which ends at once: the second half's program is still being compiled.
    train = ("musicgen", "train", "--preset", "toy-codec", "--data", run / "recordings", "--out", run / "codec")
    assert "stopped at step 5 of 10" in started(*train, "--stop-after", 0)


@pytest.mark.slow
@pytest.mark.nightly
def test_weights_of_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The codec first, stopped on its way, then the model over its codes from the same renders, then sound by both."""
    pytest.importorskip("midirenderer")
    stopped_codec(tmp_path, capsys)
    renders = {path: path.stat().st_mtime_ns for path in (tmp_path / "renders").rglob("*.wav")}
    told = walk("piano-codec.sh", tmp_path)
    (codec,) = re.findall(r"released codec: (.*)", told)
    assert f"--codec {codec}" in told
    known = codec_release.load(codec)
    before = codec_release.load(tmp_path / "codec" / "before-discriminators").about["validation"]
    after = known.about["validation"]
    assert (before["step"], after["step"]) == (5, 10)
    assert {"mel_3", "si_sdr_3", "mel_6", "mel_12"} <= set(after)

    (weights,) = re.findall(r"released weights: (.*)", walk("piano-codes.sh", tmp_path, CODEC=codec))
    first, released = checkpoints.load(tmp_path / "codes" / "weights"), checkpoints.load(weights)
    assert first.tokenizer["codec_sha256"] == released.tokenizer["codec_sha256"] == known.sha256
    assert released.about["training"]["sampled_rate"] == 1.0
    assert released.about["start"]["sha256"] == first.sha256
    figures = (tmp_path / "codes" / "metrics.jsonl").read_text().splitlines()
    assert any("validation_nats" in json.loads(line) for line in figures)
    assert renders == {path: path.stat().st_mtime_ns for path in (tmp_path / "renders").rglob("*.wav")}

    train = ("train", "--preset", "toy-codes", "--data", tmp_path / "recordings" / "codes", "--out", tmp_path / "two")
    assert "do not know the codes of" in said(capsys, 2, *train, "--start", "piano-codes")
    play = ("--checkpoint", weights, "--codec", codec, "--seconds", 1, "--prime-seconds", 1, "--quiet")
    said(capsys, 0, "generate", min(renders), *play, "--out", tmp_path / "new.wav")
    assert soundfile.info(tmp_path / "new.wav").frames > 24_000


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("name", ["piano", "piano-tiny"])
def test_weights_of_six_corpora(name: str, tmp_path: Path) -> None:
    (weights,) = re.findall(r"released weights: (.*)", walk(f"{name}.sh", tmp_path))
    released = checkpoints.load(weights)
    assert released.bits == 4 and released.about["training"]["model"] == released.config.to_dict()
    assert set(released.about["nats"]) == {
        f"whole {split}{n}" for split in ("test", "validation") for n in ("", " N=1024")
    }
    assert len(released.about["nats"]["whole test"]) == 6
    assert len(read_training_files(Path(weights))) == 1
    if name == "piano":
        assert "pijama/Q1_bach.mid" in read_index(Path(weights) / "memorisation.npz").names


def test_rounding_to_four_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a leg leaves, whose numbers are finer, and of released weights; either loads, and says what it is."""
    monkeypatch.syspath_prepend(str(RUNS / "piano"))
    leg, state, release = (importlib.import_module(name) for name in ("leg", "state", "release"))
    config = dataclasses.replace(leg.PIANO, width=128, heads=2, kv_heads=1, layers=2, local_layers=1)
    monkeypatch.setattr(leg, "PIANO", config)
    rng = np.random.default_rng(0)
    params = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in graph.shapes(config).items()}
    state.save(tmp_path / "state", params, {"step": 7, "leg": 2})
    tiny = checkpoints.load("maestro-tiny")
    for source, steps, before in (
        (str(tmp_path / "state"), 7, state.load(tmp_path / "state")[0]),
        (tiny.name, tiny.about["steps"], tiny.params),
    ):
        out = tmp_path / f"four of {Path(source).name}"
        monkeypatch.setattr(sys, "argv", ["release.py", source, "--out", str(out)])
        release.main()
        four = checkpoints.load(out)
        assert four.bits == 4 and four.about["steps"] == steps
        name = "layers.0.up.kernel"
        np.testing.assert_array_equal(four.params[name], int4.dequantize(*int4.quantize(before[name])))
    assert four.tokenizer == tiny.tokenizer


def test_the_scripts_are_plain_shell() -> None:
    """Every sh takes them; no part of a line is run when a variable is unset."""
    for script in SCRIPTS:
        assert subprocess.run(["sh", "-n", str(RUNS / script)], check=False).returncode == 0
    assert shutil.which("sh") and "set -eu" in (RUNS / "archive.sh").read_text()
