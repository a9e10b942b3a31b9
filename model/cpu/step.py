"""One more token through the model on a CPU: one function, compiled by Numba.

A step reads all weights and all keys and values once and computes little with them, so that it can be as quick as
memory is.  That takes what no library's operators do (benchmarks/cpu): bytes become floats in registers, memory is
asked for before it is needed, keys lie in chunks that the heads of a group share while they are near.

Several threads run the same function, each for its own part of every product's rows and of the attention's chunks, and
wait for each other in between.  What is computed does not depend on their number.

Letters: B rows, D width, H heads, G key/value heads, R = H/G heads of a group, K head size, F width of the MLP, L
blocks, C keys of a chunk.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, int32

from musicgen.model.cpu.memory import CHUNK, CROSS, LATENT, LOCAL, Caches, Shared, Weights
from musicgen.model.cpu.primitives import compiled, prefetch, wait
from musicgen.model.cpu.products import product
from musicgen.model.cpu.weights import EPSILON

ROWS_AHEAD = 8  # of a chunk: the same for keys and values
LOG2_E = 1.4426950408889634
# 2**f for |f| <= 0.5, the Taylor series: 1e-8 at its ends.
SERIES = tuple(float32(math.log(2) ** i / math.factorial(i)) for i in range(8))


@compiled
def exponential(x: np.ndarray, powers: np.ndarray) -> None:
    """x f32 [T] = exp(x) to a few millionths, between 2**-126 and 2**126; powers i32 [T or more] is room to work in."""
    powers = powers[: x.shape[0]]
    for i in range(x.shape[0]):
        y = min(max(x[i] * float32(LOG2_E), float32(-126)), float32(126))
        whole = np.floor(y + float32(0.5))
        f = y - whole
        s = SERIES
        x[i] = s[0] + f * (s[1] + f * (s[2] + f * (s[3] + f * (s[4] + f * (s[5] + f * (s[6] + f * s[7]))))))
        powers[i] = int32(int32(whole) + int32(127)) << int32(23)
    factors = powers.view(np.float32)
    for i in range(x.shape[0]):
        x[i] *= factors[i]


@compiled
def rms_norm(x: np.ndarray, out: np.ndarray) -> None:
    """perceiver_ar.rms_norm of x [T]."""
    total = float32(0)
    for i in range(x.shape[0]):
        total += x[i] * x[i]
    factor = float32(1) / np.sqrt(total / float32(x.shape[0]) + float32(EPSILON))
    for i in range(x.shape[0]):
        out[i] = x[i] * factor


@compiled
def rms_norms(x: np.ndarray, out: np.ndarray) -> None:
    """Of every row of x [B, D]."""
    for row in range(x.shape[0]):
        rms_norm(x[row], out[row])


@compiled
def copy_rows(x: np.ndarray, out: np.ndarray) -> None:
    """x [B, D] into out; NumPy's own way would bring its error messages along, which take longer to compile."""
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            out[row, i] = x[row, i]


@compiled
def add_rows(x: np.ndarray, out: np.ndarray) -> None:
    """x [B, D] to out."""
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            out[row, i] += x[row, i]


@compiled
def rotate(head: np.ndarray, scale: np.ndarray, cos: np.ndarray, sin: np.ndarray, out: np.ndarray) -> None:
    """A query or key [K], normalised, scaled and rotated (perceiver_ar.rotary); cos, sin [pairs] of its position."""
    pairs = cos.shape[0]
    rms_norm(head, out)
    for i in range(head.shape[0]):
        out[i] *= scale[i]
    for i in range(pairs):
        first, second = out[i], out[pairs + i]
        out[i] = first * cos[i] - second * sin[i]
        out[pairs + i] = second * cos[i] + first * sin[i]


@compiled
def prefetch_rows(flat: np.ndarray, first: int, count: int, part: int, parts: int) -> None:
    """Ask for this part of the memory of flat[first : first + count]: a core has few questions open at a time."""
    for i in range(first + count * part // parts, first + count * (part + 1) // parts, 64 // flat.itemsize):
        prefetch(flat, i)


@compiled
def attend(
    q: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    count: int,
    scores: np.ndarray,
    powers: np.ndarray,
    out: np.ndarray,
) -> None:
    """Queries [R, K] to the first `count` of keys and values [K, C], which lie in memory before the next chunk's.

    out f32 [R, K+2]: the values' sum weighted by exp(score - greatest), the sum of those weights, the greatest score.
    """
    R, K = q.shape
    C = keys.shape[1]
    flat_keys, flat_values = keys.reshape(-1), values.reshape(-1)
    for r in range(R):
        for t in range(count):
            scores[r, t] = 0
    for i in range(0, K - 3, 4):  # four at a time: a score is fetched and put back a quarter as often
        k0, k1, k2, k3 = keys[i, :count], keys[i + 1, :count], keys[i + 2, :count], keys[i + 3, :count]
        for r in range(R):
            if i + ROWS_AHEAD < K:
                prefetch_rows(flat_keys, (i + ROWS_AHEAD) * C, 4 * C, r, R)
            else:
                prefetch_rows(flat_values, (i + ROWS_AHEAD - K) * C, 4 * C, r, R)
            q0, q1, q2, q3, own = q[r, i], q[r, i + 1], q[r, i + 2], q[r, i + 3], scores[r, :count]
            for t in range(count):
                own[t] += q0 * k0[t] + q1 * k1[t] + q2 * k2[t] + q3 * k3[t]
    for i in range(K // 4 * 4, K):
        for r in range(R):
            for t in range(count):
                scores[r, t] += q[r, i] * keys[i, t]
    for r in range(R):
        own = scores[r, :count]
        most = own[0]
        for t in range(count):
            most = max(most, own[t])
        for t in range(count):
            own[t] -= most
        exponential(own, powers)
        total = float32(0)
        for t in range(count):
            total += own[t]
        out[r, K] = total
        out[r, K + 1] = most
    for i in range(0, K - 3, 4):
        v0, v1, v2, v3 = values[i, :count], values[i + 1, :count], values[i + 2, :count], values[i + 3, :count]
        for r in range(R):
            if i + ROWS_AHEAD < K:
                prefetch_rows(flat_values, (i + ROWS_AHEAD) * C, 4 * C, r, R)
            else:
                prefetch_rows(flat_keys, (i + ROWS_AHEAD) * C, 4 * C, r, R)  # the next chunk's
            own = scores[r, :count]
            s0, s1, s2, s3 = float32(0), float32(0), float32(0), float32(0)
            for t in range(count):
                s0 += own[t] * v0[t]
                s1 += own[t] * v1[t]
                s2 += own[t] * v2[t]
                s3 += own[t] * v3[t]
            out[r, i], out[r, i + 1], out[r, i + 2], out[r, i + 3] = s0, s1, s2, s3
    for i in range(K // 4 * 4, K):
        for r in range(R):
            total = float32(0)
            for t in range(count):
                total += scores[r, t] * values[i, t]
            out[r, i] = total


@compiled
def merge_chunks(chunks: np.ndarray, out: np.ndarray) -> None:
    """What the chunks [n, K+2] of a head's attention come to, [K]."""
    K = out.shape[0]
    most = chunks[0, K + 1]
    for c in range(chunks.shape[0]):
        most = max(most, chunks[c, K + 1])
    total = float32(0)
    for i in range(K):
        out[i] = 0
    for c in range(chunks.shape[0]):
        weight = np.exp(chunks[c, K + 1] - most)
        total += weight * chunks[c, K]
        for i in range(K):
            out[i] += weight * chunks[c, i]
    for i in range(K):
        out[i] /= total


@compiled
def gelu(x: np.ndarray, exponents: np.ndarray, powers: np.ndarray) -> None:
    """x [T] = gelu(x) by its approximation with tanh, jax.nn.gelu's."""
    for i in range(x.shape[0]):
        exponents[i] = float32(-1.5957691216057308) * (x[i] + float32(0.044715) * x[i] * x[i] * x[i])
    exponential(exponents[: x.shape[0]], powers)
    for i in range(x.shape[0]):
        x[i] /= float32(1) + exponents[i]


@compiled
def attend_all(
    shared: Shared,
    scales: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    rows: np.ndarray,
    counts: np.ndarray,
    slots: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    part: int,
    parts: int,
) -> None:
    """Put the new keys and values into slots [B] of the caches, and attend to the first counts [B]: this part's chunks.

    scales [2, K] of queries and keys; keys and values [., G, ., K, C], of which rows [B] count; cos, sin [B, pairs].
    """
    B, (_, G, _, K, C) = len(rows), keys.shape
    R = shared.chunks.shape[3]
    q, scores, powers = np.empty((R, K), np.float32), np.empty((R, C), np.float32), np.empty(C, np.int32)
    key = np.empty(K, np.float32)
    units = 0
    for row in range(B):
        units += G * ((counts[row] + C - 1) // C)
    first, end, unit = units * part // parts, units * (part + 1) // parts, 0
    for row in range(B):
        at = rows[row]
        queries, keys_values = shared.queries[row].reshape(-1, K), shared.keys_values[row].reshape(-1, K)
        for g in range(G):
            fresh = True
            for c in range((counts[row] + C - 1) // C):
                if first <= unit < end:
                    if fresh:
                        fresh = False
                        for r in range(R):
                            rotate(queries[g * R + r], scales[0], cos[row], sin[row], q[r])
                            for i in range(K):
                                q[r, i] /= np.sqrt(float32(K))
                    if slots[row] // C == c:
                        rotate(keys_values[g], scales[1], cos[row], sin[row], key)
                        for i in range(K):
                            keys[at, g, c, i, slots[row] % C] = key[i]
                            values[at, g, c, i, slots[row] % C] = keys_values[G + g, i]
                    count = min(counts[row] - c * C, C)
                    attend(q, keys[at, g, c], values[at, g, c], count, scores, powers, shared.chunks[row, g, c])
                unit += 1


@compiled
def step(
    part: int,
    parts: int,
    barrier: np.ndarray,
    x: np.ndarray,
    weights: Weights,
    caches: Caches,
    shared: Shared,
    rows: np.ndarray,
    window: int,
    cos: np.ndarray,
    sin: np.ndarray,
) -> None:
    """This part of a step: embedded inputs x [B, D], cos and sin [B, pairs] of their positions -> shared.outputs.

    rows: i64 [B], which of the caches' rows they belong to.
    """
    B, F = x.shape[0], shared.wide.shape[1]
    _, G, _, R, K = shared.chunks.shape
    K -= 2
    HK = G * R * K
    x, attended = x.copy(), np.empty((B, HK), np.float32)
    normal, normal_h = np.empty(x.shape, np.float32), np.empty(x.shape, np.float32)
    exponents, powers = np.empty(F, np.float32), np.empty(F, np.int32)
    counts, slots = np.empty(B, np.int64), np.empty(B, np.int64)
    goal, processing = 0, False
    for block in range(len(weights.kinds)):
        kind, which = weights.kinds[block, 0], weights.kinds[block, 1]
        rms_norms(x, normal)
        if kind != LOCAL and not processing:
            processing = True
            copy_rows(normal, normal_h)
            copy_rows(x, shared.latent_inputs)  # by every part the same
        kernel, scale = weights.qkv[block], weights.qkv_scale[block]
        product(kernel[:HK], scale[:HK], normal, shared.queries, part, parts)
        source = normal_h if kind == CROSS else normal
        product(kernel[HK:], scale[HK:], source, shared.keys_values, part, parts)
        goal = wait(barrier, goal + parts)

        keys, values = caches.latent_keys, caches.latent_values
        if kind == LOCAL:
            keys, values = caches.local_keys, caches.local_values
        elif kind == CROSS:
            keys, values = caches.cross_keys, caches.cross_values
        for row in range(B):
            slots[row] = caches.latents[rows[row]] if kind == LATENT else caches.inputs[rows[row]]
            counts[row] = slots[row] + 1
            if kind == LOCAL:
                counts[row] = min(counts[row], window)
                slots[row] %= window
        scales = weights.head_scales[block]
        attend_all(shared, scales, keys[which], values[which], rows, counts, slots, cos, sin, part, parts)
        goal = wait(barrier, goal + parts)

        for row in range(B):
            chunks = shared.chunks[row, :, : (counts[row] + CHUNK - 1) // CHUNK]
            for head in range(G * R):
                merge_chunks(chunks[head // R, :, head % R], attended[row, head * K : head * K + K])
        product(weights.out[block], weights.out_scale[block], attended, shared.mixed, part, parts)
        goal = wait(barrier, goal + parts)
        add_rows(shared.mixed, x)

        rms_norms(x, normal)
        product(weights.up[block], weights.up_scale[block], normal, shared.wide, part, parts)
        for row in range(B):
            gelu(shared.wide[row, F * part // parts : F * (part + 1) // parts], exponents, powers)
        goal = wait(barrier, goal + parts)
        product(weights.down[block], weights.down_scale[block], shared.wide, shared.mixed, part, parts)
        goal = wait(barrier, goal + parts)
        add_rows(shared.mixed, x)
    rms_norms(x, normal)
    product(weights.output, weights.output_scale, normal, shared.outputs, part, parts)
    wait(barrier, goal + parts)
