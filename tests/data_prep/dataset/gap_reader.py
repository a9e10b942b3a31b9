"""The notes of an example of a gap, read back from its tokens: the inverse of `example`."""

from __future__ import annotations

import numpy as np

from musicgen.data_prep.dataset.gaps import BEFORE, FILL, GAP, MOST_SECONDS, SECOND, TAIL, Steps
from musicgen.data_prep.events import STEPS_PER_SECOND
from musicgen.data_prep.vocabulary import GAPS, MAX_SHIFT, NOTE_OFF, NOTE_ON, TIME_SHIFT, VELOCITY


def notes_of(example: np.ndarray) -> tuple[Steps, np.ndarray]:
    """The notes of one example's tokens, and which of them (bool[n]) the fill brought.

    Steps count from where BEFORE begins.  What of the piece the example does not tell is not there; notes whose end is
    not told end with the stream.  AFTER's notes come last.
    """
    ids = np.asarray(example).tolist()
    before = ids.index(BEFORE)
    found: list[list[int]] = []
    fill: list[bool] = []

    def read(tokens: list[int], step: int, sounding: dict[int, int], velocity: int, filled: bool) -> tuple[int, int]:
        for token in tokens:
            if TIME_SHIFT <= token < TIME_SHIFT + MAX_SHIFT:
                step += token - TIME_SHIFT + 1
            elif VELOCITY <= token < VELOCITY + 32:
                velocity = token - VELOCITY + 1
            elif NOTE_ON <= token < NOTE_OFF:
                sounding[token - NOTE_ON] = len(found)
                found.append([step, -1, token - NOTE_ON, velocity])
                fill.append(filled)
            elif NOTE_OFF <= token < TIME_SHIFT and (note := sounding.pop(token - NOTE_OFF, None)) is not None:
                found[note][1] = step
        return step, velocity

    starts = [i for i, token in enumerate(ids) if SECOND <= token < SECOND + MOST_SECONDS or token == TAIL]
    gap = next(i for i, token in enumerate(ids) if GAP <= token < GAP + len(GAPS))
    stay: dict[int, int] = {}
    filled: dict[int, int] = {}
    start, velocity = read(ids[before + 1 : gap], 0, stay, 1, False)
    stop = start + (len(starts) - 2) * STEPS_PER_SECOND + ids[starts[0] - 1] - TIME_SHIFT + 1
    voices, fills = velocity, 1
    for k, (i, past) in enumerate(zip(starts, [*starts[1:], len(ids)], strict=True)):
        middle = ids.index(FILL, i)
        step = min(start + k * STEPS_PER_SECOND, stop)
        voices = read(ids[i + 1 : middle], step, stay, voices, False)[1]
        fills = read(ids[middle + 1 : past], step, filled, fills, True)[1]
    read(ids[1:before], stop, {}, 1, False)
    latest = max([stop, *(note[1] for note in found), *(note[0] + 1 for note in found)])
    table = np.array([[s, latest if e < 0 else e, p, v] for s, e, p, v in found], np.int64).reshape(-1, 4)
    return Steps(*table.T), np.array(fill, bool)
