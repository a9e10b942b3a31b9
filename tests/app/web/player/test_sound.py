"""What is heard: single keys, the pedal, finished pieces."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

RATE = 22050


def test_it_sounds_and_ends(stage: Any) -> None:
    page = stage(stage.steady, sounds="samples")
    assert page.loudest() == 0
    page.evaluate("stage.play()")
    heard = page.evaluate("listen(1)")
    assert max(heard) > 0.05
    assert 0.5 < page.evaluate("stage.position") < 2
    page.evaluate("() => { stage.seek(2.9); }")
    page.wait_for_function("stage.state === 'stopped'")
    assert page.evaluate("[stage.sound.late, stage.position]") == [0, 3.2]
    (playing,) = page.told("playing")
    assert playing["prime"] and playing["seconds"] == 0


def test_the_volume_is_chosen_and_remembered(stage: Any) -> None:
    page = stage(stage.steady, sounds="samples")
    slider = page.get_by_label("Volume")
    assert slider.input_value() == "1"
    slider.fill("0")
    page.evaluate("stage.play()")
    page.wait_for_function("stage.position > 0.3")
    assert page.loudest(0.5) < 0.003
    page.evaluate("fresh('samples')")
    assert slider.input_value() == "0" and slider.get_attribute("aria-valuetext") == "0 %"
    slider.press("End")
    page.evaluate("stage.sound.down(60)")
    assert page.loudest(0.5) > 0.05
    page.evaluate("fresh('samples')")
    assert slider.input_value() == "1"


def render(page: Any, body: str, seconds: float = 2.0) -> np.ndarray:
    """float32[T] at RATE: what a Sound plays when `body` has been done with it, exactly."""
    wave = page.evaluate(
        """async ([body, seconds, rate]) => {
            const { Sound } = await import("/player/sound.js");
            const context = new OfflineAudioContext(1, seconds * rate, rate);
            const sound = new Sound("samples", context);
            await sound.load([21, 60, 61, 62, 108]);
            const at = (time, act) => context.suspend(time).then(() => { act(); context.resume(); });
            new Function("sound", "at", body)(sound, at);
            const wave = (await context.startRendering()).getChannelData(0);
            let text = "";
            for (const byte of new Uint8Array(wave.buffer)) text += String.fromCharCode(byte);
            return btoa(text);
        }""",
        [body, seconds, RATE],
    )
    return np.frombuffer(base64.b64decode(wave), np.float32)


def loud(wave: np.ndarray, start: float, stop: float) -> float:
    """The root mean square between two times in seconds."""
    return float(np.sqrt(np.mean(wave[int(start * RATE) : int(stop * RATE)] ** 2)))


def test_every_key_has_its_own_pitch_and_starts_at_once(stage: Any) -> None:
    page = stage()
    for pitch in (21, 61, 62, 108):
        wave = render(page, f"sound.start({pitch}, 100, 0.5)", 1.5)
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(wave.size), 8 * wave.size))
        hertz = np.argmax(spectrum) * RATE / (8 * wave.size)
        assert 12 * np.log2(hertz / 440) + 69 == pytest.approx(pitch, abs=0.15)
        first = np.flatnonzero(np.abs(wave) > 0.01)[0] / RATE
        assert first == pytest.approx(0.5, abs=0.03), "the silence in front of the sample is skipped"


def test_a_soft_touch_is_quieter(stage: Any) -> None:
    page = stage()
    levels = [loud(render(page, f"sound.start(60, {velocity})", 0.6), 0.1, 0.5) for velocity in (20, 60, 120)]
    assert levels[0] * 2 < levels[1] and levels[1] * 1.5 < levels[2]


def test_the_pedal_holds_a_key_that_is_let_go(stage: Any) -> None:
    page = stage()
    play = "sound.pedal({0}); sound.down(60, 100); at(0.3, () => sound.up(60)); at(1.2, () => sound.pedal(0));"
    dry, wet = (render(page, play.format(value)) for value in (0, 127))
    assert loud(dry, 0.1, 0.3) == pytest.approx(loud(wet, 0.1, 0.3), rel=0.01)
    assert loud(dry, 0.9, 1.1) < 0.002 < 0.05 < loud(wet, 0.9, 1.1)
    assert loud(wet, 1.8, 2.0) < 0.002, "no string is stuck when the pedal comes up"


def test_the_pedal_of_a_piece_is_played(stage: Any) -> None:
    page = stage(stage.one)
    levels = []
    for pedal in ([], [[0.1, 127], [2.5, 0]]):
        page.evaluate("music => { stage.show(music); return stage.play(); }", {**stage.one, "pedal": pedal})
        page.wait_for_function("stage.position > 1.2")
        levels.append(page.loudest())
        page.evaluate("stage.pause()")
    assert levels[0] < 0.005 < 0.02 < levels[1]


def test_without_samples_plain_tones_play_and_it_says_so(stage: Any) -> None:
    page = stage(stage.steady, sounds="nowhere")
    page.evaluate("stage.play()")
    assert page.loudest(0.6) > 0.02
    assert "plain tones" in page.status()


def test_samples_that_are_slow_to_come_are_waited_for(stage: Any) -> None:
    page = stage()
    page.evaluate("() => { window.other = new RollPlayer(document.querySelector('p'), { sounds: 'slow' }); }")
    page.evaluate("music => { other.show(music); other.play(); }", stage.one)
    assert page.evaluate("other.state") == "buffering"
    page.wait_for_function("other.state === 'playing'")
    assert page.evaluate("[other.sound.samples.has(60), other.sound.tone === undefined]") == [True, True]


def test_what_is_needed_is_fetched_before_the_rest_and_not_all_at_once(stage: Any) -> None:
    page = stage()
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/mine/" in request.url else None)
    most, done = page.evaluate(
        """async () => {
            const { Sound } = await import("/player/sound.js");
            const sound = new Sound("slow/mine");
            let most = 0;
            const watch = setInterval(() => (most = Math.max(most, sound.busy)), 5);
            sound.loadAll();
            await sound.load([105, 33]);
            clearInterval(watch);
            const done = sound.samples.size;
            await sound.context.close();
            sound.queue.length = 0;
            return [most, done];
        }"""
    )
    assert most == 3 and done <= 6
    assert {url.split("/")[-1] for url in asked[:5]} >= {"105.mp3", "33.mp3"}


def test_a_browser_that_keeps_sound_off_is_told_of(stage: Any) -> None:
    page = stage(stage.steady)
    page.evaluate("() => { stage.sound.context.resume = () => new Promise(() => {}); }")
    page.evaluate("stage.sound.context.suspend()")
    touched = """(yes) => void Object.defineProperty(
        navigator, "userActivation", { value: { hasBeenActive: yes }, configurable: true }
    )"""
    page.evaluate(touched, False)
    page.evaluate("stage.play()")
    page.wait_for_function("stage.state === 'blocked'")
    page.settle()
    assert "press Play" in page.status()
    page.evaluate(touched, True)
    page.evaluate("stage.redraw()")
    page.settle()
    assert "Waiting for the sound of this device" in page.status(), "who has pressed it is not told to press it"
    page.evaluate("delete navigator.userActivation")
    # As in a browser, the press itself allows it: allowed before, it might begin before the press, which then pauses.
    page.evaluate(
        """() => {
            const allow = () => { delete stage.sound.context.resume; };
            addEventListener("click", allow, { capture: true, once: true });
        }"""
    )
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("stage.state === 'playing'")


def test_sound_that_is_allowed_late_begins_by_itself(stage: Any) -> None:
    page = stage(stage.steady)
    page.evaluate("() => { window.wake = stage.sound.context.resume.bind(stage.sound.context); }")
    page.evaluate("() => { stage.sound.context.resume = () => new Promise(() => {}); }")
    page.evaluate("stage.sound.context.suspend()")
    page.evaluate("stage.play()")
    page.wait_for_function("stage.state === 'blocked'")
    page.evaluate("wake()")
    page.wait_for_function("stage.position > 0.2")


def test_one_stage_plays_at_a_time(stage: Any) -> None:
    page = stage(stage.steady)
    page.evaluate("() => { window.other = new RollPlayer(document.querySelector('p')); }")
    page.evaluate("music => other.show(music)", stage.steady)
    page.evaluate("async () => { await stage.play(); await other.play(); }")
    assert page.evaluate("[stage.state, other.state]") == ["stopped", "playing"]
