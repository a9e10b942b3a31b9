"""Facts and recipes: whatever a file, a link or a program says of a piece, it is read or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from reader import Reader

from musicgen.app.errors import BadInput, is_plain
from musicgen.app.prime import make_prime, pack
from musicgen.app.provenance import FACTS, PRIME, Provenance, summary_in
from musicgen.app.replay import prime_of, read_generated
from musicgen.app.settings import Settings
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import LIMITS
from musicgen.app.web.notes.request import parse_request
from musicgen.data_prep import Performance, write_midi

MUSIC = Performance(
    np.array([0.0, 0.5]), np.array([0.4, 2.0]), np.array([60, 64]), np.array([80, 70]), np.zeros((0, 2))
)
MATCH = {"length": 9, "notes": 12, "start": 0.5, "seconds": 3.0, "name": "a.mid", "title": "Étude", "transposition": -2}


def reader() -> Reader:
    """Of `replay`, and of recipes and links on the page."""
    return Reader(seeds, read, (BadInput,), most=20_000, text=True)


def seeds() -> list[bytes]:
    prime = make_prime(MUSIC, None, "a" * 64)
    settings = Settings(seconds=4.0, prime_seconds=1.5, latents=64, context=256, num_samples=2)
    about = {"checkpoint": "fake", "checkpoint_sha256": "f" * 64, "backend": "cpu jax 0.10", "version": "0.1.0"}
    facts = Provenance(settings, 7, 2, prime_sha256="a" * 64, prime_notes=2, join_seconds=1.5, **about)
    matched = Provenance(
        settings, 7, 1, **about, prime_sha256=None, prime_notes=0, join_seconds=0.0, memorisation=MATCH
    )
    recipes = [{"facts": json.loads(one.to_json()), "prime": pack(prime)} for one in (facts, matched)]
    return [json.dumps(recipe).encode() for recipe in recipes]


def read(data: bytes, folder: Path) -> None:
    """From the page's JSON, and from the text events of a file."""
    text = data.decode("utf-8", "replace")
    try:
        recipe = json.loads(text)
    except (ValueError, RecursionError):
        Provenance.from_json(text)
        return
    refusals = []
    try:
        parse_request({"recipe": recipe}, Dials(64, 256), "f" * 64, LIMITS)
    except BadInput as error:
        refusals.append(error)
    facts, prime = (recipe.get("facts"), recipe.get("prime")) if isinstance(recipe, dict) else (recipe, None)
    texts = [FACTS + json.dumps(facts), *([PRIME + prime] if isinstance(prime, str) and is_plain(prime) else [])]
    path = folder / "new.mid"
    write_midi(MUSIC, path, text=texts)
    assert is_plain(summary_in(texts) or "")
    generated = read_generated(path)
    prime_of(generated, None)
    for error in refusals:
        raise error
