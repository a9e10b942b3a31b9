"""How many seconds of music does one CPU core encode and decode in a second?

    python benchmarks/codec/speed.py [--codec CODEC | --preset piano-75] [--kbps 6] [--out result.json]

One thread, one core where the system allows to choose it, batch 1, pieces of 64 frames as whole files go, and single
frames as a stream may come.  Best and median of many pieces: the best says what the machine can do when it is not busy
with other things.  Weights are random unless a codec is named; they do not change the time.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from musicgen.checkpoints import codec_release
from musicgen.model import parameters
from musicgen.model.codec.config import CODEC_PRESETS, CodecConfig
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.codec.streaming import MOST_FRAMES, StreamingDecoder, StreamingEncoder

PIECES = 15


def times(call: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Seconds of music a second; compiling does not count."""
    call()
    taken = []
    for _ in range(PIECES):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return {"best": round(seconds / min(taken), 2), "median": round(seconds / float(np.median(taken)), 2)}


def measure(config: CodecConfig, params: Any, kbps: float) -> dict[str, Any]:
    """Encoder and decoder, long pieces and single frames, and the sizes of what they need."""
    number = config.codebooks_at(1000 * kbps)
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {}
    for frames in (MOST_FRAMES, 1):
        wave = rng.normal(0, 0.1, frames * config.hop).astype(np.float32)
        codes = rng.integers(0, config.codebook_size, (frames, number))
        encoder, decoder = StreamingEncoder(config, params, number), StreamingDecoder(config, params, number)
        seconds = frames / config.frame_rate
        result[f"encode_{frames}"] = times(lambda encoder=encoder, wave=wave: encoder.push(wave), seconds)
        result[f"decode_{frames}"] = times(lambda decoder=decoder, codes=codes: decoder.push(codes), seconds)
    sizes = {name: int(np.prod(shape)) for name, shape in parameters.shapes(config, SoundStream).items()}
    for part in ("encoder", "quantizer", "decoder"):
        result[f"{part}_parameters"] = sum(size for name, size in sizes.items() if name.startswith(part))
    return result | {"int8_mebibytes": round(sum(sizes.values()) / 2**20, 2), "kbps": kbps}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", type=Path)
    parser.add_argument("--preset", choices=sorted(CODEC_PRESETS), default="piano-75")
    parser.add_argument("--kbps", type=float, default=6.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if arguments.codec:
        released = codec_release.load(arguments.codec)
        config, params = released.config, released.params
    else:
        config = CODEC_PRESETS[arguments.preset]
        params = {name: np.asarray(x) for name, x in parameters.initial(config, 0, SoundStream).items()}
    result = {"codec": arguments.preset if not arguments.codec else arguments.codec.name, "load": os.getloadavg()[0]}
    result |= measure(config, params, arguments.kbps)
    text = json.dumps(result, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
