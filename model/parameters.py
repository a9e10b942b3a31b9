"""Parameters as a flat dictionary of arrays by name: what optimiser, checkpoints and released files all speak.

A module is anything that `kind(config, rngs)` makes; unless another kind is named, it is the model of a ModelConfig.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

import jax
from flax import nnx

from musicgen.model.config import ModelConfig
from musicgen.model.frames import model_class
from musicgen.model.perceiver_ar import PerceiverAR

Parameters = dict[str, jax.Array]
Module = TypeVar("Module", bound=nnx.Module)
Variables = dict[str, tuple[tuple[Any, ...], nnx.Variable]]  # by name: where in the module, and the variable


def build_model(config: ModelConfig, rngs: nnx.Rngs) -> PerceiverAR:
    """The model of a config."""
    return model_class(config)(config, rngs)


def shapes(config: Any, kind: Callable[..., nnx.Module] = build_model) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by name."""
    return {name: variable.shape for name, (_, variable) in _skeleton(kind, config)[1].items()}


def initial(config: Any, seed: int, kind: Callable[..., nnx.Module] = build_model) -> Parameters:
    """Fresh parameters, float32."""
    state = nnx.split(kind(config, nnx.Rngs(seed)))[1]
    return {name: variable[...] for name, (_, variable) in _flatten(state).items()}


@overload
def bind(config: ModelConfig, params: Mapping[str, jax.Array]) -> PerceiverAR: ...
@overload
def bind(config: Any, params: Mapping[str, jax.Array], kind: Callable[..., Module]) -> Module: ...
def bind(config: Any, params: Mapping[str, jax.Array], kind: Callable[..., Any] = build_model) -> Any:
    """The module with these parameters; cheap, also while tracing.  Raises ValueError if names or shapes do not fit."""
    graph, flat = _skeleton(kind, config)
    wrong = set(flat) ^ set(params) or {n for n in flat if tuple(params[n].shape) != tuple(flat[n][1].shape)}
    if wrong:
        raise ValueError(f"parameters do not fit the config: {', '.join(sorted(wrong)[:3])}")
    state = nnx.from_flat_state({path: variable.replace(params[name]) for name, (path, variable) in flat.items()})
    return nnx.merge(graph, state)


def _flatten(state: nnx.State) -> Variables:
    return {".".join(map(str, path)): (path, variable) for path, variable in nnx.to_flat_state(state)}


@functools.cache
def _skeleton(kind: Callable[..., nnx.Module], config: Any) -> tuple[Any, Variables]:
    graph, state = nnx.split(nnx.eval_shape(lambda: kind(config, nnx.Rngs(0))))
    return graph, _flatten(state)
