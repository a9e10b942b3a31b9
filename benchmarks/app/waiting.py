"""How long the page waits before it plays, and how often it stops: pieces made by machines of many speeds.

python benchmarks/app/waiting.py FOLDER: the MIDI files in it are drawn once more, in time, by machines that are so many
times as fast as the music plays, with and without an ending that takes long; the page's own reckoning (player/pace.js)
says when to begin.  Beside it: the wait that, as one knows afterwards, would have been enough.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.data_prep import encode, read_midi, steps

BLOCK = 16  # tokens that come at once
SPEEDS = (0.5, 0.7, 0.9, 1.0, 1.1, 1.3, 1.6, 2.0, 3.0, 6.0)  # times as fast as lively music plays
LIVELY = 40.0  # tokens a second
ENDINGS = (0.0, 900.0)  # tokens that would take as long as the last ten seconds do
LEAD = 10.0
HEARD = Path(__file__).parents[2] / "tests/app/web/player/pace_cases.mjs"


def run(times: np.ndarray, speed: float, ending: float, rng: np.random.Generator) -> dict[str, Any]:
    """What a machine tells that draws these tokens, whose times are in seconds, `speed` times as fast as LIVELY."""
    length = float(times[-1])
    until = length - LEAD if ending else length
    body = times[times < until]
    arrivals, now = [], 0.2
    for block in range(0, len(body), BLOCK):
        now += BLOCK / (speed * LIVELY) * rng.gamma(8, 1 / 8)  # other programs come and go
        arrivals.append((now, float(body[: block + BLOCK][-1]), min(block + BLOCK, len(body)), ending))
    drawn = len(body)
    for left in np.arange(ending, 0, -BLOCK):
        now += BLOCK / (speed * LIVELY) * rng.gamma(8, 1 / 8)
        arrivals.append((now, until, drawn + ending - left, max(left, ending / 10)))
    return {"arrivals": arrivals, "until": until, "end": now, "length": length}


def enough(run: dict[str, Any]) -> float:
    """When playing could have begun, as one knows afterwards."""
    arrivals = run["arrivals"]
    times = [(now, before[1]) for before, (now, *_) in itertools.pairwise(arrivals)]
    return max(now - seconds for now, seconds in [(arrivals[0][0], 0.0), *times, (run["end"], run["until"])])


def main(folder: str) -> None:
    pieces = [steps(encode(read_midi(path)[0])) / 100 for path in sorted(Path(folder).glob("*.mid"))]
    rng = np.random.default_rng(0)
    for ending in ENDINGS:
        for speed in SPEEDS:
            runs = [run(piece, speed, ending, rng) for piece in pieces]
            done = subprocess.run(["node", HEARD], input=json.dumps(runs), capture_output=True, text=True, check=True)
            heard = json.loads(done.stdout)
            stops = [seconds for one in heard for _, seconds in one["stops"]]
            later = [one["begun"] - enough(known) for one, known in zip(heard, runs, strict=True)]
            told = [one["counted"] for one in heard]
            jumps = [b / a for one in told for (_, a), (_, b) in itertools.pairwise(one)]
            first = [one[0][1] / max(h["begun"] - one[0][0], 1) for one, h in zip(told, heard, strict=True) if one]
            print(
                json.dumps(
                    {
                        "ending": ending,
                        "speed": speed,
                        "pieces": len(runs),
                        "stopped": sum(bool(one["stops"]) for one in heard),
                        "longest_stop": round(max(stops, default=0.0), 1),
                        "said_before": np.round(np.sort([w for one in heard for w in one["warned"]])[:3], 1).tolist(),
                        "begun_after": np.round(np.quantile([one["begun"] for one in heard], [0.5, 1]), 1).tolist(),
                        "later_than_needed": np.round(np.quantile(later, [0, 0.5, 1]), 1).tolist(),
                        "highest_jump": round(max(jumps, default=1.0), 3),
                        "first_told_of_true": np.round(np.quantile(first or [1], [0, 0.5, 1]), 2).tolist(),
                    }
                )
            )


if __name__ == "__main__":
    main(sys.argv[1])
