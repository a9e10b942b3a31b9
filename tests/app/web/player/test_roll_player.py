"""What the stage draws and what it is for people who do not see it, or not as most do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

STATIC = Path(__file__).parents[4] / "app" / "web" / "player"


def contrast(one: list[float], other: list[float]) -> float:
    """The ratio that WCAG 2 defines, worked out here and not by the code under test."""

    def luminance(colour: list[float]) -> float:
        part = np.array(colour[:3]) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def colour(text: str) -> list[float]:
    """The parts of `rgb(1, 2, 3)`."""
    return [float(part) for part in text[text.index("(") + 1 : -1].split(",")[:3]]


@pytest.mark.parametrize("dark", [False, True])
def test_notes_are_drawn_in_the_hue_of_what_they_are(stage: Any, dark: bool) -> None:
    page = stage(stage.steady, dark=dark, device_scale_factor=2)
    prime, new, ground = page.pixel(0.1, 48), page.pixel(2.8, stage.last), page.pixel(2.4, 50)
    assert prime[0] > prime[2] + 40, "the prime is orange"
    assert new[2] > new[0] + 40, "new music is blue"
    assert (np.mean(ground) < 60) == dark
    assert min(contrast(prime, ground), contrast(new, ground)) > 3
    assert page.evaluate("[stage.canvas.width, stage.canvas.clientWidth]") == [2000 - 52, 1000 - 26]


def test_louder_notes_stand_out_more(stage: Any) -> None:
    music = {**stage.one, "notes": [[0, 1, 60, 10, None], [1, 2, 60, 120, None]], "seconds": 2}
    page = stage(music)
    ground = page.pixel(0.5, 63)
    assert contrast(page.pixel(1.5, 60), ground) > 1.5 * contrast(page.pixel(0.5, 60), ground)


def test_the_pedal_shows_as_a_lane_and_as_tails(stage: Any) -> None:
    page = stage({**stage.one, "pedal": [[0.2, 127], [2.0, 0]]})
    assert page.pixel(1.0, 60) != page.pixel(2.5, 60), "the note rings on until the pedal comes up"
    lane = """time => {
        const { x, pedalTop } = stage.place();
        return [...stage.canvas.getContext("2d").getImageData(x(time), pedalTop + 8, 1, 1).data];
    }"""
    assert page.evaluate(lane, 1.0) != page.evaluate(lane, 2.5)


def test_zoom_and_scroll_show_another_part(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 120.0})
    assert 10 < page.evaluate("stage.view.to") < 20, "notes can be read from the beginning"
    page.evaluate("stage.zoom('whole')")
    page.settle()
    assert page.evaluate("stage.view.to") > 119 and not page.locator(".mg-minimap").is_visible()
    page.evaluate("() => { stage.seek(2); stage.zoom(16); }")
    page.settle()
    seen = page.evaluate("[stage.view.from, stage.view.to]")
    assert seen[0] < 2 < seen[1] < 12
    strip = page.locator(".mg-minimap").bounding_box()
    page.mouse.click(strip["x"] + strip["width"] / 2, strip["y"] + 5)
    page.settle()
    assert page.evaluate("(stage.view.from + stage.view.to) / 2") == pytest.approx(60, abs=1)
    page.evaluate("stage.scroller.scrollLeft = 1e7")
    page.wait_for_function("stage.view.to > 119")
    page.evaluate("stage.zoom('whole')")
    page.settle()
    assert page.evaluate("stage.view.from") == 0


def test_surprise_is_a_layer(stage: Any) -> None:
    page = stage(stage.steady)
    before = page.pixel(2.8, stage.last)
    button = page.get_by_role("button", name="Surprise")
    button.click()
    page.settle()
    after = page.pixel(2.8, stage.last)
    assert button.get_attribute("aria-pressed") == "true"
    assert after != before and after[0] > after[1] + 60, "an unexpected note is purple"


def test_the_legend_names_the_colours_that_notes_have(stage: Any) -> None:
    page = stage(stage.steady)
    names = "() => [...document.querySelectorAll('.mg-legend > span')].map((one) => one.firstChild.data.trim())"
    legend = lambda: page.evaluate(names)  # noqa: E731
    assert legend() == ["given", "new"]
    page.evaluate("stage.surprise.show(true)")
    page.settle()
    assert legend() == ["surprise"], "the prime's notes show their surprise, too"
    half = {**stage.steady, "notes": [[*note[:4], None if note[0] < 1 else note[4]] for note in stage.steady["notes"]]}
    page.evaluate("music => stage.show(music, { keep: true })", half)
    page.settle()
    assert legend() == ["given", "surprise"], "nobody has told how unexpected the prime was"


def test_surprise_is_asked_for_when_it_is_wanted(stage: Any) -> None:
    page = stage(stage.one)
    assert not page.get_by_role("button", name="Surprise").is_visible()
    page.evaluate("() => { stage.surprise.ask = async () => [[0.001, 60, 9.5], [7, 1, 2]]; }")
    page.evaluate("music => stage.show(music)", stage.one)
    page.get_by_role("button", name="Surprise").click()
    page.wait_for_function("stage.music.notes[0][4] === 9.5")
    page.evaluate("() => { stage.surprise.ask = async () => []; }")
    page.evaluate("music => stage.show(music)", stage.one)
    page.evaluate("stage.surprise.show(true)")
    button = page.get_by_role("button", name="Surprise")
    assert button.get_attribute("aria-pressed") == "false", "there is nothing to show"


def test_notes_fall_onto_keys_that_light(stage: Any) -> None:
    """A note reaches its key as it sounds; a press on a key strikes it, a press above goes there."""
    page = stage({**stage.one, "notes": [[1, 3, 60, 100, None]]})
    page.evaluate("stage.seek(0.5)")
    page.get_by_role("button", name="Falling notes").click()
    page.settle()
    look = """([seconds, pitch]) => import("/player/falling.js").then(({ fallingPlace }) => {
        const place = fallingPlace(stage.view.width, stage.view.height, stage.range, stage.position);
        const [x, wide] = place.key(pitch), scale = devicePixelRatio;
        const y = seconds === null ? place.height - 30 : place.y(seconds);
        const pixel = stage.canvas.getContext("2d").getImageData((x + wide / 2) * scale, y * scale, 1, 1).data;
        const { left, top } = stage.scroller.getBoundingClientRect();
        return { pixel: [...pixel].slice(0, 3), at: [left + x + wide / 2, top + y] };
    })"""
    look_at = lambda *where: page.evaluate(look, where)  # noqa: E731
    assert look_at(2, 60)["pixel"] not in (look_at(2.5, 62)["pixel"], look_at(3.5, 60)["pixel"])
    resting = look_at(None, 60)["pixel"]
    page.evaluate("() => { stage.seek(1.2); return stage.play(); }")
    page.wait_for_function("stage.position > 1.4")
    page.settle()
    assert look_at(None, 60)["pixel"] != resting == look_at(None, 62)["pixel"], "its key is lit, and no other"
    page.evaluate("stage.pause()")
    page.mouse.click(*look_at(None, 65)["at"])
    assert page.loudest(0.2) > 0.01
    page.mouse.click(*look_at(2.5, 65)["at"])
    assert page.evaluate("stage.position") == pytest.approx(2.5, abs=0.1)
    page.get_by_role("button", name="Falling notes").click()
    page.settle()
    assert page.pixel(2, 60) != page.pixel(2, 64), "the roll is back"


def test_a_part_is_played_again_and_again_and_slowly(stage: Any) -> None:
    """A loop goes back without a gap, as often as it is wanted; half speed takes twice as long."""
    page = stage(stage.steady)
    page.evaluate("stage.region.allow(true), stage.region.set({ from: 1, to: 1.6, low: 21, high: 108 })")
    page.get_by_role("button", name="Loop").click()
    page.evaluate("""() => {
        window.seen = [];
        const at = setInterval(() => seen.push(stage.position), 20);
        return stage.seek(1), stage.play();
    }""")
    page.wait_for_function("seen.filter((at, number) => at < seen[number - 1] - 0.3).length >= 3")
    assert page.evaluate("stage.state") == "playing" and page.evaluate("Math.max(...seen)") < 1.7
    assert min(page.evaluate("listen(1.2)")) > 0.002, "never a silent moment"
    assert page.evaluate("stage.sound.late") == 0
    page.get_by_role("button", name="Loop").click()
    page.wait_for_function("stage.state === 'stopped'")
    page.get_by_role("button", name="½ speed").click()
    page.evaluate("() => { stage.seek(0); window.began = performance.now(); return stage.play(); }")
    page.wait_for_function("stage.position > 1")
    assert page.evaluate("performance.now() - began") > 1900
    page.evaluate("stage.pause()")


def test_what_is_new_stays_new_when_it_is_gone_on_with(stage: Any) -> None:
    kept = """([music, before]) => import("/player/music.js").then(({ huedAs, Music }) => {
        const hued = new Music(huedAs(music, before));
        return hued.notes.map((_, index) => hued.isPrime(index));
    })"""
    branch = {**stage.steady, "notes": [[n[0] + 0.004, *n[1:]] for n in stage.steady["notes"]], "prime_seconds": 2.0}
    was = stage().evaluate(kept, [branch, stage.steady])
    assert was == [True] * 4 + [False] * 8, "only the first second was there before"


def test_nothing_is_drawn_while_nothing_moves(stage: Any) -> None:
    count = """
        window.drawn = 0;
        const ask = window.requestAnimationFrame;
        window.requestAnimationFrame = draw => { drawn += 1; return ask(draw); };
    """
    page = stage(stage.steady, script=count)
    page.wait_for_timeout(300)
    page.evaluate("drawn = 0")
    page.wait_for_timeout(500)
    assert page.evaluate("drawn") == 0
    page.evaluate("stage.play()")
    page.wait_for_timeout(500)
    assert page.evaluate("drawn") > 8


def test_ten_thousand_notes_play_smoothly(stage: Any) -> None:
    many = [[i * 0.06, i * 0.06 + 0.5, 21 + i * 11 % 88, 1 + i % 127, None] for i in range(10_000)]
    page = stage({"notes": many, "pedal": [], "prime_seconds": 0, "seconds": 601})
    page.evaluate("() => { stage.seek(300); stage.play(); }")
    page.wait_for_function("stage.state === 'playing'")
    gaps = page.evaluate(
        """async () => {
            const gaps = [];
            let last = performance.now();
            while (gaps.length < 60) {
                await new Promise(requestAnimationFrame);
                gaps.push(performance.now() - last);
                last = performance.now();
            }
            return gaps;
        }"""
    )
    assert np.median(gaps) < 34, "30 pictures a second, also on a busy machine"
    assert page.evaluate("stage.sound.late") == 0


@pytest.mark.parametrize(
    "notes", [[[0, 1, 300, 64]], [["x", 1, 60, 64]], [[2, 1, 60, 64]], [None, 7, {}], [[0, 1e99, 60, 64]]]
)
def test_notes_that_cannot_be_are_put_right_or_left_out(stage: Any, notes: object) -> None:
    page = stage({"notes": notes, "pedal": [[None, 3], "x"], "prime_seconds": "x", "seconds": None})
    clean = page.evaluate("stage.music.notes")
    assert all(0 <= note[2] <= 127 and 0 <= note[0] < note[1] <= 86400 for note in clean)
    assert len(clean) <= 1


def test_everything_has_a_name_for_screen_readers(stage: Any) -> None:
    page = stage(stage.steady)
    page.evaluate("stage.selectable = true")
    page.settle()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("#stage button, #keyboard button, [role]")]
            .filter(element => !["status", "none"].includes(element.role))
            .filter(element => !(element.getAttribute("aria-label") || element.textContent.trim()))
            .map(element => element.outerHTML)"""
    )
    assert nameless == []
    tree = page.locator("#stage").aria_snapshot()
    whole = "Piano roll: 12 notes, 3 s, the first 1 s of it given"
    for words in (whole, "Play", "Zoom in", "Zoom out", "Beginning of"):
        assert words in tree
    roll = page.locator("#stage .mg-scroller")
    page.evaluate("stage.seek(2)")
    page.settle()
    assert roll.get_attribute("aria-valuetext") == "2 s of 3 s"


def test_what_happens_is_said_aloud_but_not_all_the_time(stage: Any) -> None:
    page = stage({**stage.steady, "seconds": 30.0})
    page.evaluate(
        """() => {
            const { live } = stage.dock;
            window.spoken = [];
            new MutationObserver(() => spoken.push(live.textContent)).observe(live, { childList: true });
        }"""
    )
    page.evaluate("() => { stage.seek(8.9); return stage.play(); }")
    page.wait_for_function("stage.position > 10.3")
    spoken = page.evaluate("spoken")
    assert "Playing 10 s of 30 s." in spoken
    assert len(spoken) <= 4
    assert page.locator("#stage [aria-live=polite]").count() == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(stage: Any, theme: str) -> None:
    page = stage(stage.steady, dark=theme == "dark", calm=True)
    colours = page.evaluate("async theme => (await import('/player/palette.js')).THEMES[theme]", theme)
    grounds = [colours[name] for name in ("ground", "blackKeys")]
    for ground in grounds:
        assert contrast(colours["ink"], ground) >= 4.5
        for name in ("pedal", "playhead"):
            assert contrast(colours[name], ground) >= 3, name
    for hue in ("new", "old", "surprise"):
        for shade in np.linspace(*map(np.array, colours[hue]), 16):
            for ground in [*grounds, *([colours["prime"]] if hue != "new" else [])]:
                assert contrast(shade.tolist(), ground) >= 3, (hue, shade, ground)
    page.evaluate("stage.surprise.show(true)")
    texts = page.evaluate(
        """() => {
            const look = (element, name) => getComputedStyle(element)[name];
            return [...document.querySelectorAll(".mg-button, .mg-status, .mg-time, .mg-legend small, .mg-key *")]
                .filter(element => element.offsetParent !== null).map(element => {
                    let ground = element;
                    while (look(ground, "backgroundColor") === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
                    return [element.outerHTML, look(element, "color"), look(ground, "backgroundColor")];
                });
        }"""
    )
    assert len(texts) > 15
    for name, ink, ground in texts:
        assert contrast(colour(ink), colour(ground)) >= 4.5, (name, ink, ground)


def test_light_and_dark_follow_the_system_and_gradio(stage: Any) -> None:
    page = stage(stage.steady)
    looks = "() => [stage.element.dataset.theme, document.getElementById('keyboard').dataset.theme]"
    assert page.evaluate(looks) == ["light", "light"]
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("stage.theme === 'dark'")
    assert page.evaluate(looks) == ["dark", "dark"]
    page.evaluate("document.body.classList.add('gradio-container')")
    page.wait_for_function("stage.theme === 'light'")
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function("stage.theme === 'dark'")
    page.settle()
    assert np.mean(page.pixel(2.4, 50)) < 60


@pytest.mark.parametrize("width", [320, 375, 1440])
def test_it_fits_phones_and_desks(stage: Any, width: int) -> None:
    page = stage(stage.steady, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        if box["y"] > 40:  # not the page's own
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
            assert min(box["width"], box["height"]) >= 44, "large enough for a finger"
    keys = page.locator("[data-pitch]")
    assert keys.count() >= 13
    for bar in page.locator(".mg-bar").all():
        assert bar.bounding_box()["height"] < 64, "one row"
    assert keys.first.bounding_box()["width"] >= 28


def test_less_motion_turns_pages(stage: Any) -> None:
    places = []
    for calm in (False, True):
        page = stage({**stage.steady, "seconds": 60.0}, calm=calm)
        page.evaluate("() => { stage.zoom(16); stage.seek(3); return stage.play(); }")
        seen = set()
        for _ in range(20):
            page.wait_for_timeout(50)
            seen.add(round(page.evaluate("stage.view.from"), 3))
        places.append(len(seen))
        page.evaluate("stage.pause()")
    assert places[0] > 4 and places[1] <= 2


def test_the_roll_stays_inside_its_place(stage: Any) -> None:
    page = stage(stage.steady)
    boxes = page.evaluate(
        """async () => {
        const { palette } = await import("/player/palette.js");
        const { drawRoll, layout, pitchRange } = await import("/player/roll.js");
        const [low, high] = pitchRange(stage.music);
        const place = layout({ width: 1200, height: 342, from: 0, to: stage.music.seconds, low, high });
        const boxes = [];
        const pen = { box: (x, y, width, height, colour) => boxes.push([x, width, colour]), text: () => {} };
        drawRoll(pen, stage.music, place, palette("light"));
        return boxes;
        }"""
    )
    seen = [box for box in boxes if box[1] > 0]
    assert len({colour for _, _, colour in seen}) > 10
    for left, wide, _ in seen:
        assert left >= 0 and left + wide <= 1200.01


def test_the_modules_ask_nobody_else(stage: Any) -> None:
    for file in STATIC.iterdir():
        text = file.read_text("utf-8")
        assert text.count("\n") <= 420, f"{file.name} is too long"
        outside = [line for line in text.splitlines() if "://" in line and "http://www.w3.org/2000/svg" not in line]
        assert outside == [], f"{file.name} names another address"
