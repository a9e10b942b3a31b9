"""The engine on JAX: on GPUs and TPUs, and wherever ONNX Runtime is not installed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import decoding, parameters
from musicgen.model.config import PAD, ModelConfig
from musicgen.model.decoding import Cache
from musicgen.model.engine import ContextLimit, Engine, NoRules, Rules, SamplingState, Seed
from musicgen.model.frames import FrameCodes
from musicgen.model.perceiver_ar import PerceiverAR
from musicgen.model.sampler import sample
from musicgen.model.shapes import Float, Int, Int16

State: TypeAlias = SamplingState[jax.Array, Cache]
Params: TypeAlias = Mapping[str, jax.Array]
Choose: TypeAlias = Callable[[jax.Array | int, jax.Array], jax.Array]  # codebook q, its logits [B, V] -> i32 [B]

jax.tree_util.register_dataclass(
    SamplingState, data_fields=[field.name for field in dataclasses.fields(SamplingState)], meta_fields=[]
)


def gumbel(key: jax.Array, number: jax.Array, logits: Float[jax.Array, "B V"]) -> Float[jax.Array, "B V"]:
    """Noise for draw `number`, by the key of all rows, or by one for each: then that of a stream of its own."""
    if key.ndim:
        return jax.vmap(lambda own, row: gumbel(own, number, row[None])[0])(key, logits)
    return jax.random.gumbel(jax.random.fold_in(key, number), logits.shape, logits.dtype)


class TokenHead:
    """How a token comes out of the last latent x [B, D]: the outputs are its logits."""

    def outputs(self, model: PerceiverAR, x: Float[jax.Array, "B D"]) -> Float[jax.Array, "B V"]:
        """What the next token is drawn from."""
        return model.decode(x[:, None])[:, 0]

    def draw(self, model: PerceiverAR, outputs: Float[jax.Array, "B V"], choose: Choose) -> Int[jax.Array, " B"]:
        """The next token."""
        return choose(0, outputs)

    def logits(
        self, model: PerceiverAR, outputs: Float[jax.Array, "B V"], token: Int[jax.Array, " B"]
    ) -> Float[jax.Array, "B V"]:
        """Of the next token."""
        return outputs


class FrameHead:
    """How a frame of Q codes comes out of the last latent x [B, D], code by code: the outputs are x itself."""

    def outputs(self, model: PerceiverAR, x: Float[jax.Array, "B D"]) -> Float[jax.Array, "B D"]:
        """What the next frame is drawn from."""
        return x

    def draw(self, model: PerceiverAR, outputs: Float[jax.Array, "B D"], choose: Choose) -> Int[jax.Array, "B Q"]:
        """The next frame."""
        assert isinstance(model, FrameCodes)
        return model.draw(outputs, choose)

    def logits(
        self, model: PerceiverAR, outputs: Float[jax.Array, "B D"], token: Int[jax.Array, "B Q"]
    ) -> Float[jax.Array, "B Q S"]:
        """Of each code of a frame."""
        return model.decode(outputs[:, None], token[:, None])[:, 0]


class JaxEngine(Engine[jax.Array, Cache]):
    """An engine over float parameters; keeps its compiled functions."""

    xp = jnp
    compiles = True

    def __init__(
        self,
        config: ModelConfig,
        params: Mapping[str, Any],
        rules: Rules = NoRules(),
        preamble: Sequence[int] | np.ndarray = (),
        context_limit: ContextLimit | None = None,
    ):
        """See Engine.  Raises ValueError, too, if the parameters do not fit the config."""
        super().__init__(config, rules, preamble, context_limit)
        on_cpu = jax.default_backend() == "cpu"
        self.dtype = jnp.dtype(jnp.float32 if on_cpu else jnp.bfloat16)
        self.head: TokenHead | FrameHead = FrameHead() if config.depth_layers else TokenHead()
        if not (on_cpu or config.depth_layers):
            self.block = 64  # 0.03 s on an H200
        self.params = {name: jnp.asarray(x, self.dtype) for name, x in params.items()}
        parameters.bind(config, self.params)
        lengths = ("latents", "max_latents", "max_inputs", "free_inputs")
        self.compiled_prefill = jax.jit(self._prefill, static_argnames=lengths)
        self.compiled_restart = jax.jit(self._restart, static_argnames=("latents",), donate_argnames=("cache",))
        self.compiled_repeat = jax.jit(decoding.repeat_rows, static_argnames=("copies",))
        self.compiled_logits = jax.jit(self._logits)
        self.compiled_last = jax.jit(self._last, static_argnames=("latents",))
        self.compiled_draw = jax.jit(self._draw, static_argnames=("rules",), donate_argnames=("cache",))
        # A GPU runs a loop whose length is known without asking the host after every token (benchmarks/decoding).
        self.compiled_block = jax.jit(self._draw, static_argnames=("rules", "count"), donate_argnames=("cache",))

    def _prefill(self, params: Params, tokens: jax.Array, start: jax.Array, **lengths: int) -> tuple[jax.Array, Cache]:
        model = parameters.bind(self.config, params)
        x, cache = decoding.prefill(model, tokens, start, dtype=self.dtype, **lengths)
        return self.head.outputs(model, x), cache

    def _restart(self, params: Params, cache: Cache, latents: int) -> tuple[jax.Array, Cache]:
        model = parameters.bind(self.config, params)
        x, cache = decoding.restart_latents(model, cache, latents=latents)
        return self.head.outputs(model, x), cache

    def _last(self, params: Params, tokens: jax.Array, start: jax.Array, latents: int) -> jax.Array:
        return parameters.bind(self.config, params)(tokens, latents=latents, start=start, dtype=self.dtype)[0]

    def _logits(self, params: Params, outputs: jax.Array, token: jax.Array) -> jax.Array:
        return self.head.logits(parameters.bind(self.config, params), outputs, token)

    def _draw(
        self,
        params: Params,
        rest: SamplingState[jax.Array, None],
        cache: Cache,
        key: jax.Array,
        count: jax.Array | int,
        sampling: dict[str, jax.Array],
        rules: Rules,
    ) -> tuple[jax.Array, State]:
        """`draw`, of which the tokens come in an array [B, block, ..]; rest: of the state, apart from its cache."""
        model, Q = parameters.bind(self.config, params), self.config.channels

        def draw_one(i: jax.Array, carry: tuple[jax.Array, State]) -> tuple[jax.Array, State]:
            drawn, state = carry

            def choose(q: jax.Array | int, logits: jax.Array) -> jax.Array:
                noise = gumbel(key, state.drawn * Q + q, logits)
                return sample(noise, jnp.where(q == 0, rules.apply(state.rules, logits), logits), sampling)

            token = self.head.draw(model, state.outputs, choose)
            x, cache = decoding.step(model, token, state.cache, dtype=self.dtype)
            after = rules.advance(state.rules, token)
            drawn = jax.lax.dynamic_update_slice_in_dim(drawn, token[:, None].astype(drawn.dtype), i, axis=1)
            return drawn, SamplingState(self.head.outputs(model, x), cache, after, state.drawn + 1)

        state = SamplingState(rest.outputs, cache, rest.rules, rest.drawn)
        drawn = jnp.full((len(state.outputs), self.block, *self.config.token_shape), PAD, jnp.int16)
        return jax.lax.fori_loop(0, count, draw_one, (drawn, state))

    def prefill(
        self, tokens: Int[np.ndarray, "B T *Q"], start: Int[np.ndarray, " B"], **lengths: int
    ) -> tuple[Float[jax.Array, "B _"], Cache]:
        """See Engine."""
        return jax.block_until_ready(self.compiled_prefill(self.params, tokens, start, **lengths))

    def restart_latents(self, cache: Cache, *, latents: int) -> tuple[Float[jax.Array, "B _"], Cache]:
        """See Engine."""
        return jax.block_until_ready(self.compiled_restart(self.params, cache, latents=latents))

    def repeat_rows(self, outputs: jax.Array, cache: Cache, copies: int) -> tuple[jax.Array, Cache]:
        """See Engine."""
        return jnp.tile(outputs, (copies, 1)), self.compiled_repeat(cache, copies=copies)

    def logits_of_last(
        self, tokens: Int[np.ndarray, "1 T"], start: Int[np.ndarray, " 1"], *, latents: int
    ) -> Float[np.ndarray, "M V"]:
        """See Engine."""
        return np.asarray(self.compiled_last(self.params, tokens, start, latents=latents), np.float32)

    def logits(self, outputs: Float[jax.Array, "B _"], token: Int[np.ndarray, " B *Q"]) -> Float[np.ndarray, "B *Q V"]:
        """See Engine."""
        return np.asarray(self.compiled_logits(self.params, outputs, token))

    def draw(
        self, state: State, *, seed: Seed, count: int, sampling: Mapping[str, float], rules: Rules
    ) -> tuple[Int16[np.ndarray, "B count *Q"], State]:
        """See Engine."""
        scalars = {name: jnp.asarray(value) for name, value in sampling.items()}
        # The cache alone is donated: whoever called may still look at the rest of the state.
        rest = SamplingState(state.outputs, None, state.rules, state.drawn)
        key = jax.random.key(seed) if isinstance(seed, int) else jax.vmap(jax.random.key)(jnp.asarray(seed))
        given = (self.params, rest, state.cache, key)
        if count == self.block:
            drawn, state = self.compiled_block(*given, count=count, sampling=scalars, rules=rules)
        else:
            drawn, state = self.compiled_draw(*given, jnp.int32(count), scalars, rules=rules)
        return np.asarray(drawn)[:, :count], state
