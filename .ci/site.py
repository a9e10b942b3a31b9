"""What mkdocs needs to be told about this repository (`hooks` in mkdocs.yml).

Links work as they are on GitHub: README.md is the home page, and whatever a page links to outside docs/ (cards,
benchmarks, source files, pictures) becomes a part of the site as well, under repository/.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
HOME, DOCS, REST = "README.md", "docs", "repository"
LINK = re.compile(r"(?<=\]\()([^()\s]+)(?=\))")
CODE = re.compile(r"^ *```.*?^ *```|``.+?``|`[^`\n]+`", re.MULTILINE | re.DOTALL)
SHOWN = {".py": "python", ".js": "javascript", ".css": "css", ".toml": "toml", ".sh": "sh", "": "text"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the home page, and every file of the repository that can be reached from it or from docs/."""
    waiting = [HOME, "CONTRIBUTING.md", "CHANGELOG.md"]
    waiting += [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith(f"{DOCS}/"):
            files.append(generated(path, config))
        if path.endswith(".md"):
            found = {
                target for link in links((ROOT / path).read_text(encoding="utf-8")) if (target := inside(path, link))
            }
            waiting += sorted(found - seen)
            seen |= found
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page, which are right in the repository, into those of the site."""
    path, folder = path_of(page.file.src_uri), PurePosixPath(page.file.src_uri).parent

    def turned(match: re.Match[str]) -> str:
        target = inside(path, match[0])
        _, hash_, anchor = match[0].partition("#")
        return match[0] if target is None else os.path.relpath(uri_of(target), folder) + hash_ + anchor

    if not path.endswith(".md"):
        return markdown
    code = iter(CODE.findall(markdown))
    return re.sub("\0", lambda _: next(code), LINK.sub(turned, CODE.sub("\0", markdown)))


def links(markdown: str) -> list[str]:
    """The targets of a document's links and pictures, those in code left out."""
    return LINK.findall(CODE.sub("", markdown))


def inside(path: str, link: str) -> str | None:
    """The file of the repository that a link in another leads to; None for the web and for places on the same page.

    Raises PluginError, which ends the build, if there is none.
    """
    target = unquote(link.partition("#")[0])
    if not target or re.match(r"[a-z]+:", target):
        return None
    place = Path(os.path.normpath(ROOT / PurePosixPath(path).parent / target))
    place = place / "README.md" if place.is_dir() else place
    if not place.is_file() or not place.is_relative_to(ROOT):
        raise PluginError(f"{path} links to {link}, which is not there")
    return place.relative_to(ROOT).as_posix()


def uri_of(path: str) -> str:
    """Where a file of the repository lies in the site: source files are shown on pages."""
    if path == HOME:
        return "index.md"
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return f"{REST}/{path}" + (".md" if PurePosixPath(path).suffix in SHOWN else "")


def path_of(uri: str) -> str:
    """Inverse of `uri_of`."""
    if uri == "index.md":
        return HOME
    if not uri.startswith(f"{REST}/"):
        return f"{DOCS}/{uri}"
    path = uri.removeprefix(f"{REST}/")
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def generated(path: str, config: MkDocsConfig) -> File:
    """A file of the repository as one of the site: Markdown as it is, source as a page, all else unchanged."""
    content: str | bytes = (ROOT / path).read_bytes()
    kind = SHOWN.get(PurePosixPath(path).suffix)
    if kind is not None:
        content = f"# {path}\n\n````{kind}\n{content.decode('utf-8')}\n````\n"  # type: ignore[union-attr]
    return File.generated(config, uri_of(path), content=content)
