"""How well the model does at each setting of its two dials, if somebody has measured it for these very weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from musicgen.app.errors import BadInput
from musicgen.app.web.dials import Dials

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

    def picture(self, dials: Dials) -> str:
        """The table as HTML, the better the darker; each setting is a button, whose click `page/main.js` hears."""
        columns = sorted({M for M, _ in self.nats}, reverse=True)
        rows = sorted({N for _, N in self.nats}, reverse=True)
        names = {pair: name for name, pair in dials.presets.items()}
        head = "".join(f'<th scope="col">{M}</th>' for M in columns)
        lines = []
        for N in rows:
            cells = "".join(f"<td>{self._cell(M, N, names.get((M, N)))}</td>" for M in columns)
            lines.append(f'<tr><th scope="row">{N}</th>{cells}</tr>')
        return (
            f'<table class="mg-table"><caption>How surprised the model is by music it has not heard, in nats per token'
            f" ({self.pieces}): less is better. Across: thinking (latents). Down: memory (context). Press one to"
            f" choose it.</caption><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        )

    def _cell(self, M: int, N: int, preset: str | None) -> str:
        value = self.nats.get((M, N))
        if value is None:
            return ""
        best, worst = min(self.nats.values()), max(self.nats.values())
        share = (worst - value) / (worst - best) if worst > best else 1.0
        named = f"<small>{preset}</small>" if preset is not None else ""
        return (
            f'<button type="button" class="mg-cell" data-latents="{M}" data-context="{N}" aria-pressed="false"'
            f' title="thinking {M}, memory {N}" style="--share:{share:.2f}">{value:.3f}{named}</button>'
        )


def quality_of(sha256: str, dials: Dials, file: Path = FILE) -> Quality | None:
    """What `benchmarks/app/quality.py` wrote down for the weights of this SHA-256, at settings that are offered; None
    if nothing."""
    try:
        measured = json.loads(file.read_text(encoding="utf-8"))[sha256]
        nats = {(int(row["latents"]), int(row["context"])): float(row["nats_per_token"]) for row in measured["rows"]}
        pieces = str(measured["pieces"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    offered = {pair: value for pair, value in nats.items() if _offered(dials, *pair)}
    return Quality(pieces, offered) if offered else None


def _offered(dials: Dials, latents: int, context: int) -> bool:
    try:
        dials.checked(latents, context)
    except BadInput:
        return False
    return True
