"""The way to generate on a CPU: ONNX Runtime makes whole passes over inputs, model/cpu/step.py adds token after token.

Half of JAX's time a token, since the weights are read as bytes.  It imports no JAX.

What surrounds the blocks of the model is a head's: TokenHead embeds tokens and draws them from logits, FrameHead of
model/cpu/frames.py does so with frames of codes.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnxruntime

from musicgen.model.config import EOS, PAD, ModelConfig
from musicgen.model.cpu import graph as onnx_graph
from musicgen.model.cpu.blocks import Blocks
from musicgen.model.cpu.frames import FrameHead
from musicgen.model.cpu.memory import Cache, Shared, rotations
from musicgen.model.cpu.memory import Weights as StepWeights
from musicgen.model.cpu.noise import Rule, gumbel
from musicgen.model.cpu.scorer import Scorer
from musicgen.model.cpu.session import open_session
from musicgen.model.cpu.step import step
from musicgen.model.cpu.threads import thread_team
from musicgen.model.cpu.tiles import best_dtype
from musicgen.model.cpu.weights import BLOCKS, StackedWeights, embeddings, rename, select
from musicgen.model.engine import ContextLimit, Engine, NoRules, Rules, SamplingState, Seed
from musicgen.model.sampler import sample
from musicgen.model.shapes import Bool, Float, Int, Int16
from musicgen.model.storage import Weights, dequantize

State: TypeAlias = SamplingState[np.ndarray, Cache]


class TokenHead:
    """How tokens come in, as normalised rows of a table, and go out of the last latent, as logits over all of them."""

    def __init__(self, config: ModelConfig, weights: Weights):
        self.vocab_size = config.vocab_size
        self.output = rename(select(weights, "logits."), "logits", "output")
        self._weights = select(weights, "embedding")

    @functools.cached_property
    def _table(self) -> np.ndarray:
        return embeddings(self._weights)

    def embed(self, tokens: Int[np.ndarray, " *T"]) -> Float[np.ndarray, "*T D"]:
        """Their rows of the table."""
        return self._table[tokens]

    def draw(
        self, outputs: Float[np.ndarray, "B V"], rule: Rule, seed: Seed, number: int, sampling: Mapping[str, float]
    ) -> Int[np.ndarray, " B"]:
        """Token number `number` of a stream, from its logits."""
        return sample(gumbel(seed, number, outputs.shape), rule(outputs), sampling)

    def logits(self, outputs: Float[np.ndarray, "B V"], token: Int[np.ndarray, " B"]) -> Float[np.ndarray, "B V"]:
        """Of the next token."""
        return outputs


class Heard:
    """A rule, and whether it left a choice."""

    def __init__(self, rule: Rule):
        self.rule = rule

    def __call__(self, logits: Float[np.ndarray, "B V"]) -> Float[np.ndarray, "B V"]:
        """What the rule says."""
        self.allowed = self.rule(logits)
        return self.allowed

    def over(self, token: Int[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
        """Which rows have come to their end: nothing but PAD, or EOS, could come, so nothing else ever will."""
        forced = np.count_nonzero(self.allowed > -np.inf, axis=-1) == 1
        return forced & ((token == PAD) | (token == EOS))


class OnnxEngine(Engine[np.ndarray, Cache]):
    """An engine over weights as they are stored: matrices of whole numbers with `.scale`, or float ones."""

    xp = np
    dtype = "float32"

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        rules: Rules = NoRules(),
        preamble: Sequence[int] | np.ndarray = (),
        context_limit: ContextLimit | None = None,
        threads: int | None = None,
    ):
        """threads: as many as there are cores unless given; for frames one, as the matrices within one are small.

        Raises ValueError if the weights do not fit the config, besides Engine's reasons.
        """
        super().__init__(config, rules, preamble, context_limit)
        onnx_graph.check(weights, onnx_graph.shapes(config))
        self.threads = 1 if config.depth_layers and threads is None else threads
        self.rows_alike = not config.depth_layers  # ONNX Runtime's sums over a prime of frames hang on the rows (takes)
        self.head: TokenHead | FrameHead
        if config.depth_layers:
            self.head = FrameHead(config, weights, self.threads)
        else:
            self.head = TokenHead(config, weights)
        self._one_at_a_time = threading.Lock()
        self._matrices = StackedWeights(select(weights, *BLOCKS) | self.head.output, config)
        self.weights = {**weights, **select(self._matrices.weights, *BLOCKS)}

    @property
    def matrices(self) -> StackedWeights:
        """For model/cpu/scoring.py."""
        return self._matrices

    @functools.cached_property
    def params(self) -> dict[str, np.ndarray]:  # type: ignore[override]  # made when asked for
        """The parameters as float32 arrays, for model/evaluate.py."""
        return dequantize(self.weights)

    @functools.cached_property
    def _passes(self) -> onnxruntime.InferenceSession:
        return open_session(onnx_graph.pass_graph(self.config, self._matrices), self.threads)

    @functools.cached_property
    def _blocks(self) -> Blocks:
        return Blocks(self.config, self._matrices, self.threads)

    @functools.cached_property
    def _steps(self) -> StepWeights:
        return self._matrices.for_steps()

    @functools.cached_property
    def _restarts(self) -> onnxruntime.InferenceSession:
        return open_session(onnx_graph.restart_graph(self.config, self._matrices), self.threads)

    def new_cache(self, inputs: np.ndarray, latents: np.ndarray, max_inputs: int, max_latents: int) -> Cache:
        """A cache of which each row has so many inputs and latents int [B], and room for so many."""
        _, outputs = self._matrices.shape("output")
        return Cache(self.config, inputs, latents, max_inputs, max_latents, outputs)

    def run_pass(
        self,
        tokens: Int[np.ndarray, "B T *Q"],
        start: Int[np.ndarray, " B"],
        latents: int,
        free_inputs: int = 0,
    ) -> tuple[
        Float[np.ndarray, "B R O"], Int[np.ndarray, " B"], Int[np.ndarray, " B"], dict[str, Float[np.ndarray, "B _ _"]]
    ]:
        """One pass over tokens that begin at start, before `free_inputs` more are added one by one.

        Returns outputs after each of R latents, how many inputs and how many latents each row has (its first so many
        of the R), and keys and values by name.
        """
        W = self.config.local_window
        inputs = tokens.shape[1] - start
        own = np.minimum(latents, inputs)
        B, T, R = len(inputs), int(-(-inputs.max() // W) * W), int(own.max())
        aligned = np.zeros((B, T, self.config.width), np.float32)
        for row, first in enumerate(start):
            aligned[row, : inputs[row]] = self.head.embed(tokens[row, first:])
        windows = np.clip(inputs[:, None] - np.arange(0, T, W), 0, W).astype(np.int32)  # inputs in each
        before = np.where(np.arange(T // W) > 0, W, 0).astype(np.int32)
        end = inputs + free_inputs
        farthest = end - np.maximum(self.config.context, own + free_inputs)  # perceiver_ar.clamp_positions
        rows = np.minimum((inputs - own)[:, None] + np.arange(R), inputs[:, None] - 1)
        cos, sin = rotations(self.config, max(T, self.config.context))
        given: dict[str, np.ndarray] = {
            "embedded": aligned,
            "positions": np.broadcast_to(np.arange(T), (B, T)),
            "input_positions": np.maximum(np.arange(T), farthest[:, None]),
            "latent_rows": rows[..., None],
            "inputs": (inputs - 1).astype(np.int32),
            "most_inputs": np.array(inputs.max(), np.int32),
            "latents": np.full(B, R - 1, np.int32),
            "most_latents": np.array(R, np.int32),
            "queries": own.astype(np.int32),
            "windows": (windows + before - 1).ravel(),
            "in_windows": windows.ravel(),
            "cos": cos,
            "sin": sin,
        }
        wanted = {node.name for node in self._passes.get_inputs()}
        names = [node.name for node in self._passes.get_outputs()]
        found = dict(zip(names, self._passes.run(names, {n: x for n, x in given.items() if n in wanted}), strict=True))
        return found.pop("outputs"), inputs, own, found

    def prefill(
        self,
        tokens: Int[np.ndarray, "B T *Q"],
        start: Int[np.ndarray, " B"],
        *,
        latents: int,
        max_latents: int,
        max_inputs: int,
        free_inputs: int,
    ) -> tuple[Float[np.ndarray, "B O"], Cache]:
        """See Engine."""
        outputs, inputs, own, found = self.run_pass(tokens, start, latents, free_inputs)
        cache = self.new_cache(inputs, own, max_inputs, max_latents)
        latent_inputs = found.pop("latent_inputs")
        cache.latent_inputs[:, : latent_inputs.shape[1]] = latent_inputs
        for name, values in found.items():
            cache.fill(name, values)
        return outputs[np.arange(len(own)), own - 1], cache

    def repeat_rows(self, outputs: np.ndarray, cache: Cache, copies: int) -> tuple[np.ndarray, Cache]:
        """See Engine."""
        inputs, latents = np.tile(cache.inputs, copies), np.tile(cache.latents, copies)
        many = self.new_cache(inputs, latents, len(cache.cos), cache.latent_inputs.shape[1])
        many.latent_inputs[:] = cache.latent_inputs
        for array, old in zip(many.caches[:-2], cache.caches[:-2], strict=True):
            array[:] = old
        return np.tile(outputs, (copies, 1)), many

    def step(
        self, token: Int[np.ndarray, " B *Q"], cache: Cache, over: Bool[np.ndarray, " B"] | None = None
    ) -> Float[np.ndarray, "B O"]:
        """Add a token, or a frame, to the cache: outputs for the next one, 0 in rows that are over and left out."""
        rows = np.arange(len(token)) if over is None else np.flatnonzero(~over)
        outputs = np.zeros_like(cache.shared.outputs)
        if rows.size:
            at, shared = cache.inputs[rows], Shared(*(room[: rows.size] for room in cache.shared))
            thread_team(self.threads).run(
                step,
                self.head.embed(token[rows]),
                self._steps,
                cache.caches,
                shared,
                rows,
                self.config.local_window,
                cache.cos[at],
                cache.sin[at],
            )
            cache.latent_inputs[rows, cache.latents[rows]] = shared.latent_inputs
            outputs[rows] = shared.outputs
        cache.inputs += 1
        cache.latents += 1
        return outputs

    def restart_latents(self, cache: Cache, *, latents: int) -> tuple[Float[np.ndarray, "B O"], Cache]:
        """See Engine."""
        binding = self._restarts.io_binding()
        rows = np.arange(len(cache.latents))[:, None]
        latent_inputs = cache.latent_inputs[rows, cache.latents[:, None] - latents + np.arange(latents)]
        cache.latents[:] = latents
        given: dict[str, np.ndarray] = {
            "latent_inputs": latent_inputs,
            "positions": (cache.inputs[:, None] - latents + np.arange(latents)).astype(np.int64),
            "inputs": (cache.inputs - 1).astype(np.int32),
            "most_inputs": np.array(cache.inputs.max(), np.int32),
            "latents": (cache.latents - 1).astype(np.int32),
            "most_latents": np.array(latents, np.int32),
            "queries": cache.latents.astype(np.int32),
            "cos": cache.cos,
            "sin": cache.sin,
        }
        given |= cache.cross_in_order()
        held = {name: onnxruntime.OrtValue.ortvalue_from_numpy(x) for name, x in given.items()}
        for node in self._restarts.get_inputs():
            binding.bind_ortvalue_input(node.name, held[node.name])
        names = [node.name for node in self._restarts.get_outputs()]
        for name in names:
            if name.endswith(".new"):
                binding.bind_ortvalue_output(name, held[name.removesuffix(".new")])
            else:
                binding.bind_output(name)
        self._restarts.run_with_iobinding(binding)
        found = dict(zip(names, binding.get_outputs(), strict=True))
        for name, value in found.items():
            if name.startswith("layers"):
                cache.fill(name, value.numpy())
        cache.latent_inputs[:, :latents] = latent_inputs
        return found["outputs"].numpy()[:, -1], cache

    def logits_of_last(
        self, tokens: Int[np.ndarray, "1 T"], start: Int[np.ndarray, " 1"], *, latents: int
    ) -> Float[np.ndarray, "M V"]:
        """See Engine; where there is AMX, in tiles, which takes a tenth of a pass's time."""
        if best_dtype() != np.float32 and not self.config.depth_layers:
            row = tokens[0, start[0] :]
            scored = min(latents, len(row))
            with self._one_at_a_time:  # the blocks have room for one
                scorer = Scorer(self._blocks, self.head.embed, scored, len(row))
                scorer.begin(row)
                return scorer.logits(0, len(row), scored)
        outputs, _, own, _ = self.run_pass(tokens, start, latents)
        return outputs[0, : own[0]]

    def logits(self, outputs: Float[np.ndarray, "B O"], token: Int[np.ndarray, " B *Q"]) -> Float[np.ndarray, "B *Q V"]:
        """See Engine."""
        return self.head.logits(outputs, token)

    def draw(
        self, state: State, *, seed: Seed, count: int, sampling: Mapping[str, float], rules: Rules
    ) -> tuple[Int16[np.ndarray, "B count *Q"], State]:
        """See Engine."""
        drawn = np.empty((len(state.outputs), count, *self.config.token_shape), np.int16)
        for i in range(count):
            rule = Heard(functools.partial(rules.apply, state.rules))
            token = self.head.draw(state.outputs, rule, seed, int(state.drawn), sampling)
            drawn[:, i] = token
            outputs = self.step(token, state.cache, None if self.config.token_shape else rule.over(token))
            state = SamplingState(outputs, state.cache, rules.advance(state.rules, token), state.drawn + 1)
        return drawn, state
