"""What a leg scores, and when: the settings, their rows on disk, and figures in the log.  score.py does the scoring."""

from __future__ import annotations

import argparse
import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import corpora
from preset import recipe_of

from musicgen.model.config import ModelConfig

SPLITS = ("test", "validation")


class Setting(NamedTuple):
    """What is scored together: pieces of one file, at one N and M, with so many regions of each kind to fill."""

    name: str
    pieces: Path
    N: int
    M: int
    rows: int  # a device's, at once
    every: int = 1
    only: tuple[str, ...] = tuple(corpora.STYLES)
    fills: int = 0

    def file(self, out: Path) -> Path:
        return out / f"scored {self.name}.npz"


def settings_of(options: argparse.Namespace) -> list[Setting]:
    """The first is scored on the way as well."""
    model = recipe_of(options).train.model
    N, M, most, fills = model.context, model.latents, 32_768 // model.latents, 64
    if options.toy:
        most, fills = 4, 2
    few = {"pieces": options.validation, "every": 3, "only": ("maestro", "pijama")}
    found = [
        Setting("validation", options.validation, N, M, most, fills=fills),
        Setting("few", N=N, M=M, rows=most, **few),
        Setting(f"few M={M // 8}", N=N, M=M // 8, rows=most, **few),
        Setting(f"few N={N // 4} M={M // 4}", N=N // 4, M=M // 4, rows=2 * most, **few),
    ]
    for split in options.splits if options.whole else ():
        pieces = options.whole / f"whole-{split}.npz.xz"
        found.append(Setting(f"whole {split}", pieces, N, M, most))
        found.append(Setting(f"whole {split} N={4 * N}", pieces, 4 * N, M, most // 4, only=("maestro",)))
    return found


def build_scored(options: argparse.Namespace, trained: dict[str, Any]) -> None:
    """The rows of every setting, into files; pieces of training beside those of validation in the first."""
    import score

    for i, setting in enumerate(settings_of(options)):
        pieces = {name: x[:: setting.every] for name, x in corpora.held_out(setting.pieces).items()}
        pieces = {name: pieces[name] for name in setting.only} | ({} if i else trained)
        if options.toy:
            pieces = {name: [type(x[0])(*(y[:300] for y in x[0]))] for name, x in pieces.items()}
        score.write(setting.file(options.out), score.build(pieces, setting.N, setting.M, setting.fills))


class Scores:
    """Scores weights with what `build_scored` left, and logs them.  Compiles ahead in a thread, once told to."""

    def __init__(
        self, options: argparse.Namespace, config: Any, mesh: Any, log: Callable[..., None], builder: Any
    ) -> None:
        self.options, self.config, self.mesh, self.log, self.builder = options, config, mesh, log, builder
        self.settings, self.thread = settings_of(options), threading.Thread(target=lambda: None)
        self.thread.start()

    def _compiled_for(self, setting: Setting) -> tuple[ModelConfig, int]:
        # The context stays the one that was trained: model/perceiver_ar.py's clamp_positions.
        return dataclasses.replace(self.config.model, latents=setting.M), setting.rows * self.mesh.size

    def compile_ahead(self) -> None:
        import score

        def run() -> None:
            for setting in self.settings:
                config, batch = self._compiled_for(setting)
                score.compiled(config, setting.N, self.mesh, batch, self.config.compute)
                print("compiled", setting.name, flush=True)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def __call__(self, step: int, params: Any, bits: str, setting: Setting) -> None:
        import score

        began, file = time.time(), setting.file(self.options.out)
        while not file.is_file():
            if self.builder.exitcode:
                raise RuntimeError(f"the rows of {setting.name} were not built")
            time.sleep(0.2)
        config, batch = self._compiled_for(setting)
        figures = score.score(config, params, score.read(file), self.mesh, batch, self.config.compute)
        self.log(step=step, setting=setting.name, bits=bits, scores=figures, seconds=time.time() - began)
        plain = {k: round(float(v["nats_per_token"]), 4) for k, v in figures.items() if k.startswith("plain")}
        print(step, bits, setting.name, plain, round(time.time() - began, 1), flush=True)
