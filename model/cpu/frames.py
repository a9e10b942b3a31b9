"""Generation over codes on ONNX Runtime: the way to generate sound on a CPU.

The blocks are those of model/cpu/engine.py, over embedded frames in place of tokens, and what they hand over in place
of logits is all codebooks' views of the latent at once.  Within a frame the MLP blocks are one graph, which every
codebook uses, and the logits of each codebook another.  Embeddings are looked up in tables that hold them as they are
added, one row a code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from musicgen.model.codes_engine import CodesEngine
from musicgen.model.config import ModelConfig
from musicgen.model.cpu import graph as onnx_graph
from musicgen.model.cpu.engine import OnnxEngine, gumbel, session
from musicgen.model.cpu.graph import Layers
from musicgen.model.cpu.memory import Cache
from musicgen.model.cpu.onnx_format import CONTRIB, Graph
from musicgen.model.cpu.weights import EPSILON, Packed, Stacked
from musicgen.model.frames import BOS
from musicgen.model.int8 import SCALE, Weights, dequantised
from musicgen.model.sampler import sample

BLOCKS = ("local.", "cross.", "layers.")


def matrices(weights: Weights, prefix: str) -> dict[str, np.ndarray]:
    """The weights whose names begin so."""
    return {name: values for name, values in weights.items() if name.startswith(prefix)}


class Trunk(OnnxEngine):
    """The blocks alone: embedded frames f32 [B, T, D] in, views f32 [B, Q*W] of the last latents out."""

    def __init__(self, config: ModelConfig, weights: Weights, threads: int | None):
        Q, D, W = config.channels, config.width, config.depth_width
        self.config = dataclasses.replace(config, channels=1, depth_layers=0, vocab_size=Q * W)
        kernel = weights["view.kernel"].transpose(1, 0, 2).reshape(D, Q * W)
        own: dict[str, np.ndarray] = {"logits.kernel": kernel}
        if kernel.dtype == np.int8:
            own[f"logits.kernel{SCALE}"] = weights[f"view.kernel{SCALE}"].reshape(Q * W)
        self.weights = own | {name: values for name, values in weights.items() if name.startswith(BLOCKS)}
        self._packed, self.threads = Stacked(self.weights, self.config), threads

    def embed(self, token: np.ndarray) -> np.ndarray:
        """A step takes a frame f32 [B, D] that is embedded."""
        return token


def depth_graph(config: ModelConfig, weights: Packed) -> Graph:
    """What a codebook knows, y f32 [B, W] -> what the MLP blocks make of it, normalised."""
    graph = Graph("depth")
    make = DepthLayers(config, weights, graph)
    y = graph.input("y", np.float32, ("B", config.depth_width))
    for block in range(config.depth_layers):
        up = graph.node("FastGelu", [make.linear(make.norm(y), f"depth.{block}.up")], domain=CONTRIB)[0]
        y = graph.node("Add", [y, make.linear(up, f"depth.{block}.down")])[0]
    graph.output("known", make.norm(y), np.float32, ("B", config.depth_width))
    return graph


def readout_graph(config: ModelConfig, weights: Packed) -> Graph:
    """f32 [B, W] -> logits f32 [B, S] of one codebook."""
    graph = Graph("readout")
    make = DepthLayers(config, weights, graph)
    known = graph.input("known", np.float32, ("B", config.depth_width))
    graph.output("logits", make.linear(known, "readout"), np.float32, ("B", config.codes))
    return graph


class DepthLayers(Layers):
    """The parts of the read-out, which are of width W and know no positions."""

    def __init__(self, config: ModelConfig, weights: Packed, graph: Graph):
        self.config, self.packed, self.graph, self.weights = config, weights, graph, weights.weights
        self.ones = graph.constant(np.ones(config.depth_width, np.float32))


class OnnxCodes(CodesEngine):
    """An engine over weights as they are stored: int8 matrices with `.scale`, or float ones."""

    def __init__(self, config: ModelConfig, weights: Weights, threads: int | None = 1):
        """threads: one is the quickest, as the matrices within a frame are small; None: as many as there are cores.

        Raises ValueError if it is no model of frames, or the weights do not fit the config.
        """
        super().__init__(config)
        self._check(weights)
        self.trunk = Trunk(config, weights, threads)
        table = weights["table"].astype(np.float32)
        self.embeddings = table @ dequantised(matrices(weights, "widen."))["widen.kernel"]  # f32 [Q, S, D]
        self.told = table @ dequantised(matrices(weights, "told."))["told.kernel"]  # f32 [Q, S, W]
        self.begin = weights["begin"].astype(np.float32)
        self.depth = session(depth_graph(config, Packed(matrices(weights, "depth."))), threads)
        self.readouts = []
        for q in range(config.channels):
            own = {name: values[q] for name, values in matrices(weights, "readout.").items()}
            self.readouts.append(session(readout_graph(config, Packed(own)), threads))

    def _check(self, weights: Weights) -> None:
        c = self.config
        Q, E, D, W, F = c.channels, c.code_width, c.width, c.depth_width, c.widening * c.depth_width
        expected: dict[str, tuple[int, ...]] = {
            name: shape for name, shape in onnx_graph.shapes(c).items() if name.startswith(BLOCKS)
        }
        expected |= {"table": (Q, c.codes, E), "begin": (D,), "widen.kernel": (Q, E, D), "told.kernel": (Q, E, W)}
        expected |= {"view.kernel": (Q, D, W), "readout.kernel": (Q, W, c.codes)}
        for block in range(c.depth_layers):
            expected |= {f"depth.{block}.up.kernel": (W, F), f"depth.{block}.down.kernel": (F, W)}
        onnx_graph.check(weights, expected)

    def embedded(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens [B, T, Q] -> f32 [B, T, D], as FrameCodes.embed has it."""
        x = np.zeros((*tokens.shape[:2], self.config.width), np.float32)
        for q in range(self.config.channels):
            code = tokens[..., q] - self.config.specials
            x += np.where((code >= 0)[..., None], self.embeddings[q][np.maximum(code, 0)], 0)
        x += np.where((tokens[..., 0] == BOS)[..., None], self.begin, 0)
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPSILON)

    def fill(
        self, tokens: np.ndarray, start: np.ndarray, *, read: int, latents: int, context: int
    ) -> tuple[np.ndarray, Cache]:
        """See CodesEngine."""
        ahead = min(latents - read, context - tokens.shape[1])
        return self.trunk.prefill(
            self.embedded(tokens), start, read=read, latents=latents, context=context, ahead=ahead
        )

    def draw(
        self,
        x: np.ndarray,
        cache: Cache,
        *,
        seed: int,
        first: int,
        count: int,
        sampling: Mapping[str, float],
        lean: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, Cache]:
        """See CodesEngine."""
        drawn = np.zeros((len(x), count, self.config.channels), np.int16)
        for i in range(count):
            noise = gumbel(seed, first + i, (self.config.channels, len(x), self.config.codes))
            drawn[:, i] = self.frame(x, noise, sampling, lean)
            x = self.trunk.step(self.embedded(drawn[:, i : i + 1].astype(np.int32))[:, 0], cache)
        return drawn, x, cache

    def frame(self, x: np.ndarray, noise: np.ndarray, sampling: Mapping[str, float], lean: np.ndarray) -> np.ndarray:
        """Views f32 [B, Q*W] of a latent and noise f32 [Q, B, S] -> the tokens i32 [B, Q] of the next frame."""
        Q, S = self.config.channels, self.config.codes
        views, told = x.reshape(len(x), Q, -1), np.zeros((), np.float32)
        allowed, tokens = np.ones((len(x), S), bool), np.zeros((len(x), Q), np.int32)
        for q in range(Q):
            (known,) = self.depth.run(None, {"y": views[:, q] + told})
            (logits,) = self.readouts[q].run(None, {"known": known})
            code = sample(noise[q], logits + lean if q == 0 else logits, allowed, sampling)
            told = told + self.told[q][code]
            tokens[:, q] = code + self.config.specials
        return tokens
