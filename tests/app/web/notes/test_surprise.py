"""What surprises a model, and exactness on the real engine with a little, untrained model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from musicgen import checkpoints
from musicgen.app.bundled import FOLDER
from musicgen.app.generate import open_model, open_weights
from musicgen.app.web.dials import Dials
from musicgen.app.web.limits import LIMITS
from musicgen.app.web.notes.maker import NoteMaker
from musicgen.app.web.notes.request import parse_request
from musicgen.app.web.notes.surprise import Scorer, by_note
from musicgen.app.web.scheduler import Scheduler
from musicgen.app.web.ticket import Ticket
from musicgen.checkpoints import Released
from musicgen.data_prep import STEPS_PER_SECOND, VOCABULARY, encode, read_midi

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Released weights of a model as small as can be, which knows nothing."""
    from musicgen.model import parameters
    from musicgen.model.config import ModelConfig

    config = ModelConfig(
        width=32, heads=2, kv_heads=1, local_layers=1, local_window=16, layers=2, context=96, latents=32
    )
    rng = np.random.default_rng(0)
    params = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in parameters.shapes(config).items()}
    folder = tmp_path_factory.mktemp("weights") / "little"
    checkpoints.release(folder, config, params, VOCABULARY.to_json(), {}, "# Little\n")
    return open_weights(str(folder))


def test_each_note_gets_the_nats_of_its_key_and_its_new_loudness(piece: Any) -> None:
    tokens = encode(piece(20, 3), bos=True)
    onsets = piece(20, 3).onset
    told = by_note(tokens, np.ones(len(tokens) - 1, np.float32), onsets)
    assert [onset for onset, _, _ in told] == np.round(onsets, 4).tolist()
    music = encode(piece(20, 3))
    velocities = int((music >= 359).sum())
    assert sum(nats for _, _, nats in told) == len(told) + velocities
    assert {nats for _, _, nats in told} == {1.0, 2.0}


def test_the_scorer_scores_every_note(little: Released) -> None:
    """All notes of a real opening, at their places, each with a sensible number."""
    music, _ = read_midi(FOLDER / "satie.mid")
    told = Scorer(little)(music)
    assert len(told) == len(music)
    onsets = np.array([onset for onset, _, _ in told])
    assert np.allclose(np.sort(onsets), np.sort(music.onset), atol=0.6 / STEPS_PER_SECOND)
    nats = np.array([value for _, _, value in told])
    assert (nats > 0).all() and 1 < nats.mean() < 30


def test_a_take_of_a_shared_batch_is_made_again_to_the_byte(little: Released) -> None:
    """On the real engine: what other people's rows hold changes nothing, in float arithmetic either."""
    scheduler = Scheduler([NoteMaker(lambda: open_model(little))])
    assert scheduler.ready.wait(30)
    dials = Dials(32, 96)

    def ticket(**body: Any) -> Ticket:
        return scheduler.submit(parse_request(body, dials, little.sha256, LIMITS), str(body))

    def take(ticket: Ticket) -> dict[str, Any]:
        (found,) = (event for event in ticket if event["event"] == "take")
        return found

    try:
        # Both primes are longer than a pass of the engine: they may share a batch.
        blocker = ticket(seed=1, settings={"seconds": 0.5})
        second = ticket(seed=1, settings={"seconds": 0.5})
        shared = [ticket(prime={"shipped": name}, settings={"seconds": 3.0}) for name in ("bach", "beethoven", "satie")]
        made = [take(one) for one in (blocker, second, *shared)][2:]
        rows = {(one["recipe"]["facts"]["seed"], one["recipe"]["facts"]["settings"]["num_samples"]) for one in made}
        assert rows == {(made[0]["recipe"]["facts"]["seed"], 4)}, "they did not share a batch"
        for one in made:
            assert take(ticket(recipe=one["recipe"]))["midi"] == one["midi"]
    finally:
        scheduler.close()
