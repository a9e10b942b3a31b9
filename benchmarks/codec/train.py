"""Train the codec on a prepared audio data set.  The same command goes on where it was stopped.

    python benchmarks/codec/train.py DATA RUN --preset piano-mdct --seconds 600 --adversarial-from 0.65

DATA is an audio data set of `musicgen.data_prep.dataset.audio_prep`.  At every checkpoint RUN gets codec.json and
codec.safetensors (averaged weights, plain kernels, float32), which evaluate.py and speed.py take, and metrics.jsonl the
figures of fixed pieces of the validation split at 3, 6 and 12 kbps.  RUN/spectra gets the last ones of the time before
there are discriminators.  --compile-only fills JAX's persistent cache, while the data are still being made say.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from musicgen.data_prep.dataset.audio_shards import AudioSet, Crops
from musicgen.model import parameters
from musicgen.model.codec import losses as codec_losses
from musicgen.model.codec.config import CODEC_PRESETS, CodecConfig
from musicgen.model.codec.discriminators import DiscriminatorConfig
from musicgen.model.codec.losses import LossConfig
from musicgen.model.codec.soundstream import SoundStream
from musicgen.model.codec.train import CodecTrainConfig, compiled_codec_steps, train_codec

VALIDATION_ROWS, VALIDATION_SECONDS = 32, 4
RATES = (3, 6, 12)  # kbps
JUDGES = {  # DAC's, and a quarter of their cost
    "whole": DiscriminatorConfig(),
    "half": DiscriminatorConfig(period_channels=(16, 64, 256, 512, 512), band_channels=16),
    "toy": DiscriminatorConfig((3,), (2, 4), (64,), 2, (0.0, 1.0)),
}


def write_codec(folder: Path, codec: CodecConfig, params: Mapping[str, jax.Array]) -> None:
    """codec.json and codec.safetensors, each whole or not at all."""
    beside = folder / "codec.safetensors.tmp"
    save_file({name: np.asarray(value) for name, value in params.items()}, beside)
    beside.replace(folder / "codec.safetensors")
    (folder / "codec.json").write_text(json.dumps(codec.to_dict(), indent=2) + "\n")


def validator(config: CodecTrainConfig, waves: np.ndarray) -> Callable[[Mapping[str, jax.Array]], dict[str, float]]:
    """The function from plain kernels to mel distance and SI-SDR of waves f32 [B, T] at each rate."""
    codec, losses = config.codec, LossConfig()

    def figures(params: Mapping[str, jax.Array], waves: jax.Array) -> dict[str, jax.Array]:
        model = parameters.bind(codec, params, SoundStream)
        codes, _ = model.encode(waves)
        loud = codec_losses.gain(waves)
        made = {}
        for rate in (rate for rate in RATES if 1000 * rate <= codec.bitrate()):
            back, _ = model.decode(codes[..., : codec.codebooks_at(1000 * rate)])
            back, real = back[:, codec.delay :], waves[:, : waves.shape[1] - codec.delay]
            mel = codec_losses.mel_distance(loud * back, loud * real, codec.sample_rate, losses.windows, losses.mels)
            made |= {f"mel_{rate}": mel, f"si_sdr_{rate}": jnp.mean(codec_losses.si_sdr(back, real))}
        return made

    program = jax.jit(figures)
    return lambda params: {name: float(value) for name, value in program(params, waves).items()}


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Every whole or real number of CodecTrainConfig and LossConfig is an option of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--preset", choices=sorted(CODEC_PRESETS), default="piano-mdct")
    parser.add_argument("--activation", default=None, help="snake or elu, instead of the preset's")
    parser.add_argument("--compute", default="bfloat16")
    parser.add_argument("--judges", choices=sorted(JUDGES), default="half")
    parser.add_argument("--compile-only", choices=("spectra", "judged"), help="steps without or with discriminators")
    parser.add_argument("--stop-after", type=float, default=float("inf"), metavar="SECONDS")
    defaults = [
        (name, value)
        for kind in (CodecTrainConfig(CODEC_PRESETS["toy"]), LossConfig())
        for name, value in vars(kind).items()
        if isinstance(value, int | float)
    ]
    for name, value in defaults:
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value}")
    return parser.parse_args(argv)


def config_of(arguments: argparse.Namespace) -> CodecTrainConfig:
    """The run that was asked for."""

    def given(kind: type[Any]) -> dict[str, Any]:
        return {f.name: getattr(arguments, f.name) for f in dataclasses.fields(kind) if hasattr(arguments, f.name)}

    codec = CODEC_PRESETS[arguments.preset]
    if arguments.activation:
        codec = dataclasses.replace(codec, activation=arguments.activation)
    losses = LossConfig(**given(LossConfig))
    return CodecTrainConfig(codec, JUDGES[arguments.judges], losses, **given(CodecTrainConfig))


def main(argv: Sequence[str] | None = None) -> None:
    """See above."""
    arguments = arguments_of(argv)
    config = config_of(arguments)
    length = VALIDATION_SECONDS * config.codec.sample_rate // config.codec.hop * config.codec.hop
    if arguments.compile_only:
        compiled_codec_steps(config, arguments.compile_only == "judged")
        if arguments.compile_only == "spectra":
            silence = np.zeros((VALIDATION_ROWS, length), np.float32)
            validator(config, silence)(parameters.initial(config.codec, 0, SoundStream))
        return
    train = Crops(AudioSet(arguments.data, "train"), batch=config.batch, samples=config.samples, seed=config.seed)
    held_out = AudioSet(arguments.data, "validation")
    validate = validator(
        config, next(Crops(held_out, batch=VALIDATION_ROWS, samples=length, seed=0, loudness=0.0))["wave"]
    )

    def at_checkpoint(step: int, params: Mapping[str, jax.Array], judged: bool) -> dict[str, float]:
        for folder in [arguments.run] if judged else [arguments.run, arguments.run / "spectra"]:
            folder.mkdir(exist_ok=True)
            write_codec(folder, config.codec, params)
        return validate(params)

    print(f"{jax.device_count()} devices, {config}", file=sys.stderr)
    train_codec(config, train, arguments.run, at_checkpoint=at_checkpoint, stop_after=arguments.stop_after)


if __name__ == "__main__":
    main()
