"""Pieces from a list, with a made-up engine: the bytes are those of single generations, and what is there stays."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from musicgen.app import cli, generate, novelty
from musicgen.app.batch import jobs, making
from musicgen.app.replay import prime_of, read_generated, replay
from musicgen.data_prep.dataset import cluster, runners

SHA256 = "f" * 64


@pytest.fixture
def model(fake: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[generate.Model]:
    """The fake engine for the command, in an empty folder."""
    model: generate.Model = fake.fake_model()
    config = SimpleNamespace(latents=64, context=256)
    released = SimpleNamespace(config=config, name="fake", sha256=SHA256, tokenizer={}, about={})
    monkeypatch.setattr(generate, "open_weights", lambda checkpoint: released)
    monkeypatch.setattr(generate, "open_model", lambda released: model)
    monkeypatch.setattr(making, "_opened", lambda checkpoint: (model, None))
    monkeypatch.setattr(novelty, "find_index", lambda checkpoint: None)
    monkeypatch.setattr("musicgen.app.styles.styles_of", lambda *about: model.styles)
    monkeypatch.chdir(tmp_path)
    jobs.prime_of.cache_clear()
    yield model
    jobs.prime_of.cache_clear()


LINES: tuple[dict[str, Any], ...] = (
    {"out": "a", "seed": 4},
    {"out": "b.mid", "seed": 5, "seconds": 2},
    {"out": "c", "seed": 4, "prime": "bach", "prime_seconds": 2},
    {"out": "d", "seed": 6, "prime": "bach", "prime_seconds": 2, "keep_prime": False},
    {"out": "e", "seed": 7, "prime": "mine.mid", "style": "jazz", "temperature": 0.9},
    {"out": "f", "seed": 8, "end": True},
    {"out": "g", "seed": 9, "end": True},
)


def write(*lines: object) -> None:
    Path("jobs.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")


def batch(*more: str) -> int:
    return cli.main(["--batch", "jobs.jsonl", "--out-dir", "new", "--seconds", "3", *more])


def test_each_piece_is_that_of_a_single_generation(
    model: generate.Model, prime_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte for byte, though pieces share batches; what is there is passed over, and the rest is made."""
    shutil.copy(prime_file, "mine.mid")
    write(*LINES)
    assert batch("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pieces"], told["kept"], told["failed"]) == (7, 0, []) and told["notes"] > 7
    flags = {"keep_prime": "--no-prime", "end": "--end"}
    for line in LINES:
        options = [str(line.get("prime", "")) or "--quiet", "--quiet", "--seconds", "3"]
        for name, value in line.items():
            if name in flags:
                options.append(flags[name])
            elif name not in ("out", "prime"):
                options += [f"--{name.replace('_', '-')}", str(value)]
        assert cli.main([*options, "--out", "alone.mid"]) == 0
        assert Path("alone.mid").read_bytes() == Path("new", line["out"].removesuffix(".mid") + ".mid").read_bytes()

    Path("new/c.mid").unlink()
    before = Path("new/a.mid").stat().st_mtime_ns
    assert batch("--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pieces"], told["kept"]) == (1, 6) and Path("new/a.mid").stat().st_mtime_ns == before


def test_batches_are_full(model: generate.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what can be rows of one; a length of its own for each row that does not come to an end."""
    monkeypatch.setattr(making, "CPU_ROWS", 4)
    write(*({"out": f"n{i}", "seed": i, "seconds": 1 + i % 3, "end": i > 8} for i in range(11)))
    found, problems = jobs.read_jobs(Path("jobs.jsonl"), {}, lambda settings: settings.resolve(64, 256))
    assert not problems
    assert [len(batch) for batch in making.plan(found)] == [4, 4, 1, 1, 1]
    assert [job.settings.seconds for job in making.plan(found)[0]] == [1, 1, 1, 2]


def test_an_engine_that_rounds_otherwise_in_a_batch(model: generate.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts say which batch it was, and `replay` makes the same bytes."""
    monkeypatch.setattr(type(model.engine), "rows_alike", False)
    write(*({"out": f"n{i}", "seed": i} for i in range(3)))
    assert batch("--quiet") == 0
    for number in range(3):
        made = read_generated(Path(f"new/n{number}.mid"))
        facts = made.provenance
        assert (facts.settings.num_samples, facts.sample, facts.seed, facts.own_seeds) == (4, number + 1, number, True)
        assert replay(made, prime_of(made, None), model) == made.data
    assert batch("--quiet") == 0  # they are recognised


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "jobs.jsonl:2: this is not JSON"),
        ("[1]", "jobs.jsonl:2: this is not a JSON object"),
        ({"out": "a", "tempo": 3}, "jobs.jsonl:2: there is no field 'tempo': there are out, prime, seed"),
        ({"seed": 3}, 'jobs.jsonl:2: "out" must name the piece\'s file'),
        ({"out": "../a"}, 'jobs.jsonl:2: "out" must be a name without a folder'),
        ({"out": "one.MID".lower()}, "jobs.jsonl:2: line 1 is called one.mid, too"),
        ({"out": "a", "seed": -1}, "jobs.jsonl:2: --seed must be between 0"),
        ({"out": "a", "seconds": "long"}, "jobs.jsonl:2: --seconds must be a number"),
        ({"out": "a", "context": 10**6}, "jobs.jsonl:2: --context 1000000 is more than this model allows"),
        ({"out": "a", "style": "polka"}, "jobs.jsonl:2: the weights fake cannot be told to make polka"),
        ({"out": "a", "prime": "nowhere.mid"}, "jobs.jsonl:2: no such MIDI file: nowhere.mid"),
        ({"out": "a", "prime_seconds": 3}, "jobs.jsonl:2: prime_seconds and keep_prime need a prime"),
        ({"out": "there"}, "there.mid exists and is another piece"),
    ],
)
def test_a_bad_line_is_named_before_anything_is_made(
    model: generate.Model, capsys: pytest.CaptureFixture[str], line: object, message: str
) -> None:
    Path("new").mkdir()
    Path("new/there.mid").write_bytes(b"a part of someth")
    text = line if isinstance(line, str) else json.dumps(line)
    Path("jobs.jsonl").write_text('{"out": "one"}\n' + text + "\n")
    assert batch() == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[0] and said[-1].endswith("1 line of jobs.jsonl cannot be used: nothing was made")
    assert [path.name for path in Path("new").iterdir()] == ["there.mid"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bach", "--batch", "jobs.jsonl", "--out-dir", "new"], "--batch takes primes from its list"),
        (["--batch", "jobs.jsonl", "--out", "new.mid"], "give --out-dir DIR"),
        (["--batch", "jobs.jsonl", "--out-dir", "new", "--seed", "3"], "--seed does not go with --batch"),
        (["--batch", "jobs.jsonl", "--out-dir", "new", "--num-samples", "3"], "leave --num-samples out"),
        (["--batch", "none.jsonl", "--out-dir", "new"], "no such list of pieces: none.jsonl"),
        (["bach", "--out", "new.mid", "--runner", "dask"], "--runner and --cluster go with --batch"),
    ],
)
def test_what_a_batch_is_not(
    model: generate.Model, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    write({"out": "a"})
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_piece_that_fails_does_not_stop_the_others(
    model: generate.Model, prime_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prime that changes in the meantime, and a copy that cannot be helped, are told with their lines."""
    shutil.copy(prime_file, "mine.mid")
    write({"out": "a", "prime": "mine.mid"}, {"out": "b"}, {"out": "c", "seed": 1, "avoid_copies": 5})
    monkeypatch.setattr(making, "_opened", lambda checkpoint: (model, "index"))
    monkeypatch.setattr("musicgen.app.evaluation.memorisation_report.open_index", lambda *paths: None)

    def add_match(sample: generate.Sample, index: object) -> generate.Sample:
        return dataclasses.replace(
            sample, provenance=dataclasses.replace(sample.provenance, memorisation={"length": 7})
        )

    monkeypatch.setattr(novelty, "add_match", add_match)
    planned = making.plan

    def change(found: list[jobs.Job]) -> Any:
        Path("mine.mid").write_bytes(Path("mine.mid").read_bytes() + b"x")
        jobs.prime_of.cache_clear()
        return planned(found)

    monkeypatch.setattr(making, "plan", change)
    assert batch() == 2
    said = capsys.readouterr().err
    assert "jobs.jsonl:1:" in said and "mine.mid has changed since the list was read" in said
    assert "jobs.jsonl:3: it still shares 7 notes with a training piece after 10 attempts" in said
    assert "2 of 3 pieces could not be made; the others are in new" in said
    assert [path.name for path in Path("new").iterdir()] == ["b.mid"]


def test_on_a_cluster_the_bytes_are_the_same(
    model: generate.Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a cluster that is this thread; a batch that killed its workers is told."""
    seen: list[object] = []

    def mapped(inputs: Any, function: Callable[..., Any], address: str | None, workers: int | None) -> Iterator[Any]:
        seen.append((address, workers))
        for number, value in enumerate(inputs):
            yield value, function(value) if number else None

    monkeypatch.setattr(cluster, "map_on_cluster", mapped)
    monkeypatch.setattr(runners.Runner, "check", lambda runner: None)
    write(*({"out": f"n{i}", "seed": i, "end": i > 1} for i in range(4)))
    assert batch("--runner", "dask") == 2
    said = capsys.readouterr().err
    assert seen == [(None, 1)] and "jobs.jsonl:1: the workers that made it died" in said
    assert sorted(path.name for path in Path("new").iterdir()) == ["n2.mid", "n3.mid"]
    there = {path.name: path.read_bytes() for path in Path("new").iterdir()}
    shutil.rmtree("new")
    assert batch() == 0
    assert there.items() <= {path.name: path.read_bytes() for path in Path("new").iterdir()}.items()
