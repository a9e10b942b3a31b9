"""The codec's training loop: learns, stops, goes on bit for bit; both halves of it move what they should."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import TOY_DISCRIMINATORS

from musicgen.model.codec import train as codec_train
from musicgen.model.codec.config import CodecConfig
from musicgen.model.codec.losses import LossConfig
from musicgen.model.codec.step import CodecTrainConfig, learning_rate, reconstruct
from musicgen.model.codec.train import init_codec_state, make_codec_steps, train_codec
from musicgen.model.training.stop import StopRun

SAMPLES = 1024
# Nothing in the loop depends on how many layers there are, and compiling them takes most of the time.
CODEC = CodecConfig(
    sample_rate=8_000,
    strides=(8,),
    encoder_widths=(4, 8),
    decoder_widths=(4, 8),
    dilations=(),
    frame_units=0,
    width=8,
    codebooks=2,
    codebook_size=32,
)
RUN = CodecTrainConfig(
    CODEC,
    dataclasses.replace(TOY_DISCRIMINATORS, bands=(0.0, 1.0)),
    LossConfig(wave=1.0, windows=(128,), mels=(10,)),
    steps=6,
    adversarial_from=0.3,
    batch=2,
    samples=SAMPLES,
    discriminator_samples=SAMPLES // 2,
    steps_per_dispatch=2,
    learning_rate=3e-3,
    warmup_steps=1,
    compute="bfloat16",
    checkpoint_every=1_000,
)


class Chords:
    """Two sines a row, a new pair for every batch.  A Grain iterator."""

    def __init__(self, rows: int = RUN.batch) -> None:
        self.rows, self.read = rows, 0

    def __next__(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.read)
        self.read += 1
        hertz = rng.uniform(100, 1000, (self.rows, 2, 1))
        time = np.arange(SAMPLES) / CODEC.sample_rate
        return {"wave": 0.3 * np.sin(2 * np.pi * hertz * time).sum(axis=1).astype(np.float32)}

    def get_state(self) -> Any:
        return {"read": self.read}

    def set_state(self, state: Any) -> None:
        self.read = state["read"]


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_moves_everything_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = train_codec(RUN, Chords(), tmp_path / "whole")
    fresh = jax.jit(lambda: init_codec_state(RUN))()
    for name in ("params", "average", "discriminators"):
        before, after = getattr(fresh, name), getattr(whole, name)
        assert [n for n in before if np.array_equal(before[n], after[n])] == []
        assert all(x.dtype == jnp.float32 for x in after.values())
    train_codec(RUN, Chords(), tmp_path / "parts", stop=StopRun(0))
    assert [line["step"] for line in lines(tmp_path / "parts")] == [2]
    parts = train_codec(RUN, Chords(), tmp_path / "parts")
    assert [line["step"] for line in lines(tmp_path / "parts")] == [2, 4, 6]
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    first, *rest = lines(tmp_path / "whole")
    assert "discriminator" not in first
    assert all(line["discriminator"] > 0 and line["features"] > 0 for line in rest)
    assert all(np.isfinite(value) for line in lines(tmp_path / "whole") for value in line.values())
    other = dataclasses.replace(RUN, codec=dataclasses.replace(CODEC, width=6))
    with pytest.raises(ValueError, match="holds a run of another codec"):
        train_codec(other, Chords(), tmp_path / "whole")


def test_a_run_by_the_clock_ends_with_it_and_shows_what_there_was_before_discriminators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own, which runs on by the same at every look: how busy the machine is does not matter."""
    looks = itertools.count()
    monkeypatch.setattr(codec_train, "time", SimpleNamespace(monotonic=lambda: next(looks) * 0.04))
    config = dataclasses.replace(RUN, seconds=0.5, adversarial_from=0.5, steps=0)
    seen: list[tuple[int, bool]] = []

    def at_checkpoint(step: int, params: Any, adversarial: bool) -> dict[str, float]:
        seen.append((step, adversarial))
        return {"shown": float(adversarial)}

    state = train_codec(config, Chords(), tmp_path, at_checkpoint=at_checkpoint)
    steps = [line for line in lines(tmp_path) if "mel" in line]
    first_adversarial = next(line["step"] for line in steps if "discriminator" in line)
    assert [adversarial for _, adversarial in seen] == [False, True]
    assert seen[0][0] == first_adversarial - config.steps_per_dispatch
    assert seen[1][0] == int(state.step) > 4
    progress = [line["progress"] for line in steps]
    assert progress == sorted(progress)
    assert 0.5 < progress[-1] <= 1
    again = train_codec(config, Chords(), tmp_path)  # it is over: one dispatch at a learning rate of nothing
    assert int(again.step) == int(state.step) + config.steps_per_dispatch


ADVERSARIAL = dataclasses.replace(RUN, compute="float32", steps=4, adversarial_from=0.0)  # all of it from step 1


@pytest.mark.nightly
def test_two_devices_are_one(tmp_path: Path) -> None:
    """Rows, codebooks' running means and discriminators shared out to two: the same run, but for rounding."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(__file__).parents[1]),  # of toys.py
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(jax.config.jax_compilation_cache_max_size),
    }
    command = [sys.executable, __file__, str(tmp_path / "two")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as other:
        one = train_codec(ADVERSARIAL, Chords(), tmp_path / "one")
        _, errors = other.communicate(timeout=300)
    assert other.returncode == 0, errors
    two = np.load(tmp_path / "two.npz")
    assert int(two["devices"]) == 2
    for name, expected in one.params.items():
        np.testing.assert_allclose(two[name], expected, atol=2e-4, err_msg=name)
    for alone, together in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert together["mel"] == pytest.approx(alone["mel"], rel=1e-4)
        assert together["discriminator"] == pytest.approx(alone["discriminator"], rel=1e-3)


def test_learning_rates_follow_the_progress() -> None:
    config = dataclasses.replace(RUN, warmup_steps=10, decay=0.5)
    rates = [float(learning_rate(config, 2.0, jnp.float32(step), jnp.float32(at))) for step, at in
             ((0, 0.0), (4, 0.1), (100, 0.5), (100, 0.75), (100, 1.0))]  # fmt: skip
    np.testing.assert_allclose(rates, [0.2, 1.0, 2.0, 1.0, 0.0], rtol=1e-6)


def test_one_wave_is_learnt_by_heart() -> None:
    """The stated figure: 10 dB SI-SDR on an eighth of a second."""
    losses = dataclasses.replace(RUN.losses, wave=20.0)
    codec = dataclasses.replace(CODEC, dilations=(1,), codebooks=4)
    config = dataclasses.replace(
        RUN,
        compute="float32",
        codec=codec,
        losses=losses,
        steps=400,
        batch=1,
        steps_per_dispatch=100,
        learning_rate=5e-3,
    )
    state, program = jax.jit(lambda: init_codec_state(config))(), make_codec_steps(config, False)
    wave = next(Chords(1))["wave"]
    for i in range(4):
        state, metrics = program(state, jnp.asarray(np.stack([wave] * 100)), jnp.float32(i / 4))
    used = jnp.array([codec.codebooks])
    (fake, _), _ = jax.jit(reconstruct, static_argnums=3)(state.params, jnp.asarray(wave), used, config)
    error = np.asarray(fake) - wave
    assert 10 * np.log10(np.sum(wave**2) / np.sum(error**2)) > 10
    assert float(metrics["si_sdr"].max()) > 10


def test_a_run_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="samples must be a multiple of the hop"):
        train_codec(dataclasses.replace(RUN, samples=SAMPLES + 1), Chords(), tmp_path)


if __name__ == "__main__":  # the run of test_two_devices_are_one, in a process with two devices
    folder = Path(sys.argv[1])
    params = train_codec(ADVERSARIAL, Chords(), folder).params
    np.savez(folder.with_suffix(".npz"), devices=jax.device_count(), **{n: np.asarray(x) for n, x in params.items()})
