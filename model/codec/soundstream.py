"""SoundStream (Zeghidour et al., 2021), with the activations of DAC (Kumar et al., 2023), in Flax NNX.

    wave [B, T] -> conv -> stages of residual units, each ending in a strided conv -> units at the frame rate -> conv
                -> latents [B, F, D], F = T / hop
    latents [B, F, D] -> the same backwards, strided convs transposed -> wave [B, T]

Every convolution is causal: frame f depends on samples before (f + 1) * hop, and those samples of the output on frames
up to f.  So the delay of the whole is one frame, and there is no other look-ahead.

Whole files and streams run through the same lines.  What a convolution needs of the past is kept by a `Memory`: hand a
call the past that the call before it returned, and the pieces join to what one call would have made of everything.

What differs from the papers: stages have the widths they are given instead of doubling, so that the costly stages near
the samples can be narrow, and `frame_units` residual units work at the frame rate, where width costs little.  Or an
MDCT (mdct.py) has the place of all stages: then the delay is a frame more.

Letters: B batch, T samples (or steps of a stage), F frames, D width of a latent, C channels, K kernel size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen.model.codec import mdct
from musicgen.model.codec.config import CodecConfig
from musicgen.model.codec.quantizer import ResidualVectorQuantizer
from musicgen.model.shapes import Array, Float, Int

Past = tuple[jax.Array, ...]
POWER = 0.3  # of the lines that the encoder sees beside those as they are
LINES = 8.0  # so that a piano's lines are about 1 to a network
FRESH = 0.05  # of what a fresh network adds to the lines
LOUDEST = 1.0  # of the logarithm of a line: about full scale
CORRECTION = 0.1
FIRST_LEVELS = (-5.0, -9.0)  # what a fresh decoder puts in the lowest and the highest line, as a logarithm
# sin(y) / y as a polynomial in y^2, least largest error for y between -pi/2 and pi/2
SINE = (0.9999999766, -0.1666664763, 0.008332899819, -0.0001980089747, 2.590487906e-06)


class Memory:
    """The last inputs of every causal convolution, in the order in which they ask for them."""

    def __init__(self, past: Past | None = None):
        self._past: Iterator[jax.Array] | None = None if past is None else iter(past)
        self._kept: list[jax.Array] = []

    def before(self, x: Float[Array, "B T C"], length: int) -> Float[Array, "B {length}+T C"]:
        """x with the `length` steps before it; before the beginning there is silence."""
        past = jnp.zeros((x.shape[0], length, x.shape[2]), x.dtype) if self._past is None else next(self._past)
        joined = jnp.concatenate([past.astype(x.dtype), x], axis=1)
        self._kept.append(joined[:, joined.shape[1] - length :])
        return joined

    @property
    def past(self) -> Past:
        """What the next piece has to be given."""
        return tuple(self._kept)


def convolve(
    x: Float[Array, "B T C"], kernel: Float[Array, "K C D"], stride: int = 1, dilation: int = 1
) -> Float[Array, "B S D"]:
    """x with the kernel, without padding."""
    layout = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (stride,), "VALID", rhs_dilation=(dilation,), dimension_numbers=layout
    )


class CausalConv(nnx.Module):
    """A convolution that sees its own step and the (K - 1) * dilation before it."""

    def __init__(self, rngs: nnx.Rngs, inputs: int, outputs: int, kernel: int, dilation: int = 1, scale: float = 1.0):
        self.dilation = dilation
        self.kernel = nnx.Param(init_kernel(rngs, kernel, inputs, outputs, scale))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: Float[Array, "B T C"], memory: Memory) -> Float[Array, "B T D"]:
        """Every step with those before it."""
        kernel = self.kernel[...]
        x = memory.before(x, (kernel.shape[0] - 1) * self.dilation)
        return convolve(x, kernel, dilation=self.dilation) + self.bias[...].astype(x.dtype)


class Down(nnx.Module):
    """A convolution of kernel 2s and stride s: step t of the output sees the steps (t - 1) * s to (t + 1) * s - 1."""

    def __init__(self, rngs: nnx.Rngs, inputs: int, outputs: int, stride: int):
        self.stride = stride
        self.kernel = nnx.Param(init_kernel(rngs, 2 * stride, inputs, outputs))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: Float[Array, "B T C"], memory: Memory) -> Float[Array, "B T//{self.stride} D"]:
        """T is a multiple of the stride."""
        x = memory.before(x, self.stride)
        return convolve(x, self.kernel[...], stride=self.stride) + self.bias[...].astype(x.dtype)


class Up(nnx.Module):
    """The transposed convolution of kernel 2s and stride s: an input reaches its own s steps and the s after them.

    Written as what it is: s outputs from two neighbouring inputs, one matrix product.
    """

    def __init__(self, rngs: nnx.Rngs, inputs: int, outputs: int, stride: int):
        self.stride = stride
        self.kernel = nnx.Param(init_kernel(rngs, 2, inputs, stride * outputs))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: Float[Array, "B T C"], memory: Memory) -> Float[Array, "B {self.stride}*T D"]:
        """Every step becomes s steps."""
        y = convolve(memory.before(x, 1), self.kernel[...])
        return y.reshape(x.shape[0], self.stride * x.shape[1], -1) + self.bias[...].astype(x.dtype)


def init_kernel(
    rngs: nnx.Rngs, kernel: int, inputs: int, outputs: int, scale: float = 1.0
) -> Float[Array, "{kernel} {inputs} {outputs}"]:
    """A fresh kernel that keeps the variance of what it is given, times scale squared."""
    return scale * (kernel * inputs) ** -0.5 * jax.random.normal(rngs.params(), (kernel, inputs, outputs))


def sine_squared(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """sin(x)^2 to 2e-7.  XLA's own sine takes more of a CPU's time than all convolutions together."""
    y = x.astype(jnp.float32)
    y = y - jnp.pi * jnp.round(y / jnp.pi)
    square, polynomial = jnp.square(y), jnp.zeros_like(y)
    for coefficient in SINE[::-1]:
        polynomial = polynomial * square + coefficient
    return (square * jnp.square(polynomial)).astype(x.dtype)


class Activation(nnx.Module):
    """Snake (Ziyin et al., 2020), x + sin(a x)^2 / a with one `a` per channel, or ELU."""

    def __init__(self, config: CodecConfig, channels: int):
        self.frequency = nnx.Param(jnp.ones(channels)) if config.activation == "snake" else None

    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B T C"]:
        """Every channel with its own frequency."""
        if self.frequency is None:
            return jax.nn.elu(x)
        a = self.frequency[...].astype(x.dtype)
        return x + sine_squared(a * x) / (a + 1e-9)


class ResidualUnit(nnx.Module):
    """x + what a dilated convolution and a pointwise one make of it."""

    def __init__(self, rngs: nnx.Rngs, config: CodecConfig, channels: int, dilation: int):
        self.wide_act = Activation(config, channels)
        self.wide = CausalConv(rngs, channels, channels, config.kernel, dilation)
        self.point_act = Activation(config, channels)
        self.point = CausalConv(rngs, channels, channels, 1, scale=0.3)  # a fresh unit changes little

    def __call__(self, x: Float[Array, "B T C"], memory: Memory) -> Float[Array, "B T C"]:
        """See the class."""
        y = self.wide(self.wide_act(x), memory)
        return x + self.point(self.point_act(y), memory)


def units(rngs: nnx.Rngs, config: CodecConfig, channels: int, dilations: Sequence[int]) -> list[ResidualUnit]:
    """Residual units in a row."""
    return [ResidualUnit(rngs, config, channels, dilation) for dilation in dilations]


class Encoder(nnx.Module):
    """wave [B, T, 1] -> latents [B, F, D].

    Behind an MDCT the lowest lines are the first of the latents, and what is learned is added to them: a fresh codec is
    a transform codec already.
    """

    def __init__(self, rngs: nnx.Rngs, config: CodecConfig):
        widths = config.encoder_widths
        self.hop, self.lines = config.mdct, config.lines
        self.first = CausalConv(rngs, 2 * self.hop or 1, widths[0], config.kernel)
        self.stages = nnx.List([nnx.List(units(rngs, config, width, config.dilations)) for width in widths[:-1]])
        self.stage_acts = nnx.List([Activation(config, width) for width in widths[:-1]])
        steps = zip(widths[:-1], widths[1:], config.strides, strict=True)
        self.downs = nnx.List([Down(rngs, inputs, outputs, stride) for inputs, outputs, stride in steps])
        self.frame_units = nnx.List(units(rngs, config, widths[-1], config.frame_dilations))
        self.last_act = Activation(config, widths[-1])
        self.last = CausalConv(rngs, widths[-1], config.width, 3, scale=FRESH if self.hop else 1.0)

    def __call__(self, x: Float[Array, "B T 1"], memory: Memory) -> Float[Array, "B F D"]:
        """T is a multiple of the hop."""
        if not self.hop:
            return self.network(x, memory)
        wave = memory.before(x.astype(jnp.float32), self.hop)[..., 0]
        lines = mdct.analysis(wave, self.hop)
        low = lines[..., : self.lines]
        level = (jnp.sum(jnp.square(low), axis=-1, keepdims=True) + 1e-8) ** -0.25  # soft frames are brought nearer
        near = lines * (jnp.square(lines) + 1e-8) ** ((POWER - 1) / 2)
        seen = jnp.concatenate([LINES * level * lines, near], axis=-1)
        learned = self.network(seen, memory).astype(jnp.float32)
        return learned + jnp.pad(LINES * level * low, ((0, 0), (0, 0), (0, learned.shape[-1] - self.lines)))

    def network(self, x: Float[Array, "B T C"], memory: Memory) -> Float[Array, "B F D"]:
        """All but the transform, in the kernels' own type."""
        x = self.first(x.astype(self.first.kernel[...].dtype), memory)
        for stage, act, down in zip(self.stages, self.stage_acts, self.downs, strict=True):
            for unit in stage:
                x = unit(x, memory)
            x = down(act(x), memory)
        for unit in self.frame_units:
            x = unit(x, memory)
        return self.last(self.last_act(x), memory)


class Decoder(nnx.Module):
    """latents [B, F, D] -> wave [B, T, 1] between -1 and 1, with an MDCT one frame late."""

    def __init__(self, rngs: nnx.Rngs, config: CodecConfig):
        widths, strides = config.decoder_widths[::-1], config.strides[::-1]
        self.hop, self.lines = config.mdct, config.lines
        self.first = CausalConv(rngs, config.width, widths[0], config.kernel)
        self.frame_units = nnx.List(units(rngs, config, widths[0], config.frame_dilations))
        self.stage_acts = nnx.List([Activation(config, width) for width in widths[:-1]])
        steps = zip(widths[:-1], widths[1:], strides, strict=True)
        self.ups = nnx.List([Up(rngs, inputs, outputs, stride) for inputs, outputs, stride in steps])
        self.stages = nnx.List([nnx.List(units(rngs, config, width, config.dilations)) for width in widths[1:]])
        self.last_act = Activation(config, widths[-1])
        outputs, scale = (3 * self.hop, FRESH) if self.hop else (1, 0.3)  # a fresh codec is not loud
        self.last = CausalConv(rngs, widths[-1], outputs, config.kernel, scale=scale)
        if self.hop:
            levels = jnp.linspace(*FIRST_LEVELS, self.hop)
            self.last.bias[...] = self.last.bias[...].at[: self.hop].set(levels)

    def __call__(self, z: Float[Array, "B F D"], memory: Memory) -> Float[Array, "B T 1"]:
        """T is F times the hop."""
        x = self.network(z, memory)
        if not self.hop:
            return jnp.tanh(x)
        level, factor, correction = jnp.split(x.astype(jnp.float32), 3, axis=-1)
        low = z[..., : self.lines].astype(jnp.float32) / LINES
        low = low * jnp.sqrt(jnp.sum(jnp.square(low), axis=-1, keepdims=True) + 1e-8)  # the encoder's level undone
        lines = jnp.pad(low, ((0, 0), (0, 0), (0, self.hop - self.lines)))
        # What is 60 dB down needs a factor; what is loud, a difference.
        lines = lines + jnp.exp(jnp.minimum(level, LOUDEST)) * factor + CORRECTION * correction
        pieces = memory.before(mdct.windows(lines, self.hop), 1)
        return jnp.clip(mdct.overlap_add(pieces, self.hop), -1.0, 1.0)[..., None]

    def network(self, z: Float[Array, "B F D"], memory: Memory) -> Float[Array, "B T C"]:
        """All but the transform, in the kernels' own type."""
        x = self.first(z.astype(self.first.kernel[...].dtype), memory)
        for unit in self.frame_units:
            x = unit(x, memory)
        for act, up, stage in zip(self.stage_acts, self.ups, self.stages, strict=True):
            x = up(act(x), memory)
            for unit in stage:
                x = unit(x, memory)
        return self.last(self.last_act(x), memory)


class SoundStream(nnx.Module):
    """The whole codec.  `encode` and `decode` are what an application needs; training calls the parts."""

    def __init__(self, config: CodecConfig, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(rngs, config)
        self.quantizer = ResidualVectorQuantizer(rngs, config)
        self.decoder = Decoder(rngs, config)

    def latents(self, wave: Float[Array, "B T"], past: Past | None = None) -> tuple[Float[Array, "B F D"], Past]:
        """Wave between -1 and 1, T a multiple of the hop -> (latents, the past for the wave that follows)."""
        if wave.shape[1] % self.config.hop:
            raise ValueError(f"{wave.shape[1]} samples are not whole frames of {self.config.hop}")
        memory = Memory(past)
        return self.encoder(wave[..., None], memory), memory.past

    def wave(self, latents: Float[Array, "B F D"], past: Past | None = None) -> tuple[Float[Array, "B T"], Past]:
        """Latents -> (wave of F times the hop, the past for the latents that follow)."""
        memory = Memory(past)
        return self.decoder(latents, memory)[..., 0], memory.past

    def encode(
        self, wave: Float[Array, "B T"], past: Past | None = None, *, codebooks: int | None = None
    ) -> tuple[Int[Array, "B F Q"], Past]:
        """Wave -> (codes of the first `codebooks` codebooks, the past for what follows)."""
        latents, past = self.latents(wave, past)
        return self.quantizer.encode(latents, codebooks), past

    def decode(self, codes: Int[Array, "B F Q"], past: Past | None = None) -> tuple[Float[Array, "B T"], Past]:
        """Codes of all codebooks or the first few -> (wave of F times the hop, the past for what follows)."""
        return self.wave(self.quantizer.decode(codes), past)
