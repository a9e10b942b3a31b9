"""Weights as they travel from one leg to the next: 12 bits a number, in two halves of which the first alone will do.

Matrices are whole numbers from -2047 to 2047 with a float32 scale for every 128 values in a row; `high` holds their
upper six bits, which are a model by themselves (a thousandth of a nat worse), `low` the others.  Everything else is
float32.  A leg that ends in four bits leaves those instead (model/int4.py).  Files are of less than 16 MB.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from musicgen.model import int4

GROUP, LARGEST = 128, 15_900_000
NUMBERS, SCALES = ".numbers", ".scales"  # of a kernel in four bits


def _packed(six: np.ndarray) -> np.ndarray:
    """u8[n], each below 64, n a multiple of 4 -> u8[3n/4]."""
    a, b, c, d = six.reshape(-1, 4).T
    return np.stack([a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2], axis=1).astype(np.uint8).reshape(-1)


def _unpacked(packed: np.ndarray) -> np.ndarray:
    a, b, c = packed.reshape(-1, 3).T
    return np.stack([a & 63, a >> 6 | (b & 15) << 2, b >> 4 | (c & 3) << 4, c >> 2], axis=1).reshape(-1)


def save(folder: Path, params: dict[str, np.ndarray], about: dict[str, object]) -> None:
    """Write high-*.bin, low-*.bin, rest.npz and state.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rest, index, numbers, scales = {}, [], [], []
    for name, x in sorted(params.items()):
        x = np.asarray(x, np.float32)
        if not name.endswith(".kernel") or x.size % GROUP or "logits" in name:
            rest[name] = x
            continue
        groups = x.reshape(-1, GROUP)
        scale = np.maximum(np.abs(groups).max(axis=1), 1e-12) / 2047
        numbers.append((np.rint(groups / scale[:, None]) + 2048).astype(np.uint16).reshape(-1))
        scales.append(scale.astype(np.float32))
        index.append([name, list(x.shape)])
    together = np.concatenate(numbers)
    buffer = io.BytesIO()
    np.savez(buffer, **rest, __scales__=np.concatenate(scales))
    (folder / "rest.npz").write_bytes(buffer.getvalue())
    for half, bits in (("high", together >> 6), ("low", together & 63)):
        data = _packed(bits.astype(np.uint8)).tobytes()
        for i in range(-(-len(data) // LARGEST)):
            (folder / f"{half}-{i}.bin").write_bytes(data[i * LARGEST : (i + 1) * LARGEST])
    files = sorted(path for path in folder.iterdir() if path.suffix in (".bin", ".npz"))
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "state.json").write_text(json.dumps({"index": index, "sha256": sums, **about}, indent=1) + "\n")


def save_four_bits(folder: Path, params: dict[str, np.ndarray], about: dict[str, object]) -> dict[str, np.ndarray]:
    """Write four-*.npz and state.json; the parameters that `load` will find there."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[dict[str, np.ndarray]] = [{}]
    for name, x in sorted(params.items()):
        x = np.asarray(x, np.float32)
        if int4.in_four_bits(name, x.shape):
            numbers, scales = int4.quantize(x)
            arrays = {f"{name}{NUMBERS}": numbers, f"{name}{SCALES}": scales}
        else:
            arrays = {name: x}
        if sum(y.nbytes for y in [*files[-1].values(), *arrays.values()]) > LARGEST - 100_000:
            files.append({})
        files[-1] |= arrays
    sums = {}
    for i, arrays in enumerate(files):
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        (folder / f"four-{i}.npz").write_bytes(buffer.getvalue())
        sums[f"four-{i}.npz"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    (folder / "state.json").write_text(json.dumps({"sha256": sums, **about}, indent=1) + "\n")
    return _four_bits(files)


def _four_bits(files: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    arrays = {name: x for file in files for name, x in file.items()}
    params = {name: x for name, x in arrays.items() if not name.endswith((NUMBERS, SCALES))}
    for name in arrays:
        if name.endswith(NUMBERS):
            kernel = name.removesuffix(NUMBERS)
            params[kernel] = int4.dequantize(arrays[name], arrays[f"{kernel}{SCALES}"])
    return params


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """(float32 parameters, what `save` was told); from the upper halves alone if the others are not there."""
    about = json.loads((folder / "state.json").read_text())
    for name, digest in about.pop("sha256").items():
        path = folder / name
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ValueError(f"{path} is damaged")

    if four := sorted(folder.glob("four-*.npz")):
        return _four_bits([dict(np.load(path)) for path in four]), about

    def half(name: str) -> np.ndarray | None:
        parts = sorted(folder.glob(f"{name}-*.bin"))
        data = b"".join(path.read_bytes() for path in parts)
        return _unpacked(np.frombuffer(data, np.uint8)).astype(np.int32) if data else None

    high, low = half("high"), half("low")
    if high is None:
        raise ValueError(f"{folder} holds no weights")
    numbers = high * 64 + (32 if low is None or len(low) != len(high) else low) - 2048
    with np.load(folder / "rest.npz") as rest:
        params = {name: rest[name] for name in rest.files}
    scales, at = params.pop("__scales__"), 0
    for name, shape in about.pop("index"):
        size = int(np.prod(shape))
        groups = numbers[at : at + size].reshape(-1, GROUP).astype(np.float32)
        params[name] = (groups * scales[at // GROUP : (at + size) // GROUP, None]).reshape(shape)
        at += size
    return params, about
