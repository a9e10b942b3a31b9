"""Sound files of kinds that only FFmpeg reads, written for the tests by PyAV."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np

KINDS = {
    "m4a": ("mp4", "aac", 44_100),
    "m4a-lossless": ("mp4", "alac", 44_100),
    "aac": ("adts", "aac", 44_100),
    "webm": ("webm", "libopus", 48_000),
    "matroska": ("matroska", "flac", 44_100),
}


def other(name: str, seconds: float, channels: int = 1) -> bytes:
    """A tone in such a file."""
    import av

    form, codec, rate = KINDS[name]
    layout = "stereo" if channels == 2 else "mono"
    wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.tile(wave, (channels, 1)), format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def silence_of_16_channels() -> bytes:
    """A Matroska file."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=48_000, layout="16 channels")
        frame = av.AudioFrame(format="s16", layout="16 channels", samples=1024)
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()
