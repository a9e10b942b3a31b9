"""Sound that plays: where it stands after a pause, a seek, its end, and where it runs dry."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
import soundfile

# A stream of `seconds` of a quiet wave in place of one of the stage's; what it tells is kept in `heard`.
OPEN = """async ([seconds, complete]) => {
    const { Pcm, RATE } = await import("/player/pcm.js");
    const { Stream } = await import("/player/stream.js");
    window.wave = (seconds) => Int16Array.from({ length: seconds * RATE }, (_, at) => 3000 * Math.sin(at / 10));
    window.heard = [];
    window.stream = new Stream((kind, detail) => heard.push([kind, detail?.state ?? null]));
    stream.load(new Pcm(wave(seconds)), complete, { expected: 2 * seconds });
    await stream.play();
}"""
CLOSE = "() => { stream.pause(); return stream.context.close(); }"


def test_a_wav_file_says_what_made_it(stage: Any) -> None:
    """Its comment is read, and nothing of it is taken for sound; a file without one has none."""
    page = stage()
    of = """async (label) => {
      const { wavOf } = await import("/player/pcm.js");
      return [...wavOf(Int16Array.from([1, -2, 3]), label)];
    }"""
    for label in ("musicgen, seed 7", "musicgen, seed 77", ""):
        with soundfile.SoundFile(io.BytesIO(bytes(page.evaluate(of, label)))) as file:
            assert file.comment == label and file.read(dtype="int16").tolist() == [1, -2, 3]


def told(page: Any) -> list[str]:
    """What the stream has told so far: its states by their names, the rest by its kind."""
    return page.evaluate("heard.map(([kind, state]) => state ?? kind)")


def test_a_stream_pauses_seeks_and_ends(stage: Any) -> None:
    page = stage()
    page.evaluate(OPEN, [3, True])
    page.wait_for_function("stream.position > 0.3")
    page.evaluate("stream.pause()")
    stood = page.evaluate("stream.position")
    page.wait_for_timeout(200)
    assert page.evaluate("[stream.state, stream.position]") == ["stopped", stood]
    assert page.evaluate("stream.seek(1), [stream.state, stream.position]") == ["stopped", 1]
    page.evaluate("stream.play()")
    page.wait_for_function("stream.position > 1.2")
    page.evaluate("stream.seek(2.5)")  # it plays on from there
    page.wait_for_function("stream.state === 'stopped'")
    assert page.evaluate("stream.position") == pytest.approx(3)
    assert page.evaluate("stream.seek(99), stream.position") == pytest.approx(3)
    assert page.evaluate("stream.seek(-1), stream.position") == 0
    begun = ["buffering", "playing"]
    assert told(page) == [*begun, "first", "stopped", *begun, *begun, "stopped"]
    page.evaluate(CLOSE)


def test_a_stream_that_runs_dry_goes_on_with_more(stage: Any) -> None:
    page = stage()
    page.evaluate(OPEN, [1, False])
    assert page.evaluate("[stream.state, stream.wait()]") == ["buffering", float("inf")]  # no rate is known
    page.evaluate("stream.grown(9)")
    page.wait_for_function("heard.some(([kind]) => kind === 'underrun')")
    assert page.evaluate("[stream.state, stream.position]") == ["buffering", pytest.approx(1)]
    page.evaluate("() => { stream.pcm.append(wave(1)); stream.finish(); }")
    page.wait_for_function("stream.state === 'stopped'")
    assert page.evaluate("stream.position") == pytest.approx(2)
    assert told(page) == ["buffering", "playing", "first", "buffering", "underrun", "playing", "stopped"]
    page.evaluate(CLOSE)


def test_a_stream_that_is_allowed_late_begins_by_itself(stage: Any) -> None:
    """A device may take longer to give sound than the press is waited for."""
    page = stage()
    page.evaluate(OPEN, [3, True])
    page.evaluate("stream.pause()")
    page.evaluate("""() => {
        window.wake = () => stream.context.resume();
        stream.wake = () => new Promise((done) => (window.allow = done));
        return stream.context.suspend();
    }""")
    page.evaluate("void stream.play()")
    page.wait_for_function("stream.state === 'blocked'")
    page.evaluate("async () => { await wake(); delete stream.wake; allow(); }")
    page.wait_for_function("stream.position > 0.2")
    page.evaluate(CLOSE)


def test_a_part_of_a_stream_is_heard_again_and_again(stage: Any) -> None:
    """Each round begins where the last one ends, on the audio clock; without the loop it plays on to its end."""
    page = stage()
    page.evaluate(OPEN, [3, True])
    page.evaluate("stream.repeat({ from: 1, to: 1.5 })")  # it plays outside: it goes there
    page.evaluate("""async () => {
        window.places = [];
        for (const end = performance.now() + 1800; performance.now() < end; await new Promise(requestAnimationFrame)) {
          places.push([stream.now, stream.position]);
        }
    }""")
    places = page.evaluate("places")
    assert all(0.99 <= place <= 1.51 for _, place in places)
    rounds = [now for (now, place), (_, after) in itertools.pairwise(places) if after < place]
    assert len(rounds) >= 2 and rounds[-1] - rounds[0] == pytest.approx(0.5 * (len(rounds) - 1), abs=0.1)
    page.evaluate("stream.repeat(null)")
    page.wait_for_function("stream.state === 'stopped'")
    assert page.evaluate("stream.position") == pytest.approx(3)
    page.evaluate(CLOSE)


def test_half_the_speed_is_the_same_pitch(stage: Any) -> None:
    """Twice as many samples of the same two tones, whose loudness stays; and so long it plays."""
    page = stage()
    slow = page.evaluate("""async () => {
        const { Pcm, RATE } = await import("/player/pcm.js");
        const { Stretch } = await import("/player/stretch.js");
        const tone = (hertz, at) => 9000 * Math.sin((2 * Math.PI * hertz * at) / RATE);
        const tones = (_, at) => tone(440, at) + tone(262, at);
        const stretch = new Stretch(new Pcm(Int16Array.from({ length: 2 * RATE }, tones)), 0, 0.5);
        return [0.5, 0.25, 0.01, 0.74].flatMap((seconds) => [...stretch.take(seconds * RATE)]);
    }""")
    assert len(slow) == 3 * 24_000
    spectrum = np.abs(np.fft.rfft(np.hanning(len(slow)) * slow))
    loudest = np.sort(np.argsort(spectrum)[-2:]) / 3
    assert loudest == pytest.approx([262, 440], abs=1.0)
    level = np.sqrt(np.mean(np.square(np.reshape(slow, (-1, 2400))), axis=1))
    assert level.min() > 0.8 * level.max()
    page.evaluate(OPEN, [1, True])
    page.evaluate("stream.setTempo(0.5)")
    page.evaluate("() => { stream.seek(0.5); window.from = stream.now; }")
    page.wait_for_function("stream.state === 'stopped'")
    assert page.evaluate("stream.now - from") == pytest.approx(1.0, abs=0.4)
    page.evaluate(CLOSE)
