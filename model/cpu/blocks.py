"""A block of perceiver_ar.py over many rows at once: what model/cpu/scoring.py reads windows by.

Threads take turns: whoever is free takes the next UNIT rows through all that a block does to a row by itself.  Keys and
values are those of the whole sequence, packed as the right matrices of two products (model/cpu/tiles.py): queries times
keys are the scores, and what softmax makes of them times values is what was attended.

Letters: T inputs, R rows, D width, H heads, G key/value heads, K head size, P head size in whole tiles, F width of the
MLP.  Rows are whole tiles everywhere; those that are not wanted come last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float32

from musicgen.model.config import ModelConfig
from musicgen.model.cpu import step
from musicgen.model.cpu.primitives import atomic_increment, compiled, greater, inlined, power_of_two, wait
from musicgen.model.cpu.step import LOG2_E, SERIES
from musicgen.model.cpu.threads import thread_team
from musicgen.model.cpu.tiles import (
    PANEL,
    TILE,
    amx_registers,
    best_dtype,
    free_registers,
    multiply,
    pack,
    place,
    products,
    room,
    store,
    use_registers,
    whole_tiles,
)
from musicgen.model.cpu.weights import CpuWeights

add_rows, rms_norm, rotate = map(inlined, (step.add_rows, step.rms_norm, step.rotate))
UNIT = 128  # rows: 2 MB of the MLP's, beside which the matrices are read as fast as they are multiplied
ALL = 2**40  # a window of all inputs


class Matrices(NamedTuple):
    """Of a block, packed; scales f32 [2, K] of queries and keys."""

    query: np.ndarray
    key_value: np.ndarray
    out: np.ndarray
    up: np.ndarray
    down: np.ndarray
    scales: np.ndarray


class Room(NamedTuple):
    """Where each part works; f32, or numbers to be multiplied."""

    factors: np.ndarray  # [parts, UNIT * F]: to be multiplied
    sums: np.ndarray  # [parts, UNIT * F]
    scores: np.ndarray  # [parts, TILE, T or more]
    shares: np.ndarray  # [parts, TILE, T or more], to be multiplied: exp(scores)
    attended: np.ndarray  # [parts, TILE, P]
    registers: np.ndarray  # those of AMX


@inlined
def normalise(x: np.ndarray, out: np.ndarray) -> None:
    """rms_norm of rows f32 [R, D], to be multiplied."""
    normal = np.empty(x.shape[1], np.float32)
    for row in range(x.shape[0]):
        rms_norm(x[row], normal)
        store(normal, out[row])


@inlined
def rows_of(memory: np.ndarray, rows: int, width: int) -> np.ndarray:
    """[rows, width] of a part's memory."""
    return memory[: rows * width].reshape(rows, width)


@inlined
def project(part: int, x: np.ndarray, first: int, panels: np.ndarray, room: Room) -> np.ndarray:
    """The next UNIT rows of x f32 [R, D], normalised, times a matrix."""
    rows = min(UNIT, x.shape[0] - first)
    outputs = panels.shape[0] * PANEL
    normal = rows_of(room.factors[part], rows, panels.shape[1] // PANEL)
    found = rows_of(room.sums[part], rows, outputs)
    normalise(x[first : first + rows], normal)
    products(normal, panels, found)
    return found


@compiled
def make_queries(
    part: int,
    parts: int,
    barrier: np.ndarray,
    turn: np.ndarray,
    x: np.ndarray,
    of: Matrices,
    cos: np.ndarray,
    sin: np.ndarray,
    room: Room,
    queries: np.ndarray,
) -> None:
    """queries [R, H, P] of x f32 [R, D], at cos and sin [R, pairs] of their positions."""
    K = of.scales.shape[1]
    query, factor = np.empty(K, np.float32), float32(1) / np.sqrt(float32(K))
    use_registers(room.registers)
    first = atomic_increment(turn) * UNIT
    while first < x.shape[0]:
        found = project(part, x, first, of.query, room)
        for row in range(found.shape[0]):
            at = first + row
            for head in range(queries.shape[1]):
                rotate(found[row, head * K : head * K + K], of.scales[0], cos[at], sin[at], query)
                for i in range(K):
                    query[i] *= factor
                store(query, queries[at, head])
        first = atomic_increment(turn) * UNIT
    free_registers(room.registers)
    wait(barrier, parts)


@compiled
def make_keys_values(
    part: int,
    parts: int,
    barrier: np.ndarray,
    turn: np.ndarray,
    x: np.ndarray,
    of: Matrices,
    cos: np.ndarray,
    sin: np.ndarray,
    room: Room,
    keys: np.ndarray,
    values: np.ndarray,
) -> None:
    """keys and values [G, T * P] of x f32 [T, D]: matrices of P inputs and of T, packed."""
    K, P, G = of.scales.shape[1], room.attended.shape[2], keys.shape[0]
    T = keys.shape[1] // P
    key, number = np.empty(K, np.float32), np.empty(P, keys.dtype)
    use_registers(room.registers)
    first = atomic_increment(turn) * UNIT
    while first < x.shape[0]:
        found = project(part, x, first, of.key_value, room)
        for row in range(found.shape[0]):
            at = first + row
            for g in range(G):
                rotate(found[row, g * K : g * K + K], of.scales[1], cos[at], sin[at], key)
                store(key, number)
                for i in range(K):
                    keys[g, place(i, at, P, keys)] = number[i]
                store(found[row, (G + g) * K : (G + g) * K + K], number)
                for i in range(K):
                    values[g, place(at, i, T, values)] = number[i]
        first = atomic_increment(turn) * UNIT
    free_registers(room.registers)
    wait(barrier, parts)


@inlined
def exponential(x: float) -> float:
    """exp of a float32 no greater than 87 to a few ten-millionths; no less than 2**-126."""
    y = greater(x * float32(LOG2_E), float32(-126))
    whole = np.floor(y + float32(0.5))
    f = y - whole
    s = SERIES
    return (s[0] + f * (s[1] + f * (s[2] + f * (s[3] + f * (s[4] + f * (s[5] + f * s[6])))))) * power_of_two(whole)


@inlined
def soften(scores: np.ndarray) -> float:
    """scores [T] = exp(scores - their greatest); returns their sum."""
    most, total = scores[0], float32(0)
    for t in range(scores.shape[0]):
        most = greater(most, scores[t])
    for t in range(scores.shape[0]):
        scores[t] = exponential(scores[t] - most)
        total += scores[t]
    return total


@inlined
def gelu(x: np.ndarray) -> None:
    """x [F] = gelu(x) by its approximation with tanh, jax.nn.gelu's."""
    for i in range(x.shape[0]):
        exponent = float32(-1.5957691216057308) * (x[i] + float32(0.044715) * x[i] * x[i] * x[i])
        x[i] /= float32(1) + exponential(-greater(-exponent, float32(-80)))


@inlined
def attend(
    part: int,
    queries: np.ndarray,
    head: int,
    keys: np.ndarray,
    values: np.ndarray,
    own: int,
    window: int,
    room: Room,
    out: np.ndarray,
) -> None:
    """What a tile of queries [TILE, H, P] attends to, out f32 [TILE, H * K].

    keys, values: [T * P], packed.  own: which key is the first query's own.  window: each query sees so many keys, its
    own the last of them.
    """
    H, P = queries.shape[1:]
    T, K = keys.shape[0] // P, out.shape[1] // H
    scores, shares, attended = room.scores[part], room.shares[part], room.attended[part]
    flat, flat_shares, flat_attended = scores.reshape(-1), shares.reshape(-1), attended.reshape(-1)
    totals = np.empty(TILE, np.float32)
    begin = max(0, own - window + 1) // TILE * TILE
    count = (own + TILE - 1) // TILE * TILE + TILE - begin
    for t in range(0, count, TILE):
        multiply(queries.reshape(-1), head * P, H * P, keys, (begin + t) * P, P, P, flat, t, scores.shape[1])
    for i in range(TILE):
        first, end = max(0, own + i - window + 1) - begin, own + i + 1 - begin
        totals[i] = soften(scores[i, first:end])
        for t in range(first):
            shares[i, t] = 0
        store(scores[i, first:end], shares[i, first:count])
    for d in range(0, P, TILE):
        multiply(flat_shares, 0, shares.shape[1], values, d * T + begin * PANEL, T, count, flat_attended, d, P)
    for i in range(TILE):
        for d in range(K):
            out[i, head * K + d] = attended[i, d] / totals[i]


@compiled
def attend_and_mix(
    part: int,
    parts: int,
    barrier: np.ndarray,
    turn: np.ndarray,
    x: np.ndarray,
    of: Matrices,
    queries: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    before: int,
    window: int,
    room: Room,
) -> None:
    """x f32 [R, D] becomes the block's output; the first query's own key is that after `before` others."""
    H, group = queries.shape[1], queries.shape[1] // keys.shape[0]
    K, F = of.scales.shape[1], of.up.shape[0] * PANEL
    attended = np.empty((TILE, H * K), np.float32)
    use_registers(room.registers)
    first = atomic_increment(turn) * UNIT
    while first < x.shape[0]:
        mine = x[first : first + UNIT]
        rows = mine.shape[0]
        joined = rows_of(room.factors[part], rows, of.out.shape[1] // PANEL)
        for row in range(0, rows, TILE):
            at = first + row
            for head in range(H):
                g = head // group
                attend(part, queries[at : at + TILE], head, keys[g], values[g], before + at, window, room, attended)
            for i in range(TILE):
                store(attended[i], joined[row + i])
        mixed = rows_of(room.sums[part], rows, of.out.shape[0] * PANEL)
        products(joined, of.out, mixed)
        add_rows(mixed[:, : x.shape[1]], mine)
        wide = project(part, x, first, of.up, room)
        activated = rows_of(room.factors[part], rows, F)
        for row in range(rows):
            gelu(wide[row])
            store(wide[row], activated[row])
        products(activated, of.down, mixed)
        add_rows(mixed[:, : x.shape[1]], mine)
        first = atomic_increment(turn) * UNIT
    free_registers(room.registers)
    wait(barrier, parts)


@compiled
def make_outputs(
    part: int,
    parts: int,
    barrier: np.ndarray,
    turn: np.ndarray,
    x: np.ndarray,
    panels: np.ndarray,
    room: Room,
    out: np.ndarray,
) -> None:
    """out f32 [R, O]: rows x f32 [R, D], normalised, times a matrix."""
    use_registers(room.registers)
    first = atomic_increment(turn) * UNIT
    while first < x.shape[0]:
        found = project(part, x, first, panels, room)
        for row in range(found.shape[0]):
            for i in range(out.shape[1]):
                out[first + row, i] = found[row, i]
        first = atomic_increment(turn) * UNIT
    free_registers(room.registers)
    wait(barrier, parts)


class Blocks:
    """The blocks of a model, by name, over rows f32 [R, D] in whole tiles."""

    def __init__(self, config: ModelConfig, weights: CpuWeights, threads: int | None, dtype: type | None = None):
        """threads: as many as there are cores unless given.  dtype: of tiles.py; the fastest unless given."""
        self.config, self.weights, self.team = config, weights, thread_team(threads)
        self.dtype = best_dtype() if dtype is None else dtype
        self._packed: dict[str, Matrices] = {}
        self._output: np.ndarray | None = None
        self._room: Room | None = None

    def matrices(self, name: str) -> Matrices:
        """Those of a block."""
        if name not in self._packed:
            names = (("query",), ("key", "value"), ("out",), ("up",), ("down",))
            floats = (self.weights.floats(*(f"{name}.{part}" for part in parts)) for parts in names)
            scales = [self.weights.weights[f"{name}.{part}_scale"] for part in ("query", "key")]
            packed = [*(pack(matrix, self.dtype) for matrix in floats), np.array(scales, np.float32)]
            self._packed[name] = Matrices._make(packed)
        return self._packed[name]

    def room(self, inputs: int) -> Room:
        """For so many inputs or fewer."""
        c, parts = self.config, self.team.parts
        if self._room is None or self._room.scores.shape[2] < inputs:
            widest = UNIT * whole_tiles(max(c.widening * c.width, c.vocab_size, 2 * c.kv_heads * c.head_size, c.width))
            line = room(
                (parts, TILE, inputs + PANEL), np.float32
            )  # one more: rows would share too few lines of the cache
            self._room = Room(
                room((parts, widest), self.dtype),
                room((parts, widest), np.float32),
                line,
                room((parts, TILE, inputs + 2 * PANEL), self.dtype),
                room((parts, TILE, whole_tiles(c.head_size)), np.float32),
                amx_registers(),
            )
        return self._room

    def run(self, kernel, *arguments) -> None:  # type: ignore[no-untyped-def]  # one of those above
        """By all threads."""
        self.team.run(kernel, np.zeros(1, np.int64), *arguments)

    def apply(
        self,
        name: str,
        x: np.ndarray,
        at: tuple[np.ndarray, np.ndarray],
        inputs: np.ndarray,
        inputs_at: tuple[np.ndarray, np.ndarray],
        before: int,
        window: int = ALL,
    ) -> None:
        """x f32 [R, D] becomes what the block makes of it, attending to inputs f32 [T, D].

        at, inputs_at: cosines and sines of their positions.  before: how many inputs come before the first of x.
        """
        c, of = self.config, self.matrices(name)
        P, T = whole_tiles(c.head_size), whole_tiles(max(len(inputs), before + len(x)))
        place = self.room(T)
        queries = room((len(x), c.heads, P), self.dtype)
        keys, values = (room((c.kv_heads, T * P), self.dtype) for _ in range(2))
        self.run(make_keys_values, inputs, of, *inputs_at, place, keys, values)
        self.run(make_queries, x, of, *at, place, queries)
        self.run(attend_and_mix, x, of, queries, keys, values, before, window, place)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """f32 [R, O]: what the latents x say of the token after each."""
        if self._output is None:
            self._output = pack(self.weights.floats("output"), self.dtype)
        out = np.empty((len(x), self.weights.shape("output")[1]), np.float32)
        self.run(make_outputs, x, self._output, self.room(TILE), out)
        return out
