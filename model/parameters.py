"""Parameters as a flat dictionary of arrays by name: what optimiser, checkpoints and released files all speak."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from musicgen.model.config import ModelConfig
from musicgen.model.frames import model_class
from musicgen.model.perceiver_ar import PerceiverAR
from musicgen.model.sharding import Rules

Parameters = dict[str, jax.Array]


def _flat(state: nnx.State) -> dict[str, tuple[tuple[Any, ...], nnx.Variable]]:
    return {".".join(map(str, path)): (path, variable) for path, variable in nnx.to_flat_state(state)}


@functools.cache
def _skeleton(config: ModelConfig) -> tuple[nnx.GraphDef, dict[str, tuple[tuple[Any, ...], nnx.Variable]]]:
    graph, state = nnx.split(nnx.eval_shape(lambda: model_class(config)(config, nnx.Rngs(0))))
    return graph, _flat(state)


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by name."""
    return {name: variable.shape for name, (_, variable) in _skeleton(config)[1].items()}


def initial(config: ModelConfig, seed: int) -> Parameters:
    """Fresh parameters, float32."""
    state = nnx.split(model_class(config)(config, nnx.Rngs(seed)))[1]
    return {name: variable[...] for name, (_, variable) in _flat(state).items()}


def bind(config: ModelConfig, params: Mapping[str, jax.Array]) -> PerceiverAR:
    """The model with these parameters; cheap, also while tracing.  Raises ValueError if names or shapes do not fit."""
    graph, flat = _skeleton(config)
    wrong = set(flat) ^ set(params) or {n for n in flat if tuple(params[n].shape) != tuple(flat[n][1].shape)}
    if wrong:
        raise ValueError(f"parameters do not fit the config: {', '.join(sorted(wrong)[:3])}")
    state = nnx.from_flat_state({path: variable.replace(params[name]) for name, (path, variable) in flat.items()})
    return nnx.merge(graph, state)


def shardings(config: ModelConfig, mesh: Mesh, rules: Rules) -> dict[str, NamedSharding]:
    """Where each parameter lies, from the letters it was created with."""
    return {
        name: NamedSharding(mesh, rules.spec(variable.get_metadata("axes")))
        for name, (_, variable) in _skeleton(config)[1].items()
    }
