"""Sound files as recorders, shops and hasty programs leave them, written for the tests."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

from musicgen.data_prep.sound import mpeg

RATE = 24_000


def sound(seconds: float, rate: int = RATE, channels: int = 1, noisy: float = 0.0) -> np.ndarray:
    """A tone, f64 [n, channels]; its first `noisy` seconds take a variable bitrate many bytes."""
    times = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * times)
    noise = np.random.default_rng(0).standard_normal(min(len(times), round(noisy * rate)))
    wave[: len(noise)] += 0.2 * noise
    return np.repeat(wave[:, None], channels, axis=1)


def encoded(seconds: float, form: str, subtype: str, rate: int = RATE, channels: int = 1, **more: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound(seconds, rate, channels), rate, format=form, subtype=subtype, **more)
    return file.getvalue()


def vbr(seconds: float, rate: int = 44_100, channels: int = 1) -> bytes:
    """An MP3 whose first seconds have a far higher bitrate than the rest."""
    file = io.BytesIO()
    how = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.3}
    soundfile.write(file, sound(seconds, rate, channels, noisy=3.0), rate, **how)
    return file.getvalue()


def without_xing(data: bytes) -> bytes:
    """An MP3 without the first frame, which says how long it is."""
    at = data.index(b"\xff")
    return data[at + mpeg.LENGTHS[data[at + 1] << 8 | data[at + 2]] :]


def tagged(data: bytes) -> bytes:
    """The same with a picture in front and tags behind."""
    return b"ID3\4\0\0\0\4\0\0" + bytes(4 << 14) + data + b"APETAGEX" + bytes(5000) + b"TAG" + bytes(125)


def wav(seconds: float = 2.0) -> bytes:
    return encoded(seconds, "WAV", "PCM_16")


def with_sizes(data: bytes, riff: int, sound: int) -> bytes:
    """A WAV whose header gives these sizes."""
    return data[:4] + struct.pack("<I", riff) + data[8:40] + struct.pack("<I", sound) + data[44:]


def long_wav(data: bytes, name: bytes, size: int | None = None) -> bytes:
    """The same as RF64 or BW64, whose sizes have 64 bits."""
    size = len(data) - 44 if size is None else size
    sizes = b"ds64" + struct.pack("<IQQQI", 28, size + 72, size, size // 2, 0)
    return name + b"\xff\xff\xff\xffWAVE" + sizes + data[12:40] + b"\xff\xff\xff\xff" + data[44:]


def with_chunk(data: bytes, content: bytes) -> bytes:
    """A WAV with another chunk before its sound."""
    return data[:36] + b"LIST" + struct.pack("<I", len(content.rstrip(b"\0"))) + content + data[36:]


def with_space_in_size() -> bytes:
    """A WAV of four seconds whose sound has 0x2ee20 bytes."""
    return encoded((0x2EE20 // 2) / RATE, "WAV", "PCM_16")


def with_total(data: bytes, samples: int) -> bytes:
    """A FLAC that says it has so many samples."""
    return data[:21] + bytes([data[21] & 0xF0]) + struct.pack(">I", samples) + data[26:]


def patched(data: bytes, name: bytes, new: bytes) -> bytes:
    """A file with other bytes behind the first of these."""
    at = data.index(name) + len(name)
    return data[:at] + new + data[at + len(new) :]


WAV, FLAC = wav(), encoded(2.0, "FLAC", "PCM_16")
OGG, OPUS = encoded(2.0, "OGG", "VORBIS"), encoded(2.0, "OGG", "OPUS")
AIFF, CAF, AU = (encoded(2.0, form, "PCM_16") for form in ("AIFF", "CAF", "AU"))
MP3 = vbr(20.0)

# What each is, its bytes, and the seconds that decoding yields.
LENGTHS: dict[str, tuple[bytes, float]] = {
    "wav-sizes-0": (with_sizes(WAV, 0, 0), 2.0),
    "wav-sizes-unknown": (with_sizes(WAV, 2**32 - 1, 2**32 - 1), 2.0),
    "wav-data-size-0": (with_sizes(WAV, len(WAV) - 8, 0), 2.0),
    "wav-data-size-of-the-first-moment": (with_sizes(WAV, 1036, 1000), 2.0),
    "wav-riff-size-0": (with_sizes(WAV, 0, len(WAV) - 44), 2.0),
    "wav-cut-off": (WAV[: 44 + 48_000], 1.0),
    "wav-odd-chunk": (with_chunk(WAV, b"hello\0"), 2.0),
    "wav-odd-chunk-not-filled-up": (with_chunk(WAV, b"hello"), 2.0),
    # Its size begins with a space, so that "ata " could be the name of a chunk.
    "wav-odd-chunk-not-filled-up-before-letters": (with_chunk(with_space_in_size(), b"hello"), 4.0),
    "wav-chunks-behind": (with_sizes(WAV, len(WAV) + 6, len(WAV) - 44) + b"LIST\6\0\0\0abcdef", 2.0),
    "wav-adpcm-size-0": (patched(encoded(2.0, "WAV", "IMA_ADPCM"), b"data", bytes(4)), 2.02),
    "wav-joined-with-another-rate": (WAV + encoded(2.0, "WAV", "PCM_24", 44_100, 2), 4.0),
    "wav-sizes-unknown-joined": (with_sizes(WAV, 2**32 - 1, 2**32 - 1) + with_sizes(WAV, 0, 0), 4.0),
    "wav-cut-off-joined": (WAV[: 44 + 48_000] + WAV, 3.0),
    "chunks-of-all-kinds-joined": (WAV + CAF + AIFF + AU + long_wav(WAV, b"RF64") + AU + AIFF + CAF + WAV, 18.0),
    "aiff-joined": (AIFF + AIFF, 4.0),
    "caf-unknown-joined": (patched(CAF, b"data", b"\xff" * 8) + CAF, 4.0),
    "au-unknown-joined": (patched(AU, AU[:8], b"\xff" * 4) + AU, 4.0),
    "rf64": (long_wav(WAV, b"RF64"), 2.0),
    "rf64-sizes-0": (long_wav(WAV, b"RF64", 0), 2.0),
    "bw64": (long_wav(WAV, b"BW64"), 2.0),
    "bw64-sizes-0": (long_wav(WAV, b"BW64", 0), 2.0),
    "aiff": (AIFF, 2.0),
    "aiff-sizes-0": (patched(patched(AIFF, b"SSND", bytes(4)), b"FORM", bytes(4)), 2.0),
    "aiff-frames-0": (patched(AIFF, b"COMM\0\0\0\x12\0\1", bytes(4)), 2.0),
    "aiff-c": (encoded(2.0, "AIFF", "FLOAT"), 2.0),
    "caf": (CAF, 2.0),
    "caf-unknown": (patched(CAF, b"data", b"\xff" * 8), 2.0),
    "caf-size-0": (patched(CAF, b"data", bytes(8)), 2.0),
    "au": (AU, 2.0),
    "au-unknown": (patched(AU, AU[:8], b"\xff" * 4), 2.0),
    "au-size-0": (patched(AU, AU[:8], bytes(4)), 2.0),
    "w64": (encoded(2.0, "W64", "PCM_16"), 2.0),
    "flac-unknown": (with_total(FLAC, 0), 2.0),
    "flac-too-few": (with_total(FLAC, 12_000), 2.0),
    "flac-too-many": (with_total(FLAC, 2**30), 2.0),
    "flac-joined": (FLAC + with_total(FLAC, 0), 4.0),
    "ogg-chained": (OGG + OGG, 4.0),
    "ogg-chained-with-another-rate": (OGG + encoded(2.0, "OGG", "VORBIS", 44_100, 2), 4.0),
    "opus": (OPUS, 2.0),
    "opus-chained": (OPUS + OPUS + OPUS, 6.0),
    "mp3": (MP3, 20.0),
    "mp3-stereo": (vbr(20.0, channels=2), 20.0),
    "mp3-without-xing": (without_xing(MP3), 20.0),
    "mp3-without-xing-22-khz-stereo": (without_xing(vbr(20.0, 22_050, 2)), 20.0),
    "mp3-joined": (MP3 + MP3, 40.0),
    "mp3-joined-without-xing": (without_xing(MP3) + without_xing(MP3), 40.0),
    "mp3-joined-with-tags": (tagged(MP3) + tagged(MP3), 40.0),
    "mp3-joined-with-another-rate": (MP3 + vbr(20.0, 22_050, 2), 40.0),
    "mp3-cut-off": (MP3[: len(MP3) // 2], 7.36),
    "mp3-behind-zeros": (bytes(3000) + MP3, 20.0),
}
