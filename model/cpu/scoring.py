"""Nats of whole pieces on a CPU: what model/evaluate.py says, by graphs of their own.

Windows overlap, and what the local blocks make of an input depends on the few inputs before it alone: it is computed
once for all windows, but for the first inputs of each, which see less than they did in the window before.  Latents
attend in chunks, so that no score is computed that the mask would hide, and the last block goes no further than the
latents that are scored.

Letters: T inputs, R latents, C latents of a chunk, S scored targets, and those of model/cpu/graph.py.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnxruntime

from musicgen.model.config import PAD, ModelConfig
from musicgen.model.cpu.engine import OnnxEngine
from musicgen.model.cpu.graph import Layers
from musicgen.model.cpu.memory import rotations
from musicgen.model.cpu.onnx_format import CONTRIB, Graph
from musicgen.model.cpu.session import open_session
from musicgen.model.cpu.weights import CpuWeights, decode_names, local_names
from musicgen.model.shapes import Float, Int
from musicgen.model.windows import OnWindow, check_lengths, windows

HALF = 63  # seven bits on either side of 0
TINY = 1e-20  # steps of an activation that is 0 everywhere
TO_THE_END = 2**40
CHUNK = 256  # C, at most: its scores of 4,096 inputs are 4 MB a head


def encode_graph(config: ModelConfig, weights: CpuWeights) -> Graph:
    """The local blocks: `embedded` f32 [1, T, D], T a multiple of W -> `encoded` f32 [1, T, D].

    Inputs besides: cos and sin, `positions` i64 [1, T]; i32 [T/W] `windows` and `in_windows` as in `pass_graph`.
    """
    graph = Graph("encode")
    make = ExactLayers(config, weights, graph)
    h = graph.input("embedded", np.float32, (1, "T", config.width))
    positions = graph.input("positions", np.int64, (1, "T"))
    of_windows = (graph.input(name, np.int32, ("windows",)) for name in ("windows", "in_windows"))
    given = positions, *of_windows
    for name in local_names(config):
        h, _, _ = make.local(name, h, *given)
    graph.output("encoded", h, np.float32, (1, "T", config.width))
    return graph


class ExactLayers(Layers):
    """Layers whose activations lose nothing to speak of: a score is compared to the thousandth of a nat.

    Where weights are bytes, activations become two numbers of seven bits, of which the second is what the first leaves:
    two products of bytes take less time than one of floats.  With eight bits the sums of older processors overflow.
    Beside weights of four bits, activations stay floats.
    """

    accuracy = 1

    def linear(self, x: str, *names: str) -> str:
        """See Layers."""
        rows, scales = self.matrices.rows(*names)
        if rows.dtype != np.uint8 or scales.ndim > 1:
            return super().linear(x, *names)
        inputs = len(self.weights[f"{names[0]}.kernel"])
        kernel = self.graph.constant((rows[:, :inputs] ^ 0x80).view(np.int8).T)
        scale = self.graph.constant(scales)
        zero = self.graph.constant(np.array(HALF + 1, np.uint8))

        def node(operator: str, *inputs: str | float, domain: str = "", **attributes: int) -> str:
            given = [x if isinstance(x, str) else self.graph.constant(np.array(x, np.float32)) for x in inputs]
            return self.graph.node(operator, given, domain=domain, **attributes)[0]

        least, most = (node(operator, x, keepdims=0) for operator in ("ReduceMin", "ReduceMax"))
        step = node("Max", node("Mul", node("Max", node("Neg", least), most), 1 / HALF), TINY)
        coarse = node("QuantizeLinear", x, step, zero)
        rest = node("Sub", x, node("DequantizeLinear", coarse, step, zero))
        fine_step = node("Mul", step, 0.5 / HALF)
        fine = node("QuantizeLinear", rest, fine_step, zero)
        products = (
            node("MatMulIntegerToFloat", number, kernel, its_step, scale, zero, domain=CONTRIB)
            for number, its_step in ((coarse, step), (fine, fine_step))
        )
        return node("Add", *products)


class Chunks:
    """Causal attention of R latents in chunks of C."""

    def __init__(self, make: Layers, count: int, size: int):
        """count: R/C.  size: C."""
        self.make, self.graph, self.count, self.size = make, make.graph, count, size

    def cut(self, x: str, begin: int, end: str | int, axis: int = 1) -> str:
        """x[begin:end] of an axis; end: i64 [1], or a number."""
        if isinstance(end, int):
            end = self.graph.constant(np.array([end]))
        return self.graph.node("Slice", [x, self.make.shape(begin), end, self.make.shape(axis)])[0]

    def add(self, x: str, number: int, dtype: type) -> str:
        """x + number."""
        return self.graph.node("Add", [x, self.graph.constant(np.array(number, dtype))])[0]

    def attend(self, q: str, own: tuple[str, str], past: tuple[str, str], before: str | None, first: int = 0) -> str:
        """Queries [1, R - first*C, H*K], those of chunk `first` and the next, to all keys up to their own.

        own: keys and values [1, R, G*K] of the latents.  past: [1, G, ., K], what there is before the latents and
        they themselves.  before: i64 [1] how many come before the latents; None: none.
        """
        parts = []
        for chunk in range(first, self.count):
            begin, end = chunk * self.size, (chunk + 1) * self.size
            mine = self.cut(q, begin - first * self.size, end - first * self.size)
            k, v = (self.cut(x, begin, end) for x in own)
            if before is None:
                last = self.graph.constant(np.array([end - 1], np.int32))
                most = self.graph.constant(np.array(end, np.int32))
                length: str | int = begin
            else:
                length = self.add(before, begin, np.int64)
                inputs = self.graph.node("Cast", [before], to=6)[0]
                last = self.add(inputs, end - 1, np.int32)
                most = self.graph.node("Reshape", [self.add(inputs, end, np.int32), self.make.shape()])[0]
            keys, values = (self.cut(x, 0, length, axis=2) for x in past) if length else ("", "")
            parts.append(self.make.attend(mine, k, v, (keys, values), (last, most)))
        return self.graph.node("Concat", parts, axis=1)[0]


def score_graph(config: ModelConfig, weights: CpuWeights, chunks: int, size: int, first: int) -> Graph:
    """The blocks over latents: `encoded` f32 [1, T, D], whose last R = chunks * C are the latents -> f32
    `outputs` [1, R - first*C, O] after those from chunk `first` on.  size: C.

    Inputs besides: cos and sin; `positions` i64 [1, T]; `input_positions` i64 [1, T], where the cross-attends take
    inputs to stand; `before` i64 [1], T - R.
    """
    graph = Graph("score")
    make = ExactLayers(config, weights, graph)
    h = graph.input("encoded", np.float32, (1, "T", config.width))
    positions, input_positions = (graph.input(name, np.int64, (1, "T")) for name in ("positions", "input_positions"))
    before = graph.input("before", np.int64, (1,))
    chunked = Chunks(make, chunks, size)

    def latents_of(x: str) -> str:
        return chunked.cut(x, -chunks * size, TO_THE_END)

    x, at, normal_h = latents_of(h), latents_of(positions), make.norm(h)
    names = decode_names(config)
    for name in names:
        normal = make.norm(x)
        if name.startswith("cross"):
            q, k, v = make.project(name, normal, at, (normal_h, input_positions))
            own = latents_of(k), latents_of(v)
            attended = chunked.attend(q, own, (make.as_cache(k), make.as_cache(v)), before)
        elif name != names[-1] or not first:
            q, k, v = make.project(name, normal, at)
            attended = chunked.attend(q, (k, v), (make.as_cache(k), make.as_cache(v)), None)
        else:
            x, normal_x, own_at = (chunked.cut(y, first * size, TO_THE_END) for y in (x, normal, at))
            q, k, v = make.project(name, normal_x, own_at, (normal, at))
            attended = chunked.attend(q, (k, v), (make.as_cache(k), make.as_cache(v)), None, first)
        x = make.mix(x, attended, name)
    make.outputs(x)
    return graph


def nats_of_pieces(
    engine: OnnxEngine,
    pieces: Iterable[np.ndarray],
    *,
    latents: int,
    context: int,
    stride: int,
    preamble: Sequence[int] | np.ndarray = (),
    ids: int | None = None,
    on_window: OnWindow = lambda targets, nats: None,
) -> Iterator[np.ndarray]:
    """See model/evaluate.py; of a model of tokens."""
    check_lengths(latents, context, stride)
    scorer = Scorer(engine, latents, context, stride)
    for piece in pieces:
        out = np.zeros(len(piece) - 1, np.float32)
        stream = np.concatenate([preamble, piece]).astype(np.int32)
        scorer.begin(stream)
        for w in windows(len(out), context, latents, stride):
            stop = len(preamble) + w.stop
            first = len(preamble) + w.first if w.first else max(0, stop - context)
            scored = slice(w.stop - w.scored, w.stop)
            out[scored] = nats(scorer.logits(first, stop, w.scored)[:, :ids], piece[1:][scored])
            on_window(piece[1:][scored], out[scored])
        yield out


def nats(logits: Float[np.ndarray, "T V"], targets: Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Of each target, 0 where it is PAD."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    own = logits[np.arange(len(targets)), targets]
    return np.where(targets == PAD, 0.0, np.log(np.exp(logits).sum(axis=-1)) - own).astype(np.float32)


class Scorer:
    """Logits of a stream of tokens, window by window."""

    def __init__(self, engine: OnnxEngine, latents: int, context: int, stride: int):
        """latents, context, stride: M, N and S."""
        self.engine, self.config = engine, engine.config
        self.M, self.N, self.S, self.C = latents, context, stride, min(CHUNK, latents)
        self.reach = self.config.local_layers * self.config.local_window  # before it nothing matters to the encoded

    def begin(self, stream: Int[np.ndarray, " T"]) -> None:
        """Take up a new stream, whose windows are then asked for in order."""
        self.stream, self.end = stream, 0
        self.encoded = np.zeros((0, self.config.width), np.float32)  # of the last inputs before `end`

    @functools.cached_property
    def _encoder(self) -> onnxruntime.InferenceSession:
        return open_session(encode_graph(self.config, self.engine.matrices), self.engine.threads)

    @functools.cache  # noqa: B019  # as long as the scorer, of which there is one
    def _blocks(self, chunks: int, first: int) -> onnxruntime.InferenceSession:
        return open_session(score_graph(self.config, self.engine.matrices, chunks, self.C, first), self.engine.threads)

    def encode(self, tokens: Int[np.ndarray, " T"]) -> Float[np.ndarray, "T D"]:
        """What the local blocks make of inputs before which there is nothing."""
        W = self.config.local_window
        count = -(-len(tokens) // W)
        embedded = np.zeros((1, count * W, self.config.width), np.float32)
        embedded[0, : len(tokens)] = self.engine.head.embed(tokens)
        before = np.where(np.arange(count) > 0, W, 0)
        cos, sin = rotations(self.config, count * W)
        given = {
            "embedded": embedded,
            "positions": np.arange(count * W)[None],
            "windows": (W + before - 1).astype(np.int32),
            "in_windows": np.full(count, W, np.int32),
            "cos": cos,
            "sin": sin,
        }
        return self._encoder.run(None, given)[0][0, : len(tokens)]

    def window(self, first: int, stop: int) -> Float[np.ndarray, "T D"]:
        """The encoded inputs first..stop of the stream, before which there is nothing."""
        if stop > self.end:
            new = self.encode(self.stream[max(0, self.end - self.reach) : stop])[self.end - stop :]
            self.encoded, self.end = np.concatenate([self.encoded, new])[-self.N :], stop
        found = self.encoded[first - stop :].copy()
        if first and self.reach:
            found[: self.reach] = self.encode(self.stream[first : min(first + self.reach, stop)])
        return found

    def logits(self, first: int, stop: int, scored: int) -> Float[np.ndarray, "scored V"]:
        """Of the tokens after the last `scored` inputs of the window first..stop of the stream."""
        T, C = stop - first, self.C
        R = min(self.M, T)
        chunks = 1
        while chunks * C < R:
            chunks *= 2
        chunks = min(chunks, -(-self.M // C))
        # The last block of a whole window needs no more than S latents; every other number would be one more graph.
        skipped = (self.M - self.S) // C if R == self.M and scored <= self.S else 0
        before = T - R
        encoded = np.zeros((1, before + chunks * C, self.config.width), np.float32)
        encoded[0, :T] = self.window(first, stop)
        positions = np.arange(encoded.shape[1])
        cos, sin = rotations(self.config, max(self.config.context, len(positions)))
        given = {
            "encoded": encoded,
            "positions": positions[None],
            "input_positions": np.maximum(positions, T - max(self.config.context, self.M))[None],
            "before": np.array([before]),
            "cos": cos,
            "sin": sin,
        }
        (outputs,) = self._blocks(chunks, skipped).run(None, given)
        return outputs[0, R - skipped * C - scored : R - skipped * C]
