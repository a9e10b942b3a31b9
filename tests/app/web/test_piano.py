"""The browser's piano: made once, kept for the next start, and made anew when anything it comes of is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicgen.app.web import kept, piano
from musicgen.app.web.renderer import Renderer, render_bytes
from musicgen.data_prep import Performance


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Performance]:
    """What had to be made: bytes that say how many came before; the cache folder and the soundfont are the test's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "font.sf2").write_bytes(b"one")
    monkeypatch.setattr(piano, "find_soundfont", lambda: tmp_path / "font.sf2")
    piano._sha256.cache_clear()
    return []


def ask(pitch: int, made: list[Performance]) -> bytes:
    def make(music: Performance) -> bytes:
        made.append(music)
        return b"sound %d" % len(made)

    return piano.sample(pitch, make)


def test_a_key_is_made_once(made: list[Performance], tmp_path: Path) -> None:
    assert [ask(60, made) for _ in range(3)] == [b"sound 1"] * 3
    assert (ask(63, made), ask(60, made)) == (b"sound 2", b"sound 1")
    assert [int(music.pitch[0]) for music in made] == [60, 63]
    assert len(list((tmp_path / "cache" / "musicgen" / "piano").iterdir())) == 2  # nothing half-written beside them


@pytest.mark.parametrize("what", ["soundfont", "touch", "renderer", "loudness", "musicgen"])
def test_a_key_of_another_making_is_another(
    made: list[Performance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    ask(60, made)
    if what == "soundfont":
        (tmp_path / "font.sf2").write_bytes(b"two")
        piano._sha256.cache_clear()
    elif what == "touch":
        monkeypatch.setattr(piano, "VELOCITY", 85)
    elif what == "renderer":
        monkeypatch.setattr(piano.importlib.metadata, "version", lambda name: "99")
    elif what == "loudness":
        monkeypatch.setattr(piano, "PEAK", 0.5)
    else:
        monkeypatch.setattr(kept, "version", lambda: "99")
    assert [ask(60, made), ask(60, made)] == [b"sound 2"] * 2


def test_where_nothing_can_be_kept(made: list[Performance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the folder should be, or no home folder: it is made each time."""
    (tmp_path / "cache").touch()
    assert [ask(60, made), ask(60, made)] == [b"sound 1", b"sound 2"]

    def homeless(part: str) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(kept, "cache_folder", homeless)
    assert ask(60, made) == b"sound 3"


def test_the_next_start_renders_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very bytes that the first start has made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Renderer, "_run", lambda self, broken, work, *given: work(*given))
    first = Renderer().key(108)
    assert first == render_bytes(piano.key(108), "mp3")

    def unwanted(self: Renderer, *given: object) -> bytes:
        raise AssertionError("it was kept")

    monkeypatch.setattr(Renderer, "_run", unwanted)
    assert Renderer().key(108) == first
