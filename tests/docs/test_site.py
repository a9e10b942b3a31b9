"""The documentation as a site: built without a network, whole, and asking nothing of other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .documents import ROOT, TEXTS

FETCHED = re.compile(r"<(?:script|img|iframe|source)[^>]* src=\"?([^\" >]+)|<link[^>]* href=\"?([^\" >]+)")
LOADED = re.compile(r"url\(\"?'?((?:https?:)?//[^)]+)\)|@import ")


def build(site: Path) -> subprocess.CompletedProcess[str]:
    """mkdocs in its strict mode, with a proxy that is not there in the way to the network."""
    tree = ROOT / ".tree" / "musicgen"  # as the Makefile lays it
    tree.mkdir(parents=True, exist_ok=True)
    for part in ("app", "checkpoints", "data_prep", "model", "musicgen/__init__.py"):
        if not (link := tree / Path(part).name).exists():
            link.symlink_to(f"../../{part}")
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)]
    environment = {**os.environ, **proxies, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_there(site: Path) -> None:
    names = {Path(name).stem for name in TEXTS if name.startswith("docs/")}
    assert names | {"index"} <= {path.stem for path in site.glob("*.html")}
    assert "Perceiver AR" in (site / "index.html").read_text(encoding="utf-8")
    assert (site / "repository" / "benchmarks" / "cpu" / "index.html").is_file()
    reference = (site / "reference.html").read_text(encoding="utf-8")
    assert "musicgen.model.perceiver_ar" in reference and "[B, N]" in reference


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert pages and styles
    for page in pages:
        for source, linked in FETCHED.findall(page.read_text(encoding="utf-8")):
            assert not re.match(r"(https?:)?//", source or linked), page
    for style in styles:
        assert not LOADED.search(style.read_text(encoding="utf-8")), style
