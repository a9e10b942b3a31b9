"""Plays music on the sampled pianos of runs/pianos.py, in one channel at 24 kHz.

A note is the nearest sample of its touch, moved to its key once and kept; how loud it is follows from its velocity
alone: one rule serves pianos whose touches were brought to one level and those that were not.  Dampers fall when the
pedal lets them.  No string rings with its neighbours: a room is left to who records it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from musicgen.data_prep import Performance, apply_pedal
from musicgen.data_prep.audio import SAMPLE_RATE

LOWEST, HIGHEST = 21, 108
UNDAMPED = 90  # from this key up a piano has no dampers
DAMPING = (0.12, 0.03)  # seconds until a damper has taken 20 dB, of the lowest key and of the highest damped one
RELEASED = 4.0  # times as long as that is heard after a release
LEVEL_KEYS = (40, 80)  # by whose samples a piano's touches are brought to one level
BLOCK = 30  # seconds of onsets that are played at once


class SampledPiano:
    """A packed piano, opened: NAME.flac and NAME.json, unpacked beside them into NAME.npy at the first call."""

    def __init__(self, path: Path) -> None:
        about = json.loads(path.with_suffix(".json").read_text())
        samples = about["samples"]
        touches = 1 + max(sample["touch"] for sample in samples)
        self._at: dict[tuple[int, int], tuple[int, int]] = {}  # (touch, key): where in the array
        self._gain = np.zeros((touches, HIGHEST + 1))
        start = 0
        self._plan: list[tuple[int, int, dict[str, float], int]] = []
        for touch in range(touches):
            mine = [sample for sample in samples if sample["touch"] == touch]
            middle = [s["peak"] for s in mine if LEVEL_KEYS[0] <= s["key"] <= LEVEL_KEYS[1]]
            level = float(np.exp(np.mean(np.log(middle))))
            for key in range(LOWEST, HIGHEST + 1):
                nearest = min(mine, key=lambda sample: (abs(sample["key"] - key), sample["key"]))
                length = round(nearest["length"] * 2 ** ((nearest["key"] - key) / 12))
                self._at[touch, key] = (start, length)
                self._plan.append((touch, key, nearest, start))
                self._gain[touch, key] = nearest["peak"] / level
                start += length
        self.touches = touches
        self.longest = max(length for _, length in self._at.values())
        unpacked = path.with_suffix(".npy")
        if not unpacked.exists():
            self._unpack(path, unpacked, start)
        self._waves = np.load(unpacked, mmap_mode="r")

    def _unpack(self, path: Path, unpacked: Path, total: int) -> None:
        import soundfile

        packed, _ = soundfile.read(path.with_suffix(".flac"), dtype="int16")
        waves = np.zeros(total, np.int16)
        for touch, key, sample, start in self._plan:
            wave = packed[int(sample["start"]) : int(sample["start"] + sample["length"])]
            length = self._at[touch, key][1]
            moved = stretched(wave, length) if sample["key"] != key else wave
            waves[start : start + length] = np.clip(np.round(moved), -32768, 32767)
        beside = unpacked.with_name(f"{unpacked.name}.{os.getpid()}.tmp")
        with beside.open("wb") as file:
            np.save(file, waves)
        beside.replace(unpacked)

    def note(self, key: int, velocity: int, seconds: float, dynamics: float) -> np.ndarray:
        """f32 [T]: a key that is struck so hard and damped after so long; dynamics: dB between two velocities."""
        touch = min(self.touches - 1, velocity * self.touches // 128)
        start, length = self._at[touch, key]
        share = np.clip((key - LOWEST) / (UNDAMPED - LOWEST), 0, 1)
        decay = DAMPING[0] * (DAMPING[1] / DAMPING[0]) ** share if key < UNDAMPED else np.inf
        held = round(seconds * SAMPLE_RATE)
        end = min(length, held + round(RELEASED * decay * SAMPLE_RATE)) if np.isfinite(decay) else length
        gain = self._gain[touch, key] * 10 ** (-dynamics * (127 - velocity) / 20) / 32768
        sound = self._waves[start : start + end] * np.float32(gain)
        if held < end:
            t = np.arange(end - held, dtype=np.float32) / SAMPLE_RATE
            sound[held:] *= 10 ** (-t / decay) * (1 - t * SAMPLE_RATE / (end - held)) if np.isfinite(decay) else 1
        return sound


def stretched(wave: np.ndarray, length: int) -> np.ndarray:
    """The wave at another speed, so long, nothing but what both can carry: f64 [length]."""
    size, new = 2 * len(wave), 2 * length
    spectrum = np.fft.rfft(wave, size)[: new // 2 + 1]
    return np.fft.irfft(spectrum, new)[:length] * (new / size)


def play(performance: Performance, piano: SampledPiano, dynamics: float) -> Iterator[np.ndarray]:
    """The music in pieces of BLOCK seconds, f32, the last one as long as it rings."""
    music = apply_pedal(performance)
    order = np.argsort(music.onset, kind="stable")
    size = BLOCK * SAMPLE_RATE
    rest = np.zeros(0, np.float32)  # what rings on into the blocks that follow
    first = 0
    blocks = int(music.onset.max(initial=0.0) // BLOCK) + 1
    for number in range(blocks):
        sound = np.zeros(max(size + piano.longest, len(rest)), np.float32)
        sound[: len(rest)] = rest
        end = max(size, len(rest))
        while first < len(order) and music.onset[order[first]] < (number + 1) * BLOCK:
            i = order[first]
            seconds = max(float(music.end[i] - music.onset[i]), 0.01)
            note = piano.note(int(music.pitch[i]), int(music.velocity[i]), seconds, dynamics)
            at = round((float(music.onset[i]) - number * BLOCK) * SAMPLE_RATE)
            sound[at : at + len(note)] += note
            end = max(end, at + len(note))
            first += 1
        rest = sound[size:end].copy()
        yield sound[:size]
    yield rest
