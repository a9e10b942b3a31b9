"""What the page says about its presets' quality: from what `benchmarks/dials` has measured, or measured here.

    python benchmarks/app/quality.py grid.jsonl > app/web/notes/quality.json
    python benchmarks/app/quality.py piece.mid another.mid > app/web/notes/quality.json    # minutes of a CPU

The second scores the presets of the default weights alone, on the first two minutes of each piece.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SECONDS = 120.0


def quality(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """{SHA-256 of the weights: {pieces, rows}}; cells with another stride than half of their latents are left out."""
    told: dict[str, Any] = {}
    for cell in lines:
        if cell["stride"] != max(1, cell["latents"] // 2):
            continue
        pieces = f"{len(cell['nats'])} pieces of MAESTRO's {cell['split']} split"
        weights = told.setdefault(cell["checkpoint_sha256"], {"pieces": pieces, "rows": []})
        nats = round(sum(cell["nats"]) / sum(cell["targets"]), 4)
        weights["rows"].append({"latents": cell["latents"], "context": cell["context"], "nats_per_token": nats})
    return told


def measured(pieces: list[Path]) -> dict[str, Any]:
    """The same, of the default weights at the page's presets; the pieces are to be of MAESTRO's validation split."""
    import musicgen
    from musicgen.app.web.dials import Dials
    from musicgen.data_prep import cut, read_midi

    model = musicgen.load()
    music = [cut(read_midi(path)[0], 0.0, SECONDS) for path in pieces]
    rows = []
    for latents, context in Dials(model.latents, model.context).preset_pairs:
        nats = round(model.score(music, latents=latents, context=context).nats_per_token, 4)
        rows.append({"latents": latents, "context": context, "nats_per_token": nats})
        print(rows[-1], file=sys.stderr)
    said = f"the first two minutes of {len(pieces)} pieces of MAESTRO's validation split"
    return {model.sha256: {"pieces": said, "rows": rows}}


if __name__ == "__main__":
    given = [Path(name) for name in sys.argv[1:]]
    if given[0].suffix == ".jsonl":
        cells = [json.loads(line) for line in given[0].read_text(encoding="utf-8").splitlines() if line]
        print(json.dumps(quality(cells), indent=1))
    else:
        print(json.dumps(measured(given), indent=1))
