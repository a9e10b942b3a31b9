"""Files of codes from strangers: bounds are checked before the work, and everything is refused in one line."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from musicgen.app.audio.codes_file import FORMAT, Encoded, read_encoded
from musicgen.app.errors import BadInput
from musicgen.data_prep.files import read_npz
from musicgen.model.codec.config import CODEC_PRESETS

CONFIG = CODEC_PRESETS["toy-mdct"]


def encoded(frames: int, q: int = 4) -> Encoded:
    codes = np.random.default_rng(0).integers(0, CONFIG.codebook_size, (frames, q)).astype(np.int16)
    return Encoded(codes, frames * CONFIG.hop, CONFIG.to_dict(), "0" * 64)


def changed(**changes: object) -> bytes:
    """A file of 20 frames that says something else of itself."""
    made = encoded(20)
    about = {"format": FORMAT, "samples": made.samples, "codec": made.codec, "codec_sha256": made.sha256, **changes}
    file = io.BytesIO()
    np.savez(file, codes=made.codes, about=np.frombuffer(json.dumps(about).encode(), np.uint8))
    return file.getvalue()


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        read_encoded(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_torn_file_is_refused_wherever_it_is_torn(tmp_path: Path) -> None:
    data = encoded(40).to_bytes()
    (tmp_path / "x.codes.npz").write_bytes(data)
    assert len(read_encoded(tmp_path / "x.codes.npz").codes) == 40
    for size in range(0, len(data), 7):
        assert "is not a .codes.npz file, or damaged" in refusal(tmp_path / "x.codes.npz", data[:size])


@pytest.mark.parametrize("frames", [16 << 20, 1 << 20])
def test_few_bytes_that_unpack_to_hours_of_codes(frames: int, tmp_path: Path) -> None:
    """Half a gigabyte of zeros in 0.5 MB, and as much less in less: refused before it is all there."""
    made = Encoded(np.zeros((frames, 16), np.int16), frames * CONFIG.hop, CONFIG.to_dict(), "0" * 64)
    data = made.to_bytes()
    assert len(data) < 1e6
    began = time.process_time()
    assert "unpacks to more than such a file can hold" in refusal(tmp_path / "x.codes.npz", data)
    assert time.process_time() - began < 1


def test_a_minute_of_silence_is_no_bomb(tmp_path: Path) -> None:
    made = Encoded(np.zeros((60 * 75, 16), np.int16), 60 * 24_000, CONFIG.to_dict(), "0" * 64)
    (tmp_path / "x.codes.npz").write_bytes(made.to_bytes())
    assert len(read_encoded(tmp_path / "x.codes.npz").codes) == 4500


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 10**9},
        {"samples": -1},
        {"samples": "6400"},
        {"samples": 1},
        {"codec": {**CONFIG.to_dict(), "frame_units": 10**9}},
        {"codec": {**CONFIG.to_dict(), "strides": [0]}},
        {"codec": {**CONFIG.to_dict(), "strides": 5}},
        {"codec": {**CONFIG.to_dict(), "codebooks": "\x1b[31m"}},
        {"codec": None},
        {"codec_sha256": 7},
        {"codec_sha256": "\x1b[31m" * 20},
        {"format": None},
    ],
)
def test_what_it_says_of_itself_is_checked(changes: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "x.codes.npz").write_bytes(changed())
    read_encoded(tmp_path / "x.codes.npz")
    refusal(tmp_path / "x.codes.npz", changed(**changes))


@pytest.mark.parametrize("name", ["codes", "about"])
def test_arrays_of_another_shape(name: str, tmp_path: Path) -> None:
    """Such as a single number, of whatever kind."""
    with np.load(io.BytesIO(changed())) as good:
        arrays = dict(good)
    for wrong in (
        np.float32("nan"),
        np.array("\x1b[2J"),
        np.array(7),
        np.zeros(0),
        np.zeros((3, 2, 2)),
        np.array(b"x"),
    ):
        file = io.BytesIO()
        np.savez(file, **(arrays | {name: wrong}))
        refusal(tmp_path / "x.codes.npz", file.getvalue())


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.codes.npz")
    with pytest.raises(BadInput, match=r"x.codes.npz is a pipe or a device and no .codes.npz file"):
        read_encoded(tmp_path / "x.codes.npz")


def archive(how: int, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as made:
        made.writestr("a.npy", content)
    return file.getvalue()


HEADER = b"\x93NUMPY\x01\0v\0{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n"


@pytest.mark.parametrize(
    "data",
    [
        archive(zipfile.ZIP_LZMA, bytes(100)),  # unpacks without a bound
        archive(zipfile.ZIP_STORED, HEADER % (b"<i8", b"1000000000, 1000000000, ") + bytes(16)),
        archive(zipfile.ZIP_STORED, HEADER % (b"|O8", b"1,") + bytes(8)),
        archive(zipfile.ZIP_STORED, HEADER % (b"<U0", b"1000000000000,")),
        archive(zipfile.ZIP_STORED, b"\x93NUMPY\x01\0v\0" + b"(" * 10_000),
        archive(zipfile.ZIP_STORED, b""),
    ],
)
def test_arrays_are_as_long_as_they_say(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_npz(data, 10_000)
