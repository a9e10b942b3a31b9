"""Frames of codes on a CPU: how they come in, and how the codes of the next one are drawn (model/frames.py).

What the blocks hand over is all codebooks' views of the last latent at once.  Within a frame the MLP blocks are one
graph of ONNX Runtime's, which every codebook uses, and the logits of each codebook another.  Embeddings are looked up
in tables that hold them as they are added, one row a code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from musicgen.model.config import BOS, ModelConfig
from musicgen.model.cpu.graph import Layers
from musicgen.model.cpu.noise import Rule, gumbel
from musicgen.model.cpu.onnx_format import CONTRIB, Graph
from musicgen.model.cpu.session import open_session
from musicgen.model.cpu.weights import EPSILON, CpuWeights, select
from musicgen.model.engine import Seed
from musicgen.model.sampler import sample
from musicgen.model.shapes import Float, Int
from musicgen.model.storage import SCALE, Weights, bits_of, dequantize


class FrameHead:
    """How frames come in, as sums of their codes' embeddings, and go out of the views of the last latent, code by code.

    output: the matrix of all views [D, Q*W], with its scales.
    """

    def __init__(self, config: ModelConfig, weights: Weights, threads: int | None):
        self.config = config
        Q, D, W = config.channels, config.width, config.depth_width
        view, scale = weights["view.kernel"], weights.get(f"view.kernel{SCALE}")
        if bits_of(view) == 4 and scale is not None:
            kernel, scale = view.reshape(Q * W, -1), scale.reshape(Q * W, -1)
        else:
            kernel, scale = view.transpose(1, 0, 2).reshape(D, Q * W), None if scale is None else scale.reshape(Q * W)
        self.output: dict[str, np.ndarray] = {"output.kernel": kernel}
        if scale is not None:
            self.output[f"output.kernel{SCALE}"] = scale
        table = weights["table"].astype(np.float32)
        self.embeddings = table @ dequantize(select(weights, "widen."))["widen.kernel"]  # f32 [Q, S, D]
        self.known = table @ dequantize(select(weights, "told."))["told.kernel"]  # f32 [Q, S, W]
        self.begin = weights["begin"].astype(np.float32)
        self.depth = open_session(depth_graph(config, CpuWeights(select(weights, "depth."))), threads)
        self.readouts = []
        for q in range(Q):
            own = {name: values[q] for name, values in select(weights, "readout.").items()}
            self.readouts.append(open_session(readout_graph(config, CpuWeights(own)), threads))

    def embed(self, tokens: Int[np.ndarray, "*T Q"]) -> Float[np.ndarray, "*T D"]:
        """Frames as FrameCodes.embed has them."""
        tokens = np.asarray(tokens, np.int32)
        x = np.zeros((*tokens.shape[:-1], self.config.width), np.float32)
        for q in range(self.config.channels):
            code = tokens[..., q] - self.config.specials
            x += np.where((code >= 0)[..., None], self.embeddings[q][np.maximum(code, 0)], 0)
        x += np.where((tokens[..., 0] == BOS)[..., None], self.begin, 0)
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPSILON)

    def draw(
        self, outputs: Float[np.ndarray, "B QW"], rule: Rule, seed: Seed, number: int, sampling: Mapping[str, float]
    ) -> Int[np.ndarray, "B Q"]:
        """Frame number `number` of a stream, from all codebooks' views of the last latent."""
        Q, S = self.config.channels, self.config.codes
        noise = gumbel(seed, number, (Q, len(outputs), S), axis=1)

        def choose(q: int, logits: np.ndarray) -> np.ndarray:
            return sample(noise[q], rule(logits) if q == 0 else logits, sampling)

        return self._read_out(outputs, choose)

    def logits(self, outputs: Float[np.ndarray, "B QW"], token: Int[np.ndarray, "B Q"]) -> Float[np.ndarray, "B Q S"]:
        """Of each code of a frame, knowing the codes before it."""
        found: list[np.ndarray] = []

        def choose(q: int, logits: np.ndarray) -> np.ndarray:
            found.append(logits)
            return token[:, q] - self.config.specials

        self._read_out(outputs, choose)
        return np.stack(found, axis=1)

    def _read_out(self, outputs: np.ndarray, choose: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
        """Frame i32 [B, Q] of the codes i32 [B] that choose(q, logits f32 [B, S]) takes, codebook after codebook."""
        Q = self.config.channels
        views, before = outputs.reshape(len(outputs), Q, -1), np.zeros((), np.float32)
        tokens = np.zeros((len(outputs), Q), np.int32)
        for q in range(Q):
            (y,) = self.depth.run(None, {"y": views[:, q] + before})
            (logits,) = self.readouts[q].run(None, {"y": y})
            code = choose(q, logits)
            before = before + self.known[q][code]
            tokens[:, q] = code + self.config.specials
        return tokens


class DepthLayers(Layers):
    """The parts of the read-out, which are of width W and know no positions."""

    def __init__(self, config: ModelConfig, weights: CpuWeights, graph: Graph):
        self.config, self.matrices, self.graph, self.weights = config, weights, graph, weights.weights
        self.ones = graph.constant(np.ones(config.depth_width, np.float32))


def depth_graph(config: ModelConfig, weights: CpuWeights) -> Graph:
    """What a codebook knows, y f32 [B, W] -> what the MLP blocks make of it, normalised."""
    graph = Graph("depth")
    make = DepthLayers(config, weights, graph)
    y = graph.input("y", np.float32, ("B", config.depth_width))
    for block in range(config.depth_layers):
        up = graph.node("FastGelu", [make.linear(make.norm(y), f"depth.{block}.up")], domain=CONTRIB)[0]
        y = graph.node("Add", [y, make.linear(up, f"depth.{block}.down")])[0]
    graph.output("normal", make.norm(y), np.float32, ("B", config.depth_width))
    return graph


def readout_graph(config: ModelConfig, weights: CpuWeights) -> Graph:
    """f32 [B, W] -> logits f32 [B, S] of one codebook."""
    graph = Graph("readout")
    make = DepthLayers(config, weights, graph)
    y = graph.input("y", np.float32, ("B", config.depth_width))
    graph.output("logits", make.linear(y, "readout"), np.float32, ("B", config.codes))
    return graph
