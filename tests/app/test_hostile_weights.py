"""Weights from strangers: every fault in what they say of themselves is one line, with exit code 2."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.app import backend
from musicgen.app.audio.codes_file import open_codec
from musicgen.app.audio.model import open_audio_model
from musicgen.app.errors import BadInput
from musicgen.app.evaluation.memorisation_report import open_index
from musicgen.app.generate import open_weights
from musicgen.checkpoints import codec_release
from musicgen.data_prep.files import npz_bytes

TINY = checkpoints.FOLDER / "maestro-tiny"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Small weights of somebody's own."""
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


def change(folder: Path, document: str, text: str) -> None:
    """Another document, with the right sums: whoever changes one changes both."""
    (folder / document).write_text(text)
    checkpoints.write_sums(folder)


def refusal(folder: Path) -> str:
    began = time.process_time()
    with pytest.raises(BadInput) as caught:
        backend.open_engine(open_weights(str(folder)))
    assert time.process_time() - began < 5
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", 1_000_000_000),
        ("layers", 512),
        ("local_layers", 10**400),
        ("width", 2**40),
        ("width", 0),
        ("heads", -4),
        ("context", 2**62),
        ("context", 2.5),
        ("latents", None),
        ("vocab_size", "391"),
        ("depth_layers", True),
        ("rotary_fraction", "half"),
        ("rotary_fraction", 1e308),
        ("kv_heads", [2]),
    ],
)
def test_a_number_that_no_model_has(tiny: Path, name: str, value: object) -> None:
    about = json.loads((tiny / "config.json").read_text())
    about["model"][name] = value
    change(tiny, "config.json", json.dumps(about))
    refusal(tiny)


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "null", "[" * 100_000, '{"model": []}', '{"model": {"a\\u001b[31m": 1}}', "\0"]
)
def test_a_config_that_is_none(tiny: Path, text: str) -> None:
    change(tiny, "config.json", text)
    refusal(tiny)


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "null", "[" * 100_000, '{"format": {}}', '{"format": "musicgen-codes/1"}']
)
def test_a_tokenizer_that_is_none(tiny: Path, text: str) -> None:
    change(tiny, "tokenizer.json", text)
    refusal(tiny)
    with pytest.raises(BadInput):
        open_audio_model(str(tiny), None)


def test_a_codec_is_no_model_and_a_model_no_codec() -> None:
    codec = str(codec_release.FOLDER / codec_release.DEFAULT)
    assert refusal(Path(codec)).endswith("holds a codec and no model: give it with --codec")
    with pytest.raises(BadInput, match="holds a model and no codec: give the folder of a codec"):
        open_codec(str(TINY))


def test_a_pipe_among_the_files(tiny: Path) -> None:
    (tiny / "config.json").unlink()
    os.mkfifo(tiny / "config.json")
    assert "it is a pipe or a device" in refusal(tiny)


def test_a_file_of_a_terabyte(tiny: Path) -> None:
    with (tiny / "config.json").open("r+b") as file:
        file.truncate(2**40)
    assert "it has more than 1,048,576 bytes" in refusal(tiny)


def test_an_index_that_unpacks_to_too_much(tmp_path: Path) -> None:
    names = ("format", "interval", "gap_low", "gap_high", "first", "offsets", "background", "names", "titles")
    data = npz_bytes({name: np.zeros(2**24, np.uint8) for name in names}, 9)
    assert len(data) < 2**18
    (tmp_path / "memorisation.npz").write_bytes(data)
    with pytest.raises(BadInput, match="is no memorisation index or damaged"):
        open_index(str(tmp_path / "memorisation.npz"))
    (tmp_path / "memorisation.npz").unlink()
    os.mkfifo(tmp_path / "memorisation.npz")
    with pytest.raises(BadInput, match="is a pipe or a device and no index"):
        open_index(str(tmp_path / "memorisation.npz"))
