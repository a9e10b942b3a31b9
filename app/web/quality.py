"""How well the model does at each setting of its two dials, if somebody has measured it for these very weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

FILE = Path(__file__).with_name("quality.json")


@dataclasses.dataclass(frozen=True)
class Quality:
    """nats: (latents, context) -> nats per token on music the model has not seen; less is better."""

    pieces: str
    nats: dict[tuple[int, int], float]

    def lost(self, latents: int, context: int) -> float | None:
        """Nats per token more than at the best setting, None if that was not measured."""
        value = self.nats.get((latents, context))
        return None if value is None else value - min(self.nats.values())

    def picture(self) -> str:
        """The table as HTML, the better the darker."""
        columns = sorted({M for M, _ in self.nats}, reverse=True)
        rows = sorted({N for _, N in self.nats}, reverse=True)
        best, worst = min(self.nats.values()), max(self.nats.values())
        head = "".join(f'<th scope="col">{M}</th>' for M in columns)
        lines = []
        for N in rows:
            cells = []
            for M in columns:
                value = self.nats.get((M, N))
                if value is None:
                    cells.append("<td></td>")
                    continue
                share = (worst - value) / (worst - best) if worst > best else 1.0
                cells.append(f'<td class="mg-shade" style="--share:{share:.2f}">{value:.3f}</td>')
            lines.append(f'<tr><th scope="row">{N}</th>{"".join(cells)}</tr>')
        return (
            f'<table class="mg-table"><caption>How surprised the model is by music it has not heard, in nats per token'
            f" ({self.pieces}): less is better. Across: thinking (latents). Down: memory (context).</caption>"
            f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        )


def quality_of(sha256: str, file: Path = FILE) -> Quality | None:
    """What `benchmarks/app/quality.py` wrote down for the weights of this SHA-256; None if nothing."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))[sha256]
        nats = {(int(row["latents"]), int(row["context"])): float(row["nats_per_token"]) for row in told["rows"]}
        return Quality(str(told["pieces"]), nats) if nats else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
