"""Perceiver AR in float64 numpy, written from the equations: loops over positions and heads, no masks, no cache.

The parameters are those of the model by name.  Nothing here is shared with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from musicgen.model.config import ModelConfig

Parameters = Mapping[str, np.ndarray]


def norm(x: np.ndarray) -> np.ndarray:
    """x / sqrt(mean(x^2) + 1e-6) over the last axis."""
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)


def activation(x: np.ndarray) -> np.ndarray:
    """GELU with the tanh of Hendrycks & Gimpel (2016)."""
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rotated(x: np.ndarray, position: int, fraction: float) -> np.ndarray:
    """One head [K] at one position: pair i of the rotated part turns by position * 10000^(-i / pairs)."""
    x = x.copy()
    pairs = int(len(x) * fraction) // 2
    for i in range(pairs):
        angle = position * 10_000.0 ** (-i / pairs)
        turn = complex(x[i], x[i + pairs]) * complex(np.cos(angle), np.sin(angle))
        x[i], x[i + pairs] = turn.real, turn.imag
    return x


class Reference:
    """The whole model."""

    def __init__(self, config: ModelConfig, params: Parameters):
        self.config = config
        self.params = {name: np.asarray(values, np.float64) for name, values in params.items()}

    def block(
        self, name: str, x: np.ndarray, x_at: list[int], h: np.ndarray, h_at: list[int], reach: int, border: int = 0
    ) -> np.ndarray:
        """Queries from x [M, D], keys and values from h [T, D]; a query sees keys at most `reach` - 1 before it.

        A key turns as if it stood no further back than `border`.
        """
        c, p = self.config, {part: self.params[f"{name}.{part}"] for part in PARTS}
        K, share = c.head_size, c.heads // c.kv_heads
        normed, normed_h = norm(x), norm(h)
        attended = np.zeros((len(x), c.heads, K))
        for head in range(c.heads):
            own, shared = slice(head * K, (head + 1) * K), slice(head // share * K, (head // share + 1) * K)
            keys = norm(normed_h @ p["key.kernel"][:, shared]) * p["key_scale"]
            keys = np.stack([rotated(k, max(at, border), c.rotary_fraction) for k, at in zip(keys, h_at, strict=True)])
            values = normed_h @ p["value.kernel"][:, shared]
            queries = norm(normed @ p["query.kernel"][:, own]) * p["query_scale"]
            for j, (query, at) in enumerate(zip(queries, x_at, strict=True)):
                seen = [t for t, key_at in enumerate(h_at) if at - reach < key_at <= at]
                scores = keys[seen] @ rotated(query, at, c.rotary_fraction) / np.sqrt(K)
                weights = np.exp(scores - scores.max())
                attended[j, head] = weights / weights.sum() @ values[seen]
        x = x + attended.reshape(len(x), -1) @ p["out.kernel"]
        return x + activation(norm(x) @ p["up.kernel"]) @ p["down.kernel"]

    def inputs(self, tokens: np.ndarray) -> np.ndarray:
        """tokens [N] -> [N, D] after the local blocks."""
        h, at = norm(self.params["embedding"][tokens]), list(range(len(tokens)))
        for i in range(self.config.local_layers):
            h = self.block(f"local.{i}", h, at, h, at, self.config.local_window)
        return h

    def __call__(self, tokens: np.ndarray, M: int, first: int = 0, free_inputs: int = 0) -> np.ndarray:
        """Logits [M, V] after each of the last M of tokens [N], of which the latents see those from `first` on.

        There will be `free_inputs` more latents: only after the last of these the trained context counts back.
        """
        N, c = len(tokens), self.config
        border = N + free_inputs - max(c.context, M + free_inputs)
        x_at, h_at = list(range(N - M, N)), list(range(first, N))
        h = self.inputs(tokens)
        x, h = h[N - M :], h[first:]
        crossed = 0
        for layer in range(c.layers):
            if crossed < c.cross_attends and layer == crossed * (c.layers // c.cross_attends):
                x = self.block(f"cross.{crossed}", x, x_at, h, h_at, N, border)
                crossed += 1
            x = self.block(f"layers.{layer}", x, x_at, x, x_at, N)
        return norm(x) @ self.params["logits.kernel"]


PARTS = (
    *("query.kernel", "key.kernel", "value.kernel", "out.kernel", "query_scale", "key_scale", "up.kernel"),
    "down.kernel",
)
