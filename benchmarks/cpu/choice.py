"""Which form of the matrices, and of the caches, does ONNX Runtime read fastest?  Why passes use the one they use.

    python benchmarks/cpu/choice.py

As many random matrices as the released model has, one after the other: for one token, four, and a pass of 1,024; and
the attention of one token to eight layers of caches (steps use neither any more: model/cpu/step.py).  All in turns, the
minimum counts, 1 and 2 threads.
Writes choice.json beside this script.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from measure import fastest, machine, reading

from musicgen.model.config import PRESETS
from musicgen.model.cpu.onnx_format import CONTRIB, Graph
from musicgen.model.cpu.session import open_session

C = PRESETS["release"]
BLOCKS = C.local_layers + C.cross_attends + C.layers
QKV = (C.heads + 2 * C.kv_heads) * C.head_size
SHAPES = ((C.width, QKV), (C.width, C.width), (C.width, C.widening * C.width), (C.widening * C.width, C.width))
KINDS = ("float32", "int8 blocks of 32", "int8 blocks of 128", "int8 blocks of 256", "int8 whole columns")
ROWS = {1: 5, 4: 5, 1024: 1}


def multiplied(graph: Graph, x: str, kind: str, shape: tuple[int, int], rng: np.random.Generator) -> str:
    """x @ a random matrix in one of the forms."""
    K, N = shape
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    scale = np.full(N, 0.01 / K**0.5, np.float32)
    if kind == "float32":
        return graph.node("MatMul", [x, graph.constant(weight * scale)])[0]
    if kind == "int8 whole columns":  # one scale for all activations of a pass, which costs quality too
        inputs = [x, graph.constant(weight), graph.constant(scale)]
        return graph.node("DynamicQuantizeMatMul", inputs, domain=CONTRIB)[0]
    block = int(kind.rsplit(" ", 1)[1])
    blocks = -(-K // block)
    padded = np.full((N, blocks * block), 128, np.uint8)
    padded[:, :K] = weight.T.view(np.uint8) ^ 0x80
    inputs = [x, graph.constant(padded.reshape(N, blocks, block)), graph.constant(np.repeat(scale[:, None], blocks, 1))]
    sizes = {"K": K, "N": N, "bits": 8, "block_size": block, "accuracy_level": 4}
    return graph.node("MatMulNBits", inputs, domain=CONTRIB, **sizes)[0]


def matrices(kind: str, threads: int) -> onnxruntime.InferenceSession:
    """All matrices of the blocks."""
    rng, graph = np.random.default_rng(0), Graph(kind)
    x = graph.input("x", np.float32, ("T", C.width))
    for _ in range(BLOCKS):
        qkv = multiplied(graph, x, kind, SHAPES[0], rng)
        sizes = graph.constant(np.array([C.width, QKV - C.width], np.int64))
        x = graph.node("Split", [qkv, sizes], 2, axis=-1)[0]
        for shape in SHAPES[1:]:
            x = multiplied(graph, x, kind, shape, rng)
    graph.output("y", x, np.float32, ("T", C.width))
    return open_session(graph, threads)


def attention(kind: str, threads: int, count: int) -> Any:
    """One token's attention to eight layers of `count` keys and values.

    "as queries": the heads that share keys as so many queries of one head, under a bias that hides what would be
    causal among them; the keys are read once for all of them then, not once for each.
    """
    rng, graph = np.random.default_rng(0), Graph(kind)
    H, G, K = C.heads, C.kv_heads, C.head_size
    dtype = np.int8 if kind == "int8" else np.float32
    new = H // G if kind == "as queries" else 1
    used, rows = count + new - 1, count + H // G
    given: dict[str, np.ndarray] = {"length": np.array([used - 1], np.int32), "most": np.array(used, np.int32)}
    graph.input("length", np.int32, (1,))
    graph.input("most", np.int32, ())
    sizes = ((H // new) * K, G * K, G * K)
    q, k, v = (graph.constant(rng.normal(size=(1, new, size)).astype(np.float32)) for size in sizes)
    scales = graph.constant(np.full((1, G, 1, K), 0.03, np.float32))
    hidden = graph.constant(
        np.where(np.arange(used) < count, 0, -1e9).astype(np.float32)[None, None, None].repeat(new, 2)
    )
    layers = C.layers + C.cross_attends
    for layer in range(layers):
        past = []
        for what in ("keys", "values"):
            name = f"{what} {layer}"
            past.append(graph.input(name, dtype, (1, G, rows, K)))
            given[name] = (rng.normal(size=(1, G, rows, K)) * (30 if dtype == np.int8 else 1)).astype(dtype)
            graph.result(f"{name} new", dtype, (1, G, rows, K))
        attributes: dict[str, Any] = {"num_heads": H // new, "kv_num_heads": G}
        inputs = [q, k, v, *past, "length", "most"]
        if dtype == np.int8:
            attributes |= {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
            inputs += ["", "", "", "", "", scales, scales]
        elif new > 1:
            inputs += ["", "", "", hidden]
        outputs = [f"out {layer}", f"keys {layer} new", f"values {layer} new"]
        graph.node("GroupQueryAttention", inputs, outputs, domain=CONTRIB, **attributes)
        graph.result(f"out {layer}", np.float32, (1, new, H // new * K))
    made = open_session(graph, threads)
    binding = made.io_binding()
    held = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in given.items()}
    for name, value in held.items():
        binding.bind_ortvalue_input(name, value)
        if name not in ("length", "most"):
            binding.bind_ortvalue_output(f"{name} new", value)
    for layer in range(layers):
        binding.bind_output(f"out {layer}")
    return lambda: (made.run_with_iobinding(binding), held)


def main() -> None:
    """Measure and write."""
    told: dict[str, Any] = {"machine": machine(), "matrix_parameters": BLOCKS * sum(k * n for k, n in SHAPES)}
    for threads in (1, 2):
        size, read = reading(threads)
        best = fastest({"": read}, 10)[""]
        of: dict[str, Any] = {"read_gigabytes_per_second": round(size / best / 1e9, 1)}
        made = {kind: matrices(kind, threads) for kind in KINDS}
        for rows, repeats in ROWS.items():
            x = np.random.default_rng(1).normal(size=(rows, C.width)).astype(np.float32)
            turns = {kind: (lambda s=s, x=x: s.run(None, {"x": x})) for kind, s in made.items()}  # type: ignore[misc]
            best_of = fastest(turns, 8 * repeats if rows < 1024 else 4)
            of[f"{rows} rows, ms"] = {kind: round(1e3 * seconds, 2) for kind, seconds in best_of.items()}
        turns = {kind: attention(kind, threads, 2048) for kind in ("float32", "int8", "as queries")}
        of["attention to 8 x 2048, ms"] = {k: round(1e3 * s, 2) for k, s in fastest(turns, 200).items()}
        told[f"{threads} threads"] = of
    Path(__file__).with_name("choice.json").write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
