"""What the page says about its presets' quality, from what `benchmarks/dials` has measured.

python benchmarks/app/quality.py grid.jsonl > app/web/notes/quality.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


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


if __name__ == "__main__":
    grid = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    print(json.dumps(quality([json.loads(line) for line in grid if line]), indent=1))
