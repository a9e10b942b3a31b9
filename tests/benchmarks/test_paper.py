"""The programs for the paper's claims: each walks its whole way at toy size, and its parts are what they are called."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen.model.config import EOS, ModelConfig

from .conftest import ROOT

FOLDER = ROOT / "benchmarks" / "paper"
PROGRAMS = {"copying": 3, "images": 2, "books": 2, "latents": 4}  # and how many results each has
PARTS = ("stacks", "loop", *PROGRAMS)
CONFIG = ModelConfig(
    vocab_size=40,
    width=16,
    heads=2,
    kv_heads=1,
    local_layers=1,
    local_window=3,
    cross_attends=1,
    layers=2,
    context=12,
    latents=4,
)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The programs import one another from their folder, as when they are started."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in PARTS:
        sys.modules.pop(name, None)


def test_programs_share_a_folder(program: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """Each draws its own results, and of each name the last."""
    loop = program("benchmarks/paper/loop.py")
    for name, value in (("books", 1), ("images", 2), ("books", 3)):
        loop.record(tmp_path, name, {"name": "a run", "value": value})
    assert [[line["value"] for line in loop.results(tmp_path, name)] for name in PROGRAMS] == [[], [2], [3], []]


def test_no_picture_where_nothing_draws(program: Callable[[str], ModuleType], capsys: pytest.CaptureFixture) -> None:
    """What was measured is kept all the same, and a fault of the drawing itself is not hidden."""
    loop = program("benchmarks/paper/loop.py")

    def draw(error: type[Exception]) -> None:
        raise error

    loop.draw_where_possible(draw, ModuleNotFoundError)
    assert capsys.readouterr().out == "no picture: matplotlib is not installed here\n"
    with pytest.raises(ValueError):
        loop.draw_where_possible(draw, ValueError)


@pytest.mark.nightly
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_toy_from_end_to_end(
    name: str, program: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results and a picture, in a folder where the others have theirs."""
    recorded = (FOLDER / "result.jsonl").read_text()
    others = [line for line in recorded.splitlines() if json.loads(line)["program"] != name]
    (tmp_path / "result.jsonl").write_text("".join(f"{line}\n" for line in others))
    monkeypatch.setattr(
        sys, "argv", [name, str(tmp_path), "--toy", *(["--seconds", "0.05"] if name != "latents" else [])]
    )
    program(f"benchmarks/paper/{name}.py").main()
    made = [json.loads(line) for line in (tmp_path / "result.jsonl").read_text().splitlines()][len(others) :]
    lines = [line for line in made if line["program"] == name]
    assert len(lines) == len(made)
    assert len({line["name"] for line in lines}) == len(lines) == PROGRAMS[name]
    assert (tmp_path / f"{name}.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["perceiver-ar", "plain", "transformer-xl"])
def test_no_output_sees_what_comes_later(kind: str, program: Callable[[str], ModuleType]) -> None:
    """The last input moves the last output alone, the first one moves it, too; all kinds have the same parameters."""
    stacks = program("benchmarks/paper/stacks.py")
    stack = stacks.Stack(CONFIG, kind, compute="float32")
    key = jax.random.key(0)
    params = {name: x + 0.1 * jax.random.normal(key, x.shape) for name, x in stack.initial(0).items()}
    memory, length = stack.memory(1), 4 if kind == "transformer-xl" else 12
    inputs = jax.random.randint(key, (1, length), 3, 40)

    @jax.jit
    def logits(inputs: jax.Array) -> jax.Array:
        return stack.logits(params, inputs, jnp.zeros((1, length, 0), jnp.int32), memory)[0][0]

    moved = jnp.abs(logits(inputs.at[:, -1].set(3)) - logits(inputs.at[:, -1].set(9))).max(axis=1)
    assert (moved[:-1] == 0).all() and moved[-1] > 0
    first = jnp.abs(logits(inputs.at[:, 0].set(3)) - logits(inputs.at[:, 0].set(9))).max(axis=1)
    assert first[-1] > 0


def test_local_blocks_remember_as_far_as_their_window(program: Callable[[str], ModuleType]) -> None:
    """Of Transformer-XL's memory; the first of the others sees all of it."""
    stack = program("benchmarks/paper/stacks.py").Stack(CONFIG, "transformer-xl", compute="float32")
    key = jax.random.key(0)
    params = {name: x + 0.1 * jax.random.normal(key, x.shape) for name, x in stack.initial(0).items()}
    inputs, memory = jax.random.randint(key, (1, 4), 3, 40), jax.random.normal(key, stack.memory(1).shape)

    def moved(layer: int, place: int) -> bool:
        ways = (
            stack.logits(params, inputs, jnp.zeros((1, 4, 0), jnp.int32), m)[0]
            for m in (memory, memory.at[layer, 0, place].add(1))
        )
        return bool((jnp.subtract(*ways) != 0).any())

    assert [moved(0, place) for place in (0, -3, -2, -1)] == [False, False, True, True]
    assert moved(1, 0) and moved(1, -1)


def test_the_image_mirrors_what_comes_before_the_sign(program: Callable[[str], ModuleType]) -> None:
    """Also where it leaves out its first bytes; the targets that are scored are those behind the sign, each once."""
    copying, stacks = (program(f"benchmarks/paper/{name}.py") for name in ("copying", "stacks"))
    (row,) = copying.sequences(np.random.default_rng(0), 1, 64)
    assert row[32] == EOS and (row[33:] == row[:32][::-1]).all() and len(row) == 65
    (moved,) = copying.sequences(np.random.default_rng(0), 1, 64, left_out=16)
    assert (moved[33:49] == moved[:16][::-1]).all() and len(moved) == 65
    for kind, M in (("perceiver-ar", 8), ("plain", 64), ("transformer-xl", 8)):
        stack = stacks.Stack(CONFIG, kind).resized(64, M)
        targets = [batch.targets[batch.targets > 0] for batch in copying.whole(stack, row[None])]
        assert (np.concatenate(targets) == row[33:]).all()


def test_digits_of_a_place_mirror_like_the_bytes(program: Callable[[str], ModuleType]) -> None:
    """Place i behind the sign and its source, -1 - i, add up to the same pair of digits, at any length."""
    copying = program("benchmarks/paper/copying.py")
    i = np.arange(1000)[None]
    assert (copying.digits(i, (8, 512)) + copying.digits(-1 - i, (8, 512)) == (7, 511)).all()
    assert copying.digits(i, ()).shape == (1, 1000, 0)


def test_few_images_come_from_all_over_the_file(program: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """CIFAR-10's are sorted by class here: the first thousand are all aeroplanes."""
    pillow = pytest.importorskip("PIL.Image")
    files = []
    for grey in range(0, 250, 10):
        pillow.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(tmp_path / "one.jpg", quality=95)
        files.append((tmp_path / "one.jpg").read_bytes())
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / "some.npz", jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=offsets)
    read = program("benchmarks/paper/images.py").read_images
    assert read(tmp_path / "some.npz", 5)[:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]
    assert len(read(tmp_path / "some.npz")) == 25


@pytest.mark.parametrize("order", ["raster", "channels", "reversed", "random", "coarse"])
def test_an_order_tells_every_value_once(order: str, program: Callable[[str], ModuleType]) -> None:
    images = program("benchmarks/paper/images.py")
    coordinates = images.order_of(order, 4)
    assert len({tuple(one) for one in coordinates.tolist()}) == 48
    made = images.made_up(2, 4)
    told = images.Told(made, coordinates, places=True)
    assert (images.as_images(told.tokens, coordinates, 4) == made).all()
    # Row i + 1 of the table: where input i lies, and where the value lies that follows it.
    assert (told.table[2:-1, :3] - 1 == coordinates[:-1]).all() and (told.table[1:-1, 3:] - 1 == coordinates).all()
