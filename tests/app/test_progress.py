"""The progress line."""

from __future__ import annotations

import io

import pytest

from musicgen.app import progress as module
from musicgen.app.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_the_line_says_how_far_how_fast_and_how_long() -> None:
    """Ten of thirty seconds after five: twice real time, ten more to go."""
    line = Progress(30, "s of music", realtime=True).line(10.0, 5.0)
    assert "10.0 / 30 s of music" in line and "2.0x real time" in line and "10 s left" in line
    assert line.count("#") == 8 and line.count(".", 0, 26) == 16


def test_no_more_is_counted_than_there_is() -> None:
    """Half a second of music, of which the last note rings on for two more."""
    line = Progress(0.5, "s of sound", realtime=True).line(2.5, 1.0)
    assert "0.5 / 0.5 s of sound" in line and "0 s left" in line and line.count("#") == 24


def test_files_are_counted_as_whole_numbers() -> None:
    """For `musicgen prep`."""
    line = Progress(1276, "files").line(319, 2.0)
    assert "319 / 1,276 files" in line and "160/s" in line and "6 s left" in line


def test_a_terminal_gets_a_bar_that_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last thing on the line is nothing."""
    monkeypatch.setattr(module, "REDRAW", 0.0)
    stream = Terminal()
    with Progress(2, "s", realtime=True, stream=stream) as progress:
        progress.note("loading ...")
        progress.update(1.0)
    assert "loading" in stream.getvalue() and "[####" in stream.getvalue()
    assert stream.getvalue().endswith("\r") and not stream.getvalue().split("\r")[-2].strip()


def test_elsewhere_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file gets lines, not carriage returns, and few of them."""
    stream = io.StringIO()
    with Progress(100, "s", stream=stream) as progress:
        for done in range(100):
            progress.update(done)
    assert stream.getvalue() == ""
    monkeypatch.setattr(module, "REPORT", 0.0)
    with Progress(100, "s", stream=stream) as progress:
        progress.update(50)
    assert stream.getvalue().startswith("musicgen: [") and stream.getvalue().endswith("\n")
    assert "\r" not in stream.getvalue()


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a terminal."""
    monkeypatch.setattr(module, "REDRAW", 0.0)
    stream = Terminal()
    with Progress(2, "s", quiet=True, stream=stream) as progress:
        progress.note("x")
        progress.update(1.0)
    assert stream.getvalue() == ""


def test_the_clock_starts_with_the_music(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of loading and ten seconds of compiling must not make two seconds of generating look slow."""
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    stream = Terminal()
    progress = Progress(30, "s of music", realtime=True, stream=stream)
    clock[0] += 60
    progress.update(0.0)
    clock[0] += 10
    progress.update(1.0)
    assert "1.0 / 30" in stream.getvalue() and "real time" not in stream.getvalue() and "left" not in stream.getvalue()
    clock[0] += 2
    progress.update(5.0)
    assert "2.0x real time" in stream.getvalue()


def test_no_time_is_told_that_will_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a machine gets up to speed no time left; once it is steady, at every line."""
    clock, told = [100.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    stream = Terminal()
    progress = Progress(1000, "files", stream=stream)
    done = 0.0
    for rate in (0.5, 1, 2, 4, 8, 16, *[20] * 40):  # files a second; two updates a second
        for _ in range(2):
            done += rate / 2
            clock[0] += 0.5
            stream.truncate(0)
            progress.update(done)
            told.append("left" in stream.getvalue())
    assert not any(told[:12]) and all(told[30:]) and sorted(told) == told
    progress.update(0)
    assert not progress.steady


@pytest.mark.parametrize("columns", [1, 12, 40, 60, 79, 120])
@pytest.mark.parametrize("realtime", [True, False])
def test_a_line_fits_the_terminal(columns: int, realtime: bool) -> None:
    """A wrapped line cannot be drawn over; what matters most, how far and how long, goes last."""
    line = Progress(3600, "s of music", realtime=realtime).line(123.4, 5000.0, 0.0, "12 notes, 3 left out", columns)
    assert len(line) <= max(columns, 2)
    assert "3%" in line or "/ 3" in line
    if columns >= 40:
        assert line.endswith(("left", "left out"))


def test_slow_is_not_nothing() -> None:
    """Less than one a second is told as what it is."""
    assert "0.02x real time" in Progress(60, "s of music", realtime=True).line(1.0, 50.0)
    assert "0.5/s" in Progress(60, "files").line(10, 20.0)
    assert "1.0/s" in Progress(60, "files").line(10, 10.0)
