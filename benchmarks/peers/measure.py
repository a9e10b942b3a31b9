"""Decoding on a CPU beside the PyTorch implementations of Perceiver AR that people use, and beside a plain decoder.

    python benchmarks/peers/measure.py --torch-python VENV/bin/python --krasserm CLONE --lucidrains CLONE [--rounds 3]

Every competitor runs in a process of its own, one after the other, several rounds in turn: the prime fills N - M/2 =
3,072 inputs, of which M/2 = 1,024 are latents, then so many tokens are drawn greedily, batch 1. The others have random
weights and as many parameters as the released model, within a few per cent. Least time of all rounds; ratios are what
counts.

VENV needs torch and einops; musicgen runs in the Python that runs this script. The clones are
github.com/krasserm/perceiver-io and github.com/lucidrains/perceiver-ar-pytorch. `--runner NAME` is one competitor
alone, in its own process.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
N, M, WIDTH, HEADS, DEPTH, VOCABULARY = 4096, 2048, 640, 10, 8, 391
PRIME = N - M // 2
OURS = ("musicgen",)
THEIRS = ("krasserm", "krasserm compiled", "lucidrains", "plain decoder", "plain decoder compiled")
TOKENS = {"lucidrains": 3}  # has no cache: every token is a pass over everything


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds by the clock, and what came out."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def report(parameters: int, prime: float, token: float) -> None:
    """What a runner says."""
    print(json.dumps({"parameters": parameters, "prime_seconds": prime, "token_seconds": token}))


def run_musicgen(count: int, _arguments: argparse.Namespace) -> None:
    """The released weights through the engine that the command uses."""
    import numpy as np

    from musicgen.app.generate import open_model, open_weights
    from musicgen.model.sampler import Sampling

    released = open_weights(None)
    model = open_model(released)
    tokens = np.random.default_rng(0).integers(3, VOCABULARY, PRIME).astype(np.int16)
    tokens[0] = 1

    def start() -> Any:
        sampling = Sampling(temperature=0.0)
        return model.engine.start([tokens], latents=M, context=N, sampling=sampling, seed=0)

    next(iter(start()))  # compile
    prime, stream = timed(start)
    blocks = iter(stream)
    next(blocks)
    drawn = 0
    began = time.perf_counter()
    while drawn < count:
        drawn += next(blocks).shape[1]
    seconds = time.perf_counter() - began  # before the weights are made floats to be counted
    report(sum(x.size for x in released.params.values()), prime, seconds / drawn)


def run_krasserm(count: int, arguments: argparse.Namespace, compiled: bool) -> None:
    """perceiver-io's CausalSequenceModel with its cache."""
    import torch

    sys.path.insert(0, str(arguments.krasserm))
    fairscale = types.ModuleType("fairscale.nn")  # it wants fairscale for checkpointing in training only
    fairscale.checkpoint_wrapper = None  # type: ignore[attr-defined]
    sys.modules.update({"fairscale": types.ModuleType("fairscale"), "fairscale.nn": fairscale})
    from perceiver.model.core import CausalSequenceModelConfig
    from perceiver.model.core.modules import CausalSequenceModel

    config = CausalSequenceModelConfig(
        vocab_size=VOCABULARY,
        max_seq_len=N,
        max_latents=M,
        num_channels=WIDTH,
        num_heads=HEADS,
        num_self_attention_layers=DEPTH,
    )
    model = CausalSequenceModel(config).eval()
    step = torch.compile(model, dynamic=True) if compiled else model
    tokens = torch.randint(3, VOCABULARY, (1, PRIME))

    def read() -> Any:
        return model(tokens, prefix_len=PRIME - M // 2, kv_cache=[])

    with torch.inference_mode():
        prime, output = timed(read)

        def draw(state: Any, many: int) -> Any:
            for _ in range(many):
                token = state.logits[:, -1:].argmax(-1)
                state = step(token, prefix_len=PRIME - M // 2, kv_cache=state.kv_cache)
            return state

        output = draw(output, 8 if compiled else 1)
        seconds, _ = timed(lambda: draw(output, count))
    report(sum(x.numel() for x in model.parameters()), prime, seconds / count)


def run_lucidrains(count: int, arguments: argparse.Namespace) -> None:
    """perceiver-ar-pytorch, which reads everything anew for each token."""
    import torch

    sys.path.insert(0, str(arguments.lucidrains))
    from perceiver_ar_pytorch import PerceiverAR

    model = PerceiverAR(
        num_tokens=VOCABULARY, dim=WIDTH, depth=DEPTH, heads=HEADS, max_seq_len=N, cross_attn_seq_len=N - M
    ).eval()
    tokens = torch.randint(3, VOCABULARY, (1, PRIME))
    with torch.inference_mode():
        prime, logits = timed(lambda: model(tokens))

        def draw() -> None:
            nonlocal tokens, logits
            for _ in range(count):
                tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], dim=1)
                logits = model(tokens)

        seconds, _ = timed(draw)
    report(sum(x.numel() for x in model.parameters()), prime, seconds / count)


def run_plain(count: int, compiled: bool) -> None:
    """A plain decoder over all N positions, as short as can be, with a cache that is written in place."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)
            self.register_buffer("keys", torch.zeros(1, HEADS, N, WIDTH // HEADS))
            self.register_buffer("values", torch.zeros(1, HEADS, N, WIDTH // HEADS))

        def forward(self, x: Any, at: Any, mask: Any) -> Any:
            q, k, v = self.qkv(self.norms[0](x)).view(1, -1, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
            self.keys.index_copy_(2, at, k)
            self.values.index_copy_(2, at, v)
            if mask is None:
                a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                a = F.scaled_dot_product_attention(q, self.keys, self.values, attn_mask=mask)
            x = x + self.out(a.transpose(1, 2).reshape(1, -1, WIDTH))
            return x + self.down(F.gelu(self.up(self.norms[1](x))))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(N, WIDTH)
            self.layers = nn.ModuleList([Layer() for _ in range(DEPTH + 1)])
            self.logits = nn.Linear(WIDTH, VOCABULARY, bias=False)

        def forward(self, tokens: Any, at: Any, mask: Any) -> Any:
            x = self.tokens(tokens) + self.positions(at)
            for layer in self.layers:
                x = layer(x, at, mask)
            return self.logits(x[:, -1])

    model = Plain().eval()
    step = torch.compile(model) if compiled else model
    with torch.inference_mode():
        prime, logits = timed(lambda: model(torch.randint(3, VOCABULARY, (1, PRIME)), torch.arange(PRIME), None))
        position = PRIME

        def draw(many: int) -> None:
            nonlocal logits, position
            for _ in range(many):
                mask = (torch.arange(N) <= position)[None, None, None]
                logits = step(logits.argmax(-1)[None], torch.tensor([position]), mask)
                position += 1

        draw(8 if compiled else 1)
        seconds, _ = timed(lambda: draw(count))
    report(sum(x.numel() for x in model.parameters()), prime, seconds / count)


def run(name: str, arguments: argparse.Namespace) -> None:
    """One competitor, in this process."""
    count = TOKENS.get(name, arguments.tokens)
    if name not in OURS:
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(arguments.threads)
    runners: dict[str, Callable[[], None]] = {
        "musicgen": lambda: run_musicgen(count, arguments),
        "krasserm": lambda: run_krasserm(count, arguments, False),
        "krasserm compiled": lambda: run_krasserm(count, arguments, True),
        "lucidrains": lambda: run_lucidrains(count, arguments),
        "plain decoder": lambda: run_plain(count, False),
        "plain decoder compiled": lambda: run_plain(count, True),
    }
    runners[name]()


def in_its_own_process(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """What a competitor reports; raises CalledProcessError if it fails."""
    python = sys.executable if name in OURS else arguments.torch_python
    command = [python, str(Path(__file__).resolve()), "--runner", name]
    for option in ("tokens", "threads", "krasserm", "lucidrains"):
        command += [f"--{option}", str(getattr(arguments, option))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compete(arguments: argparse.Namespace) -> dict[str, Any]:
    """Rounds in turn, the least of each, and the ratio to ours."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*OURS, *THEIRS)}
    load = round(os.getloadavg()[0], 2)
    for number in range(arguments.rounds):
        for name, reports in found.items():
            try:
                reports.append(in_its_own_process(name, arguments))
                print(number, name, reports[-1], flush=True)
            except subprocess.CalledProcessError as error:
                print(number, name, "failed:", error, flush=True)
    rows = {}
    for name, reports in found.items():
        if reports:
            best = {key: min(each[key] for each in reports) for key in reports[0]}
            rows[name] = {
                "parameters": int(best["parameters"]),
                "prime_seconds": round(best["prime_seconds"], 2),
                "tokens_per_second": round(1 / best["token_seconds"], 2),
            }
    for row in rows.values():
        row["ours_is_times_faster"] = round(rows["musicgen"]["tokens_per_second"] / row["tokens_per_second"], 2)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "load_before": load,
        "jax": importlib.metadata.version("jax"),
        "rows": rows,
    }


def main() -> None:
    """One runner, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--torch-python", type=Path)
    add("--krasserm", type=Path)
    add("--lucidrains", type=Path)
    add("--rounds", type=int, default=3)
    add("--tokens", type=int, default=64)
    add("--threads", type=int, default=os.cpu_count() or 1)
    add("--runner", choices=(*OURS, *THEIRS))
    add("--out", type=Path, default=HERE / "result.json")
    arguments = parser.parse_args()
    if arguments.runner:
        run(arguments.runner, arguments)
        return
    result = compete(arguments)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["rows"], indent=1))


if __name__ == "__main__":
    main()
