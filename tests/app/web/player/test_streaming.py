"""Music that is heard while it is still being made."""

from __future__ import annotations

from typing import Any

import pytest


def test_music_streams_in_without_a_gap(stage: Any) -> None:
    page = stage()
    page.evaluate("music => { feed(music, { speed: 1.7 }); }", stage.steady)
    page.wait_for_function("told.some(event => event.name === 'playing')")
    (playing,) = page.told("playing")
    assert playing["since_begin_ms"] < 2000
    heard = page.evaluate("listen(2)")[5:]  # the first note has not reached the meter yet
    assert min(heard) > 0.005, "never a silent moment"
    page.wait_for_function("stage.state === 'stopped'")
    assert page.told("underrun") == []
    assert page.evaluate("stage.sound.late") == 0
    assert page.evaluate("stage.music.notes") == stage.steady["notes"]
    assert page.evaluate("stage.music.held.size") == 0


def test_a_note_that_comes_late_is_still_played(stage: Any) -> None:
    page = stage()
    page.evaluate("begin(9, [[0, 0.2, 60, 90, null], [1.4, 1.5, 62, 90, null]], 3, 3)")
    page.wait_for_function("stage.position > 0.5")
    assert page.loudest(0.05) < 0.01
    page.evaluate("stage.append({ notes: [[0.4, 2, 64, 90, null]], seconds: 3 })")
    assert page.loudest() > 0.05
    assert page.evaluate("stage.player.next") == 3


def test_a_prime_is_heard_while_the_first_new_notes_are_made(stage: Any) -> None:
    page = stage()
    page.evaluate("music => { feed(music, { speed: 1.7, prime: 1 }); }", stage.steady)
    page.wait_for_function("told.some(event => event.name === 'playing')")
    (playing,) = page.told("playing")
    assert playing["prime"] and playing["since_begin_ms"] < 2000
    page.wait_for_function("stage.state === 'stopped'")
    assert page.told("underrun") == []


def test_a_prime_waits_for_the_first_new_notes(stage: Any) -> None:
    page = stage()
    page.evaluate("stage.begin({ notes: [[0, 3, 60, 90, null]], prime_seconds: 3, seconds: 3, expected_seconds: 9 })")
    page.wait_for_timeout(400)
    assert page.evaluate("stage.state") == "buffering"
    assert "Waiting for the first notes" in page.status()
    page.evaluate("stage.append({ notes: [], seconds: 3.5 })")
    page.wait_for_timeout(300)
    page.evaluate("stage.append({ notes: [], seconds: 4.5 })")
    page.wait_for_function("stage.position > 0.2")


def test_who_does_not_want_to_wait_hears_it_at_once_and_is_told_of_the_stop(stage: Any) -> None:
    """The button is there while there is a long wait, says what it does, and goes on by itself after the stop."""
    page = stage()
    page.evaluate("begin(60, [[0, 5, 60, 90, null]], 1.5, 0.5)")
    button = page.get_by_role("button", name="Play now anyway")
    button.click()
    page.wait_for_function("stage.position > 0.2")
    assert "it will have to wait for about" in page.status() and not button.is_visible()
    page.wait_for_function("told.some(event => event.name === 'underrun')")
    assert page.evaluate("stage.state") == "buffering"


def test_a_slow_model_is_waited_for_just_long_enough(stage: Any) -> None:
    page = stage()
    page.evaluate("music => { window.began = performance.now(); feed(music, { speed: 0.7 }); }", stage.steady)
    page.wait_for_timeout(700)
    assert page.evaluate("stage.state") == "buffering"
    assert any(told in page.status() for told in ("Gathering the first notes", "Ready in a moment"))
    page.wait_for_function("stage.state === 'playing'")
    made, waited = page.evaluate("[stage.music.certain, (performance.now() - began) / 1000]")
    assert made < 2.7, "it does not wait for all of it"
    page.wait_for_function("stage.state === 'stopped'")
    assert waited > 1
    assert page.told("underrun") == []


def test_a_model_that_falls_behind_makes_it_wait_and_go_on(stage: Any) -> None:
    page = stage()
    page.evaluate("begin(20, [[0, 1, 60, 90, null]], 1.2, 3)")
    page.wait_for_function("told.some(event => event.name === 'underrun')")
    assert page.evaluate("stage.state") == "buffering"
    assert page.evaluate("stage.position") == pytest.approx(1.2, abs=0.01)
    page.evaluate("stage.append({ notes: [[1.3, 4, 62, 90, null]], seconds: 6 })")
    page.wait_for_function("stage.position > 1.5")
    assert page.evaluate("stage.state") == "playing"


def test_stopping_keeps_what_there_is(stage: Any) -> None:
    page = stage()
    page.evaluate("() => { begin(30, [[0, null, 60, 90, null]], 0.9, 1); stage.end({ stopped: true }); }")
    assert page.evaluate("stage.music.plain()")["notes"] == [[0, 0.9, 60, 90, None]]
    page.evaluate("stage.play()")
    page.wait_for_function("stage.state === 'stopped'")
    page.settle()
    assert "stopped early" in page.status()


def test_a_held_note_sounds_until_its_end_is_told(stage: Any) -> None:
    page = stage()
    page.evaluate("begin(4, [[0, null, 60, 90, null]], 1.5, 2)")
    page.wait_for_function("stage.position > 0.8")
    assert page.loudest(0.05) > 0.05
    page.evaluate("stage.append({ notes: [[0, 1.4, 60, 90, null]], seconds: 4 })")
    page.wait_for_function("stage.position > 2.5")
    assert page.loudest(0.05) < 0.01
    assert page.evaluate("stage.music.notes") == [[0, 1.4, 60, 90, None]]


def test_the_final_form_of_a_take_plays_on(stage: Any) -> None:
    page = stage()
    page.evaluate("music => { window.fed = feed(music, { speed: 1.5 }); }", stage.steady)
    page.evaluate("music => fed.then(() => stage.show(music, { keep: true }))", {**stage.steady, "seconds": 5})
    assert page.evaluate("stage.state") == "playing"
    assert page.evaluate("stage.position") > 0.5
    assert min(page.evaluate("listen(0.5)")) > 0.005
    assert page.evaluate("stage.music.seconds") == 5
