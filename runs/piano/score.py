"""Scores at the end of a leg: nats a token of each corpus, and nats a note of fills, with and without what stays.

Rows are those of training (~token: not scored), with padding on the left where a piece begins.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from musicgen.data_prep.dataset.gaps import GAP, SECOND, Gap, Steps, example, skyline, streams
from musicgen.data_prep.rules.preamble import preamble
from musicgen.data_prep.vocabulary import BOS, EOS, PAD, TIME_SHIFT
from musicgen.model import parameters
from musicgen.model.config import ModelConfig

COMPARABLE = 391  # ids of the first vocabulary: likelihoods of plain music are over these alone


class Scored(NamedTuple):
    """Rows i16[R, N+1], which group each is of, and how many notes its scored targets make."""

    rows: np.ndarray
    group: np.ndarray
    notes: np.ndarray
    names: list[str]


def _row(tokens: np.ndarray, scored: np.ndarray, N: int) -> np.ndarray:
    """The last N+1 tokens, those that do not count inverted, padding in front."""
    marked = np.where(scored, tokens, ~tokens).astype(np.int16)[-(N + 1) :]
    return np.concatenate([np.full(N + 1 - len(marked), PAD, np.int16), marked])


def windows(notes: Steps, N: int, M: int, ends: bool = True) -> list[np.ndarray]:
    """The rows that score each token of a piece once, as `model.evaluate` does with a stride of M / 2; with its EOS if
    the notes are all of it.
    """
    at = np.zeros(len(notes.start), np.int64)
    music = streams(notes, at, at, np.zeros(1, np.int64), np.zeros(1, np.int64))[0]
    front = np.append(preamble(), BOS)
    tokens = np.concatenate([front, music, [EOS] * ends]).astype(np.int16)
    targets = len(tokens) - len(front)
    stop, scored, rows = min(M, targets), min(M, targets), []
    while True:
        seen = tokens[: len(front) + stop]
        rows.append(_row(seen, np.arange(len(seen)) >= len(seen) - scored, N))
        if stop == targets:
            return rows
        scored = min(M // 2, targets - stop)
        stop += scored


def in_stream(notes: Steps, gap: Gap, N: int) -> np.ndarray:
    """A region as ordinary music: what is played in it scored, what came before it not."""

    def segment(step: np.ndarray) -> np.ndarray:
        return np.where(step < gap.start, 0, np.where(step < gap.stop, 1, -1))

    before, inside = streams(
        notes, segment(notes.start), segment(notes.end), np.array([0, gap.start]), np.zeros(2, np.int64)
    )
    told = np.concatenate([notes.start[notes.start < gap.start], notes.end[notes.end < gap.start], [0]])
    full, rest = divmod(gap.start - int(told.max()), 100)
    waits = [TIME_SHIFT + 99] * full + ([TIME_SHIFT + rest - 1] if rest else [])
    tokens = np.concatenate([preamble(), [BOS], before, waits, inside]).astype(np.int16)  # there may be no waits
    return _row(tokens, np.arange(len(tokens)) >= len(tokens) - len(inside), N)


def as_fill(notes: Steps, gap: Gap, stays: np.ndarray, N: int, M: int) -> np.ndarray | None:
    """A region to fill, what comes before it as far as there is room; None if M latents do not hold it."""
    room, most = N + 1, 1 << 30
    while True:
        made = example(notes, gap, stays, most_before=most, most_after=room // 8)
        gap_at = int(np.flatnonzero((made.tokens >= GAP) & (made.tokens < SECOND))[-1])
        if len(made.tokens) - gap_at > M - M // 20:
            return None
        if len(made.tokens) <= room:
            return _row(made.tokens, ~made.given & (np.arange(len(made.tokens)) > gap_at), N)
        most = max(0, min(most, gap_at) - (len(made.tokens) - room))


def regions(
    pieces: list[Steps], count: int, seconds: float, kind: str, seed: int
) -> list[tuple[Steps, Gap, np.ndarray]]:
    """Regions about notes drawn from all pieces alike, with what stays in them."""
    rng = np.random.default_rng([seed, int(seconds * 100)])
    share = np.array([len(piece.start) for piece in pieces], float)
    found = []
    while len(found) < count:
        notes = pieces[int(rng.choice(len(pieces), p=share / share.sum()))]
        start = max(0, int(notes.start[int(rng.integers(len(notes.start)))]) - int(rng.integers(60)))
        gap = Gap(start, start + int(seconds * 100))
        inside = (notes.start >= gap.start) & (notes.start < gap.stop)
        stays = np.zeros(len(notes.start), bool)
        if inside.sum() < 4:
            continue
        low, middle, high = np.quantile(notes.pitch[inside], [0.3, 0.5, 0.7]).astype(int).tolist()
        bands = {"lower": (0, middle - 1), "upper": (middle, 127), "middle": (low, high)}
        if kind in bands:
            gap = gap._replace(kind="band", low=max(0, bands[kind][0]), high=max(0, bands[kind][1]))
            stays = (notes.pitch < gap.low) | (notes.pitch > gap.high)
        elif kind == "melody":
            gap, stays = gap._replace(kind="melody_stays"), skyline(notes, 40)
        if (inside & ~stays).any():
            found.append((notes, gap, stays))
    return found


def ways(notes: Steps, gap: Gap, stays: np.ndarray, N: int, M: int) -> dict[str, np.ndarray | None]:
    """The region's rows: with what stays and follows, without, left empty, and as ordinary music."""
    inside = (notes.start >= gap.start) & (notes.start < gap.stop)
    rows = {"with": as_fill(notes, gap, stays, N, M)}
    if gap.kind == "whole":
        rows["without"] = as_fill(notes, gap._replace(after="none"), stays, N, M)
        rows["plain"] = in_stream(notes, gap, N)
        return rows
    if gap.kind == "band":
        rows["without"] = as_fill(notes, gap._replace(kind="blind", after="none"), stays, N, M)
    left = ~(stays & inside)
    bare = Steps(*(x[left] for x in notes))
    rows["empty"] = as_fill(bare, gap._replace(after="none"), stays[left], N, M)
    return rows


def build(corpora: dict[str, list[Steps]], N: int, M: int, count: int) -> Scored:
    """All rows: every piece of each corpus, and `count` regions of each kind of "maestro" and "pijama".

    Of a corpus called "trained ..." pieces may lack their ends.
    """
    rows, group, notes, names = [], [], [], []

    def add(name: str, row: np.ndarray, size: int) -> None:
        if name not in names:
            names.append(name)
        rows.append(row)
        group.append(names.index(name))
        notes.append(size)

    for corpus, pieces in corpora.items():
        for piece in pieces:
            for i, row in enumerate(windows(piece, N, M, ends=not corpus.startswith("trained"))):
                add(f"plain {corpus}", row, len(piece.start) if i == 0 else 0)
    asked = [
        ("whole", 2),
        ("whole", 5),
        ("whole", 10),
        ("whole", 30),
        ("lower", 5),
        ("upper", 5),
        ("middle", 5),
        ("melody", 5),
    ]
    for corpus in ("maestro", "pijama") if count else ():
        for kind, seconds in asked:
            for piece, gap, stays in regions(corpora[corpus], count, seconds, kind, 7):
                made = ways(piece, gap, stays, N, M)
                size = int(((piece.start >= gap.start) & (piece.start < gap.stop) & ~stays).sum())
                if all(row is not None for row in made.values()):
                    for way, row in made.items():
                        add(f"fill {corpus} {kind} {seconds} {way}", row, size)
    return Scored(np.stack(rows), np.array(group), np.array(notes), names)


def write(path: Path, scored: Scored) -> None:
    """Uncompressed; it is there whole or not at all."""
    beside = path.with_suffix(".tmp.npz")
    np.savez(beside, rows=scored.rows, group=scored.group, notes=scored.notes, names=np.array(scored.names))
    beside.replace(path)


def read(path: Path) -> Scored:
    with np.load(path, allow_pickle=False) as held:
        return Scored(held["rows"], held["group"], held["notes"], held["names"].tolist())


@functools.partial(jax.jit, static_argnames=("config", "dtype"))
def _nats(params: dict[str, jax.Array], rows: jax.Array, config: ModelConfig, dtype: str) -> jax.Array:
    """rows i16 [B, N+1] -> f32 [B, 3]: nats over all ids, over the comparable ones, and how many targets counted."""
    model = parameters.bind(config, {name: x.astype(dtype) for name, x in params.items()})
    rows = rows.astype(jnp.int32)
    tokens = jnp.where(rows < 0, ~rows, rows)
    start = jnp.argmax(tokens != PAD, axis=1).astype(jnp.int32)
    logits = model(tokens[:, :-1], latents=config.latents, start=start, dtype=jnp.dtype(dtype))
    targets = rows[:, -config.latents :]
    counts = targets > PAD
    own = jnp.take_along_axis(logits, targets.clip(0)[..., None], axis=-1)[..., 0]
    sums = [
        jnp.where(counts, jax.nn.logsumexp(z, axis=-1) - own, 0.0).sum(axis=1)
        for z in (logits, logits[..., :COMPARABLE])
    ]
    return jnp.stack([*sums, counts.sum(axis=1).astype(jnp.float32)], axis=1)


@functools.cache
def compiled(config: ModelConfig, N: int, mesh: jax.sharding.Mesh, batch: int, dtype: str) -> jax.stages.Compiled:
    """`_nats` for batches of so many rows of N inputs, parameters being on every device; may be called ahead."""
    everywhere, spread = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    params = {
        name: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=everywhere)
        for name, shape in parameters.shapes(config).items()
    }
    return _nats.lower(
        params, jax.ShapeDtypeStruct((batch, N + 1), jnp.int16, sharding=spread), config, dtype
    ).compile()


def score(
    config: ModelConfig, params: dict[str, jax.Array], scored: Scored, mesh: jax.sharding.Mesh, batch: int, dtype: str
) -> dict[str, dict[str, float]]:
    """Figures of each group of rows."""
    layout = NamedSharding(mesh, PartitionSpec("data"))
    nats = compiled(config, scored.rows.shape[1] - 1, mesh, batch, dtype)
    sums = []
    for first in range(0, len(scored.rows), batch):
        part = scored.rows[first : first + batch]
        padded = np.concatenate([part, np.repeat(part[:1], batch - len(part), axis=0)])
        sums.append((nats(params, jax.device_put(padded, layout)), len(part)))
    table = np.concatenate([np.asarray(x)[:n] for x, n in sums]).astype(np.float64)
    figures = {}
    for i, name in enumerate(scored.names):
        mine = scored.group == i
        every, comparable, targets = table[mine].sum(axis=0)
        notes = scored.notes[mine].sum()
        plain = name.startswith("plain") or name.endswith("plain")
        nats = comparable if plain else every
        figures[name] = {
            "nats_per_token": nats / targets,
            "nats_per_note": nats / max(notes, 1),
            "unmasked": (every - nats) / targets,
            "targets": targets,
            "rows": int(mine.sum()),
        }
    return figures
