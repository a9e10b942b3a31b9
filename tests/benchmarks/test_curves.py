"""The table of the dials holds what three benchmarks have recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_table(program: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting has a row; what was not measured is left empty; other batches are not mixed in."""
    curves = program("benchmarks/curves/curves.py")
    for name in ("CPU", "GPU", "NATS"):
        monkeypatch.setattr(curves, name, tmp_path / name)
    assert curves.settings() == {}
    cell = {"context": 1024, "latents": 16}
    cpu = {**cell, "tokens_per_second": 100.0, "cache_megabytes": 2.5}
    (tmp_path / "CPU").write_text(json.dumps({"dials": {"grid": [cpu]}}))
    gpu = [{**cell, "batch": batch, "tokens_per_second_with_refills": 2000.0 * batch} for batch in (1, 8)]
    gpu.append({**cell, "latents": 64, "batch": 1, "failed": "no"})
    (tmp_path / "GPU").write_text("\n".join(map(json.dumps, gpu)))
    nats = {"context": 512, "latents": 16, "nats": [4.0, 8.0], "targets": [2, 4]}
    (tmp_path / "NATS").write_text(json.dumps(nats))
    lines = curves.table(curves.settings()).splitlines()
    assert lines[2:] == ["| 512 | 16 | 2.000 ± 0.000 |  |  |  |", "| 1,024 | 16 |  | 100 | 2,000 | 2.5 |"]
