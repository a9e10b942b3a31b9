"""Signals to a command: what raises, what is noted, and what is waited for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from musicgen.model.stop import AT_ONCE, Left, Stop


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What does not come as long as the test goes on."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_has_nothing_to_keep_is_left_at_once(never: threading.Event, number: signal.Signals) -> None:
    def compile_for_minutes() -> None:
        signal.raise_signal(number)
        never.wait()

    with Stop() as stop, pytest.raises(Left) as left:
        stop.wait_for(compile_for_minutes, patience=AT_ONCE)
    assert left.value.exit_code == stop.exit_code == 128 + number


def test_what_has_something_to_keep_is_waited_for() -> None:
    """It sees by itself that it is to stop."""
    looked = threading.Event()

    def make(stop: Stop) -> str:
        signal.raise_signal(signal.SIGTERM)
        assert looked.wait(60) and stop
        return "as far as it is made"

    def keeps() -> bool:
        looked.set()
        return True

    with Stop() as stop:
        assert stop.wait_for(make, stop, patience=AT_ONCE, keeps=keeps) == "as far as it is made"
