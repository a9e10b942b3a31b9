"""Copy: the second half of 131,072 random bytes mirrors the first.

    python benchmarks/paper/copying.py out                                            # Perceiver AR; one GPU
    python benchmarks/paper/copying.py out --kinds plain,transformer-xl               # the same time for the others
    python benchmarks/paper/copying.py out --local 0                                  # without windowed attention
    python benchmarks/paper/copying.py out --places digits                            # absolute places too
    python benchmarks/paper/copying.py out --memory                                   # compiles only: gigabytes a step
    python benchmarks/paper/copying.py out --toy                                      # all three, seconds on a CPU

A sequence is h = N / 2 bytes, each equally likely, a sign (EOS), and the bytes backwards.  A run begins at 128 and goes
to the next length, up to eight times as long, as soon as a batch has 99.9 % right; the last is trained to its end.
Then 12 fresh sequences of the length that was reached are scored, every target of their second halves: 786,432.

Is it positions or content that copies?  In a second test the mirror image leaves out its first 16 bytes.  Who finds the
source by the bytes just written is right about what follows; who counts writes what stands 16 bytes later in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from loop import (
    Batch,
    Batches,
    begin,
    compile_ahead,
    compute,
    draw_where_possible,
    gigabytes,
    parser_of,
    record,
    results,
    score,
    train,
    windows_at,
)
from stacks import KINDS, Stack, config_of_bytes

from musicgen.model.config import EOS, SPECIALS
from musicgen.model.training.stop import StopRun

LEFT_OUT = 16  # bytes, in the second test
LOW = 512  # places to a high digit
BINS = 64  # of the curve over distances
EDGES = 4  # windows' worth of draws that fall on the first places, and on the last


def sequences(rng: np.random.Generator, rows: int, N: int, left_out: int = 0) -> np.ndarray:
    """i32 [rows, N + 1]: h random bytes, EOS, and the mirror image without its first few; then other random bytes."""
    x = rng.integers(SPECIALS, SPECIALS + 256, (rows, N // 2 + left_out), dtype=np.int32)
    image = x[:, : N // 2][:, ::-1][:, left_out:]
    return np.concatenate([x[:, : N // 2], np.full((rows, 1), EOS, np.int32), image, x[:, N // 2 :]], axis=1)


def window(tokens: np.ndarray, ends: np.ndarray, stack: Stack) -> Batch:
    """Windows of which only targets behind the sign count."""
    N, M = stack.sizes
    batch = windows_at(tokens, ends, stack, scored=int(np.clip(ends.min() - N // 2, 0, M)))
    return batch._replace(at=digits(batch.at[..., 0] - N // 2, stack.places))


def digits(at: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Places [B, N], 0 at the sign of any length, as digits [B, N, 2], or none: a table for each.

    Both digits of a byte's image mirror those of the byte.
    """
    if not sizes:
        return at[..., None][..., :0]
    high, low = sizes
    return np.stack(np.divmod((at + high * low // 2).clip(0), low), axis=-1)


def batches(stack: Stack, stage: int, rows: int) -> Batches:
    """What is trained at a stage: latents anywhere behind the sign; Transformer-XL's segments one after the other."""
    N, M = stack.sizes

    def batch(step: int) -> Batch:
        if stack.kind == "transformer-xl":
            number, segment = divmod(step, N // M)
            tokens = sequences(np.random.default_rng((stage, number)), rows, N)
            made = window(tokens, np.full(rows, (segment + 1) * M), stack)
            return made._replace(first=segment == 0)
        rng = np.random.default_rng((stage, step))
        tokens = sequences(rng, rows, N)
        # Also often the first and the last places: drawn evenly, they would be learnt last.
        margin = EDGES * M
        ends = rng.integers(N // 2 + M - margin, N + margin, rows)
        ends = ends.clip(N // 2 + M if stack.kind == "perceiver-ar" else N, N)
        return window(tokens, ends, stack)

    return batch


def whole(stack: Stack, tokens: np.ndarray) -> Iterator[Batch]:
    """Every window that is needed to score the second halves, in order."""
    N, M = stack.sizes
    first = N // 2 + M if stack.kind == "perceiver-ar" else M
    for end in range(first, N + 1, M):
        yield window(tokens, np.full(len(tokens), end), stack)._replace(first=end == first)


def right_by_distance(stack: Stack, params: Any, tokens: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
    """bool [rows, h]: whether each target behind the sign was the likeliest; the i-th lies 2 + 2 i from its source.

    wanted: the sequences from which targets are taken, where inputs do not lead to them.
    """
    pairs = zip(whole(stack, tokens), whole(stack, tokens if wanted is None else wanted), strict=True)
    scored = score(stack, params, (given._replace(targets=other.targets) for given, other in pairs))
    return np.concatenate([right[mask].reshape(len(tokens), -1) for mask, _, right in scored if mask.any()], axis=1)


def test(stack: Stack, params: Any, count: int, rows: int) -> dict[str, Any]:
    """Every target of fresh sequences, and the test of what it is that copies."""
    N, _ = stack.sizes
    made = [sequences(np.random.default_rng((10**6, i)), rows, N) for i in range(-(-count // rows))]
    right = np.concatenate([right_by_distance(stack, params, tokens) for tokens in made])[:count]
    by_distance = [float(part.mean()) for part in np.array_split(right, min(BINS, right.shape[1]), axis=1)]
    wrong = 2 + 2 * np.nonzero(~right)[1]
    moved = sequences(np.random.default_rng((10**6, count)), rows, N, left_out=LEFT_OUT)
    counted = moved.copy()  # what a counting model writes: the image as if nothing were left out
    counted[:, N // 2 + 1 :] = moved[:, : N // 2][:, ::-1]
    compared = slice(8, N // 2 - LEFT_OUT)  # from where a few bytes have told that some were left out
    return {
        "sequences": len(right),
        "targets": right.size,
        "right": float(right.mean()),
        "errors": int(right.size - right.sum()),
        "by_distance": by_distance,
        "distances_of_errors": [int(x) for x in np.sort(wrong)[-100:]],
        "right_by_content_when_moved": float(right_by_distance(stack, params, moved)[:, compared].mean()),
        "right_by_position_when_moved": float(right_by_distance(stack, params, moved, counted)[:, compared].mean()),
    }


def learnt(told: dict[str, float]) -> bool:
    """Whether a length is left for the next."""
    return told["right"] >= 0.999


def run(name: str, stack: Stack, lengths: list[int], given: Any, stop: StopRun) -> None:
    """One kind: its curriculum as far as the time goes, then the test at the length that was reached."""
    path = given.out / f"{name}.npz"
    state, curve = begin(stack, given.rate, path), list[dict[str, float]]()
    programs = [(stack.resized(N, min(given.latents, N // 2)), max(1, given.tokens // N)) for N in lengths]
    compile_ahead(programs[state.stage :], given.rate)
    while True:
        (sized, rows), N, last = programs[state.stage], lengths[state.stage], state.stage == len(lengths) - 1
        state, part = train(
            sized,
            state,
            batches(sized, state.stage, rows),
            path,
            seconds=given.seconds,
            rate=given.rate,
            stop=stop,
            until=(lambda told: False) if last else learnt,
        )
        curve += [{"N": N, **look} for look in part]
        print(name, N, part[-1] if part else "", flush=True)
        if last or not part or state.spent >= given.seconds or stop.should_stop() or not learnt(part[-1]):
            break
        state = state._replace(stage=state.stage + 1)
    if stop.should_stop():
        print(f"{name}: stopped at length {N} after {state.spent:.0f} s; the same command goes on")
        return
    told = test(sized, state.params, given.sequences, min(4, given.sequences))
    line = {"name": name, "N": N, "latents": sized.sizes[1], "steps": state.step, "seconds": round(state.spent, 1)}
    thinned = curve[:: max(1, len(curve) // 400)]
    record(
        given.out,
        "copying",
        {**line, "parameters": sum(x.size for x in state.params.values()), **told, "curve": thinned},
    )


def draw(out: Path) -> None:
    """Accuracy by distance, and the share of right guesses over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for line in results(out, "copying"):
        at = (np.arange(len(line["by_distance"])) + 0.5) / len(line["by_distance"]) * line["N"]
        left.plot(at, np.multiply(100, line["by_distance"]), label=f"{line['name']}, N = {line['N']:,}")
        right.plot([x["seconds"] for x in line["curve"]], [x["N"] for x in line["curve"]], label=line["name"])
    left.set(xlabel="distance to the source", xscale="log", ylabel="right, %", ylim=(-2, 102))
    right.set(xlabel="seconds of training", ylabel="length N", yscale="log")
    left.legend(fontsize=8)
    figure.savefig(out / "copying.png", dpi=110)


def main() -> None:
    """Command line; see above."""
    parser = parser_of(__doc__, 1200)
    add = parser.add_argument
    add("--kinds", default=None, help=f"of {','.join(KINDS)}; perceiver-ar unless given")
    add("--memory", action="store_true", help="compile steps of each kind at full size, and tell their gigabytes")
    add("--local", type=int, default=2, help="blocks of windowed attention; the paper has none (%(default)s)")
    add("--places", choices=("none", "digits"), default="none", help="absolute, beside rotary distances (%(default)s)")
    add("--N", type=int, default=131_072, help="%(default)s")
    add("--latents", type=int, default=1024, help="%(default)s")
    add("--width", type=int, default=512, help="%(default)s")
    add("--tokens", type=int, default=65_536, help="inputs a step (%(default)s)")
    add("--sequences", type=int, default=12, help="scored at the end (%(default)s)")
    add("--rate", type=float, default=2e-3, help="learning rate (%(default)s)")
    given = parser.parse_args()
    if given.toy:
        given.N, given.latents, given.width, given.tokens, given.sequences = 256, 32, 32, 512, 2
        given.seconds = min(given.seconds, 2.0)
    given.out.mkdir(parents=True, exist_ok=True)
    config = config_of_bytes(
        given.width,
        local_layers=given.local,
        cross_attends=1,
        layers=1 if given.toy else 6,
        local_window=8 if given.toy else 128,
        context=given.N,
        latents=given.latents,
    )
    lengths = [N for N in (128, 1024, 8192, 32_768) if N < given.N] + [given.N]
    kinds = (given.kinds or ("perceiver-ar" if not (given.toy or given.memory) else ",".join(KINDS))).split(",")
    with StopRun(given.limit) as stop:
        for kind in kinds:
            tables = (-(-given.N // LOW), LOW) if given.places == "digits" else ()
            stack = Stack(config, kind, places=tables, compute=compute())
            changed = [f"{given.local} local"] * (given.local != 2) + [given.places] * (given.places != "none")
            name = ", ".join([kind, *changed])
            if given.memory:
                rows = max(1, given.tokens // given.N)
                told = {"N": given.N, "rows": rows, "gigabytes": round(gigabytes(stack, rows, given.rate), 2)}
                print(kind, told, jax.default_backend(), flush=True)
            elif not stop.should_stop():
                run(name, stack, lengths, given, stop)
    if not given.memory and results(given.out, "copying"):
        draw_where_possible(draw, given.out)


if __name__ == "__main__":
    main()
