"""What a page may ask for, and what it is told when it may not."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import numpy as np
import pytest

from musicgen.app.errors import BadInput
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import Limits
from musicgen.app.web.notes.request import GenerateRequest, parse_midi, parse_request
from musicgen.app.web.notes.take import music
from musicgen.data_prep import Performance, write_midi

LIMITS = Limits(upload_bytes=20_000, upload_notes=300, prime_seconds=60.0, seconds=40.0, takes=3)
DIALS = Dials(64, 256)


def request(body: object, limits: Limits = LIMITS) -> GenerateRequest:
    return parse_request(body, DIALS, "f" * 64, limits)


def midi(performance: Performance) -> str:
    return base64.b64encode(write_midi(performance, None)).decode()


def test_an_empty_request_is_a_piece_from_nothing() -> None:
    """With the usual settings, at the model's own dials."""
    made = request({})
    assert (made.prime, made.takes, made.seed, made.avoid_copies) == (None, 1, None, False)
    assert request({"apart": True}).avoid_copies
    assert (made.settings.latents, made.settings.context, made.settings.seconds) == (64, 256, 30.0)


def test_every_setting_arrives() -> None:
    values = {
        "seconds": 5,
        "latents": 16,
        "context": 64,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 12,
        "min_p": 0.1,
        "end": True,
        "style": "roll",
    }
    made = request({"settings": values, "takes": 2, "seed": 7})
    assert {name: made.settings.to_dict()[name] for name in values} == values
    assert (made.takes, made.seed) == (2, 7)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ([], "must be a JSON object"),
        ({"path": "/etc/passwd"}, "no field 'path'"),
        ({"settings": {"seconds": 41}}, "41 seconds are too long, 40 are the most"),
        ({"settings": {"seconds": 0}}, "seconds must be between 0.01"),
        ({"settings": {"seconds": float("nan")}}, "must be a number"),
        ({"settings": {"seconds": "30"}}, "must be a number"),
        ({"settings": {"seconds": True}}, "must be a number"),
        ({"settings": {"end": 1}}, "end must be true or false"),
        ({"settings": {"style": ["jazz"]}}, "style must be one of any, classical, jazz, pop, arrangement, roll"),
        ({"settings": {"temperature": -1}}, "temperature must be between 0"),
        ({"settings": {"latents": 17}}, "latents 17 is not offered here"),
        ({"settings": {"context": 512}}, "context 512 is not offered here"),
        ({"settings": {"latents": 64, "context": 32}}, "latents 64"),
        ({"settings": {"keep_prime": False}}, "no setting 'keep_prime'"),
        ({"apart": 1}, "apart must be true or false"),
        ({"takes": 4}, "takes must be a whole number between 1 and 3"),
        ({"takes": 1.5}, "takes must be a whole number"),
        ({"takes": 1e400}, "takes must be a number"),
        ({"seed": -1}, "the seed must be a whole number"),
        ({"seed": 2**31}, "the seed must be a whole number"),
        ({"prime": "bach"}, "the prime must be a JSON object"),
        ({"prime": {}}, "one of shipped, midi and music"),
        ({"prime": {"path": "/etc/passwd"}}, "one of shipped, midi and music"),
        ({"prime": {"shipped": "../../etc/passwd"}}, "there is no opening"),
        ({"prime": {"shipped": ["bach"]}}, "there is no opening"),
        ({"prime": {"midi": "!"}}, "did not arrive whole"),
        ({"prime": {"midi": 5}}, "sent as base64"),
        ({"prime": {"midi": "A" * 40_000}}, "too large (0.02 MB are the most)"),
        ({"prime": {"midi": base64.b64encode(b"RIFF and so on").decode()}}, "this file cannot be used"),
        ({"prime": {"music": {"notes": []}}}, "there are no notes yet"),
        ({"prime": {"music": {"notes": [[0, 1, 200, 60]]}}}, "cannot be read"),
        ({"prime": {"music": {"notes": [["a", 1, 60, 60]]}}}, "cannot be read"),
        ({"prime": {"music": {"notes": [[0, 1]]}}}, "cannot be read"),
        ({"prime": {"music": {"notes": "abc"}}}, "a list of notes"),
        ({"prime": {"music": {"notes": [[0, 1e300, 60, 60]]}}}, "more than a day"),
        ({"prime": {"music": {"notes": [[0, float("nan"), 60, 60]]}}}, "cannot be read"),
        ({"prime": {"music": {"notes": [[0, 1, 60, 60]] * 301}}}, "301 notes, 300 are the most"),
        ({"prime": {"shipped": "bach"}, "from": 1000}, "no note after the beginning"),
        ({"prime": {"shipped": "bach"}, "from": 5, "to": 5}, "no note in the part"),
        ({"prime": {"shipped": "bach"}, "from": -1}, "must not be negative"),
        ({"recipe": {}}, "damaged"),
        ({"recipe": 5}, "must be a JSON object"),
    ],
)
def test_refusals(body: object, complaint: str) -> None:
    """One line each, that names the limit or what to do."""
    with pytest.raises(BadInput) as refusal:
        request(body)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_prime_that_is_too_long_must_be_trimmed(piece: Any) -> None:
    long = midi(piece(280, 1))
    with pytest.raises(BadInput, match="trim it"):
        request({"prime": {"midi": long}})
    made = request({"prime": {"midi": long}, "from": 10, "to": 30})
    assert made.prime is not None and 15 < made.prime.seconds <= 20


def test_the_chosen_part_is_what_is_continued(piece: Any) -> None:
    """From and to count on the uploaded file's own clock."""
    whole = piece(80, 3, pedal=False)
    made = request({"prime": {"midi": midi(whole)}, "from": 4.0, "to": 9.0})
    inside = (whole.onset >= 4.0) & (whole.onset < 9.0)
    assert made.prime is not None
    assert np.allclose(made.prime.performance.onset, whole.onset[inside] - 4.0, atol=1e-4)
    assert made.settings.prime_seconds == pytest.approx(5.0 - made.prime.performance.onset[0], abs=1e-3)


def test_notes_played_on_the_page_become_a_prime(piece: Any) -> None:
    """The music object there and back."""
    whole = piece(60, 4)
    made = request({"prime": {"music": music(whole)}})
    assert made.prime is not None
    assert np.allclose(made.prime.performance.onset, whole.onset, atol=1e-4)
    assert np.array_equal(made.prime.performance.pitch, whole.pitch)
    assert made.prime.performance.pedal.shape == whole.pedal.shape


def test_too_many_notes(piece: Any) -> None:
    with pytest.raises(BadInput, match="300 are the most"):
        parse_midi(write_midi(piece(500, 1), None), dataclasses.replace(LIMITS, upload_bytes=10**6))


def test_dials_of_any_model() -> None:
    """Presets always fit, also for the smallest model."""
    for latents, context in ((2, 2), (3, 7), (64, 256), (2048, 4096), (4096, 4096)):
        dials = Dials(latents, context)
        for M, N in dials.presets.values():
            assert 2 <= M <= N <= context
            assert dials.checked(M, N) == (M, N)
        assert dials.checked(None, None) == (latents, context)
