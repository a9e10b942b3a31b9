"""The Audio tab from outside: routes, the API, and a musician's visit in a real browser."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from musicgen.data_prep import read_midi

from ..serving import Site, serving
from ..test_browser import CONTRASTS, Visit

PAUSE = 0.02  # seconds before every block of frames
BYTES = "application/octet-stream"


@pytest.fixture(scope="module")
def sound_site(loud: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with an Audio tab, whose model and codec have learnt nothing."""
    with serving(tmp_path_factory.mktemp("sound"), PAUSE, prepared=False, sound=loud) as served:
        yield served


@pytest.fixture(scope="module")
def prime(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Four seconds of a chord, a WAV file of two channels at 44.1 kHz."""
    path = tmp_path_factory.mktemp("prime") / "prime.wav"
    toy.write_sound(path, 4.0, rate=44_100, channels=2)
    return bytes(path.read_bytes())


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def read(data: bytes) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == 24_000
    return np.asarray(samples)


def test_a_recording_goes_on_line_by_line(sound_site: Site, prime: bytes) -> None:
    heard = sound_site.ask("musicgen/recording/heard", raw=prime, kind=BYTES)
    assert heard.status == 200 and len(heard.body) == pytest.approx(2 * 4.0 * 24_000, rel=0.01)
    wish = {"prime": {"sound": text(prime)}, "to": 3.0, "settings": {"seconds": 0.5}}
    answer = sound_site.ask("musicgen/recording/make", wish)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    kinds = [event["event"] for event in answer.events]
    assert kinds[-2:] == ["take", "end"] and kinds.count("sound") > 2 and "listening" in kinds
    label = next(event["label"] for event in answer.events if event["event"] == "take")
    assert label.startswith("musicgen, checkpoint ")
    for form, begin in (("flac", b"fLaC"), ("mp3", b"")):
        body = {"samples": text(heard.body), "label": label}
        answer = sound_site.ask(f"musicgen/recording/written/{form}", body)
        assert answer.status == 200 and answer.body.startswith(begin) and label.encode() in answer.body
        assert len(read(answer.body)) / 24_000 == pytest.approx(4.0, abs=0.1)
    sound_site.until_idle()


def test_refusals_are_one_clear_line(sound_site: Site) -> None:
    """What a recording can be that is none; nothing of it stays on the disk (see `serving`)."""
    silent = io.BytesIO()
    soundfile.write(silent, np.zeros((48_000, 1)), 24_000, format="WAV")
    wide = io.BytesIO()
    soundfile.write(wide, np.ones((2_000, 8)) * 0.1, 192_000, format="WAV")
    nan = io.BytesIO()
    soundfile.write(nan, np.full(24_000, np.nan, np.float32), 24_000, format="WAV", subtype="FLOAT")
    short = io.BytesIO()
    soundfile.write(short, np.ones(1), 24_000, format="WAV")
    long = io.BytesIO()
    soundfile.write(long, np.ones(31 * 8_000), 8_000, format="FLAC")
    for data, complaint in (
        (b"no sound at all", "this recording is no audio file"),
        (silent.getvalue(), "this recording is silent"),
        (wide.getvalue(), "8 channels"),
        (nan.getvalue(), "no numbers"),
        (short.getvalue(), "at least 0.5 are needed"),
        (long.getvalue(), "more than 0.5 minutes"),
        (b"x" * 2_000_001, "too large (2 MB are the most)"),
    ):
        answer = sound_site.ask("musicgen/recording/heard", raw=data, kind=BYTES)
        assert answer.status == 400 and complaint in answer.json["error"], answer.json
        assert "\n" not in answer.json["error"] and "/" not in answer.json["error"]
    for path, body, complaint in (
        ("make", {"prime": {"sound": text(b"RIFF")}}, "is no audio file"),
        ("make", {"settings": {"end": True}}, "end is for MIDI"),
        ("written/exe", {"samples": "AAAA"}, "no sound format 'exe'"),
        ("written/flac", {"samples": ""}, "there is no sound in this request"),
    ):
        answer = sound_site.ask(f"musicgen/recording/{path}", body)
        assert answer.status == 400 and complaint in answer.json["error"]
    assert sound_site.ask("musicgen/recording/heard", raw=b"x", kind="text/plain").status == 400


def test_without_weights_there_is_no_tab(site: Site) -> None:
    assert "sound_page.js" not in site.ask("").body.decode()
    assert site.ask("musicgen/recording/make", {}).status == 404
    assert "sound" not in site.ask("musicgen/about").json


def test_a_client_of_the_api(sound_site: Site, prime: bytes) -> None:
    """The recording as it was and the new sound in one file; a wrong request is told why."""
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(sound_site.url, verbose=False, analytics_enabled=False)
    told = client.predict(
        recording=text(prime), recording_to=2.0, seconds=0.5, takes=2, seed=7, form="flac", api_name="/continue_sound"
    )
    assert told["state"] == "finished" and [take["take"] for take in told["takes"]] == [1, 2]
    take = told["takes"][0]
    sound = read(base64.b64decode(take["sound"]))
    assert len(sound) == round(take["facts"]["join_seconds"] * 24_000) + 12_000
    assert np.abs(sound[:24_000]).max() > 0.1 and take["facts"]["seed"] == 7
    assert b"seed 7, sample 1, prime " in base64.b64decode(take["sound"])
    with pytest.raises(AppError, match="no sound format 'doc'"):
        client.predict(form="doc", api_name="/continue_sound")
    with pytest.raises(AppError, match="is no audio file"):
        client.predict(recording=text(b"RIFF" * 20), api_name="/continue_sound")


class AudioVisit(Visit):
    """Somebody on the Audio tab."""

    def __init__(self, browser: Any, url: str, width: int, scheme: str) -> None:
        super().__init__(browser, url, width, scheme)
        self.page.get_by_role("tab", name="Audio").click()
        self.page.wait_for_selector("#mg-sound-input", state="attached")

    def choose(self, name: str, data: bytes) -> None:
        self.page.set_input_files("#mg-sound-input", {"name": name, "mimeType": "audio/wav", "buffer": data})

    def until(self, told: str) -> None:
        self.page.locator("#mg-sound-message").get_by_text(told).wait_for()

    def saved(self, label: str) -> bytes:
        with self.page.expect_download() as waiting:
            self.page.click(f"#mg-sound-stage .mg-carry button:text-is('{label}')")
        return Path(waiting.value.path()).read_bytes()


def hear_again_and_slowly(visit: AudioVisit) -> None:
    """The part that is chosen, again and again, at half the speed: by the buttons and keys of the other tab."""
    page = visit.page
    page.evaluate("async () => void (globalThis.sound = (await musicgenSound.page).soundPlayer)")
    dock = page.locator(".mg-dock:not([hidden])")
    for name in ("Loop", "½ speed"):
        dock.get_by_role("button", name=name).click()
    page.get_by_role("slider", name="Position in the sound").focus()
    page.keyboard.press("End")
    page.keyboard.press(" ")
    page.wait_for_function("sound.state === 'playing' && sound.position < 1")
    slow = "[sound.player.now, sound.position]"
    before = page.evaluate(slow)
    page.wait_for_timeout(500)
    after = page.evaluate(slow)
    assert after[1] - before[1] == pytest.approx((after[0] - before[0]) / 2, abs=0.05)
    assert page.evaluate("sound.player.loop") == {"from": 0, "to": pytest.approx(3.5)}
    page.keyboard.press("l")
    dock.get_by_role("button", name="½ speed").click()
    dock.get_by_role("button", name="Pause").click()
    pressed = [dock.get_by_role("button", name=name).get_attribute("aria-pressed") for name in ("Loop", "½ speed")]
    assert pressed == ["false", "false"]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (375, "dark")])
def test_a_musicians_visit(browser: Any, sound_site: Site, prime: bytes, width: int, scheme: str) -> None:
    """A bad file, a good one, a part of it; sound that plays while it is made; stop, take away, go on, make again."""
    visit = AudioVisit(browser, sound_site.url, width, scheme)
    page = visit.page
    page.click("#mg-sound-make")
    visit.until("Choose a recording first.")
    assert page.inner_text("#mg-sound-source + #mg-complaint") == "Choose a recording first."
    visit.choose("notes.wav", b"these are no samples")
    visit.until("This recording is no audio file")
    visit.choose("prime.wav", prime)
    page.wait_for_selector("text=prime.wav: 4.0 s")
    assert page.inner_text(".mg-dock:not([hidden]) .mg-name") == "prime.wav"
    page.get_by_role("slider", name="End of the part that is used").focus()
    for _ in range(5):
        page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_selector("text=Chosen: 0.0 s to 3.5 s, which is 3.5 s")
    hear_again_and_slowly(visit)

    visit.fill("seconds", 60, "mg-sound")
    visit.unfold("#mg-sound-fine")
    page.click("#mg-sound-preset >> text=Best")
    page.click("#mg-sound-make")
    page.wait_for_function("document.querySelector('#mg-sound-shelf progress')?.value > 0.02")
    assert page.is_visible("#mg-sound-stop") and not page.is_visible("#mg-sound-make")
    page.click("#mg-sound-stop")
    visit.until("Take 1 is ready, stopped early.")
    assert page.inner_text(".mg-dock:not([hidden]) .mg-name") == "Take 1"
    page.wait_for_function("globalThis.firstSound")
    page.wait_for_function("loudness() > 0.003")

    wav = visit.saved("WAV")
    sound = read(wav)
    assert b"musicgen, checkpoint " in wav
    settings = json.loads(visit.saved("Settings"))
    join = round(settings["join_seconds"] * 24_000)
    assert join == pytest.approx(3.5 * 24_000, abs=400) and settings["recording"]["name"] == "prime.wav"
    assert len(sound) == join + round(settings["settings"]["seconds"] * 24_000) and len(sound) > join + 12_000
    assert np.abs(sound[join + 4_000 :]).max() > 0.005
    if width < 1000:
        assert visit.saved("MP3")[:2] in (b"ID", b"\xff\xfb", b"\xff\xf3")
    else:
        assert np.array_equal(read(visit.saved("FLAC")), sound)
        visit.choose("settings.json", json.dumps(settings).encode())
        page.click("text=Make this take again")
        visit.until("Take 2 is ready.")
        assert np.array_equal(read(visit.saved("WAV")), sound)
        page.wait_for_timeout(400)  # colours fade in
        assert page.evaluate(CONTRASTS) == []
    assert not visit.overflowing() and not visit.elsewhere
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not [line for line in visit.complaints if "400" not in line]
    visit.context.close()
    sound_site.until_idle()


@pytest.mark.slow
def test_sound_outlives_its_page(browser: Any, sound_site: Site) -> None:
    """A take is there after a reload, sample by sample; one that was being made as far as it was; a removed one not."""
    visit = AudioVisit(browser, sound_site.url, 1440, "light")
    page = visit.page
    page.on("dialog", lambda dialog: dialog.accept())
    visit.begin("nothing", "mg-sound")
    visit.fill("seconds", 1, "mg-sound")
    page.click("#mg-sound-make")
    visit.until("Take 1 is ready.")
    wav = visit.saved("WAV")
    visit.fill("seconds", 60, "mg-sound")
    page.wait_for_timeout(650)  # or it would be a double press
    page.click("#mg-sound-make")
    page.wait_for_function("document.querySelector('#mg-sound-shelf progress')?.value > 0.02")
    page.reload()
    page.get_by_role("tab", name="Audio").click()
    visit.until("Take 2 was being made when the page was closed: what there was is on the list.")
    cards = page.locator("#mg-sound-shelf .mg-card")
    assert cards.locator("h3").all_inner_texts() == ["Take 2", "Take 1"]
    assert "stopped early" in cards.nth(0).inner_text()
    cards.nth(1).click()
    assert visit.saved("WAV") == wav
    cards.nth(0).get_by_text("Remove").click()
    page.reload()
    page.get_by_role("tab", name="Audio").click()
    cards.nth(0).wait_for()
    assert cards.locator("h3").all_inner_texts() == ["Take 1"]
    assert not visit.complaints
    visit.context.close()
    sound_site.until_idle()


# A microphone that hears a tone.
MICROPHONE = """() => {
  const context = new AudioContext();
  const heard = context.createMediaStreamDestination();
  const tone = new OscillatorNode(context);
  tone.connect(heard);
  tone.start();
  navigator.mediaDevices.getUserMedia = async () => (await context.resume(), heard.stream);
}"""


@pytest.mark.slow
def test_make_ends_what_is_being_recorded(browser: Any, sound_site: Site) -> None:
    """Make is pressed while the microphone still records, and goes on from what it heard."""
    visit = AudioVisit(browser, sound_site.url, 1440, "light")
    page = visit.page
    page.locator("#mg-sound-cost").filter(has_text="Remembers").wait_for(state="attached")
    page.evaluate(MICROPHONE)
    visit.begin("microphone", "mg-sound")
    page.click("#mg-sound-source >> button:text-is('Record')")
    page.wait_for_timeout(1500)
    visit.fill("seconds", 2, "mg-sound")
    page.click("#mg-sound-make")
    visit.until("Take 1 is ready.")
    assert json.loads(visit.saved("Settings"))["join_seconds"] > 0.5
    assert page.is_visible("button:text-is('Record again')")
    assert not visit.complaints
    visit.context.close()
    sound_site.until_idle()


# ---- recordings become notes; what hears them is made up, the process it runs in is not


def recording(seconds: float = 2.0, level: float = 0.3) -> bytes:
    file = io.BytesIO()
    sound = level * np.sin(np.arange(round(seconds * 24_000)) / 10)
    soundfile.write(file, sound, 24_000, format="WAV")
    return file.getvalue()


def test_a_recording_comes_back_as_midi(sound_site: Site) -> None:
    assert sound_site.ask("musicgen/about").json["hears"] == {"bytes": 2_000_000, "seconds": 30.0}
    answer = sound_site.ask("musicgen/heard", raw=recording(), kind=BYTES)
    begin, first, second, end = map(json.loads, answer.body.splitlines())
    assert answer.status == 200 and begin == {"event": "begin", "seconds": 2.0}
    assert first == {"event": "notes", "seconds": 0.45, "notes": [[0.1, 0.4, 60, 70, None]]}
    assert second == {"event": "notes", "seconds": 2.0, "notes": [[0.5, 0.9, 64, 70, None]]}
    assert end["event"] == "end" and all(isinstance(remark, str) for remark in end["remarks"])
    music = read_midi(base64.b64decode(end["midi"]))[0]
    assert music.pitch.tolist() == [60, 64] and len(music.pedal) == 2


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        (recording(level=0.0), BYTES, "this recording is silent"),
        (b"no sound", BYTES, "no audio file"),
        (recording(35.0), BYTES, "0.5 are the most: cut it"),
        (b"{}", "application/json", "a recording is sent as it is"),
        (bytes(2_000_001), BYTES, "2 MB are the most"),
    ],
)
def test_what_cannot_be_heard_is_one_line(sound_site: Site, data: bytes, kind: str, told: str) -> None:
    answer = sound_site.ask("musicgen/heard", raw=data, kind=kind)
    assert 400 <= answer.status < 500 and told in answer.json["error"]


def drop(visit: Visit, name: str) -> None:
    visit.page.set_input_files("#mg-file-input", {"name": name, "mimeType": "audio/wav", "buffer": recording()})


def test_a_recording_that_is_dropped_or_made_there_is_notes_on_the_roll(browser: Any, sound_site: Site) -> None:
    visit = Visit(browser, sound_site.url, 1440, "light")
    page = visit.page
    page.evaluate(MICROPHONE)
    visit.begin("file")
    page.get_by_text("or a recording of a piano").wait_for()
    with sound_site.held():  # what has been heard is seen meanwhile
        drop(visit, "piano.wav")
        page.get_by_text("Listening to piano.wav: 0 of 2 seconds").wait_for()
        assert page.evaluate("async () => (await musicgen.page).rollPlayer.music.notes.length") == 1
        assert not page.evaluate("async () => (await musicgen.page).rollPlayer.selectable")
    page.get_by_text("piano.wav: 2 notes").wait_for()
    visit.made(1)
    page.click("#mg-file .mg-record")
    page.locator("#mg-file button:text-is('Stop recording')").wait_for()
    page.wait_for_timeout(1500)
    page.click("#mg-file .mg-record")
    page.get_by_text("What you recorded.wav: 2 notes").wait_for()
    assert not visit.complaints
    visit.context.close()
    sound_site.until_idle()
