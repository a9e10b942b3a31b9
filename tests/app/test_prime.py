"""Reading and packing primes."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.app import prime as primes
from musicgen.app.bundled import FOLDER, bundled_primes, find_prime
from musicgen.app.errors import BadInput
from musicgen.app.prime import TICK, make_prime, pack, read_prime, unpack
from musicgen.data_prep import Performance, read_midi, steps
from musicgen.data_prep.performance import on_grid


@given(st.integers(0, 10_000), st.one_of(st.none(), st.floats(0.1, 12.0)))
def test_a_packed_prime_comes_back_exactly(piece: Callable[..., Performance], seed: int, seconds: float | None) -> None:
    """Same notes, same pedal, same tokens: replay depends on it."""
    prime = make_prime(on_grid(piece(30, seed), TICK), seconds, "abc")
    text = pack(prime)
    assert text is not None
    again = unpack(text, seconds, "abc")
    assert again.performance.equals(prime.performance)
    assert np.array_equal(again.tokens, prime.tokens)
    assert (again.seconds, again.sha256) == (prime.seconds, "abc")


def test_prime_seconds_count_from_the_first_note() -> None:
    """A recording that begins with silence still gives a prime of the asked length."""
    music = Performance(
        np.array([9.0, 9.5, 11.5]),
        np.array([9.4, 12.0, 11.9]),
        np.array([60, 62, 64]),
        np.array([70, 70, 70]),
        np.zeros((0, 2)),
    )
    prime = make_prime(music, 2.0, "")
    assert prime.performance.pitch.tolist() == [60, 62]
    assert prime.performance.onset[0] == 9.0
    assert steps(prime.tokens)[-1] == 950  # the last event is the onset at 9.5: the note after it still sounds
    assert prime.seconds == 9.5


def test_a_prime_too_long_to_pack_is_left_out(monkeypatch: pytest.MonkeyPatch, music: Performance) -> None:
    """And the caller is told by None."""
    monkeypatch.setattr(primes, "LARGEST_PACKED", 100)
    assert pack(make_prime(music, None, "")) is None


def test_no_more_is_packed_than_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long prime only as much as shows that it is too long; and in parts the bytes are those of the whole."""
    noise = np.random.default_rng(0).integers(0, 256, 2**20, np.uint8).tobytes()
    made, fed = zlib.compressobj, []

    class Counting:
        def __init__(self, level: int) -> None:
            self.packer = made(level)
            self.flush = self.packer.flush

        def compress(self, data: bytes) -> bytes:
            fed.append(len(data))
            return self.packer.compress(data)

    monkeypatch.setattr(zlib, "compressobj", Counting)
    assert primes._compress(noise, 100_000) is None
    assert sum(fed) <= 4 * primes.PART
    text = bytes(range(256)) * 2_000
    assert base64.b64decode(primes._compress(text, 2**20) or "") == zlib.compress(text, 9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        base64.b64encode(b"no zlib").decode(),
        base64.b64encode(zlib.compress(b"short")).decode(),
        base64.b64encode(zlib.compress(b"\xff" * 4000)).decode(),
        base64.b64encode(zlib.compress(b"\0" * 8)).decode(),
    ],
)
def test_a_damaged_packed_prime_is_bad_input(text: str) -> None:
    """Whatever is in the text event."""
    with pytest.raises(BadInput, match="--prime FILE"):
        unpack(text, None, "")


def test_reading_hashes_the_file(prime_file: Path, music: Performance) -> None:
    """The SHA-256 is of the file's bytes, so that a person can check it with sha256sum."""
    import hashlib

    prime, remarks = read_prime(prime_file, None)
    assert prime.sha256 == hashlib.sha256(prime_file.read_bytes()).hexdigest()
    assert remarks == ()
    assert len(prime.performance) == len(music)


@pytest.mark.parametrize("name", bundled_primes())
def test_bundled_primes_are_found_by_name_and_long_enough(name: str) -> None:
    """`musicgen bach` works anywhere, and a file of that name in the folder comes first."""
    path = find_prime(name)
    assert path.parent == FOLDER
    music, remarks = read_midi(path)
    assert remarks == ()
    assert 15 < music.duration < 40
    assert len(music.pedal)


def test_bundled_primes_are_what_the_script_makes(tmp_path: Path) -> None:
    """The .mid files are not edited by hand."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_primes", FOLDER / "make_primes.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert bundled_primes() == ["bach", "beethoven", "satie"]
    for name in bundled_primes():
        music, _ = read_midi(FOLDER / f"{name}.mid")
        made = on_grid(getattr(script, name)(), TICK)
        assert np.allclose(music.onset, made.onset) and np.array_equal(music.velocity, made.velocity)
        assert np.allclose(music.pedal, made.pedal)


def test_a_file_comes_before_a_shipped_prime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's own bach.mid is theirs."""
    monkeypatch.chdir(tmp_path)
    Path("bach.mid").write_bytes(b"mine")
    assert find_prime("bach.mid") == Path("bach.mid")


def test_a_prime_has_bounds(monkeypatch: pytest.MonkeyPatch, piece: Callable[..., Performance]) -> None:
    """The opening of a long file may be used."""
    monkeypatch.setattr(primes, "MOST_PRIME_NOTES", 20)
    music = piece(30, 1)
    with pytest.raises(BadInput, match="has 30 notes, 20 are the most: .*--prime-seconds 60"):
        make_prime(music, None, "")
    short = float(music.onset[9] - music.onset[0])
    few = make_prime(music, short, "")
    monkeypatch.undo()
    assert few.performance.equals(make_prime(music, short, "").performance)
    assert np.array_equal(few.tokens, make_prime(music, short, "").tokens)
