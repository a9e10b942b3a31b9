"""Seeking, choosing a part, and playing on the keys."""

from __future__ import annotations

from typing import Any

import pytest


def test_seek_and_pause(stage: Any) -> None:
    page = stage(stage.steady)
    page.evaluate("() => { stage.seek(2); return stage.play(); }")
    page.wait_for_function("stage.position > 2.3")
    page.evaluate("stage.pause()")
    at = page.evaluate("stage.position")
    page.wait_for_timeout(250)
    assert page.evaluate("stage.position") == at
    assert page.loudest() < 0.01
    x = page.evaluate("stage.xOf(1)")
    page.mouse.click(x, page.locator("#stage .mg-scroller").bounding_box()["y"] + 60)
    assert page.evaluate("stage.position") == pytest.approx(1, abs=0.02)


def test_the_roll_answers_to_the_computer_keys(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 60.0})
    page.locator("#before").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Play"
    roll = page.locator("#stage .mg-scroller")
    roll.focus()
    for key, expected in (("ArrowRight", 5), ("Shift+ArrowRight", 6), ("ArrowLeft", 1), ("End", 60), ("Home", 0)):
        page.keyboard.press(key)
        assert page.evaluate("stage.position") == pytest.approx(expected, abs=0.01)
    page.keyboard.press("Space")
    page.wait_for_function("stage.state === 'playing'")
    page.keyboard.press("Space")
    assert page.evaluate("stage.state") == "stopped"
    wide = page.evaluate("stage.view.to - stage.view.from")
    page.keyboard.press("+")
    assert page.evaluate("stage.view.to - stage.view.from") == pytest.approx(wide / 2, rel=0.02)
    page.keyboard.press("0")
    assert page.evaluate("stage.view.to - stage.view.from") == pytest.approx(wide, rel=0.02)


def test_two_fingers_zoom(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 60.0})
    wide = page.evaluate("stage.view.to - stage.view.from")
    page.evaluate(
        """() => {
            const target = stage.scroller;
            const finger = (identifier, clientX) => new Touch({ identifier, clientX, clientY: 200, target });
            for (const half of [50, 100, 200]) {
                const touches = [finger(1, 500 - half), finger(2, 500 + half)];
                target.dispatchEvent(new TouchEvent("touchmove", { touches, cancelable: true }));
            }
        }"""
    )
    assert page.evaluate("stage.view.to - stage.view.from") == pytest.approx(wide / 4, rel=0.05)
    middle = page.evaluate("stage.timeAt(500)")
    assert 20 < middle < 40


def test_the_mouse_tells_what_a_note_is(stage: Any) -> None:
    page = stage({**stage.one, "notes": [[0, 1, 63, 64, 3.25]]})
    x, y = page.evaluate(
        """() => {
            const place = stage.place();
            return [stage.xOf(0.5), stage.scroller.getBoundingClientRect().top + place.y(63) + place.row / 2];
        }"""
    )
    page.mouse.move(x, y)
    assert page.locator(".mg-tip").inner_text() == "E♭4, velocity 64, 1.00 s, 3.3 nats"
    page.mouse.move(x, y + 60)
    assert not page.locator(".mg-tip").is_visible()


def test_handles_choose_a_part(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 10.0})
    page.evaluate("stage.selectable = true")
    page.settle()
    assert page.evaluate("stage.selection") == {"from": 0, "to": 10}
    begin, end = page.get_by_role("slider", name="Beginning").first, page.get_by_role("slider", name="End of").first
    y = page.locator("#stage .mg-scroller").bounding_box()["y"] + 100
    page.mouse.move(page.evaluate("stage.xOf(0)"), y)
    page.mouse.down()
    page.mouse.move(page.evaluate("stage.xOf(2)"), y, steps=4)
    page.mouse.up()
    assert page.told("select")[-1]["from"] == pytest.approx(2, abs=0.05)
    end.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    assert page.told("select")[-1]["to"] == pytest.approx(8.9)
    begin.focus()
    page.keyboard.press("PageUp")
    page.settle()
    assert page.evaluate("stage.selection") == {"from": 8.4, "to": 8.9}, "half a second is left at least"
    assert begin.get_attribute("aria-valuetext") == "8.4 seconds"
    assert "Chosen: 8.4 s to 8.9 s, which is 0.5 s" in page.status()


def test_a_handle_takes_the_roll_along_at_its_edge(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 100.0})
    page.evaluate("() => { stage.selectable = true; stage.zoom(8); stage.view.show(0); stage.select(1, 90); }")
    page.settle()
    box = page.locator("#stage .mg-scroller").bounding_box()
    assert page.evaluate("stage.view.to") < 20
    page.mouse.move(page.evaluate("stage.xOf(1)"), box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 100)
    page.wait_for_function("stage.view.from > 8")
    page.mouse.up()
    assert page.told("select")[-1]["from"] > 15


def test_brackets_choose_from_the_playhead(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 10.0})
    page.evaluate("() => { stage.selectable = true; stage.scroller.focus(); stage.seek(2); }")
    page.keyboard.press("[")
    page.evaluate("stage.seek(7)")
    page.keyboard.press("]")
    assert page.told("select")[-1] == {"name": "select", "from": 2, "to": 7}


def test_only_the_chosen_part_is_played(stage: Any) -> None:
    page = stage(stage.steady)
    page.evaluate("() => { stage.selectable = true; stage.select(1, 1.6); return stage.play(); }")
    page.wait_for_function("stage.state === 'playing'")
    assert page.evaluate("stage.position") >= 1
    page.wait_for_function("stage.state === 'stopped'")
    assert page.evaluate("stage.position") == pytest.approx(1.6)
    page.wait_for_timeout(900)
    assert page.loudest() < 0.01, "nothing rings on"
    page.evaluate("() => { stage.selectable = false; stage.seek(2.5); return stage.play(); }")
    page.wait_for_function("stage.position > 2.7")


def test_playing_on_the_keys_is_recorded(stage: Any) -> None:
    page = stage()
    page.get_by_role("button", name="Record").click()
    page.keyboard.down("a")
    page.wait_for_timeout(150)
    page.keyboard.down(" ")
    page.keyboard.up("a")
    page.wait_for_timeout(100)
    page.keyboard.up(" ")
    key = page.locator("[data-pitch='67']").bounding_box()
    page.mouse.move(key["x"] + key["width"] / 2, key["y"] + key["height"] - 8)
    page.mouse.down()
    assert page.loudest() > 0.05
    page.mouse.up()
    page.keyboard.press("w")
    page.get_by_role("button", name="Stop").click()
    music = page.told("recorded")[0]["music"]
    assert [note[2] for note in music["notes"]] == [60, 67, 61]
    assert music["notes"][0][0] == 0 and 0.1 < music["notes"][0][1] < 0.5
    assert music["notes"][1][3] > 100, "low on the key is loud"
    assert [value for _, value in music["pedal"]] == [127, 0]
    assert music["prime_seconds"] == music["seconds"] >= music["notes"][-1][1]
    assert "Recorded 3 notes" in page.locator("#keyboard [role=status]").inner_text()
    page.evaluate("music => stage.show(music)", music)
    assert page.evaluate("stage.music.plain()") == music, "the stage takes what the keyboard gives"


FAKE_MIDI = """
window.midiPort = { name: "Test piano", state: "connected", onmidimessage: null };
navigator.requestMIDIAccess = async () => ({ inputs: new Map([["1", midiPort]]), onstatechange: null });
"""


@pytest.mark.parametrize(
    ("midi", "told"),
    [
        ("undefined", "This browser has no Web MIDI"),
        ("() => new Promise(() => {})", "allow it if it asks you"),
        ("() => Promise.reject(new Error('no'))", "The browser was not allowed to use MIDI"),
    ],
)
def test_a_browser_without_midi_says_so(stage: Any, midi: str, told: str) -> None:
    page = stage()
    page.evaluate(f"() => {{ navigator.requestMIDIAccess = {midi}; }}")
    page.get_by_role("button", name="Connect a MIDI keyboard").click()
    page.locator("#keyboard [role=status]").filter(has_text=told).wait_for()
    page.evaluate("() => { delete navigator.requestMIDIAccess; }")


def test_a_midi_keyboard_is_played_and_recorded(stage: Any) -> None:
    page = stage(script=FAKE_MIDI)
    page.get_by_role("button", name="Connect a MIDI keyboard").click()
    page.wait_for_function("midiPort.onmidimessage !== null")
    assert "Test piano" in page.locator("#keyboard [role=status]").inner_text()
    music = page.evaluate(
        """() => {
            keyboard.record();
            const send = (at, ...data) => midiPort.onmidimessage({ data: new Uint8Array(data), timeStamp: 5000 + at });
            send(0, 0x90, 60, 33); send(100, 0xb0, 64, 127); send(200, 0x90, 60, 0); send(250, 0x93, 64, 99);
            send(400, 0x83, 64, 0); send(500, 0xb0, 64, 0); send(510, 0xf8); send(520, 0xc0, 5);
            return keyboard.stop();
        }"""
    )
    assert music["notes"] == [[0, 0.2, 60, 33, None], [0.25, 0.4, 64, 99, None]]
    assert music["pedal"] == [[0.1, 127], [0.5, 0]]


def test_no_key_is_stuck_when_the_page_is_left(stage: Any) -> None:
    page = stage()
    page.locator("#keyboard .mg-keys").focus()
    page.keyboard.down("a")
    page.keyboard.down("Space")
    assert page.evaluate("[keyboard.pressed.size, stage.sound.pedalDown]") == [1, True]
    page.locator("#before").focus()
    assert page.evaluate("[keyboard.pressed.size, stage.sound.live.size, stage.sound.pedalDown]") == [0, 0, False]
    page.wait_for_timeout(1200)
    assert page.loudest(0.05) < 0.005


def test_nothing_played_is_nothing_recorded(stage: Any) -> None:
    page = stage()
    assert page.evaluate("() => { keyboard.record(); return keyboard.stop(); }") is None
    assert page.told("recorded") == []
