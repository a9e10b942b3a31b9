"""`from musicgen.app import generate` in a Python program, and the examples that the README shows."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from musicgen.app import generate
from musicgen.app.audio import continuation as recording
from musicgen.app.errors import BadInput
from musicgen.data_prep import read_midi

from .serving import serving

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def fake_weights(fake: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No model, and a folder of one's own with a prime in it."""
    monkeypatch.setattr(generate, "open_weights", lambda checkpoint: None)
    monkeypatch.setattr(generate, "open_model", lambda released: fake.fake_model())
    monkeypatch.chdir(tmp_path)
    generate._kept_model.cache_clear()
    yield
    generate._kept_model.cache_clear()


def example(about: str) -> str:
    (found,) = (text for text in EXAMPLES if about in text)
    return str(found)


def test_pieces(fake_weights: None, prime_file: Path) -> None:
    """As many as asked for, each a whole file that says how it was made; the seed decides."""
    made = generate.pieces(prime_file, seconds=3, num_samples=2, seed=5)
    assert len(made) == 2 and made[0].midi != made[1].midi
    assert [piece.midi for piece in generate.pieces(prime_file, seconds=3, num_samples=2, seed=5)] == [
        piece.midi for piece in made
    ]
    music, _ = read_midi(made[1].midi)
    assert len(music) == len(made[1].music) and made[1].facts.sample == 2
    with pytest.raises(BadInput, match="there is no such setting among tempo"):
        generate.pieces(tempo=120)
    with pytest.raises(BadInput, match="no such MIDI file"):
        generate.pieces("mozart")


def test_the_readmes_python_example_runs(fake_weights: None) -> None:
    exec(compile(example("generate.pieces"), "README.md", "exec"), {})
    assert len(read_midi(Path("new.mid"))[0]) > 20


def test_the_readmes_example_of_sound_runs(
    loud: Path, toy: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With weights that have learnt nothing in the place of those that ship."""
    import soundfile

    from musicgen.checkpoints import codec_release

    monkeypatch.setattr(recording, "MODEL", str(loud / "model"))
    monkeypatch.setattr(codec_release, "DEFAULT", str(loud / "codec"))
    monkeypatch.chdir(tmp_path)
    toy.write_sound(tmp_path / "prime.wav", 1.0)
    recording._kept_model.cache_clear()
    exec(compile(example("recording.sounds"), "README.md", "exec"), {})
    recording._kept_model.cache_clear()
    assert soundfile.info("new.wav").duration == pytest.approx(11.0, abs=0.1)


def test_the_readmes_client_example_runs(fake_weights: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Against a page that is really served, with the made-up engine."""
    pytest.importorskip("gradio", reason="the page needs the extra app")
    with serving(tmp_path_factory.mktemp("site"), 0.0) as site:
        text = example("gradio_client").replace("http://127.0.0.1:7860", site.url)
        Path("prime.mid").write_bytes(base64.b64decode(site.ask("musicgen/make", {}).events[-2]["midi"]))
        exec(compile(text, "README.md", "exec"), {})
    assert len(read_midi(Path("new.mid"))[0]) > 20
    assert Path("new.mp3").stat().st_size > 10_000
