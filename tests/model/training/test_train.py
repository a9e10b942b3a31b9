"""A training run: learns, stops, goes on bit for bit, on one device or several."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_training
from toy_training import RUN, Counting, arrays_of
from toys import random_parameters

from musicgen.app.recipes import NOTES
from musicgen.model import attention, parameters
from musicgen.model.config import PRESETS
from musicgen.model.sharding import make_mesh
from musicgen.model.stop import AT_ONCE, Left, still_computing
from musicgen.model.training.checkpointing import Checkpoints
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.loss import Dropout, contexts_of, loss_of
from musicgen.model.training.metrics import Metrics
from musicgen.model.training.saving import Saving
from musicgen.model.training.stop import StopRun
from musicgen.model.training.train import TrainState, init_state, make_train_steps, train

PROGRAM = Path(toy_training.__file__)
LONG = dataclasses.replace(RUN, steps=60)  # compiled twice at most, here and in the program


def lines(folder: Path) -> list[dict[str, float]]:
    """The records of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def program(folder: Path, *options: str, flags: str = "") -> subprocess.Popen[str]:
    """The toy run in a process of its own, compiled as in this one."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(jax.config.jax_compilation_cache_max_size),
    }
    command = [sys.executable, str(PROGRAM), str(folder), *options]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(autouse=True)
def signals_as_they_were() -> object:
    """pytest keeps its own Ctrl-C, whatever a test does."""
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """The folder and the end of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, arrays_of(train(RUN, Counting(), folder))


def assert_same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """To the bit."""
    assert set(actual) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def test_a_stopped_run_goes_on_bit_for_bit(whole: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    """Stopped twice: parameters, moments, step and metrics are the uninterrupted run's."""
    expected_folder, expected = whole
    for step in (2, 4):
        assert int(train(RUN, Counting(), tmp_path, stop=StopRun(0)).step) == step
    assert_same(arrays_of(train(RUN, Counting(), tmp_path)), expected)
    for name in ("step", "nats", "nats_full", "gradient_norm"):
        assert [line[name] for line in lines(tmp_path)] == [line[name] for line in lines(expected_folder)]


def test_a_finished_run_is_finished(whole: tuple[Path, dict[str, np.ndarray]]) -> None:
    """Started once more it changes nothing."""
    folder, expected = whole
    before = lines(folder)
    assert_same(arrays_of(train(RUN, Counting(), folder)), expected)
    assert lines(folder) == before


def test_a_run_can_begin_with_parameters(whole: tuple[Path, dict[str, np.ndarray]]) -> None:
    """Given ones, with fresh moments; but not where there is a checkpoint."""
    folder, expected = whole
    given = {name: np.asarray(x) for name, x in random_parameters(RUN.model).items()}
    state = init_state(RUN, make_mesh(), given)
    assert int(state.step) == 0
    assert_same({name: np.asarray(x) for name, x in state.params.items()}, given)
    moments = init_state(RUN, make_mesh()).opt_state
    assert_same(arrays_of(state._replace(params={}, opt_state=moments)), arrays_of(state._replace(params={})))
    assert_same(arrays_of(train(RUN, Counting(), folder, start=given)), expected)


def test_checkpoints_hold_their_own_step(tmp_path: Path) -> None:
    """Saved in the background while the next steps already overwrite the parameters on the device."""
    config = dataclasses.replace(RUN, checkpoint_every=2, keep_checkpoints=4)
    seen: dict[int, dict[str, np.ndarray]] = {}

    def at_checkpoint(step: int, params: dict[str, jax.Array]) -> dict[str, float]:
        seen[step] = {name: np.array(x) for name, x in params.items()}
        return {"validation_nats": float(step)}

    state = train(config, Counting(), tmp_path, at_checkpoint=at_checkpoint)
    assert list(seen) == [2, 4, 6, 8]
    manager = Checkpoints(tmp_path / "checkpoints", keep=4).manager
    assert list(manager.all_steps()) == [2, 4, 6, 8]
    for step, params in seen.items():
        saved = manager.restore(step)
        assert_same({name: np.asarray(x) for name, x in saved.state["params"].items()}, params)
        assert saved.reader == {"state": {"read": step}}
    manager.close()
    assert_same({name: np.asarray(x) for name, x in state.params.items()}, seen[8])
    told = [line for line in lines(tmp_path) if "validation_nats" in line]
    assert [(line["step"], line["validation_nats"]) for line in told] == [(2, 2.0), (4, 4.0), (6, 6.0), (8, 8.0)]


def test_old_checkpoints_go(tmp_path: Path) -> None:
    """Only the newest few are kept; the interval counts steps, not dispatches."""
    config = dataclasses.replace(RUN, checkpoint_every=3, keep_checkpoints=2)
    steps: list[int] = []

    def at_checkpoint(step: int, params: dict[str, jax.Array]) -> dict[str, float]:
        steps.append(step)
        return {}

    train(config, Counting(), tmp_path, at_checkpoint=at_checkpoint)
    assert steps == [4, 6, 8]  # the first dispatch that ends at or past 3, at or past 6, and the end
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()) == ["6", "8"]


def test_it_learns(tmp_path: Path) -> None:
    """Counting is learnt at once; figures go to metrics.jsonl and to TensorBoard, the settings too."""
    train(LONG, Counting(), tmp_path)
    told = lines(tmp_path)
    assert [line["step"] for line in told] == list(range(2, 61, 2))
    assert told[0]["nats"] > 1.0 and told[-1]["nats"] < 0.1
    assert all(math.isfinite(value) for line in told for value in line.values())
    assert told[-1]["steps_per_second"] > 0
    (events,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    data = events.read_bytes()
    assert all(name.encode() in data for name in ("nats", "nats_full", "gradient_norm"))
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(json.dumps(dataclasses.asdict(LONG)))


def test_sigterm_saves_and_leaves(tmp_path: Path) -> None:
    """The process ends by itself with code 0, and the run goes on to what it would have become."""
    with program(tmp_path, "--steps", "60", "--pause", "0.2") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step "):
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 0, rest
    stopped = lines(tmp_path)[-1]["step"]
    assert 2 <= stopped < 60
    assert (tmp_path / "checkpoints" / str(stopped)).is_dir()
    state = train(LONG, Counting(), tmp_path)
    steps = [line["step"] for line in lines(tmp_path)]
    assert steps == list(range(2, 61, 2))  # nothing twice, nothing left out
    assert_same(arrays_of(state), arrays_of(train(LONG, Counting(), tmp_path / "uninterrupted")))


def test_signals_are_given_back(tmp_path: Path) -> None:
    """After the run Ctrl-C and SIGTERM do again what they did before; and a run that is done can be asked for more."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    for config in (RUN, LONG):
        assert int(train(config, Counting(), tmp_path).step) == config.steps
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.slow
@pytest.mark.parametrize("model_axis", [1, 4])
def test_four_devices_are_one(whole: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, model_axis: int) -> None:
    """Rows shared out to four, and parameters and the optimiser's state to four: the same run, but for rounding."""
    flags = "--xla_force_host_platform_device_count=4"
    process = program(tmp_path, "--model-axis", str(model_axis), flags=flags)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    told = json.loads((tmp_path / "devices.json").read_text())
    assert told["devices"] == 4
    shapes = parameters.shapes(RUN.model)
    parts = {name: math.prod(whole) // math.prod(part) for name, (whole, part) in told["shards"].items()}
    assert {part for name, part in parts.items() if "count" not in name and name != ".step"} == {model_axis}
    _, expected = whole
    several = np.load(tmp_path / "parameters.npz")
    for name in shapes:
        np.testing.assert_allclose(several[name], expected[f".params['{name}']"], atol=2e-4, err_msg=name)
    for one, four in zip(lines(whole[0]), lines(tmp_path), strict=True):
        assert four["nats"] == pytest.approx(one["nats"], rel=1e-4)


def test_two_processes_are_one(whole: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    """Of one device each; only one of them writes, and it says that the other is slow, in two ways."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [("--distributed", f"127.0.0.1:{port},2,{index}", "--pause", str(0.2 * index)) for index in range(2)]
    together = [program(tmp_path, *place) for place in places]
    said = [process.communicate(timeout=300)[1] for process in together]
    assert [process.returncode for process in together] == [0, 0], said
    assert f"s for process 1 ({socket.gethostname()}): are its rows late" in said[0]
    assert f"musicgen: process 1 ({socket.gethostname()}) computes " in said[0]
    folder, expected = whole
    two = np.load(tmp_path / "parameters.npz")
    for name in parameters.shapes(RUN.model):
        np.testing.assert_allclose(two[name], expected[f".params['{name}']"], rtol=0, atol=2e-4, err_msg=name)
    for one, other in zip(lines(folder), lines(tmp_path), strict=True):
        assert other["nats"] == pytest.approx(one["nats"], rel=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"width": 32, "layers": 2}, "another model (width 16, not 32, layers 1, not 2): choose another folder"),
        ({"local_window": 4}, "another model (local_window 3, not 4): choose another folder"),  # would fit all the same
    ],
)
def test_a_run_of_another_model(
    whole: tuple[Path, dict[str, np.ndarray]], change: dict[str, int], message: str
) -> None:
    """Refused in one line, and the run that is there keeps its settings; more steps for the same model are welcome."""
    folder, _ = whole
    before = (folder / "config.json").read_bytes()
    with pytest.raises(ValueError, match=re.escape(f"{folder} holds a run of {message}")):
        train(dataclasses.replace(RUN, model=dataclasses.replace(RUN.model, **change)), Counting(), folder)
    assert (folder / "config.json").read_bytes() == before


def test_impossible_batches(tmp_path: Path) -> None:
    """A batch is whole groups of 16 rows if it trains all settings."""
    config = TrainConfig(PRESETS["tiny"], batch=24)
    with pytest.raises(ValueError, match="batch must be a multiple of 16, not 24"):
        train(config, Counting(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="cannot be shared out 3 to a copy"):
        make_mesh(3, jax.devices()[:1] * 4)


def gradient(config: TrainConfig) -> Callable[..., tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
    """(params, tokens, key) -> (gradients, metrics)."""
    contexts = contexts_of(config)
    return lambda params, tokens, key: jax.grad(loss_of, has_aux=True)(params, tokens, key, config, contexts)


@pytest.mark.parametrize("name", ["release", "large"])
def test_gradients_at_full_size(name: str) -> None:
    """Without computing: every parameter has a float32 gradient of its own shape."""
    config = NOTES[name].train
    params = {n: jax.ShapeDtypeStruct(shape, jnp.float32) for n, shape in parameters.shapes(config.model).items()}
    tokens = jax.ShapeDtypeStruct((config.batch, config.model.context + 1), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0, impl="rbg"))
    grads, metrics = jax.eval_shape(gradient(config), params, tokens, key)
    assert {n: (x.shape, x.dtype) for n, x in grads.items()} == {n: (x.shape, jnp.float32) for n, x in params.items()}
    assert {n: x.shape for n, x in metrics.items()} == {"nats": (), "nats_full": ()}


def assert_finite(config: TrainConfig) -> None:
    """Gradients and figures of random rows, for fresh parameters and for wild ones; of these none is without effect."""
    function = jax.jit(gradient(config))
    rows = np.random.default_rng(0).integers(1, 11, (config.batch, config.model.context + 1))
    for params in (parameters.initial(config.model, 0), random_parameters(config.model)):
        grads, metrics = function(params, rows, jax.random.key(0, impl="rbg"))
        assert all(np.isfinite(x).all() for x in grads.values())
        assert all(np.isfinite(x) for x in metrics.values())
    assert all(np.abs(x).max() > 0 for x in grads.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_gradients_are_finite(name: str) -> None:
    """Every recipe, made narrow and shallow: one block of each kind, heads and groups of heads as they are."""
    model = dataclasses.replace(
        PRESETS[name],
        vocab_size=11,
        width=PRESETS[name].heads * 4,
        local_layers=1,
        local_window=8,
        cross_attends=1,
        layers=1,
        context=32,
        latents=16,
    )
    assert_finite(dataclasses.replace(NOTES[name].train, model=model, batch=2, all_settings=False))


@pytest.mark.slow
def test_gradients_of_all_settings_are_finite() -> None:
    """One group of 16 rows, of a model of one block of each kind."""
    model = dataclasses.replace(RUN.model, context=128, latents=64)
    assert_finite(TrainConfig(model, batch=16))


def test_deterministic_training_uses_no_fused_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose gradients on a GPU have no fixed order; without the setting it is asked for."""

    def asked(q: jax.Array) -> bool:
        raise AssertionError("is it fused?")

    monkeypatch.setattr(attention, "_fused", asked)
    config = TrainConfig(RUN.model, all_settings=False, batch=1, deterministic=True)
    shapes = {n: jax.ShapeDtypeStruct(shape, jnp.float32) for n, shape in parameters.shapes(config.model).items()}
    tokens = jax.ShapeDtypeStruct((1, config.model.context + 1), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0, impl="rbg"))
    jax.eval_shape(gradient(config), shapes, tokens, key)
    with pytest.raises(AssertionError, match="is it fused"):
        jax.eval_shape(gradient(dataclasses.replace(config, deterministic=False)), shapes, tokens, key)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
def test_deterministic_training_repeats_on_a_gpu() -> None:
    """The gradient of one group in bfloat16, bit for bit, at a size at which the fused kernel's differs."""
    model = dataclasses.replace(PRESETS["release"], layers=2, cross_attends=1, local_layers=1)
    config = TrainConfig(model, deterministic=True)
    function = jax.jit(gradient(config))
    rows = np.random.default_rng(0).integers(3, 391, (config.batch, model.context + 1))
    params = random_parameters(model)
    first, second = (function(params, rows, jax.random.key(0, impl="rbg"))[0] for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_every_step_drops_others() -> None:
    """The same rows twice, in two steps of which the first has a learning rate of zero; a run repeats it."""
    rows = jnp.tile(next(Counting())["tokens"], (2, 1, 1))

    def nats() -> list[float]:
        params = {name: jnp.array(x) for name, x in random_parameters(RUN.model).items()}
        state = init_state(RUN, make_mesh())._replace(params=params)
        return np.asarray(train_steps(state, rows)[1]["nats"]).tolist()

    train_steps = make_train_steps(RUN)
    first, second = nats()
    assert abs(first - second) > 1e-3
    assert nats() == [first, second]


def test_hidden_tokens() -> None:
    """Inputs can be hidden at random, others with every key; targets are as they were."""
    rows = next(Counting())["tokens"].astype(np.int32)
    params = random_parameters(RUN.model)

    def losses(rate: float) -> list[float]:
        config = dataclasses.replace(RUN, dropout=0.0, cross_keep=1.0, token_dropout=rate)
        function = jax.jit(lambda key: loss_of(params, rows, key, config, contexts_of(config))[0])
        return [float(function(jax.random.key(seed, impl="rbg"))) for seed in (0, 0, 1)]

    plain = losses(0.0)
    assert len(set(plain)) == 1
    first, again, other = losses(0.3)
    assert first == again and len({first, other, plain[0]}) == 3


def test_dropout_keeps_the_mean() -> None:
    """What is left is scaled up; every call drops others."""
    drop = Dropout(0.2, jax.random.key(0))
    one, other = (np.asarray(drop(jnp.ones((500, 200), jnp.bfloat16)), np.float32) for _ in range(2))
    assert set(np.unique(one)) == {0.0, 1.25}
    assert one.mean() == pytest.approx(1.0, abs=0.01)
    assert ((one > 0) & (other > 0)).mean() == pytest.approx(0.64, abs=0.01)


def test_state_is_a_tree_of_arrays(whole: tuple[Path, dict[str, np.ndarray]]) -> None:
    """What is saved is all there is: step, parameters and the moments of both optimisers."""
    _, arrays = whole
    assert int(arrays[".step"]) == RUN.steps
    assert sum(name.startswith(".params") for name in arrays) == len(parameters.shapes(RUN.model))
    assert TrainState._fields == ("step", "params", "opt_state")


def checkpointed(folder: Path, every: int = 2) -> TrainConfig:
    """The toy run with a checkpoint every few steps, all of them kept."""
    return dataclasses.replace(RUN, checkpoint_every=every, keep_checkpoints=8)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    whole: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Put aside with a line, and the run becomes what it would have become; if all are damaged, nothing is touched."""
    config = checkpointed(tmp_path)
    train(config, Counting(), tmp_path)
    for path in (tmp_path / "checkpoints" / "8").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    shutil.rmtree(tmp_path / "checkpoints" / "6" / "state")
    assert_same(arrays_of(train(config, Counting(), tmp_path)), whole[1])
    said = capsys.readouterr().err
    assert "the checkpoint of step 8 is damaged" in said and "the checkpoint of step 6 is damaged" in said
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["2", "4", "6", "8", "damaged-6", "damaged-8"]
    for step in ("2", "4", "6", "8"):
        shutil.rmtree(tmp_path / "checkpoints" / step / "state")
    with pytest.raises(ValueError, match="holds no checkpoint that can be read"):
        train(config, Counting(), tmp_path)


def test_damaged_settings(whole: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    """One line; ours are never half there."""
    shutil.copytree(whole[0], tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text('{"model": {"vo')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        train(RUN, Counting(), tmp_path / "run")
    assert not list(whole[0].glob("*.tmp"))


def test_what_a_killed_run_left_undone_is_done(whole: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    """All steps are saved, but not what comes after: that comes, once."""
    shutil.copytree(whole[0], tmp_path / "run")
    seen: list[int] = []

    def at_checkpoint(step: int, params: dict[str, jax.Array]) -> dict[str, float]:
        seen.append(step)
        return {}

    for done in (False, True):
        train(RUN, Counting(), tmp_path / "run", at_checkpoint=at_checkpoint, released=lambda step, done=done: done)
        assert seen == [8]


def test_a_run_whose_loss_is_no_number_ends(tmp_path: Path) -> None:
    """At once, and what was saved before stays; in the step after it there would be nothing to save."""
    config = checkpointed(tmp_path)
    seen: list[int] = []

    class Diverging(Metrics):
        def write(self, step: int, **values: float) -> None:
            seen.append(step)

    with closing(Diverging(tmp_path)) as metrics, StopRun(math.inf) as stop:
        run = Saving(SimpleNamespace(save=lambda *_: None), metrics, stop, 0, None)
        run.advance(2, None, {"nats": 3.0}, 1.0)
        run.save({})
        for name, value in (("nats", math.nan), ("gradient_norm", math.inf)):
            with pytest.raises(
                ValueError, match=r"diverged: its loss is no number after step \d; the checkpoint of st"
            ):
                run.advance(2, None, {"nats": 3.0, name: value}, 1.0)
    assert run.saved == 2 and seen == [2, 4, 6]
    start = {name: np.full(shape, np.nan, np.float32) for name, shape in parameters.shapes(config.model).items()}
    with pytest.raises(ValueError, match="diverged: its loss is no number after step 2; there is no checkpoint yet"):
        train(RUN, Counting(), tmp_path / "run", start=start)
    assert not [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()]


def test_nobody_waits_for_a_checkpoint_to_be_scored(tmp_path: Path) -> None:
    """A signal leaves that undone, and nothing is done beside it: it may still be writing weights."""
    late, seen = threading.Event(), []

    def at_checkpoint(step: int, params: dict[str, jax.Array]) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        late.wait()
        return {}

    stop = StopRun()
    config = dataclasses.replace(RUN, checkpoint_every=2)
    state = train(
        config, Counting(), tmp_path, at_checkpoint=at_checkpoint, at_stop=lambda step, _: seen.append(step), stop=stop
    )
    late.set()
    assert int(state.step) == 2 and stop.exit_code == 143 and not seen
    assert (tmp_path / "checkpoints" / "2").is_dir()


def test_nobody_waits_long_for_a_step() -> None:
    """A signal leaves undone what would take minutes, and not what is nearly done; outside of steps it is not kept."""
    with StopRun(math.inf) as stop:
        assert stop.wait_for(lambda x: x + 1, 1) == 2
        with pytest.raises(ZeroDivisionError):
            stop.wait_for(lambda: 1 / 0)
        signal.raise_signal(signal.SIGTERM)
        assert stop.should_stop() and stop.exit_code == 143
        assert stop.wait_for(time.sleep, 0.2) is None
        began, late = time.monotonic(), threading.Event()
        with pytest.raises(Left):
            stop.wait_for(late.wait, patience=0.3)
        assert time.monotonic() - began < 5 and still_computing()
        late.set()
        begun: list[int] = []
        with pytest.raises(Left):
            stop.wait_for(begun.append, 1, patience=AT_ONCE)
        assert not begun
