"""A whole generation with a made-up engine: what is asked is what comes out, and a file is enough to make it again."""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from musicgen.app import cli, generate
from musicgen.app import novelty as apart
from musicgen.app import provenance as facts
from musicgen.app.errors import BadInput
from musicgen.app.prime import make_prime, read_prime
from musicgen.app.replay import GeneratedFile, replay
from musicgen.app.settings import Settings
from musicgen.data_prep import Performance, read_midi, write_midi
from musicgen.data_prep.midi import read_text
from musicgen.model.sampler import Sampling


@pytest.fixture
def command(fake: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """The command in this process with the fake engine, in a folder of its own; ``loaded`` lists what was asked for."""
    loaded: list[str | None] = []

    def open_weights(checkpoint: str | None) -> SimpleNamespace:
        loaded.append(checkpoint)
        return SimpleNamespace(config=SimpleNamespace(latents=64, context=256))

    monkeypatch.setattr(generate, "open_weights", open_weights)
    monkeypatch.setattr(generate, "open_model", lambda released: fake.fake_model())
    monkeypatch.setattr(apart, "find_index", lambda checkpoint: None)  # reading it takes a second
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(run=lambda *arguments: cli.main(list(map(str, arguments))), loaded=loaded)


def test_the_users_own_form(command: SimpleNamespace, prime_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`musicgen prime.mid --out new.mid`: the prime, then 30 seconds more, and a seed that is told."""
    assert command.run(prime_file, "--out", "new.mid") == 0
    prime, _ = read_midi(prime_file)
    new, _ = read_midi(Path("new.mid"))
    assert np.allclose(new.onset[: len(prime)], prime.onset, atol=1e-4)
    assert np.array_equal(new.pitch[: len(prime)], prime.pitch)
    assert np.array_equal(new.velocity[: len(prime)], prime.velocity)
    assert prime.duration + 25 < new.duration <= prime.duration + 30.02
    captured = capsys.readouterr()
    assert "seed" in captured.err and captured.out == ""
    assert sorted(path.name for path in Path().iterdir()) == ["new.mid", "prime.mid"]


def test_generate_is_the_same_command(command: SimpleNamespace, prime_file: Path) -> None:
    """With and without its name, the same seed gives the same bytes; another seed others."""
    command.run(prime_file, "--out", "a.mid", "--seed", 5, "--seconds", 5)
    command.run("generate", prime_file, "--out", "b.mid", "--seed", 5, "--seconds", 5)
    command.run("generate", prime_file, "--out", "c.mid", "--seed", 6, "--seconds", 5)
    assert Path("a.mid").read_bytes() == Path("b.mid").read_bytes() != Path("c.mid").read_bytes()


def test_from_nothing(command: SimpleNamespace, prime_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No prime: the piece is as long as asked, its notes are all closed, and it says which beat is heard."""
    assert command.run("--out", "new.mid", "--seconds", 7) == 0
    told = next(line for line in capsys.readouterr().err.splitlines() if " beat" in line)
    assert told == f"musicgen: new.mid: {read_text(Path('new.mid'))[1].removeprefix('musicgen: ')}"
    assert command.run(prime_file, "--out", "more.mid", "--seconds", 1) == 0
    assert "beats" not in capsys.readouterr().err
    music, remarks = read_midi(Path("new.mid"))
    assert remarks == ()
    assert 5 < music.duration <= 7.001


def test_json_has_the_documented_keys(
    command: SimpleNamespace, prime_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object on stdout with everything DESIGN.md promises, in sensible ranges."""
    code = command.run(
        prime_file, "--out", "new.mid", "--json", "--quiet", "--seed", 3, "--latents", 8, "--context", 32
    )
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert code == 0 and captured.err == ""
    promised = "seed checkpoint tokens notes seconds wall_seconds tokens_per_second first_note_seconds latents context"
    assert set(promised.split()) <= set(told)
    assert (told["seed"], told["checkpoint"], told["latents"], told["context"]) == (3, "fake", 8, 32)
    assert told["seconds"] == 30.0 and 0 < told["notes"] < told["tokens"]
    assert 0 < told["first_note_seconds"] <= told["wall_seconds"]
    music, _ = read_midi(Path("new.mid"))
    prime, _ = read_midi(prime_file)
    assert len(music) == len(prime) + told["notes"]


def test_dials_reach_the_engine(fake: ModuleType, music: Performance) -> None:
    """Latents, context, sampling, seed and one prime per sample, exactly as asked."""
    model = fake.fake_model()
    settings = Settings.of(
        seconds=1, latents=10, context=20, temperature=0.7, top_p=0.5, top_k=9, min_p=0.1, num_samples=3
    )
    prime = make_prime(music, 2.0, "")
    generate.generate(generate.Request(settings, prime, 42), model)
    asked = model.engine.asked
    assert (asked["latents"], asked["context"], asked["seed"]) == (10, 20, 42)
    assert asked["sampling"] == Sampling(0.7, 0.5, 9, 0.1)
    assert len(asked["primes"]) == 3 and all(np.array_equal(given, prime.tokens) for given in asked["primes"])


def test_settings_are_checked_against_the_model(fake: ModuleType) -> None:
    """Four times the model's own N is the largest; its M and N are the defaults."""
    with pytest.raises(BadInput, match=r"--context 1025 .*1024"):
        generate.generate(generate.Request(Settings(context=1025)), fake.fake_model())
    with pytest.raises(BadInput, match=r"--latents 300"):
        generate.generate(generate.Request(Settings(latents=300)), fake.fake_model())
    assert Settings(context=16).resolve(64, 256).latents == 16
    assert Settings().resolve(64, 256) == Settings(latents=64, context=256)


def test_several_samples_are_numbered_and_differ(command: SimpleNamespace, prime_file: Path) -> None:
    """new-1.mid, new-2.mid, new-3.mid from one batch."""
    assert command.run(prime_file, "--out", "new.mid", "--num-samples", 3, "--seconds", 3, "--seed", 1) == 0
    files = sorted(Path().glob("new*.mid"))
    assert [file.name for file in files] == ["new-1.mid", "new-2.mid", "new-3.mid"]
    assert len({read_midi(file)[0].onset.tobytes() for file in files}) == 3


def test_prime_seconds_and_no_prime(command: SimpleNamespace, prime_file: Path) -> None:
    """The opening only; and the new music alone, which is the same music earlier."""
    command.run(prime_file, "--out", "with.mid", "--prime-seconds", 3, "--seconds", 4, "--seed", 2)
    command.run(prime_file, "--out", "alone.mid", "--prime-seconds", 3, "--seconds", 4, "--seed", 2, "--no-prime")
    prime, _ = read_midi(prime_file)
    both, _ = read_midi(Path("with.mid"))
    alone, _ = read_midi(Path("alone.mid"))
    count = int((prime.onset < prime.onset[0] + 3).sum())
    assert len(both) == count + len(alone)
    text, _ = facts.find_texts(read_text(Path("with.mid")))
    assert text is not None
    told = facts.Provenance.from_json(text)
    assert told.prime_notes == count
    assert np.allclose(both.onset[count:], alone.onset + told.join_seconds, atol=1e-4)
    assert alone.duration <= 4.001


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--no-prime"],
        ["--prime-seconds", "3.3"],
        ["--num-samples", "2"],
        [
            "--latents",
            "3",
            "--context",
            "50",
            "--temperature",
            "0.9",
            "--top-p",
            "0.8",
            "--top-k",
            "40",
            "--min-p",
            "0.02",
        ],
    ],
    ids=" ".join,
)
def test_replay_makes_the_same_bytes(
    command: SimpleNamespace, prime_file: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """From the file alone: the prime is deleted first."""
    assert command.run(prime_file, "--out", "new.mid", "--seconds", 4, *options) == 0
    prime_file.unlink()
    for made in sorted(Path().glob("new*.mid")):
        assert command.run("replay", made, "--out", "again.mid") == 0
        assert Path("again.mid").read_bytes() == made.read_bytes()
    assert "the same bytes" in capsys.readouterr().err
    assert command.loaded[-1] == "fake"


def test_replay_from_nothing(command: SimpleNamespace, fake: ModuleType) -> None:
    """Also without a prime; and a file from before beats were heard, which is at 120 a minute."""
    command.run("--out", "new.mid", "--seconds", 4, "--seed", 3)
    assert command.run("replay", "new.mid", "--json") == 0
    settings = Settings(seconds=4, latents=64, context=256)
    (sample,) = generate.generate(generate.Request(settings, seed=3), fake.fake_model()).samples
    old = dataclasses.replace(sample, provenance=dataclasses.replace(sample.provenance, beat=False))
    Path("old.mid").write_bytes(generate.midi_file(old, None))
    assert len(read_text(Path("old.mid"))) == 1 < len(read_text(Path("new.mid")))
    assert command.run("replay", "old.mid", "--json") == 0


def test_text_events_of_others_are_not_facts(
    command: SimpleNamespace, music: Performance, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file whose text happens to begin with our name was not made by us."""
    write_midi(music, Path("other.mid"), text=("musicgen is nice",))
    assert command.run("replay", "other.mid") == 2
    assert "does not say how it was made" in capsys.readouterr().err


def test_replay_notices_a_changed_file(command: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    """A byte of music changed afterwards: exit code 1, and it says so."""
    command.run("--out", "new.mid", "--seconds", 4)
    data = bytearray(Path("new.mid").read_bytes())
    at = data.rindex(b"\x90")
    data[at + 2] ^= 1
    Path("changed.mid").write_bytes(data)
    assert command.run("replay", "changed.mid", "--out", "again.mid") == 1
    assert "not the same bytes" in capsys.readouterr().err
    assert Path("again.mid").read_bytes() == Path("new.mid").read_bytes()


def test_replay_wants_the_prime_it_was_made_with(
    command: SimpleNamespace, prime_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A prime too long to pack has to be given, and only the right one will do."""
    from musicgen.app import prime as primes

    monkeypatch.setattr(primes, "LARGEST_PACKED", 10)
    command.run(prime_file, "--out", "new.mid", "--seconds", 4)
    assert "--prime FILE" in capsys.readouterr().err
    assert command.run("replay", "new.mid") == 2
    assert "--prime FILE" in capsys.readouterr().err
    assert command.run("replay", "new.mid", "--prime", "new.mid") == 2
    assert "not the prime" in capsys.readouterr().err
    assert command.run("replay", "new.mid", "--prime", prime_file) == 0


def test_replay_wants_the_same_weights(
    command: SimpleNamespace, fake: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other weights of the same name are noticed by their checksum."""
    command.run("--out", "new.mid", "--seconds", 2)
    other = dataclasses.replace(fake.fake_model(), sha256="e" * 64)
    monkeypatch.setattr(generate, "open_model", lambda released: other)
    assert command.run("replay", "new.mid") == 2
    assert "--checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.pop("seed"),
        lambda told: told.update(seed="7"),
        lambda told: told.update(seed=-7),
        lambda told: told.update(format=99),
        lambda told: told.update(sample=5),
        lambda told: told.update(prime_sha256=3),
        lambda told: told["settings"].update(seconds="long"),
        lambda told: told["settings"].update(seconds=-1),
        lambda told: told["settings"].update(top_k=True),
        lambda told: told["settings"].pop("latents"),
        lambda told: told.update(settings=[]),
        lambda told: told.update(surprise=1),
    ],
)
def test_damaged_facts_are_bad_input(change, fake: ModuleType) -> None:  # type: ignore[no-untyped-def]
    """Someone edited the text event: one error of ours, whatever they wrote."""
    sample = generate.generate(generate.Request(Settings(seconds=1), None, 1), fake.fake_model()).samples[0]
    told = json.loads(sample.provenance.to_json())
    assert facts.Provenance.from_json(json.dumps(told)) == sample.provenance
    change(told)
    with pytest.raises(BadInput):
        facts.Provenance.from_json(json.dumps(told))


def test_audio_goes_with_every_sample(command: SimpleNamespace) -> None:
    """--audio new.wav beside --out new.mid, numbered alike."""
    import soundfile

    assert command.run("--out", "n.mid", "--audio", "n.flac", "--num-samples", 2, "--seconds", 2, "--quiet") == 0
    assert sorted(path.name for path in Path().iterdir()) == ["n-1.flac", "n-1.mid", "n-2.flac", "n-2.mid"]
    assert soundfile.info("n-2.flac").duration > 2
    assert abs(soundfile.read("n-2.flac")[0]).max() > 0.8


def test_an_existing_output_is_replaced_whole(command: SimpleNamespace) -> None:
    """And the prime itself is never overwritten."""
    command.run("--out", "new.mid", "--seconds", 3, "--seed", 1)
    before = Path("new.mid").read_bytes()
    command.run("--out", "new.mid", "--seconds", 3, "--seed", 2)
    assert Path("new.mid").read_bytes() != before
    assert command.run("new.mid", "--out", "new.mid") == 2


@pytest.mark.parametrize("end", [False, True])
def test_a_piece_from_nothing_begins_with_its_first_note(fake: ModuleType, end: bool) -> None:
    """And lasts as long as asked; one that was made before that was so is made again with its silence."""
    silent = 0
    for seed in range(5):
        settings = Settings.of(seconds=6, num_samples=2, end=end)
        new = generate.generate(generate.Request(settings, None, seed), fake.fake_model())
        old = generate.generate(generate.Request(settings, None, seed, trimmed=False), fake.fake_model())
        for sample, before in zip(new.samples, old.samples, strict=True):
            assert sample.music.onset[0] == 0
            lead = float(before.music.onset[0])
            silent += lead > 0
            assert sample.provenance.trimmed == (lead > 0)
            shared = min(len(sample.music), len(before.music)) - 5
            assert np.allclose(sample.music.onset[:shared], before.music.onset[:shared] - lead)
            assert sample.provenance.ended is not None or 5 < sample.music.duration <= 6.01
            for piece in (sample, before):
                generated = GeneratedFile(generate.midi_file(piece, None), piece.provenance, None)
                assert replay(generated, None, fake.fake_model()) == generated.data
        assert '"trimmed"' not in old.samples[0].provenance.to_json()
    assert silent > 5


@pytest.mark.parametrize("options", [{}, {"num_samples": 3}, {"end": True}])
@pytest.mark.parametrize("primed", [True, False])
def test_a_stopped_piece_is_one_that_was_asked_to_be_shorter(
    fake: ModuleType, prime_file: Path, options: dict[str, int | bool], primed: bool
) -> None:
    """Its facts say what was asked for and what there is, and it is made again byte for byte."""
    prime = read_prime(prime_file, None)[0] if primed else None
    told: list[float] = []
    request = generate.Request(Settings(seconds=300.0, **options), prime, seed=3)
    model = fake.fake_model()
    result = generate.generate(request, model, told.append, lambda: told[-1] > 20)
    for number, sample in enumerate(result.samples, start=1):
        made = sample.provenance
        assert (made.asked, made.sample, made.settings.end) == (300.0, number, False)
        assert 20 < made.settings.seconds == result.settings.seconds < 60
        data = generate.midi_file(sample, None)
        again = facts.Provenance.from_json(made.to_json())
        assert again == made and replay(GeneratedFile(data, again, None), prime, model) is not None
        shorter = generate.Request(made.settings, prime, 3, made.trimmed)
        other = generate.generate(shorter, model).samples[number - 1]
        np.testing.assert_array_equal(other.tokens, sample.tokens)
        assert other.provenance.asked is None and "asked" not in other.provenance.to_json()


def test_stopped_before_the_first_note_there_is_no_piece(fake: ModuleType) -> None:
    with pytest.raises(KeyboardInterrupt):
        generate.draw(iter([np.array([[fake.TIME_SHIFT]], np.int16)]), 1, 10.0, lambda seconds: None, lambda: True)


@pytest.mark.parametrize("line", ["prime.mid --out new.mid", "fill prime.mid --from 1 --to 2 --out new.mid"])
def test_nobody_waits_for_what_has_made_no_music(
    line: str,
    command: SimpleNamespace,
    prime_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Loading and compiling, which take half a minute on a busy machine."""
    never = threading.Event()

    def open_model(released: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        never.wait(30)

    monkeypatch.setattr(generate, "open_model", open_model)
    assert command.run(*line.split()) == 143
    assert not never.is_set() and not Path("new.mid").exists()
    assert capsys.readouterr().err == "musicgen: error: stopped; nothing more is written\n"
    never.set()
