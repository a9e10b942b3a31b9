"""The two dials together: a few settings of latents and context that a server compiles, and three of them by name."""

from __future__ import annotations

import dataclasses

from musicgen.app.errors import BadInput
from musicgen.app.settings import FEWEST

LATENT_SHARES = (1, 2, 4, 8, 32)
CONTEXT_SHARES = (1, 2, 4, 8)
USUAL = "Balanced"
PRESETS = {"Fast": (8, 4), "Balanced": (4, 2), "Best": (1, 1)}  # shares of the model's own latents and context


@dataclasses.dataclass(frozen=True)
class Dials:
    """The settings a model of ``latents`` M and ``context`` N is run at.  Each has functions compiled for it, so that
    a server offers few of them."""

    latents: int
    context: int

    @property
    def latent_choices(self) -> list[int]:
        """From the model's own M downwards."""
        return _shares(self.latents, LATENT_SHARES)

    @property
    def context_choices(self) -> list[int]:
        """From the model's own N downwards."""
        return _shares(self.context, CONTEXT_SHARES)

    @property
    def presets(self) -> dict[str, tuple[int, int]]:
        """Name -> (M, N)."""
        pairs = {name: (self.latents // m, self.context // n) for name, (m, n) in PRESETS.items()}
        return {name: (max(min(m, n), FEWEST), max(n, FEWEST)) for name, (m, n) in pairs.items()}

    @property
    def preset_pairs(self) -> list[tuple[int, int]]:
        """(M, N) of the presets, the page's own first, each once."""
        return list(dict.fromkeys([self.presets[USUAL], *self.presets.values()]))

    def checked(self, latents: int | None, context: int | None) -> tuple[int, int]:
        """(M, N) with the model's own filled in.  Raises BadInput for what this server does not offer."""
        N = self.context if context is None else context
        M = min(self.latents, N) if latents is None else latents
        for name, value, choices in (
            ("context", N, self.context_choices),
            ("latents", M, [*self.latent_choices, *(n for n in [N] if n < self.latents)]),
        ):
            if value not in choices:
                offered = ", ".join(map(str, sorted(set(choices))))
                raise BadInput(f"{name} {value} is not offered here: choose one of {offered}")
        if M > N:
            raise BadInput(f"latents {M} are more than the context {N}: lower latents or raise context")
        return M, N


def _shares(whole: int, shares: tuple[int, ...]) -> list[int]:
    return sorted({max(whole // share, FEWEST) for share in shares}, reverse=True)
