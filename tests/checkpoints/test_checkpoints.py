"""Released weights: what is written comes back, damage never does, and those that ship are whole."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen import checkpoints
from musicgen.checkpoints import CheckpointError, Released, UnknownCheckpointError, codec_release
from musicgen.checkpoints.training_files import FILE as TRAINING_FILES
from musicgen.data_prep import VOCABULARY, VOCABULARY_2, Vocabulary
from musicgen.model import int4, parameters
from musicgen.model.config import ModelConfig

CONFIG = ModelConfig(width=32, heads=4, local_layers=1, layers=1, cross_attends=1, context=64, latents=16)
ABOUT = {"steps": 5, "nats": {"test": 1.5}}
INDEX = "memorisation.npz"
MIB = 2**20


def random_parameters() -> dict[str, np.ndarray]:
    """One column of every matrix is much larger than the others, and one is zero."""
    rng = np.random.default_rng(0)
    params = {}
    for name, shape in parameters.shapes(CONFIG).items():
        params[name] = rng.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) == 2:
            params[name][:, 0] *= 50
            params[name][:, 1] = 0
    return params


def make(folder: Path) -> str:
    """Release the toy there, in several shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "SHARD_BYTES", 20_000)
        return checkpoints.release(folder, CONFIG, random_parameters(), VOCABULARY.to_json(), ABOUT, "# Toy\n")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint.  Read only."""
    folder = tmp_path_factory.mktemp("weights") / "toy"
    make(folder)
    return folder


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    """One to damage."""
    folder = tmp_path / "toy"
    folder.mkdir()
    for path in released.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def refusal(folder: Path | str) -> str:
    """The one line with which it is refused."""
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(folder)
    line = str(caught.value)
    assert "\n" not in line and 20 < len(line) < 500
    return line


def test_round_trip(released: Path) -> None:
    """Config, tokenizer and facts as they were; every number as near as its storage allows."""
    loaded = checkpoints.load(released)
    assert (loaded.name, loaded.folder, loaded.config) == ("toy", released, CONFIG)
    assert loaded.tokenizer == VOCABULARY.to_json() and loaded.about == ABOUT
    params = random_parameters()
    assert set(loaded.params) == set(params)
    matrices = 0
    for name, values in params.items():
        back = loaded.params[name]
        assert back.dtype == np.float32 and back.shape == values.shape
        if values.ndim == 2 and name not in ("embedding", "logits.kernel"):
            step = np.abs(values).max(axis=0) / 127  # of each column on its own
            assert (np.abs(back - values) <= step * 0.5001).all()
            np.testing.assert_array_equal(back[:, 1], 0)
            matrices += 1
        else:
            np.testing.assert_array_equal(back, values.astype(np.float16).astype(np.float32))
    assert matrices == 6 * 3
    parameters.bind(CONFIG, loaded.params)


def test_four_bits(tmp_path: Path) -> None:
    """Half the bytes, the numbers of model/int4.py, and a config that says so."""
    params = random_parameters()
    checkpoints.release(tmp_path / "four", CONFIG, params, VOCABULARY.to_json(), ABOUT, "# Toy\n", bits=4)
    loaded = checkpoints.load(tmp_path / "four")
    assert (loaded.bits, loaded.config, loaded.about) == (4, CONFIG, ABOUT)
    assert json.loads((tmp_path / "four" / "config.json").read_text())["bits"] == 4
    for name, values in params.items():
        halves = int4.in_four_bits(name, values.shape)
        expected = int4.dequantize(*int4.quantize(values)) if halves else values.astype(np.float16)
        np.testing.assert_array_equal(loaded.params[name], expected.astype(np.float32))
        assert (loaded.weights[name].nbytes == values.size // 2) == halves
    parameters.bind(CONFIG, loaded.params)


def test_weights_of_before(released: Path, copy: Path) -> None:
    """A config that does not speak of bits is one of eight."""
    config = json.loads((copy / "config.json").read_text())
    assert config.pop("bits") == 8
    (copy / "config.json").write_text(json.dumps(config))
    checkpoints.write_sums(copy)
    before, now = checkpoints.load(copy), checkpoints.load(released)
    assert before.bits == now.bits == 8 and before.about == now.about
    assert all(np.array_equal(before.weights[name], values) for name, values in now.weights.items())


NAME = "layers.0.up.kernel"


@pytest.mark.parametrize(
    "bits, damage, complaint",
    [
        (4, lambda w: {NAME: w[NAME][:, :8]}, "layers.0.up.kernel has no scale"),
        (4, lambda w: {NAME: w[NAME][:5]}, "layers.0.up.kernel has no scale"),
        (4, lambda w: {NAME: w[NAME][0, 0]}, "layers.0.up.kernel has no scale"),
        (4, lambda w: {NAME: w[NAME].view(np.int8)}, "layers.0.up.kernel has no scale"),
        (4, lambda w: {f"{NAME}.scale": w[f"{NAME}.scale"][:, 0]}, "layers.0.up.kernel has no scale"),
        (8, lambda w: {NAME: w[NAME].view(np.uint8)}, "layers.0.up.kernel has no scale"),
        (8, lambda w: checkpoints.quantize(random_parameters(), 4), "of 4 bits, and config.json says otherwise"),
        (4, lambda w: checkpoints.quantize(random_parameters(), 8), "of 8 bits, and config.json says otherwise"),
    ],
)
def test_matrices_that_are_damaged(tmp_path: Path, bits: int, damage: Any, complaint: str) -> None:
    """With valid sums: one line says which."""
    weights = checkpoints.quantize(random_parameters(), bits)
    documents = {"config.json": {"model": CONFIG.to_dict(), "bits": bits}, "tokenizer.json": VOCABULARY.to_json()}
    checkpoints.write(tmp_path / "toy", weights, documents, "# Toy\n")
    checkpoints.load(tmp_path / "toy")
    damaged = {name: np.ascontiguousarray(values) for name, values in (weights | damage(weights)).items()}
    checkpoints.write(tmp_path / "toy", damaged, documents, "# Toy\n")
    assert complaint in refusal(tmp_path / "toy")


def test_what_is_written(released: Path) -> None:
    """Shards numbered out of their count, matrices of one byte a number, sums that sha256sum agrees with."""
    files = sorted(path.name for path in released.iterdir())
    shards = [name for name in files if name.endswith(".safetensors")]
    assert len(shards) > 2
    assert shards == [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    assert files == sorted(["CARD.md", "SHA256SUMS", "config.json", "tokenizer.json", *shards])
    sums = dict(line.split("  ")[::-1] for line in (released / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        name: hashlib.sha256((released / name).read_bytes()).hexdigest() for name in files if name != "SHA256SUMS"
    }
    count = sum(values.size for values in random_parameters().values())
    assert sum((released / name).stat().st_size for name in shards) < 2 * count


def test_the_same_weights_are_the_same_files(released: Path, tmp_path: Path) -> None:
    """And have the same name by hash; others have another; the card has no say in it."""
    assert make(tmp_path / "again") == checkpoints.load(released).sha256
    assert (tmp_path / "again" / "SHA256SUMS").read_bytes() == (released / "SHA256SUMS").read_bytes()
    (tmp_path / "again" / "CARD.md").write_text("# A better card\n")
    refusal(tmp_path / "again")
    checkpoints.write_sums(tmp_path / "again")
    assert checkpoints.load(tmp_path / "again").sha256 == checkpoints.load(released).sha256
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    (tmp_path / "again" / "config.json").write_text(json.dumps(config | {"steps": 6}))
    changed = checkpoints.write_sums(tmp_path / "again")
    assert changed == checkpoints.load(tmp_path / "again").sha256 != checkpoints.load(released).sha256


def test_releasing_again_leaves_nothing_behind(copy: Path) -> None:
    """Fewer shards than before: the old ones go."""
    checkpoints.release(copy, CONFIG, random_parameters(), VOCABULARY.to_json(), ABOUT, "# Toy\n")
    assert [path.name for path in copy.glob("*.safetensors")] == ["model-00001-of-00001.safetensors"]
    checkpoints.load(copy)


@settings(max_examples=60)
@given(
    columns=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=5),
    noise=st.integers(0, 2**31 - 1),
    rows=st.integers(1, 6),
)
def test_quantising_keeps_every_column(columns: list[float], noise: int, rows: int) -> None:
    """The error is at most half of a 127th of the largest of the column; the largest itself comes back."""
    values = (np.random.default_rng(noise).uniform(-1, 1, (rows, len(columns))) * columns).astype(np.float32)
    stored = checkpoints.quantize({"block.kernel": values})
    assert stored["block.kernel"].dtype == np.int8 and stored["block.kernel.scale"].dtype == np.float32
    back = checkpoints.dequantize(stored)["block.kernel"]
    largest = np.abs(values).max(axis=0)
    assert (np.abs(back - values) <= largest / 127 * 0.5001 + 1e-12).all()
    np.testing.assert_allclose(np.abs(back).max(axis=0), largest, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "CARD.md", "model-00002-of-{}.safetensors", "SHA256SUMS"]
)
@settings(max_examples=20)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit(
    released: Path, tmp_path_factory: pytest.TempPathFactory, name: str, where: float, bit: int
) -> None:
    """Anywhere in any file; in the list of sums only a change of white space can go unnoticed."""
    folder = copied(released, tmp_path_factory)
    path = folder / name.format(next(folder.glob("*.safetensors")).stem[-5:])
    data = bytearray(path.read_bytes())
    at = int(where * len(data))
    data[at] ^= 1 << bit
    path.write_bytes(data)
    try:
        checkpoints.load(folder)
    except UnknownCheckpointError:
        raise
    except CheckpointError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
    else:
        assert name == "SHA256SUMS" and chr(data[at]).isspace()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "CARD.md", "model", "SHA256SUMS"])
@settings(max_examples=10)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file(released: Path, tmp_path_factory: pytest.TempPathFactory, name: str, share: float) -> None:
    """A download or a disk that ended early."""
    folder = copied(released, tmp_path_factory)
    path = next(folder.glob("model-00001-*")) if name == "model" else folder / name
    data = path.read_bytes()
    path.write_bytes(data[: int(share * (len(data) - 1))])
    assert "toy" in refusal(folder)


def copied(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh copy for one example."""
    folder = tmp_path_factory.mktemp("damaged") / "toy"
    folder.mkdir()
    for path in released.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_missing_file(copy: Path) -> None:
    """Each but the sums is missed by name."""
    for path in sorted(copy.iterdir()):
        if path.name != "SHA256SUMS":
            data = path.read_bytes()
            path.unlink()
            assert path.name in refusal(copy)
            path.write_bytes(data)
    checkpoints.load(copy)


def test_a_missing_line(copy: Path) -> None:
    """A file that the sums do not name is not there: without any of them but the card, nothing is loaded."""
    sums = copy / "SHA256SUMS"
    whole = sums.read_text().splitlines(keepends=True)
    for line in whole:
        sums.write_text("".join(other for other in whole if other != line))
        if "CARD.md" in line:
            checkpoints.load(copy)
        else:
            assert str(copy) in refusal(copy)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "[]",
        "5",
        "null",
        '{"model": 5}',
        '{"model": {"colour": 3}}',
        '{"model": {"width": "wide"}}',
        '{"model": {"heads": 0}}',
        '{"model": {"latents": 0}}',
        "\udcff",
    ],
)
def test_a_config_that_says_something_else(copy: Path, text: str) -> None:
    """With valid sums: of another version, or made by hand."""
    (copy / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    checkpoints.write_sums(copy)
    said = refusal(copy)
    assert "is not one this version reads" in said and not re.search(r"object|NoneType|argument|iterable", said)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100, b"\x08" + b"\0" * 7 + b"{}      "])
def test_weights_that_are_none(copy: Path, data: bytes) -> None:
    """With valid sums."""
    next(copy.glob("model-00002*")).write_bytes(data)
    checkpoints.write_sums(copy)
    try:
        params = checkpoints.load(copy).params
    except CheckpointError as error:
        assert "is not one this version reads" in str(error)
    else:  # a valid file without tensors
        assert len(params) < len(parameters.shapes(CONFIG))


def test_sums_outside_of_the_folder(copy: Path) -> None:
    """Files elsewhere are none of a checkpoint's business."""
    data = (copy / "config.json").read_bytes()
    (copy.parent / "config.json").write_bytes(data)
    with (copy / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(data).hexdigest()}  ../config.json\n")
    assert "outside its folder" in refusal(copy)


@pytest.mark.parametrize("name", ["mozart", "", ".", "no/such/folder", "x" * 5000, "nul\0byte", "ümläut", "two\nlines"])
def test_unknown_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says which there are."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownCheckpointError) as caught:
        checkpoints.load(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert all(known in str(caught.value) for known in checkpoints.names())


@pytest.mark.parametrize("name", ["maestro-piano", checkpoints.Name("maestro-piano")])
def test_weights_of_earlier_versions(name: str) -> None:
    """Where they are now, in one line."""
    with pytest.raises(UnknownCheckpointError, match=r"git checkout \w{7} -- checkpoints/maestro-piano brings it back"):
        checkpoints.load(name)


def test_a_folder_by_its_path(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative or absolute, as a string or a path."""
    monkeypatch.chdir(released.parent)
    for path in ("toy", "./toy", str(released), released):
        assert checkpoints.find(path).resolve() == released.resolve()


@pytest.fixture(scope="module", params=checkpoints.names() or [None])
def shipped(request: pytest.FixtureRequest) -> Released:
    """Each checkpoint that comes with the package."""
    if request.param is None:
        pytest.skip("no checkpoint is here yet")
    return checkpoints.load(request.param)


def test_shipped_weights_are_whole(shipped: Released) -> None:
    """They are of the model they say, of finite numbers, and their integers mean what this version's mean."""
    shapes = parameters.shapes(shipped.config)
    assert {name: values.shape for name, values in shipped.params.items()} == shapes
    assert all(np.isfinite(values).all() for values in shipped.params.values())
    assert all(np.abs(values).max() > 0 for values in shipped.params.values())
    if shipped.config.channels == 1:
        vocabulary = Vocabulary.from_json(shipped.tokenizer)
        assert vocabulary in (VOCABULARY, VOCABULARY_2) and shipped.config.vocab_size == vocabulary.size


def test_shipped_weights_for_sound_know_the_shipped_codec() -> None:
    model, codec = checkpoints.load("piano-codes"), codec_release.load()
    assert model.tokenizer["codec_sha256"] == codec.sha256
    assert model.config.channels == codec.config.codebooks
    assert model.config.codes == codec.config.codebook_size


def test_shipped_weights_have_a_card(shipped: Released) -> None:
    """With the licence that MAESTRO asks for."""
    card = (shipped.folder / "CARD.md").read_text()
    assert "CC BY-NC-SA 4.0" in card and "MAESTRO" in card


def test_shipped_weights_fit_the_repository(shipped: Released) -> None:
    """At most 45 MiB a model, and 15 for the index of what it was trained on."""
    assert sum(map(len, checkpoints.read_verified(shipped.folder).values())) <= 45 * MIB
    assert all(path.stat().st_size <= 15 * MIB for path in shipped.folder.glob(INDEX))
    assert checkpoints.DEFAULT in checkpoints.names()


def test_every_file_of_a_shipped_folder_is_summed(shipped: Released) -> None:
    """Nothing lies there that no sum vouches for, but what no model reads: the index and the list of training files."""
    there = {path.name for path in shipped.folder.iterdir()}
    assert there - {INDEX, TRAINING_FILES} == set(checkpoints.read_verified(shipped.folder))
