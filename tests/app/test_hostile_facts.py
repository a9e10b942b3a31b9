"""What a file, a recipe or a link says of itself is a stranger's word: a line for each lie, and nothing done first."""

from __future__ import annotations

import base64
import io
import json
import os
import resource
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.app import cli
from musicgen.app.errors import BadInput, MusicgenError, is_plain, plain
from musicgen.app.generate import Request, generate
from musicgen.app.limits import LARGEST_PACKED
from musicgen.app.prime import TICK, make_prime, pack, unpack
from musicgen.app.provenance import FACTS, PRIME, Provenance, read
from musicgen.app.settings import Settings
from musicgen.app.terminal import PlainStream
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes.request import parse_request
from musicgen.checkpoints import Name, UnknownCheckpointError, find
from musicgen.data_prep import Performance, write_midi

YEAR = round(365.25 * 86400 / TICK)  # ticks
ESCAPES = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture(scope="module")
def facts(fake: ModuleType) -> dict[str, Any]:
    """The facts of an honest piece that continues something."""
    prime = make_prime(piece_of([0, 1], [0.5, 2]), None, "0123456789abcdef" * 4)
    settings = Settings(seconds=2.0, latents=64, context=256)
    made = generate(Request(settings, prime, 5), fake.fake_model()).samples[0]
    return json.loads(made.provenance.to_json())


def piece_of(onsets: list[float], ends: list[float]) -> Performance:
    count = len(onsets)
    return Performance(np.array(onsets, float), np.array(ends, float), [60] * count, [64] * count, np.zeros((0, 2)))


def packed(
    onset: list[int], length: list[int], pedal: list[tuple[int, float]] = (), pitch: int = 60, more: bytes = b""
) -> str:
    """A packed prime of any numbers: steps between onsets, lengths and steps between pedal events in ticks."""
    notes = len(onset)
    columns = [np.array(column, "<i8") for column in (onset, length, [step for step, _ in pedal])]
    data = np.array([notes, len(pedal)], "<u4").tobytes()
    data += b"".join(column.view(np.uint8).reshape(-1, 8).T.tobytes() for column in columns)
    data += bytes([pitch] * notes + [64] * notes) + np.array([value for _, value in pedal], "<f4").tobytes() + more
    return base64.b64encode(zlib.compress(data, 9)).decode()


def changed(facts: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The facts with other values; those of settings by their own names."""
    settings = {**facts["settings"], **{name: v for name, v in values.items() if name in facts["settings"]}}
    return {**facts, **{name: v for name, v in values.items() if name not in settings}, "settings": settings}


NOT_TEXT = [ESCAPES, "a\nb", "\u202egnp.exe", "\x9b31m", "\ud800", "x" * 2000, 5, None, ["a"], {"a": 1}]
LIES: list[dict[str, Any]] = [
    *({name: value} for name in ("checkpoint", "backend", "version") for value in NOT_TEXT),
    *({name: value} for name in ("checkpoint_sha256", "prime_sha256") for value in ("", "F" * 64, "f" * 63, "../x", 7)),
    *({name: value} for name in ("seed", "sample", "prime_notes") for value in (-1, 10**400, 1.5, "1", True, None)),
    *({"join_seconds": value} for value in (float("nan"), float("inf"), -1.0, 1e300, 10**400, "1", None, [])),
    *({"ended": value} for value in (float("nan"), float("-inf"), -0.5, 1e12, "1")),
    *({"seconds": value} for value in (10**400, float("nan"), float("inf"), -1, 0, "9", None, [], True)),
    *({"prime_seconds": value} for value in (10**400, float("nan"), -1, "9")),
    *({name: value} for name in ("latents", "context", "num_samples", "top_k") for value in (10**400, -1, 0.5, "9")),
    *({"temperature": value} for value in (10**400, float("nan"), -1, 101)),
    *({"end": value} for value in (1, "yes", None)),
    {"format": 2},
    {"format": "1"},
    {"more": 1},
    {ESCAPES: 1},
    {"memorisation": 5},
    {"memorisation": {}},
    {"memorisation": {"length": float("nan")}},
    {"memorisation": {"length": 3, "title": ESCAPES}},
    {"memorisation": {"length": 3, ESCAPES: 1}},
    {"memorisation": {"length": 3, "start": float("nan")}},
    {"memorisation": {"length": 3, "deep": [[[]]]}},
    {"memorisation": {"length": 3, **{f"n{i}": i for i in range(50)}}},
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: ascii(lie)[:60])
def test_a_lie_in_the_facts_is_one_line(facts: dict[str, Any], lie: dict[str, Any]) -> None:
    """The same from a file's text and from a recipe's JSON, and before anything is made of it."""
    values = changed(facts, **lie)
    for ask in (
        lambda: Provenance.from_json(json.dumps(values)),
        lambda: recipe(values, packed([0], [400])),
    ):
        with pytest.raises(BadInput) as refusal:
            ask()
        assert is_plain(str(refusal.value)) and len(str(refusal.value)) < 500
    assert read([FACTS + json.dumps(values)]) is None  # what pictures, sound and the page ask


def recipe(facts: object, prime: object) -> object:
    """A recipe as the page's server reads it."""
    return parse_request({"recipe": {"facts": facts, "prime": prime}}, Dials(64, 256), "f" * 64, Limits())


def test_the_honest_facts_are_read(facts: dict[str, Any]) -> None:
    """Also after JavaScript has written 2.0 as 2; a title may have the spaces of other scripts."""
    assert json.loads(Provenance.from_json(json.dumps(facts)).to_json()) == facts
    assert recipe(changed(facts, seconds=2, join_seconds=1), packed([0], [400]))
    told = changed(facts, memorisation={"length": 3, "title": "Étude\u00a0n\u00ba 1\u30001", "start": 0.5})
    assert Provenance.from_json(json.dumps(told)).memorisation == told["memorisation"]


def test_facts_that_are_too_long_or_too_deep(facts: dict[str, Any]) -> None:
    for text in (
        "[" * 10_000,
        "{" + '"a":{' * 5000,
        json.dumps({**facts, "more": "x" * 10**6}),
        "1" * 5000,
        "null",
        '"a"',
        "[[1, 2]]",
    ):
        with pytest.raises(BadInput):
            Provenance.from_json(text)
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    for values in (deep, None, "a", 5, [], {"format": 1, "settings": deep}, {**facts, "memorisation": deep}):
        with pytest.raises(BadInput):
            recipe(values, None)


MANY = 50_000  # notes: few enough for a file, too many for the page
HOSTILE_PRIMES = {
    "a NaN as pedal": packed([0], [400], [(0, float("nan"))]),
    "a signalling NaN as pedal": base64.b64encode(
        zlib.compress(zlib.decompress(base64.b64decode(packed([0], [400], [(0, 1.0)])))[:-4] + b"\x01\0\xa0\x7f")
    ).decode(),
    "an endless pedal": packed([0], [400], [(0, float("inf"))]),
    "a pedal below zero": packed([0], [400], [(0, -1.0)]),
    "eighty years": packed([0, 80 * YEAR], [400, 400]),
    "a note of a hundred years": packed([0], [100 * YEAR]),
    "a pedal after a hundred years": packed([0], [400], [(100 * YEAR, 0.0)]),
    "many years in small steps": packed([YEAR // 400] * 400, [400] * 400),
    "sums that overflow": packed([2**62, 2**62, 2**62], [400] * 3),
    "back in time": packed([400, -400], [400, 400]),
    "a note before its time": packed([0], [-400]),
    "no such key": packed([0], [400], pitch=200),
    "bytes behind it": packed([0], [400], more=b"\0"),
    "no notes": packed([], []),
    "a bomb": base64.b64encode(zlib.compress(bytes(190_000_000), 9)).decode(),
    "numbers that lie": base64.b64encode(zlib.compress(b"\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(90), 9)).decode(),
    "cut short": base64.b64encode(zlib.compress(bytes(9000), 9)[:-6]).decode(),
    "too many letters": "A" * (LARGEST_PACKED + 4),
    "not ASCII": "é" * 8,
}


@pytest.mark.parametrize("name", HOSTILE_PRIMES)
def test_a_hostile_prime_is_one_line(facts: dict[str, Any], name: str) -> None:
    """From a file and from a recipe; it costs no memory to say so."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for ask in (lambda: unpack(HOSTILE_PRIMES[name], None, ""), lambda: recipe(facts, HOSTILE_PRIMES[name])):
        with pytest.raises(BadInput) as refusal:
            ask()
        assert is_plain(str(refusal.value)) and len(str(refusal.value)) < 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_the_page_takes_shorter_primes_than_the_command(facts: dict[str, Any]) -> None:
    """Of which it learns before it makes tokens of them."""
    hours, notes = packed([0, 400 * 3600 * 100], [400, 400]), packed([4] * MANY, [4] * MANY)
    for text, complaint in ((hours, "60 minutes"), (notes, "50,000 notes")):
        assert len(unpack(text, None, "").performance) > 1
        with pytest.raises(BadInput, match=complaint):
            recipe(facts, text)


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_noise_as_a_prime(noise: bytes, at: int, byte: int) -> None:
    """Compressed noise, and honest music with one byte of it changed: read, or refused in one line."""
    honest = pack(make_prime(piece_of([0, 0.5, 1], [0.25, 1.5, 2]), None, ""))
    assert honest is not None
    data = bytearray(zlib.decompress(base64.b64decode(honest)))
    data[at % len(data)] = byte
    for raw in (noise, bytes(data)):
        try:
            prime = unpack(base64.b64encode(zlib.compress(raw)).decode(), None, "")
        except BadInput as error:
            assert is_plain(str(error))
        else:
            assert len(prime.performance) > 0 and prime.seconds <= 86_400


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_noise_as_facts(facts: dict[str, Any], data: st.DataObject) -> None:
    """Any fact may be anything: what is read is as we would have written it."""
    names = st.sampled_from([*facts, *facts["settings"]])
    values = changed(facts, **data.draw(st.dictionaries(names, ANYTHING, max_size=4)))
    try:
        told = Provenance.from_json(json.dumps(values))
    except BadInput as error:
        assert is_plain(str(error))
    else:
        assert is_plain("".join(json.loads(f'"{text}"') for text in (told.backend, told.version)))
        assert json.loads(told.to_json()) == json.loads(json.dumps(values))
    try:
        recipe(values, data.draw(ANYTHING))
    except BadInput as error:
        assert is_plain(str(error))


def hostile_file(path: Path, facts: dict[str, Any], prime: str | None = None) -> Path:
    texts = [FACTS + json.dumps(facts), *([PRIME + prime] if prime is not None else [])]
    write_midi(piece_of([0, 1], [0.5, 2]), path, text=texts)
    return path


@pytest.mark.parametrize(
    ("lie", "prime"),
    [
        ({"backend": ESCAPES}, packed([0], [400])),
        ({"seconds": 10**399}, packed([0], [400])),
        ({}, HOSTILE_PRIMES["a NaN as pedal"]),
        ({}, HOSTILE_PRIMES["eighty years"]),
    ],
)
def test_replay_of_a_hostile_file(
    facts: dict[str, Any], lie: dict[str, Any], prime: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, nothing loaded, no warning."""
    path = hostile_file(tmp_path / "new.mid", changed(facts, **lie), prime)
    assert cli.main(["replay", str(path)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("musicgen: error: ") and told.err.count("\n") == 1
    assert "unexpected" not in told.err and is_plain(told.err[:-1])


@pytest.mark.parametrize("name", ["weights", "./weights", "../{here}/weights", "{absolute}/weights"])
def test_a_folder_named_in_a_file_is_never_opened(facts: dict[str, Any], name: str, tmp_path: Path) -> None:
    """Not even one that lies there: a pipe in it would hold whoever reads it for ever."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "SHA256SUMS").write_text(f"{'0' * 64}  config.json\n")
    os.mkfifo(tmp_path / "weights" / "config.json")
    named = name.format(here=tmp_path.name, absolute=tmp_path)
    hostile_file(tmp_path / "new.mid", changed(facts, checkpoint=named), packed([0], [400]))
    command = [sys.executable, "-m", "musicgen.app", "replay", "new.mid"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and "which are not installed" in done.stderr


def test_only_released_names_are_found_by_name(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person types may be a folder; a name in a file may not."""
    monkeypatch.chdir(released)
    assert find("model") == Path("model") and find(Name("maestro-tiny")).name == "maestro-tiny"
    for name in ("model", "./model", str(released / "model"), "../codecs", ".", "", "maestro-tiny/"):
        with pytest.raises(UnknownCheckpointError):
            find(Name(name))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Étude\u3000\u4e00", "Étude\u3000\u4e00"),
        (ESCAPES, r"\x1b[2J\x1b]0;owned\x07"),
        ("\u202e\u2066\x9b\x7f\x00", r"\u202e\u2066\x9b\x7f\x00"),
        ("\udcff", r"\udcff"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_is_foreign_is_shown_as_text(text: str, shown: str) -> None:
    """In every message, and in whatever else is printed."""
    assert plain(text) == shown
    assert str(MusicgenError(f"no {text}")) == " ".join(f"no {shown}".split())
    stream = io.StringIO()
    print(text, "end\t", file=PlainStream(stream))
    assert stream.getvalue() == f"{shown} end\t\n"


def test_a_bar_may_go_back_but_a_name_may_not() -> None:
    stream = io.StringIO()
    plain_stream = PlainStream(stream)
    plain_stream.write("\r[###]")
    plain_stream.write("file\rerror")
    plain_stream.write("\x1b[0m")  # colorama, at the end of the process
    assert stream.getvalue() == "\r[###]file\\rerror"


def test_names_of_files_are_printed_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], music: Performance
) -> None:
    """An archive from anywhere may hold files of any names."""
    monkeypatch.chdir(tmp_path)
    write_midi(music, Path("a\x1b[31m.mid"))
    assert cli.main(["roll", "a\x1b[31m.mid", "--out", "b\x1b[2J.svg"]) == 0
    assert cli.main(["roll", "no\x1b[2J.mid", "--out", "b.svg"]) == 2
    told = capsys.readouterr().err
    assert "\x1b" not in told and r"b\x1b[2J.svg" in told and r"no\x1b[2J.mid" in told


def test_the_command_gives_the_streams_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    cli.main(["--version"])
    assert (sys.stdout, sys.stderr) == before
