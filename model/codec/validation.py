"""How good a codec is on some fixed pieces, at several bitrates: what a training run writes down at its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from musicgen.model import parameters
from musicgen.model.codec import losses as codec_losses
from musicgen.model.codec.config import CodecConfig
from musicgen.model.codec.losses import LossConfig
from musicgen.model.codec.soundstream import SoundStream

RATES = (3, 6, 12)  # kbps


def make_validate(
    codec: CodecConfig, losses: LossConfig, waves: np.ndarray
) -> Callable[[Mapping[str, jax.Array]], dict[str, float]]:
    """The function from plain kernels to the mel distance and the SI-SDR in dB of waves f32 [B, T] at each rate."""

    def figures(params: Mapping[str, jax.Array], waves: jax.Array) -> dict[str, jax.Array]:
        model = parameters.bind(codec, params, SoundStream)
        codes, _ = model.encode(waves)
        gain = codec_losses.gain(waves)
        result: dict[str, jax.Array] = {}
        for rate in (rate for rate in RATES if 1000 * rate <= codec.bitrate()):
            back, _ = model.decode(codes[..., : codec.codebooks_at(1000 * rate)])
            back, real = back[:, codec.delay :], waves[:, : waves.shape[1] - codec.delay]
            mel = codec_losses.mel_distance(gain * back, gain * real, codec.sample_rate, losses.windows, losses.mels)
            result |= {f"mel_{rate}": mel, f"si_sdr_{rate}": jnp.mean(codec_losses.si_sdr(back, real))}
        return result

    program = jax.jit(figures)
    return lambda params: {name: float(value) for name, value in program(params, waves).items()}
