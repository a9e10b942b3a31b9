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


def test_a_double_click_plays_from_there(stage: Any) -> None:
    """Once, though it is two clicks; on a key that falling notes fall onto, it plays nothing but that."""
    page = stage({**stage.steady, "seconds": 60.0})
    page.evaluate("""() => {
      globalThis.sought = [];
      const seek = stage.seek.bind(stage);
      stage.seek = (seconds) => (sought.push(seconds), seek(seconds));
    }""")
    box = page.locator("#stage .mg-scroller").bounding_box()
    page.mouse.dblclick(page.evaluate("stage.xOf(1)"), box["y"] + 60)
    page.wait_for_function("stage.state === 'playing'")
    assert page.evaluate("sought") == pytest.approx([1], abs=0.02)
    page.evaluate("stage.pause(); stage.fall(true)")
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + page.evaluate("stage.view.height") - 8)
    assert page.evaluate("[stage.state, sought.length]") == ["stopped", 1]


def test_the_roll_answers_to_the_computer_keys(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 60.0})
    page.locator("#before").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Falling notes"
    roll = page.locator("#stage .mg-scroller")
    roll.focus()
    for key, expected in (("ArrowRight", 5), ("Shift+ArrowRight", 6), ("ArrowLeft", 1), ("End", 60), ("Home", 0)):
        page.keyboard.press(key)
        assert page.evaluate("stage.position") == pytest.approx(expected, abs=0.01)
    page.keyboard.press("Space")
    page.wait_for_function("stage.state === 'playing'")
    page.keyboard.press("Space")
    assert page.evaluate("stage.state") == "stopped"
    page.keyboard.press("0")
    wide = page.evaluate("stage.view.to - stage.view.from")
    page.keyboard.press("+")
    assert page.evaluate("stage.view.to - stage.view.from") == pytest.approx(wide / 2, rel=0.02)
    page.keyboard.press("0")
    assert page.evaluate("stage.view.to - stage.view.from") == pytest.approx(wide, rel=0.02)


def test_two_fingers_zoom(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 60.0})
    page.evaluate("stage.zoom('whole')")
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
    page.evaluate("() => { stage.selectable = true; stage.zoom('whole'); stage.zoom(8); }")
    page.evaluate("() => { stage.view.show(0); stage.select(1, 90); }")
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


def test_a_passage_is_drawn_moved_and_pulled(stage: Any) -> None:
    """With the mouse: a rectangle, along the time alone all keys; its inside moves it, its edges are pulled."""
    page = stage({**stage.steady, "seconds": 10.0})
    page.evaluate("stage.region.allow(true)")

    def drag(begin: tuple[float, int], end: tuple[float, int]) -> dict[str, Any]:
        where = """([time, pitch]) => {
            const place = stage.place();
            return [stage.xOf(time), stage.scroller.getBoundingClientRect().top + place.y(pitch) + place.row / 2];
        }"""
        page.mouse.move(*page.evaluate(where, begin))
        page.mouse.down()
        page.mouse.move(*page.evaluate(where, end), steps=4)
        page.mouse.up()
        page.settle()
        return page.evaluate("stage.region.value")

    near = lambda **passage: pytest.approx(passage, abs=0.05)  # noqa: E731
    assert drag((2, 70), (5, 60)) == near(**{"from": 2, "to": 5}, low=60, high=70)
    assert page.told("region")[-1]["region"] == page.evaluate("stage.region.value")
    box, drawn = page.locator(".mg-region").bounding_box(), page.evaluate("[stage.xOf(2), stage.xOf(5)]")
    assert [box["x"], box["x"] + box["width"]] == pytest.approx(drawn, abs=6)
    assert drag((3, 65), (4, 67)) == near(**{"from": 3, "to": 6}, low=62, high=72)
    assert drag((6, 66), (8, 66)) == near(**{"from": 3, "to": 8}, low=62, high=72)
    page.mouse.click(page.evaluate("stage.xOf(4)"), box["y"] + 20)
    assert page.evaluate("stage.position") == pytest.approx(4, abs=0.05), "a click goes there, as everywhere"
    assert drag((1, 75), (9, 75)) == near(**{"from": 1, "to": 9}, low=21, high=108)
    assert page.status() == "Passage: 1.0 s to 9.0 s, all keys."
    page.evaluate("music => stage.show(music)", stage.one)
    page.settle()
    assert page.evaluate("stage.region.value") is None and not page.locator(".mg-region").is_visible()


def test_the_arrow_keys_choose_a_passage_and_it_is_spoken(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 20.0})
    roll = page.locator("#stage .mg-scroller")
    roll.focus()
    page.keyboard.press("r")
    assert page.evaluate("stage.region.value") is None, "not where nothing can be written anew"
    page.evaluate("() => { stage.region.allow(true); stage.seek(2); }")
    page.keyboard.press("r")
    spoken = lambda: page.locator("#stage [aria-live]").inner_text()  # noqa: E731
    assert page.evaluate("document.activeElement.className") == "mg-region"
    for keys, told in (
        ("ArrowRight", "2.3 s to 6.3 s, all keys"),
        ("Shift+ArrowLeft", "2.3 s to 6.0 s, all keys"),
        ("Shift+ArrowDown", "2.3 s to 6.0 s, A0 to B7"),
        ("ArrowUp", "2.3 s to 6.0 s, B♭0 to C8"),
        ("PageUp", "12.3 s to 16.0 s, B♭0 to C8"),
        ("PageUp", "16.3 s to 20.0 s, B♭0 to C8"),
    ):
        page.keyboard.press(keys)
        page.settle()
        assert spoken() == f"Passage: {told}."
        assert told in page.get_attribute(".mg-region", "aria-label")
    page.keyboard.press("Space")
    page.wait_for_function("stage.state === 'playing'")
    page.keyboard.press("Escape")
    assert page.evaluate("stage.region.value") is None
    assert page.evaluate("document.activeElement === stage.scroller")


def test_a_finger_scrolls_until_it_is_to_draw(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 10.0})
    touch = """(kind) => {
        stage.region.allow(true);
        stage.scroller.setPointerCapture = () => {};
        const { top } = stage.scroller.getBoundingClientRect();
        const finger = { pointerId: 7, isPrimary: true, pointerType: "touch", bubbles: true };
        const at = (time, y) => ({ ...finger, clientX: stage.xOf(time), clientY: top + y });
        const to = (type, time, y) => stage.scroller.dispatchEvent(new PointerEvent(type, at(time, y)));
        stage.region.draw(kind === "draw");
        to("pointerdown", 2, 100); to("pointermove", 3, 105); to("pointermove", 6, 108); to("pointerup", 6, 108);
        return [stage.region.value, getComputedStyle(stage.scroller).touchAction];
    }"""
    assert page.evaluate(touch, "scroll") == [None, "pan-x pan-y"]
    value, action = page.evaluate(touch, "draw")
    assert value == pytest.approx({"from": 2, "to": 6, "low": 21, "high": 108}, abs=0.05) and action == "none"


def test_a_passage_is_heard_while_it_is_written(stage: Any) -> None:
    """The roll plays from before it, never into what is not there yet, and what is new has the hue of new music."""
    page = stage()
    kept = [[time, time + 0.3, 60, 80, None] for time in (0.0, 0.5, 2.0, 2.5)]
    region = {"from": 1.0, "to": 2.0, "low": 21, "high": 108}
    music = {"notes": kept, "prime_seconds": 3, "seconds": 3, "known_seconds": 1, "expected_seconds": 2}
    page.evaluate("music => stage.begin(music, { keep: true })", {**music, "play_from": 0.4, "region": region})
    page.wait_for_timeout(300)
    assert page.evaluate("stage.position") == pytest.approx(0.4), "how quick it is nobody knows yet"
    page.evaluate("stage.append({ notes: [[1.1, 1.6, 65, 90, null, 1]], seconds: 1.3 })")
    page.wait_for_timeout(300)
    page.evaluate("stage.append({ notes: [], seconds: 1.8 })")
    page.wait_for_function("stage.state === 'playing'")
    page.evaluate("stage.append({ notes: [[1.7, 1.9, 67, 90, null, 1]], seconds: 3 })")
    page.evaluate("stage.end()")
    page.wait_for_function("stage.state === 'stopped'")
    assert page.told("underrun") == []
    assert page.evaluate("stage.music.notes.map((_, index) => stage.music.isPrime(index))") == [1, 1, 0, 0, 1, 1]
    assert "new from 1.0 s to 2.0 s" in page.get_attribute("#stage .mg-scroller", "aria-label")
    assert "kept" in page.locator(".mg-legend").inner_text()


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
    page.locator("[data-pitch='67']").scroll_into_view_if_needed()
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
