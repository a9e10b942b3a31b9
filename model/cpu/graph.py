"""The model of perceiver_ar.py as ONNX graphs over the weights as released: whole passes, and new beginnings.

Block matrices stay whole numbers of 8 or 4 bits with their scales (model/storage.py): `MatMulNBits` multiplies the very
bytes, with activations rounded to 8 bits in blocks.  A matrix given in float32 stays float32.  Attention is
`GroupQueryAttention`.  Rows are aligned on the left here and padded on the right, so that
every row counts its inputs and its latents from 0; only differences of positions matter to rotary attention.

Letters: B batch, T inputs, R latents read in a pass, D width, H heads, G key/value heads, K head size, O outputs,
W window.  A name `layers.3` is that of the block's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from musicgen.model.config import ModelConfig
from musicgen.model.cpu.onnx_format import CONTRIB, Graph
from musicgen.model.cpu.weights import EPSILON, CpuWeights, decode_names, local_names
from musicgen.model.storage import SCALE, Weights, shape_of


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by name, as model/parameters.py has it from the JAX model."""
    c, D, K = config, config.width, config.head_size
    of_block = {
        "query.kernel": (D, c.heads * K),
        "key.kernel": (D, c.kv_heads * K),
        "value.kernel": (D, c.kv_heads * K),
        "out.kernel": (c.heads * K, D),
        "query_scale": (K,),
        "key_scale": (K,),
        "up.kernel": (D, c.widening * D),
        "down.kernel": (c.widening * D, D),
    }
    blocks = [*local_names(c), *decode_names(c)]
    found: dict[str, tuple[int, ...]] = {f"{name}.{part}": of for name in blocks for part, of in of_block.items()}
    if not c.depth_layers:
        return found | {"embedding": (c.vocab_size, D), "logits.kernel": (D, c.vocab_size)}
    Q, E, W, F = c.channels, c.code_width, c.depth_width, c.widening * c.depth_width
    found |= {"table": (Q, c.codes, E), "begin": (D,), "widen.kernel": (Q, E, D), "told.kernel": (Q, E, W)}
    found |= {"view.kernel": (Q, D, W), "readout.kernel": (Q, W, c.codes)}
    for i in range(c.depth_layers):
        found |= {f"depth.{i}.up.kernel": (W, F), f"depth.{i}.down.kernel": (F, W)}
    return found


def check(weights: Weights, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless the weights have these names and shapes."""
    found = {name: shape_of(values) for name, values in weights.items() if not name.endswith(SCALE)}
    wrong = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    if wrong:
        raise ValueError(f"parameters do not fit the config: {', '.join(wrong[:3])}")


class Layers:
    """The parts of a block as nodes of a graph."""

    def __init__(self, config: ModelConfig, weights: CpuWeights, graph: Graph):
        self.config, self.matrices, self.graph = config, weights, graph
        self.weights = weights.weights
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
        bits = self.matrices.bits(*names)
        if bits == 32:
            return self.graph.node("MatMul", [x, self.graph.constant(self.matrices.floats(*names))])[0]
        key = f"{' '.join(names)}.kernel"
        kernel, scale = self.matrices.for_matmul(*names)
        inputs, outputs = self.matrices.shape(*names)
        return self.graph.node(
            "MatMulNBits",
            [x, self.graph.shared(key, kernel), self.graph.shared(key + SCALE, scale)],
            domain=CONTRIB,
            K=inputs,
            N=outputs,
            bits=bits,
            block_size=kernel.shape[-1] * 8 // bits,
            accuracy_level=4,  # activations to int8, by which the processor's dot products of bytes can be used
        )[0]

    def split(self, x: str, *sizes: int) -> list[str]:
        """Pieces of the last axis."""
        return self.graph.node("Split", [x, self.shape(*sizes)], len(sizes), axis=-1)

    def rotate(self, x: str, name: str, parts: dict[str, int], positions: str) -> str:
        """Normalise each head of x [B, T, heads*K], scale it as its part (query or key) says, and rotate it.

        parts: how many heads are of each.  positions: i64 [B, T].
        """
        heads, K = sum(parts.values()), self.config.head_size
        scales = [np.tile(self.weights[f"{name}.{part}_scale"].astype(np.float32), (n, 1)) for part, n in parts.items()]
        x = self.graph.node("Reshape", [x, self.shape(0, 0, heads, K)])[0]
        x = self.graph.node("Mul", [self.norm(x, self.head_ones), self.graph.constant(np.concatenate(scales))])[0]
        x = self.graph.node("Reshape", [x, self.shape(0, 0, heads * K)])[0]
        if not self.pairs:
            return x
        rotated = {"num_heads": heads, "rotary_embedding_dim": 2 * self.pairs}
        return self.graph.node("RotaryEmbedding", [x, positions, self.cos, self.sin], domain=CONTRIB, **rotated)[0]

    def project(self, name: str, x: str, positions: str, inputs: tuple[str, str] | None = None) -> tuple[str, str, str]:
        """Queries [B, T, H*K], keys and values [B, T, G*K] of x [B, T, D], normalised already, at i64 [B, T].

        inputs: where keys and values come from instead, and their positions.
        """
        H, G, K = self.config.heads, self.config.kv_heads, self.config.head_size
        if inputs is None:
            qkv = self.linear(x, f"{name}.query", f"{name}.key", f"{name}.value")
            qk, v = self.split(qkv, (H + G) * K, G * K)
            q, k = self.split(self.rotate(qk, name, {"query": H, "key": G}, positions), H * K, G * K)
            return q, k, v
        q = self.rotate(self.linear(x, f"{name}.query"), name, {"query": H}, positions)
        k, v = self.split(self.linear(inputs[0], f"{name}.key", f"{name}.value"), G * K, G * K)
        return q, self.rotate(k, name, {"key": G}, inputs[1]), v

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
        window: int = -1,
    ) -> str:
        """Causal attention of the new inputs to those of the caches [B, G, ., K] and to themselves.

        lengths: i32 [B] how many of each row will be in the cache, less one; i32 [] the most.
        queries: i32 [B] how many of each row are new; all of them unless given.
        window: of how many inputs, the query's own included, each query sees the keys; -1: of all.
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
            local_window_size=window,
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

    def as_cache(self, x: str, length: int = 0) -> str:
        """[B, T, G*K] -> [B, G, T, K]; in windows of `length` first, if one is given."""
        G, K = self.config.kv_heads, self.config.head_size
        shape = self.shape(-1, length, G, K) if length else self.shape(0, 0, G, K)
        return self.graph.node("Transpose", [self.graph.node("Reshape", [x, shape])[0]], perm=[0, 2, 1, 3])[0]

    def local(self, name: str, h: str, positions: str, windows: str, in_windows: str) -> tuple[str, str, str]:
        """A block over the inputs, T a multiple of W, and its keys and values [B, T, G*K]; see `pass_graph`.

        Each window of inputs is a row of its own, whose cache holds the window before it.
        """
        graph, c = self.graph, self.config
        H, G, K, W = c.heads, c.kv_heads, c.head_size, c.local_window
        q, k, v = self.project(name, self.norm(h), positions)
        one_later = graph.constant(np.array([0, W, 0, 0, -W, 0], np.int64))
        keys, values = (self.as_cache(graph.node("Pad", [x, one_later])[0], W) for x in (k, v))
        own_q, own_k, own_v = (
            graph.node("Reshape", [x, self.shape(-1, W, n * K)])[0] for x, n in ((q, H), (k, G), (v, G))
        )
        lengths = (windows, graph.constant(np.array(2 * W, np.int32)))
        attended = self.attend(own_q, own_k, own_v, (keys, values), lengths, queries=in_windows, window=W)
        return self.mix(h, graph.node("Reshape", [attended, graph.node("Shape", [q])[0]])[0], name), k, v

    def decode(self, x: str) -> str:
        """PerceiverAR.decode: logits, or all codebooks' views of a latent."""
        return self.linear(self.norm(x), "output")

    def outputs(self, x: str) -> None:
        """Hand back what the latents say of the token after each."""
        _, width = self.matrices.shape("output")
        self.graph.output("outputs", self.decode(x), np.float32, ("B", "R", width))


def counts(graph: Graph) -> list[tuple[str, str]]:
    """The inputs that say how many inputs and latents there are: of each row less one, and in the longest."""
    return [
        (graph.input(name, np.int32, ("B",)), graph.input(f"most_{name}", np.int32, ()))
        for name in ("inputs", "latents")
    ]


def pass_graph(config: ModelConfig, weights: CpuWeights) -> Graph:
    """Read `embedded` f32 [B, T, D], T a multiple of W, with R latents: `outputs` f32 [B, R, O] after each latent.

    Inputs besides: cos and sin; `positions` i64 [B, T], and `input_positions`, where the cross-attends take the inputs
    to stand; `latent_rows` i64 [B, R, 1], which inputs the latents are; for
    the cross-attends and the latents' own attention `inputs` and `latents`, i32 [B], how many there are less one, with
    `most_inputs` and `most_latents`, i32 [], and `queries` i32 [B], how many latents; for windows of W inputs, one
    after the other, `windows` i32 [B*T/W], how many keys there are less one, and `in_windows`, how many queries.

    For every block come back `NAME.keys` and `NAME.values` [B, T or R, G*K], which go into the caches, and
    `latent_inputs` [B, R, D], what the latents began as.
    """
    graph = Graph("pass")
    make = Layers(config, weights, graph)
    h = graph.input("embedded", np.float32, ("B", "T", config.width))
    positions, input_positions = (graph.input(name, np.int64, ("B", "T")) for name in ("positions", "input_positions"))
    rows = graph.input("latent_rows", np.int64, ("B", "R", 1))
    inputs, latents = counts(graph)
    how_many = graph.input("queries", np.int32, ("B",))
    windows, in_windows = (graph.input(name, np.int32, ("windows",)) for name in ("windows", "in_windows"))
    G, K = config.kv_heads, config.head_size

    def hand_back(name: str, k: str, v: str, length: str) -> None:
        for what, value in (("keys", k), ("values", v)):
            graph.output(f"{name}.{what}", value, np.float32, ("B", length, G * K))

    def local(name: str, h: str) -> str:
        h, k, v = make.local(name, h, positions, windows, in_windows)
        hand_back(name, k, v, "T")
        return h

    def latents_of(x: str) -> str:
        return graph.node("GatherND", [x, rows], batch_dims=1)[0]

    for name in local_names(config):
        h = local(name, h)
    x, at, normal_h = latents_of(h), latents_of(positions), make.norm(h)
    graph.output("latent_inputs", x, np.float32, ("B", "R", config.width))
    for name in decode_names(config):
        if name.startswith("cross"):
            q, k, v = make.project(name, make.norm(x), at, (normal_h, input_positions))
            hand_back(name, k, v, "T")
            # The latents' own keys are among the inputs'; the operator wants them as new ones.
            past = make.as_cache(k), make.as_cache(v)
            attended = make.attend(q, latents_of(k), latents_of(v), past, inputs, queries=how_many)
        else:
            q, k, v = make.project(name, make.norm(x), at)
            hand_back(name, k, v, "R")
            attended = make.attend(q, k, v, ("", ""), latents)  # what pads a row comes after all that is read
        x = make.mix(x, attended, name)
    make.outputs(x)
    return graph


def restart_graph(config: ModelConfig, weights: CpuWeights) -> Graph:
    """Begin anew with R latents over inputs that are in the caches: `outputs` f32 [B, R, O] after each of them.

    Inputs besides: cos and sin; `latent_inputs` f32 [B, R, D], what the latents begin as, their `positions` i64 [B, R];
    `inputs`, `latents`, `most_inputs`, `most_latents` and `queries` as in `pass_graph`; the cross-attends' caches
    `NAME.keys` and `NAME.values` [B, G, rows, K], which come back as `NAME.keys.new` and `NAME.values.new`.  For every
    self-attend come back `NAME.keys` and `NAME.values` [B, R, G*K].
    """
    graph = Graph("restart")
    make = Layers(config, weights, graph)
    x = graph.input("latent_inputs", np.float32, ("B", "R", config.width))
    at = graph.input("positions", np.int64, ("B", "R"))
    inputs, latents = counts(graph)
    how_many = graph.input("queries", np.int32, ("B",))
    G, K = config.kv_heads, config.head_size
    normal_h = make.norm(x)
    for name in decode_names(config):
        if name.startswith("cross"):
            # The new keys are in the cache already; the operator wants them again.
            q, k, v = make.project(name, make.norm(x), at, (normal_h, at))
            past, present = cache_of(graph, config, name)
            attended = make.attend(q, k, v, past, inputs, present=present, queries=how_many)
        else:
            q, k, v = make.project(name, make.norm(x), at)
            for what, value in (("keys", k), ("values", v)):
                graph.output(f"{name}.{what}", value, np.float32, ("B", "R", G * K))
            attended = make.attend(q, k, v, ("", ""), latents)
        x = make.mix(x, attended, name)
    make.outputs(x)
    return graph


def cache_of(graph: Graph, config: ModelConfig, name: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The caches of a block as inputs of the graph, and as what comes back in the same memory."""
    shape = ("B", config.kv_heads, f"rows of {name}", config.head_size)
    past = (graph.input(f"{name}.keys", np.float32, shape), graph.input(f"{name}.values", np.float32, shape))
    present = (f"{name}.keys.new", f"{name}.values.new")
    for new in present:
        graph.result(new, np.float32, shape)
    return past, present
