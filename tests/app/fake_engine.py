"""An engine without a model: deterministic made-up music, so that the app can be tested without JAX.

Run as a program it is the `musicgen` command with this engine in place of the real one:
``python tests/app/fake_engine.py prime.mid --out new.mid``.  With FAKE_DELAY
that many seconds pass before each block, and "drawing" is printed on stdout after the first.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.random  # now: a Ctrl-C that falls into its loading, which numpy does at first use, is lost in native code

from musicgen.app import generate
from musicgen.app import novelty as apart
from musicgen.app.join import sounding
from musicgen.data_prep import BOS, VOCABULARY, VOCABULARY_2
from musicgen.data_prep.rules.fills import Fills
from musicgen.data_prep.vocabulary import EOS, NOTE_OFF, NOTE_ON, STYLES, TIME_SHIFT, VELOCITY


class FakeEngine:
    """Random chords with the grammar of real token streams; a row depends on seed, its place and all that was asked."""

    rows_alike = True
    compiles = True  # as far as the page knows: so it prepares all that it may have to

    def __init__(self) -> None:
        self.asked: dict[str, object] = {}
        self.slowed = False
        self.judged: list[np.ndarray] = []

    def start(
        self,
        primes: Sequence[np.ndarray],
        *,
        latents: int,
        context: int,
        sampling: object,
        seed: int | Sequence[int],
        rules: object = None,
        copies: int = 1,
        told: Sequence[int] = (),
        heads: Sequence[np.ndarray] = (),
    ) -> Iterator[np.ndarray]:
        if isinstance(rules, Fills):
            yield from FakeFiller().start(primes, rules=rules, seed=seed, copies=copies)
        assert all(prime.dtype == np.int16 and prime[0] == BOS for prime in primes)
        self.asked = {"primes": primes, "latents": latents, "context": context, "sampling": sampling, "seed": seed}
        self.asked["told"] = told
        if rules is not None:
            yield from self._ruled([*primes] * copies, rules, seed)
        asked = (latents, context, sampling, *told)
        alone = not isinstance(seed, int)  # then each row has a seed of its own
        places = [(own, 0) for own in seed] if alone else [(seed, row) for row in range(len(primes))]
        rows = [self._row(prime, hash((*place, *asked))) for prime, place in zip(primes, places, strict=True)]
        while True:
            if "FAKE_DELAY" in os.environ:
                time.sleep(float(os.environ["FAKE_DELAY"]))
                if not self.slowed:
                    print("drawing", flush=True)
                    self.slowed = True
            yield np.stack([[next(row) for _ in range(8)] for row in rows]).astype(np.int16)

    def nats(self, stream: np.ndarray, token: int, *, latents: int, context: int) -> float:
        """An ending is good if its last token is small."""
        self.judged.append(stream)
        return float(stream[-1])

    def nats_of_last(self, stream: np.ndarray, count: int, ids: int) -> np.ndarray:
        """As of `FakeFiller`."""
        return FakeFiller().nats_of_last(stream, count, ids)

    @staticmethod
    def _ruled(primes: Sequence[np.ndarray], rules: Any, seed: int) -> Iterator[np.ndarray]:
        """Anything that the rules allow, note-offs and what they make likelier before the rest."""
        rng = np.random.default_rng(seed)
        state = rules.start(primes, np)
        while True:
            block = []
            for _ in range(8):
                weight = np.exp(rules.logit_bias(state)) + 5 * VOCABULARY.mask("note_off")
                weight[:, EOS] *= 0.1
                weight = weight * rules.allowed(state)
                block.append([rng.choice(weight.shape[1], p=row / row.sum()) for row in weight])
                state = rules.advance(state, np.array(block[-1], np.int32))
            yield np.array(block, np.int16).T

    @staticmethod
    def _row(prime: np.ndarray, seed: int) -> Iterator[int]:
        rng = np.random.default_rng(seed % 2**32)
        down = set(sounding(prime).tolist())
        struck: set[int] = set(range(128))  # what the prime struck in this step is not known: begin with a pause
        yield TIME_SHIFT + int(rng.integers(0, 20))
        while True:
            struck = set()
            for pitch in sorted(down):
                if rng.random() < 0.4:
                    down.discard(pitch)
                    yield NOTE_OFF + pitch
            for pitch in sorted(set(rng.integers(40, 90, 2).tolist()) - down - struck):
                if rng.random() < 0.5:
                    yield VELOCITY + int(rng.integers(8, 28))
                down.add(pitch)
                struck.add(pitch)
                yield NOTE_ON + pitch
            yield TIME_SHIFT + int(rng.integers(2, 60))


class FakeFiller:
    """Draws anything that the rules of a fill allow, notes and the ends of seconds before the rest."""

    config = SimpleNamespace(vocab_size=VOCABULARY_2.size)
    compiles = True

    def __init__(self) -> None:
        self.primes: list[list[np.ndarray]] = []  # of each stream

    def nats_of_last(self, stream: np.ndarray, count: int, ids: int) -> np.ndarray:
        """The softer, the likelier."""
        return np.maximum(stream[-count:].astype(float) - VELOCITY, 0.0)

    def start(
        self, primes: Sequence[np.ndarray], *, rules: Any, seed: int, copies: int = 1, **settings: Any
    ) -> Iterator[np.ndarray]:
        self.primes.append([*primes])
        rng, rows = np.random.default_rng(seed), [*primes] * copies
        liked = 2.0 * VOCABULARY_2.mask("note_on", "note_off", "second") + 4.0 * VOCABULARY_2.mask("tail", "end")
        state = rules.start(rows, np)
        while True:
            block = []
            for _ in range(16):
                logits = rules.apply(state, (liked + rng.gumbel(size=(len(rows), len(liked)))).astype(np.float32))
                assert (logits.max(axis=1) > -np.inf).all()
                block.append(logits.argmax(axis=1))
                state = rules.advance(state, block[-1].astype(np.int32))
            yield np.array(block, np.int16).T


def fake_filler() -> generate.Model:
    """A model that fills."""
    return dataclasses.replace(fake_model(), engine=FakeFiller(), latents=2048, context=4096)


def fake_model() -> generate.Model:
    """The model that `generate.open_model` would give."""
    return generate.Model(
        engine=FakeEngine(),
        name="fake",
        sha256="f" * 64,
        latents=64,
        context=256,
        backend="none",
        styles=STYLES,
    )


def main() -> int:
    """The command with the fake engine."""
    from musicgen.app.cli import main as musicgen

    config = SimpleNamespace(latents=64, context=256)
    generate.open_weights = lambda checkpoint: SimpleNamespace(config=config)  # type: ignore[assignment,return-value]
    generate.open_model = lambda released: fake_model()
    apart.find_index = lambda checkpoint: None  # reading it takes a second
    return musicgen()


if __name__ == "__main__":
    sys.exit(main())
