"""--end and the comparison with the training set, with a made-up engine: in the music, its file, JSON and replay."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from musicgen.app import cli, generate
from musicgen.app import novelty as apart
from musicgen.app import provenance as facts
from musicgen.app.errors import BadInput
from musicgen.app.evaluation import memorisation_report
from musicgen.app.prime import make_prime
from musicgen.app.progress import Progress
from musicgen.app.settings import Settings
from musicgen.data_prep import Performance, read_midi
from musicgen.data_prep.evaluation.memorisation_index import Index, build_index, index_bytes
from musicgen.data_prep.midi import read_text


def sidecar(path: str) -> facts.Provenance:
    text, _ = facts.find_texts(read_text(Path(path)))
    assert text is not None
    return facts.Provenance.from_json(text)


@pytest.fixture
def command(fake: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """The command in this process with the fake engine; ``index`` is what the weights come with."""
    config = SimpleNamespace(latents=64, context=256)
    index = tmp_path / "index" / memorisation_report.FILE
    index.parent.mkdir()

    def find_index(checkpoint: str | None) -> Path | None:
        return index if index.is_file() else None

    monkeypatch.setattr(generate, "open_weights", lambda checkpoint: SimpleNamespace(config=config))
    monkeypatch.setattr(generate, "open_model", lambda released: fake.fake_model())
    monkeypatch.setattr(apart, "find_index", find_index)
    monkeypatch.setattr(memorisation_report, "find_index", find_index)
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(run=lambda *arguments: cli.main(list(map(str, arguments))), index=index)


@pytest.fixture
def seed_1(fake: ModuleType) -> Index:
    """An index whose only piece is what seed 1 gives."""
    result = generate.generate(generate.Request(Settings(seconds=30), None, 1), fake.fake_model())
    return build_index([("original.mid", "Somebody: Something", result.samples[0].music)])


def test_pieces_end_by_themselves(
    command: SimpleNamespace, prime_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row at its own time, in silence; said in JSON and in the file; the same again by replay."""
    options = ["--seconds", 6, "--num-samples", 3, "--seed", 4, "--end", "--json"]
    assert command.run(prime_file, "--out", "new.mid", *options) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert len(set(told["ended"])) > 1 and all(3 <= seconds <= 6 + 10 for seconds in told["ended"])
    assert ", ".join(f"{seconds:g}" for seconds in told["ended"]) + " s of new music" in captured.err
    prime, _ = read_midi(prime_file)
    joined_at = told["prime_seconds"]
    for number, seconds in enumerate(told["ended"], start=1):
        name = f"new-{number}.mid"
        music, _ = read_midi(Path(name))
        assert sidecar(name).settings.end and sidecar(name).ended == seconds
        new = music.onset >= prime.onset[-1] + 0.01
        assert music.end[new].max() <= joined_at + seconds + 1e-3
        assert music.onset.max() < joined_at + 6.02
        assert command.run("replay", name, "--out", "again.mid") == 0
        assert Path("again.mid").read_bytes() == Path(name).read_bytes()


def test_without_end_nothing_changes(command: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    """Cut at the asked time, and said to be so."""
    assert command.run("--out", "new.mid", "--seconds", 6, "--seed", 4, "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["ended"] == [None]
    assert sidecar("new.mid").ended is None and not sidecar("new.mid").settings.end


def test_a_row_that_never_ends_is_cut() -> None:
    """Should rules fail, the piece is as long as it was to be."""
    stream = iter([np.array([[5, 358, 133, 268]], np.int16)] * 1000)
    drawn = generate.draw(stream, 1, 2.0, lambda seconds: None)
    model = SimpleNamespace(name="fake", sha256="f" * 64, backend="none")
    settings = Settings(seconds=2.0, end=True)
    sample = generate.finish(drawn.rows[0], None, np.array([1], np.int16), settings, 0, 1, model)
    assert sample.provenance.ended is None and sample.music.duration == pytest.approx(2.0)


def test_files_of_earlier_versions(command: SimpleNamespace) -> None:
    """Their facts lack what is new, and mean the same; a field that nobody knows is still an error."""
    command.run("--out", "new.mid", "--seconds", 3)
    values = json.loads(sidecar("new.mid").to_json())
    assert values["memorisation"] is None
    for name in ("ended", "memorisation"):
        del values[name]
    del values["settings"]["end"]
    assert facts.Provenance.from_json(json.dumps(values)) == sidecar("new.mid")
    with pytest.raises(BadInput, match="loudness"):
        facts.Provenance.from_json(json.dumps(values | {"settings": values["settings"] | {"loudness": 1}}))
    with pytest.raises(BadInput, match="top_p"):
        settings = {name: value for name, value in values["settings"].items() if name != "top_p"}
        facts.Provenance.from_json(json.dumps(values | {"settings": settings}))
    with pytest.raises(BadInput, match="what was found out"):
        facts.Provenance.from_json(json.dumps(values | {"memorisation": "much"}))


def test_every_piece_says_what_it_shares(
    command: SimpleNamespace, seed_1: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the file and in JSON; replay keeps what was found, though it does not look again; a copy is said aloud."""
    command.index.write_bytes(index_bytes(seed_1))
    assert command.run("--out", "copy.mid", "--seed", 1, "--json") == 0
    captured = capsys.readouterr()
    (match,) = json.loads(captured.out)["memorisation"]
    assert match["name"] == "original.mid" and match["length"] > 60
    assert sidecar("copy.mid").memorisation == match
    assert f"copy.mid shares {match['length']} notes with Somebody: Something: --avoid-copies 32" in captured.err
    assert command.run("--out", "other.mid", "--seed", 2, "--seconds", 4) == 0
    assert "shares" not in capsys.readouterr().err
    assert sidecar("other.mid").memorisation == {"length": 0}
    command.index.unlink()
    for name in ("copy.mid", "other.mid"):
        assert command.run("replay", name) == 0
    assert memorisation_report.new_notes(Path("copy.mid").read_bytes()).pitch.size > 60


@pytest.mark.parametrize(
    ("title", "called"), [(": ", "original.mid"), ("", "original.mid"), (": Something", "Something")]
)
def test_a_copy_is_named_also_where_composer_or_title_is_not_known(
    title: str, called: str, command: SimpleNamespace, seed_1: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    command.index.write_bytes(index_bytes(dataclasses.replace(seed_1, titles=(title,))))
    assert command.run("--out", "copy.mid", "--seed", 1) == 0
    match = sidecar("copy.mid").memorisation
    assert match is not None and match["name"] == "original.mid"
    assert f"shares {match['length']} notes with {called}: --avoid-copies" in capsys.readouterr().err


def test_a_prime_is_no_copy(fake: ModuleType, music: Performance) -> None:
    """What was given back of the prime is not looked at, also when it is itself from the training set."""
    prime = make_prime(music, None, "p")
    result = generate.generate(generate.Request(Settings(seconds=5), prime, 3), fake.fake_model())
    index = build_index([("prime.mid", "", prime.performance)])
    assert apart.length(apart.add_matches(result, index).samples[0]) == 0


def test_copies_are_drawn_again(
    command: SimpleNamespace, seed_1: Index, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the rows that are copies, with another seed that their file holds; and the same again, by replay too."""
    command.index.write_bytes(index_bytes(seed_1))
    options = ["--seed", 1, "--num-samples", 2, "--no-memorised", 32, "--json", "--quiet"]
    assert command.run("--out", "new.mid", *options) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seed"] == 1 and max(match["length"] for match in told["memorisation"]) < 32
    assert sidecar("new-1.mid").seed != 1 and sidecar("new-2.mid").seed == 1
    first = Path("new-1.mid").read_bytes()
    assert command.run("--out", "new.mid", *options) == 0 and Path("new-1.mid").read_bytes() == first
    command.index.unlink()
    for name in ("new-1.mid", "new-2.mid"):
        assert command.run("replay", name) == 0


def test_stopped_while_copies_are_drawn_again_the_pieces_are_what_they_were(fake: ModuleType, seed_1: Index) -> None:
    """And it is stopped within a block, not after another whole piece."""
    request = generate.Request(Settings(seconds=30, num_samples=2), None, 1)
    again: list[int] = []
    after: list[float] = []

    def on_progress(seconds: float) -> None:
        after.extend([seconds] if again else [])

    given = (32, on_progress, again.append, lambda: bool(after))
    made = apart.generate_avoiding_copies(request, fake.fake_model(), seed_1, *given)
    first = generate.generate(request, fake.fake_model())
    assert [apart.length(sample) >= 32 for sample in made.samples] == [True, False] and again == [1]
    assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(made.samples, first.samples, strict=True))
    assert max(after) < 15


def test_a_limit_that_nothing_meets(
    command: SimpleNamespace, seed_1: Index, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given up after some draws, in one line; nothing is written."""
    command.index.write_bytes(index_bytes(seed_1))
    again: list[int] = []
    original = generate.generate

    def stuck(request: generate.Request, *others: object) -> generate.Result:
        again.append(request.seed or 0)
        return original(dataclasses.replace(request, seed=1), *others)  # type: ignore[arg-type]

    monkeypatch.setattr(apart, "generate", stuck)
    assert command.run("--out", "new.mid", "--seed", 1, "--avoid-copies", 32, "--quiet") == 2
    captured = capsys.readouterr()
    assert "1 of 1 pieces still share that many notes" in captured.err and captured.err.count("\n") == 1
    assert len(set(again)) == apart.ATTEMPTS and not Path("new.mid").exists()


def test_without_an_index(
    command: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and null; an error only if --avoid-copies was asked for, before the work."""
    notes: list[str] = []
    monkeypatch.setattr(Progress, "note", lambda self, text: notes.append(text))
    assert command.run("--out", "new.mid", "--seconds", 3, "--json") == 0
    assert notes == ["loading the model ...", "starting ..."]  # and no word of comparing
    captured = capsys.readouterr()
    assert json.loads(captured.out)["memorisation"] == [None] and sidecar("new.mid").memorisation is None
    assert captured.err.count("without an index of their training set") == 1
    assert command.run("--out", "no.mid", "--avoid-copies", 32) == 2
    assert "--build-index" in capsys.readouterr().err and not Path("no.mid").exists()
    assert command.run("--out", "no.mid", "--avoid-copies", 0) == 2
    assert "--avoid-copies must be at least 1" in capsys.readouterr().err


def test_a_damaged_index_costs_no_piece(command: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    """The music is there already when the index is read."""
    command.index.write_bytes(b"PK nothing")
    assert command.run("--out", "new.mid", "--seconds", 3) == 0
    assert "nothing was compared with the training set" in capsys.readouterr().err
    assert sidecar("new.mid").memorisation is None
