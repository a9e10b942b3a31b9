"""The model of perceiver_ar.py as two ONNX graphs over the weights as released: whole passes, and one more token.

Block matrices stay int8 with a float32 scale per output (checkpoints.quantised): `MatMulNBits` multiplies their very
bytes, with activations rounded to 8 bits in blocks.  A matrix given in float32 stays float32.  Attention is
`GroupQueryAttention`, which also holds the caches.  Rows are aligned on the left here and padded on the right, so that
every row counts its inputs and its latents from 0; only differences of positions matter to rotary attention.

Letters: B batch, T inputs, R latents read in a pass, D width, H heads, G key/value heads, K head size, V vocabulary,
W window, C rows of a local cache.  A name `layers.3` is that of the block's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from musicgen.model.config import ModelConfig
from musicgen.model.onnx_format import CONTRIB, Graph

Weights = Mapping[str, np.ndarray]
EPSILON = 1e-6  # of rms_norm
SCALE = ".scale"  # of an int8 matrix: its name and this


def parameters(weights: Weights) -> dict[str, np.ndarray]:
    """Float32 parameters by name, as the JAX model takes them."""
    return {
        name: values.astype(np.float32) * weights.get(name + SCALE, np.float32(1))
        for name, values in weights.items()
        if not name.endswith(SCALE) or name.removesuffix(SCALE) not in weights
    }


def local_names(config: ModelConfig) -> list[str]:
    """The blocks over the inputs."""
    return [f"local.{i}" for i in range(config.local_layers)]


def decode_names(config: ModelConfig) -> list[str]:
    """Cross-attend and self-attend blocks in the order of the forward pass."""
    return [
        name
        for layer in range(config.layers)
        for name in (*(f"cross.{i}" for i in config.crosses_before(layer)), f"layers.{layer}")
    ]


def rotations(config: ModelConfig, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines f32 [count, pairs] of the positions 0 .. count, as in perceiver_ar.rotary."""
    pairs = int(config.head_size * config.rotary_fraction) // 2
    frequency = (10_000.0 ** (-np.arange(pairs, dtype=np.float32) / np.float32(max(pairs, 1)))).astype(np.float32)
    angle = np.arange(count, dtype=np.float32)[:, None] * frequency
    return np.cos(angle), np.sin(angle)


class Layers:
    """The parts of a block as nodes of a graph."""

    def __init__(self, config: ModelConfig, weights: Weights, graph: Graph):
        self.config, self.weights, self.graph = config, weights, graph
        self.ones = graph.constant(np.ones(config.width, np.float32))
        self.head_ones = graph.constant(np.ones(config.head_size, np.float32))
        self.cos, self.sin = (graph.input(name, np.float32, ("P", "pairs")) for name in ("cos", "sin"))
        self.pairs = int(config.head_size * config.rotary_fraction) // 2

    def shape(self, *sizes: int) -> str:
        """A constant to reshape to; 0 keeps an axis, -1 is what is left."""
        return self.graph.constant(np.array(sizes, np.int64))

    def norm(self, x: str, scale: str | None = None) -> str:
        """rms_norm over the last axis."""
        inputs = [x, self.ones if scale is None else scale]
        return self.graph.node("SimplifiedLayerNormalization", inputs, axis=-1, epsilon=EPSILON)[0]

    def linear(self, x: str, *names: str) -> str:
        """x @ the kernels of these names side by side."""
        kernel = np.concatenate([self.weights[f"{name}.kernel"] for name in names], axis=1)
        if kernel.dtype != np.int8:
            return self.graph.node("MatMul", [x, self.graph.constant(kernel.astype(np.float32))])[0]
        scale = np.concatenate([self.weights[f"{name}.kernel{SCALE}"] for name in names])
        K, N = kernel.shape
        block = next(size for size in (128, 64, 32, 16) if K % size == 0 or size == 16)
        blocks = -(-K // block)
        padded = np.full((N, blocks * block), 128, np.uint8)  # 128 stands for zero
        padded[:, :K] = kernel.T.view(np.uint8) ^ 0x80
        return self.graph.node(
            "MatMulNBits",
            [
                x,
                self.graph.constant(padded.reshape(N, blocks, block)),
                self.graph.constant(np.repeat(scale.astype(np.float32)[:, None], blocks, axis=1)),
            ],
            domain=CONTRIB,
            K=K,
            N=N,
            bits=8,
            block_size=block,
            accuracy_level=4,  # activations to int8, by which the processor's dot products of bytes can be used
        )[0]

    def split(self, x: str, *sizes: int) -> list[str]:
        """Pieces of the last axis."""
        return self.graph.node("Split", [x, self.shape(*sizes)], len(sizes), axis=-1)

    def heads(self, x: str, name: str, parts: list[tuple[str, int]]) -> str:
        """Normalise each head of x [B, T, heads*K] and scale it as its part ("query" or "key") says."""
        K = self.config.head_size
        scales = [np.tile(self.weights[f"{name}.{part}_scale"].astype(np.float32), (n, 1)) for part, n in parts]
        heads = self.graph.node("Reshape", [x, self.shape(0, 0, -1, K)])[0]
        normal = self.norm(heads, self.head_ones)
        scaled = self.graph.node("Mul", [normal, self.graph.constant(np.concatenate(scales))])[0]
        return self.graph.node("Reshape", [scaled, self.shape(0, 0, len(np.concatenate(scales)) * K)])[0]

    def rotated(self, x: str, positions: str, heads: int) -> str:
        """x [B, T, heads*K], normalised, with positions i64 [B, T]."""
        if not self.pairs:
            return x
        inputs = [x, positions, self.cos, self.sin]
        rotated = {"num_heads": heads, "rotary_embedding_dim": 2 * self.pairs}
        return self.graph.node("RotaryEmbedding", inputs, domain=CONTRIB, **rotated)[0]

    def attend(
        self,
        q: str,
        k: str,
        v: str,
        past: tuple[str, str],
        lengths: tuple[str, str],
        *,
        present: tuple[str, str] | None = None,
        queries: str = "",
        **attributes: int,
    ) -> str:
        """Causal attention of the new inputs to those of the caches [B, G, ., K] and to themselves.

        lengths: i32 [B] how many of each row will be in the cache, less one; i32 [] the most.
        queries: i32 [B] how many of each row are new; all of them unless given.
        """
        c = self.config
        inputs = [q, k, v, *past, *lengths, *[""] * 9, queries]
        while not inputs[-1]:
            inputs.pop()
        return self.graph.node(
            "GroupQueryAttention",
            inputs,
            3 if present is None else [self.graph.fresh(), *present],
            domain=CONTRIB,
            num_heads=c.heads,
            kv_num_heads=c.kv_heads,
            **attributes,
        )[0]

    def mix(self, x: str, attended: str, name: str) -> str:
        """Block.mix."""
        inputs = [x, self.linear(attended, f"{name}.out"), self.ones]
        outputs = [self.graph.fresh(), "", "", self.graph.fresh()]
        normal, _, _, x = self.graph.node(
            "SkipSimplifiedLayerNormalization", inputs, outputs, domain=CONTRIB, epsilon=EPSILON
        )
        up = self.graph.node("FastGelu", [self.linear(normal, f"{name}.up")], domain=CONTRIB)[0]
        return self.graph.node("Add", [x, self.linear(up, f"{name}.down")])[0]

    def embed(self, tokens: str) -> str:
        """PerceiverAR.embed: the rows of a table that are normalised once."""
        table = self.weights["embedding"].astype(np.float32)
        table = table / np.sqrt((table * table).mean(axis=-1, keepdims=True) + EPSILON)
        return self.graph.node("Gather", [self.graph.constant(table), tokens])[0]

    def read(self, x: str) -> str:
        """PerceiverAR.read."""
        return self.linear(self.norm(x), "logits")


def step_graph(config: ModelConfig, weights: Weights) -> bytes:
    """Add token i64 [B, 1] to caches: logits f32 [B, 1, V].

    Inputs besides: cos and sin; `positions` i64 [B, 1]; `inputs` and `latents`, i32 [B], how many there were; `most_inputs` and `most_latents`,
    i32 [], how many there will be in the longest row; for every block caches `NAME.keys` and `NAME.values`
    [B, G, rows, K], which come back as `NAME.keys.new` and `NAME.values.new` and are meant to be the same memory.
    """
    graph = Graph("step")
    make = Layers(config, weights, graph)
    token = graph.input("token", np.int64, ("B", 1))
    inputs, latents = (
        (graph.input(name, np.int32, ("B",)), graph.input(f"most_{name}", np.int32, ()))
        for name in ("inputs", "latents")
    )
    positions = graph.input("positions", np.int64, ("B", 1))
    queries, keys, K = config.heads * config.head_size, config.kv_heads * config.head_size, config.head_size

    def block(name: str, x: str, lengths: tuple[str, str], h: str | None = None, **attributes: int) -> str:
        """h: rms_norm of the inputs that a cross-attend takes its keys from."""
        normal = make.norm(x)
        if h is None:
            qkv = make.linear(normal, f"{name}.query", f"{name}.key", f"{name}.value")
        else:
            q, kv = make.linear(normal, f"{name}.query"), make.linear(h, f"{name}.key", f"{name}.value")
            qkv = graph.node("Concat", [q, kv], axis=-1)[0]
        qk, v = make.split(qkv, queries + keys, keys)
        qk = make.heads(qk, name, [("query", config.heads), ("key", config.kv_heads)])
        q, k = make.split(make.rotated(qk, positions, config.heads + config.kv_heads), queries, keys)
        shape = ("B", config.kv_heads, f"rows of {name}", K)
        past = (graph.input(f"{name}.keys", np.float32, shape), graph.input(f"{name}.values", np.float32, shape))
        present = (f"{name}.keys.new", f"{name}.values.new")
        for new in present:
            graph.result(new, np.float32, shape)
        return make.mix(x, make.attend(q, k, v, past, lengths, present=present, **attributes), name)

    h = make.embed(token)
    for name in local_names(config):
        h = block(name, h, inputs, local_window_size=config.local_window, sliding_window_cache=1)
    x, normal_h = h, make.norm(h)
    for name in decode_names(config):
        x = block(name, x, inputs, normal_h) if name.startswith("cross") else block(name, x, latents)
    graph.output("logits", make.read(x), np.float32, ("B", 1, config.vocab_size))
    return graph.to_bytes()


def pass_graph(config: ModelConfig, weights: Weights) -> bytes:
    """Read tokens i64 [B, T], T a multiple of W, with R latents: logits f32 [B, R, V] after each latent.

    Inputs besides: cos and sin; `positions` i64 [B, T]; `latent_rows` i64 [B, R, 1], which inputs the latents are; for the cross-attends and the latents' own attention `inputs` and `latents`, i32 [B],
    how many there are less one, with `most_inputs` and `most_latents` i32 [], and `queries` i32 [B], how many latents;
    for windows of W inputs, one after the other, `windows` i32 [B*T/W], how many keys there are less one, and
    `in_windows`, how many queries.
    For every block come back `NAME.keys` and `NAME.values` [B, T or R, G*K], which go into the caches.
    """
    graph = Graph("pass")
    make = Layers(config, weights, graph)
    tokens = graph.input("tokens", np.int64, ("B", "T"))
    positions = graph.input("positions", np.int64, ("B", "T"))
    rows = graph.input("latent_rows", np.int64, ("B", "R", 1))
    inputs, latents = (
        (graph.input(name, np.int32, ("B",)), graph.input(f"most_{name}", np.int32, ()))
        for name in ("inputs", "latents")
    )
    how_many = graph.input("queries", np.int32, ("B",))
    windows, in_windows = (graph.input(name, np.int32, ("windows",)) for name in ("windows", "in_windows"))
    H, G, K, W = config.heads, config.kv_heads, config.head_size, config.local_window
    most_window = graph.constant(np.array(2 * W, np.int32))

    def keys_values(name: str, normal: str, at: str, length: str) -> tuple[str, str]:
        k, v = make.split(make.linear(normal, f"{name}.key", f"{name}.value"), G * K, G * K)
        k = make.rotated(make.heads(k, name, [("key", G)]), at, G)
        for what, value in (("keys", k), ("values", v)):
            graph.output(f"{name}.{what}", value, np.float32, ("B", length, G * K))
        return k, v

    def query(name: str, normal: str, at: str) -> str:
        return make.rotated(make.heads(make.linear(normal, f"{name}.query"), name, [("query", H)]), at, H)

    def cached(x: str, length: int) -> str:
        """[B, T, G*K] -> [B, G, T, K], as caches are."""
        heads = graph.node("Reshape", [x, make.shape(-1, length, G, K) if length else make.shape(0, 0, G, K)])[0]
        return graph.node("Transpose", [heads], perm=[0, 2, 1, 3])[0]

    def window_before(x: str) -> str:
        """[B, T, G*K] -> [B*T/W, W, G*K] each window's own place holding the window before it."""
        pads = graph.constant(np.array([0, W, 0, 0, -W, 0], np.int64))
        return graph.node("Pad", [x, pads])[0]

    def local(name: str, h: str) -> str:
        normal = make.norm(h)
        k, v = keys_values(name, normal, positions, "T")
        q = query(name, normal, positions)
        folded = [graph.node("Reshape", [x, make.shape(-1, W, n * K)])[0] for x, n in ((q, H), (k, G), (v, G))]
        past = cached(window_before(k), W), cached(window_before(v), W)
        attended = make.attend(
            folded[0], folded[1], folded[2], past, (windows, most_window), queries=in_windows, local_window_size=W
        )
        attended = graph.node("Reshape", [attended, graph.node("Shape", [q])[0]])[0]
        return make.mix(h, attended, name)

    def latents_of(x: str) -> str:
        return graph.node("GatherND", [x, rows], batch_dims=1)[0]

    h = make.embed(tokens)
    for name in local_names(config):
        h = local(name, h)
    x, at, normal_h = latents_of(h), latents_of(positions), make.norm(h)
    for name in decode_names(config):
        normal = make.norm(x)
        q = query(name, normal, at)
        if name.startswith("cross"):
            k, v = keys_values(name, normal_h, positions, "T")
            past = cached(k, 0), cached(v, 0)
            # The latents' own keys are among the inputs'; the operator wants them as new ones.
            attended = make.attend(q, latents_of(k), latents_of(v), past, inputs, queries=how_many)
        else:
            k, v = keys_values(name, normal, at, "R")
            attended = make.attend(q, k, v, ("", ""), latents)  # what pads a row comes after all that is read
        x = make.mix(x, attended, name)
    graph.output("logits", make.read(x), np.float32, ("B", "R", config.vocab_size))
    return graph.to_bytes()
