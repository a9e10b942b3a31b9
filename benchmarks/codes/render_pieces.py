"""The beginning of a piece as log spectra: what kinds.py quantises in place of a codec's latents."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import midirenderer
import numpy as np

from musicgen.app.soundfont import find_soundfont
from musicgen.data_prep import Performance, read_midi, write_midi

SECONDS, RATE, BANDS = 120.0, 75, 64


def spectra(midi: Path) -> np.ndarray:
    """f32 [F, 64]: log power in bands that widen with their frequency, each of mean 0 and variance 1 over the piece."""
    music, _ = read_midi(midi)
    heard = music.onset < SECONDS
    end = np.minimum(music.end[heard], SECONDS)
    pedal = music.pedal[music.pedal[:, 0] < SECONDS]
    cut = Performance(music.onset[heard], end, music.pitch[heard], music.velocity[heard], pedal)
    played = midirenderer.render_wave_from(find_soundfont().read_bytes(), write_midi(cut, None))
    with wave.open(io.BytesIO(played)) as f:
        sound = np.frombuffer(f.readframes(f.getnframes()), "<i2").reshape(-1, f.getnchannels()).mean(axis=1)
        hop = f.getframerate() // RATE
    frames = np.lib.stride_tricks.sliding_window_view(sound[: round(SECONDS * RATE * hop)], 4 * hop)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(4 * hop), axis=1)) ** 2
    edges = np.unique(np.round(np.geomspace(2, power.shape[1] // 3, BANDS + 1)).astype(int))
    edges = np.concatenate([edges, edges[-1] + 1 + np.arange(BANDS + 1 - len(edges))])
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1)[:, :BANDS] + 1.0)
    return ((bands - bands.mean(axis=0)) / (bands.std(axis=0) + 1e-6)).astype(np.float32)
