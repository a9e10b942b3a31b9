"""The way to generate on a CPU: ONNX Runtime makes whole passes over inputs, model/cpu/step.py adds token after token.

Half of JAX's time a token, since the weights are read as bytes.  It imports no JAX.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from musicgen.model.config import ModelConfig
from musicgen.model.cpu import graph as onnx_graph
from musicgen.model.cpu.memory import Cache, Weights, in_order, rotations
from musicgen.model.cpu.onnx_format import Graph
from musicgen.model.cpu.step import step
from musicgen.model.cpu.threads import team
from musicgen.model.cpu.weights import Stacked, embeddings
from musicgen.model.engine import PAD, Engine, Grammar, Inclined, Memory, ruled
from musicgen.model.int8 import dequantised
from musicgen.model.sampler import sample

onnxruntime.set_default_logger_severity(3)  # no warnings about devices that are not there


def gumbel(seed: int, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """Noise f32 for drawing token `number` of a stream: whichever block it is drawn in, the same."""
    bits = np.random.Philox(key=seed, counter=[0, number, 0, 0])
    return np.random.Generator(bits).gumbel(size=shape).astype(np.float32)


def session(graph: Graph, threads: int | None) -> onnxruntime.InferenceSession:
    """What runs a graph, over weights that stay where they are; threads None: as many as there are cores."""
    options = onnxruntime.SessionOptions()
    given = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in graph.given.items()}
    options.add_external_initializers(list(given), list(given.values()))
    options.log_severity_level = 3
    # Between two operators a thread waits so long before it sleeps: for ever would take the cores from others.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph.to_bytes(), options, providers=["CPUExecutionProvider"])


class OnnxEngine(Engine):
    """An engine over weights as they are stored: int8 matrices with `.scale`, or float ones (see onnx_graph)."""

    xp = np
    dtype = "float32"

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, np.ndarray],
        grammar: Grammar,
        preamble: Sequence[int] | np.ndarray = (),
        memory: Memory | None = None,
        threads: int | None = None,
    ):
        """threads: as many as there are cores unless given.  Raises ValueError if the weights do not fit the config."""
        super().__init__(config, grammar, preamble, memory)
        onnx_graph.check(weights, onnx_graph.shapes(config))
        self.weights = weights
        self._packed = Stacked(weights, config)
        self.threads = threads

    @functools.cached_property
    def params(self) -> dict[str, np.ndarray]:  # type: ignore[override]  # made when asked for
        """The parameters as float32 arrays, for model/evaluate.py."""
        return dequantised(self.weights)

    @functools.cached_property
    def _passes(self) -> onnxruntime.InferenceSession:
        return session(onnx_graph.pass_graph(self.config, self._packed), self.threads)

    @functools.cached_property
    def _table(self) -> np.ndarray:
        return embeddings(self.weights)

    @functools.cached_property
    def _steps(self) -> Weights:
        return self._packed.for_steps()

    @functools.cached_property
    def _renewals(self) -> onnxruntime.InferenceSession:
        return session(onnx_graph.renewal_graph(self.config, self._packed), self.threads)

    def _rotations(self, count: int) -> dict[str, np.ndarray]:
        return dict(zip(("cos", "sin"), rotations(self.config, count), strict=True))

    def read(
        self, tokens: np.ndarray, start: np.ndarray, latents: int, ahead: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """One pass over tokens [B, T] that begin at start [B], before `ahead` more are added one by one.

        Returns logits f32 [B, R, V], how many inputs and how many latents each row has (its first so many of the R),
        and keys and values by name.
        """
        W = self.config.local_window
        inputs = tokens.shape[1] - start
        read = np.minimum(latents, inputs)
        B, T, R = len(inputs), int(-(-inputs.max() // W) * W), int(read.max())
        aligned = np.zeros((B, T, *tokens.shape[2:]), np.int64 if tokens.ndim == 2 else np.float32)
        for row, first in enumerate(start):
            aligned[row, : inputs[row]] = tokens[row, first:]
        windows = np.clip(inputs[:, None] - np.arange(0, T, W), 0, W).astype(np.int32)  # inputs in each
        before = np.where(np.arange(T // W) > 0, W, 0).astype(np.int32)
        end = inputs + ahead
        farthest = end - np.maximum(self.config.context, read + ahead)  # perceiver_ar.within_reach
        rows = np.minimum((inputs - read)[:, None] + np.arange(R), inputs[:, None] - 1)
        given: dict[str, np.ndarray] = {
            "tokens": aligned,
            "positions": np.broadcast_to(np.arange(T), (B, T)),
            "input_positions": np.maximum(np.arange(T), farthest[:, None]),
            "latent_rows": rows[..., None],
            "inputs": (inputs - 1).astype(np.int32),
            "most_inputs": np.array(inputs.max(), np.int32),
            "latents": np.full(B, R - 1, np.int32),
            "most_latents": np.array(R, np.int32),
            "queries": read.astype(np.int32),
            "windows": (windows + before - 1).ravel(),
            "in_windows": windows.ravel(),
            **self._rotations(max(T, self.config.context)),
        }
        wanted = {node.name for node in self._passes.get_inputs()}
        names = [node.name for node in self._passes.get_outputs()]
        found = dict(zip(names, self._passes.run(names, {n: x for n, x in given.items() if n in wanted}), strict=True))
        return found.pop("logits"), inputs, read, found

    def prefill(
        self, tokens: np.ndarray, start: np.ndarray, *, read: int, latents: int, context: int, ahead: int
    ) -> tuple[np.ndarray, Cache]:
        """See Engine."""
        logits, inputs, own, found = self.read(tokens, start, read, ahead)
        cache = Cache(self.config, inputs, own, context, latents)
        seeds = found.pop("seeds")
        cache.seeds[:, : seeds.shape[1]] = seeds
        for name, values in found.items():
            cache.fill(name, values)
        return logits[np.arange(len(own)), own - 1], cache

    def copied(self, logits: np.ndarray, cache: Cache, copies: int) -> tuple[np.ndarray, Cache]:
        """See Engine."""
        inputs, latents = np.tile(cache.inputs, copies), np.tile(cache.latents, copies)
        many = Cache(self.config, inputs, latents, len(cache.cos), cache.seeds.shape[1])
        many.seeds[:] = cache.seeds
        for array, old in zip(many.caches[:-2], cache.caches[:-2], strict=True):
            array[:] = old
        return np.tile(logits, (copies, 1)), many

    def embed(self, token: np.ndarray) -> np.ndarray:
        """Token i32 [B] -> f32 [B, D]."""
        return self._table[token]

    def step(self, token: np.ndarray, cache: Cache) -> np.ndarray:
        """Add token i32 [B] to the cache: logits f32 [B, V] of the next one."""
        at = cache.inputs
        team(self.threads).run(
            step,
            self.embed(token),
            self._steps,
            cache.caches,
            cache.shared,
            self.config.local_window,
            cache.cos[at],
            cache.sin[at],
        )
        cache.seeds[np.arange(len(token)), cache.latents] = cache.shared.seeds
        cache.inputs += 1
        cache.latents += 1
        return cache.shared.logits.copy()

    def renew(self, cache: Cache, *, read: int) -> tuple[np.ndarray, Cache]:
        """See Engine."""
        binding = self._renewals.io_binding()
        rows = np.arange(len(cache.latents))[:, None]
        seeds = cache.seeds[rows, cache.latents[:, None] - read + np.arange(read)]
        cache.latents[:] = read
        given: dict[str, np.ndarray] = {
            "seeds": seeds,
            "positions": (cache.inputs[:, None] - read + np.arange(read)).astype(np.int64),
            "inputs": (cache.inputs - 1).astype(np.int32),
            "most_inputs": np.array(cache.inputs.max(), np.int32),
            "latents": (cache.latents - 1).astype(np.int32),
            "most_latents": np.array(read, np.int32),
            "queries": cache.latents.astype(np.int32),
            "cos": cache.cos,
            "sin": cache.sin,
        }
        for i, (keys, values) in enumerate(zip(cache.caches.cross_keys, cache.caches.cross_values, strict=True)):
            given[f"cross.{i}.keys"], given[f"cross.{i}.values"] = in_order(keys), in_order(values)
        held = {name: onnxruntime.OrtValue.ortvalue_from_numpy(x) for name, x in given.items()}
        for node in self._renewals.get_inputs():
            binding.bind_ortvalue_input(node.name, held[node.name])
        names = [node.name for node in self._renewals.get_outputs()]
        for name in names:
            if name.endswith(".new"):
                binding.bind_ortvalue_output(name, held[name.removesuffix(".new")])
            else:
                binding.bind_output(name)
        self._renewals.run_with_iobinding(binding)
        found = dict(zip(names, binding.get_outputs(), strict=True))
        for name, value in found.items():
            if name.startswith("layers"):
                cache.fill(name, value.numpy())
        cache.seeds[:, :read] = seeds
        return found["logits"].numpy()[:, -1], cache

    def draw(
        self,
        logits: np.ndarray,
        cache: Cache,
        state: Any,
        *,
        seed: int,
        first: int,
        count: int,
        sampling: Mapping[str, float],
        grammar: Grammar | Inclined,
    ) -> tuple[np.ndarray, np.ndarray, Cache, Any]:
        """See Engine."""
        drawn = np.full((len(logits), self.block), PAD, np.int16)
        for i in range(count):
            logits, allowed = ruled(grammar, state, logits)
            token = sample(gumbel(seed, first + i, logits.shape), logits, allowed, sampling)
            logits = self.step(token, cache)
            drawn[:, i] = token
            state = grammar.advance(state, token)
        return drawn, logits, cache, state
