"""Recorded takes are made again, byte for byte: by `musicgen replay`, by their commands, and by the page.

How each was made stands in make_takes.py.  A take that differs on the machine that recorded is a change of behaviour.
On another machine, whose canary shows that it rounds differently (another kind of processor does), these tests are
skipped and say so.  To compare two versions there, let each record with its own make_takes.py and compare the folders:
all files are equal but shared-*, for which the server draws the seed, and those that a commit between changed.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import mido
import pytest

HERE = Path(__file__).parent
FACTS = "musicgen {"
LATER = ("version", "backend")  # what the facts of an equal take may say differently, elsewhere or later
pytestmark = pytest.mark.filterwarnings("default")  # not what is tested here


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_takes", HERE / "make_takes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_takes"] = module
    spec.loader.exec_module(module)
    return module


takes = _load()
CANARY = json.loads((takes.RECORDED / "canary.json").read_bytes())
ENGINES = {True: takes.JAX, False: takes.ONNX}
MIDI = sorted(path.name for path in takes.RECORDED.glob("*.mid") if not path.name.startswith("live-"))


def facts_of(name: str) -> dict[str, Any]:
    """What a recorded file says of itself."""
    file = mido.MidiFile(takes.RECORDED / name)
    texts = (message.text for track in file.tracks for message in track if message.type == "text")
    return dict(json.loads(next(text for text in texts if text.startswith(FACTS)).removeprefix("musicgen ")))


def worth_replaying() -> list[str]:
    """Each take's first and last file: a replay makes the whole batch, of which the others are rows, too."""
    batches: dict[str, list[str]] = {}
    for name in MIDI:
        row = f"-{facts_of(name)['sample']}"
        batches.setdefault(name.removesuffix(".mid").removesuffix(row), []).append(name)
    return sorted({name for batch in batches.values() for name in (batch[0], batch[-1])})


@functools.cache
def bits() -> dict[str, Any]:
    """What the parts of the canary are here."""
    return dict(takes.canary())


@functools.cache
def same_machine() -> bool:
    return bool(takes.machine() == CANARY["machine"])


def only_where_bits_agree(*needs: str) -> None:
    """Skip where a take may rightly be another one."""
    if same_machine():
        return
    for need in needs:
        if bits()[need] != CANARY["bits"][need]:
            here = ", ".join(f"{k} {v[:40]}" for k, v in takes.machine().items() if v != CANARY["machine"][k])
            pytest.skip(f"{need} gives other last bits here than where the takes were recorded ({here})")


def plain(name: str, data: bytes) -> Any:
    """A file's content, without what may differ in another version or on another machine."""
    if name.endswith(".json"):
        return _without(json.loads(data))
    if name.endswith(".mid"):
        file = mido.MidiFile(file=io.BytesIO(data))
        return [file.ticks_per_beat, *([_message(message) for message in track] for track in file.tracks)]
    return data


def _message(message: Any) -> Any:
    if message.type == "text" and message.text.startswith(FACTS):
        return [message.time, _without(json.loads(message.text.removeprefix("musicgen ")))]
    return str(message)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(x) for key, x in value.items() if key not in LATER}
    return [_without(x) for x in value] if isinstance(value, list) else value


def as_recorded(made: dict[str, bytes]) -> None:
    """Every file is the recorded one."""
    strict = same_machine() and takes.version() == CANARY["version"]
    for name, data in made.items():
        recorded = (takes.RECORDED / name).read_bytes()
        if data != recorded:
            assert plain(name, data) == plain(name, recorded), f"{name} has changed"
            assert not strict, f"{name}: the same content, but not the same bytes"


def test_the_canary() -> None:
    """The machine that recorded computes as it did: else every other test here would tell of the code what is not its
    fault, or be skipped without need."""
    if not same_machine():
        pytest.skip("another machine, or other versions of the libraries, than where the takes were recorded")
    assert bits() == CANARY["bits"]


def test_enough_is_recorded() -> None:
    """Nothing recorded has lost its way of being made."""
    assert len(takes.TAKES) + len(takes.WISHES) >= 60
    files = {path.name for path in takes.RECORDED.iterdir()}
    assert {take.name for take in takes.TAKES} <= {name.rsplit(".", 1)[0] for name in files}
    assert sum(path.stat().st_size for path in HERE.rglob("*.*") if path.parent.name != "__pycache__") < 1_500_000
    known = [take.name for take in takes.TAKES] + ["page", "named", "shared", "canary"]
    assert all(name.startswith(tuple(known)) for name in files)


@pytest.mark.slow
@pytest.mark.parametrize("name", worth_replaying())
def test_replay(name: str, tmp_path: Path) -> None:
    """`musicgen replay` makes the file again from what it says itself, and says that it is the same."""
    engine = ENGINES[" jax " in facts_of(name)["backend"]]
    only_where_bits_agree(engine, "zlib")
    again = tmp_path / "again.mid"
    told = takes.musicgen("replay", str(takes.RECORDED / name), "--out", str(again), "--json", engine=engine)
    assert again.read_bytes() == (takes.RECORDED / name).read_bytes()
    assert json.loads(told)["same"] is True


@pytest.mark.slow
@pytest.mark.parametrize("take", takes.TAKES, ids=lambda take: take.name)
def test_the_same_command(take: Any, tmp_path: Path) -> None:
    """The command that made a take gives the same files again."""
    only_where_bits_agree(*take.needs)
    as_recorded(take.make(tmp_path))


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    only_where_bits_agree(*takes.PAGE_NEEDS)
    pytest.importorskip("gradio")
    with takes.served(*takes.P.split()) as served:
        yield served


@pytest.mark.slow
def test_the_page(page: Any) -> None:
    """The same wishes get the same takes, whoever asks in whatever way, and recipes make takes again that shared a
    batch with other people's or were stopped."""
    before = {path.name: path.read_bytes() for path in takes.RECORDED.glob("page-*.mid")}
    as_recorded(takes.made(page, before))
    as_recorded(takes.named(page))
    as_recorded(takes.looked_at(page))
    for name in ("shared-stopped", "shared-a", "shared-b", "shared-c", "page-padded", "page-end"):
        for take in json.loads((takes.RECORDED / f"{name}.json").read_bytes())["takes"][-1:]:
            as_recorded({f"{name}-{take['take']}.mid": takes.again(page, take["recipe"])})


@pytest.mark.slow
def test_the_page_of_sound(page: Any, tmp_path: Path) -> None:
    only_where_bits_agree("sound")
    as_recorded(takes.sounded(page, tmp_path))
