"""The page's own files, and where a browser is told of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from musicgen.app.web.files import Files
from musicgen.app.web.policy import Policy


def asked(files: Files, name: str, **headers: str) -> Any:
    pairs = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path_params": {"name": name}, "headers": pairs}
    return asyncio.run(files.get(Request(scope)))


def test_a_file_comes_once(tmp_path: Path) -> None:
    """Whole with its type; whoever has it is told so; what was changed has another name for it; no others are there."""
    (tmp_path / "a.js").write_text("export {};")
    (tmp_path / "b.css").write_text("p {}")
    (tmp_path / "more").mkdir()
    files = Files(tmp_path)
    first = asked(files, "a.js")
    assert (first.body, first.headers["content-type"]) == (b"export {};", "text/javascript; charset=utf-8")
    assert asked(files, "b.css").headers["content-type"] == "text/css; charset=utf-8"
    again = asked(files, "a.js", if_none_match=first.headers["etag"])
    assert (again.status_code, again.body) == (304, b"")
    (tmp_path / "a.js").write_text("export { };")
    assert asked(Files(tmp_path), "a.js", if_none_match=first.headers["etag"]).status_code == 200
    for name in ("c.js", "more", "../a.js"):
        with pytest.raises(HTTPException):
            asked(files, name)


def test_what_the_page_needs_stands_in_its_head() -> None:
    """Where a browser sees it before any script has run; the length is that of what is sent."""

    async def page(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html"), (b"content-length", b"34")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<head></head>", "more_body": True})
        await send({"type": "http.response.body", "body": b"<body></head></body>"})

    async def seen(path: str) -> tuple[bytes, bytes]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await Policy(page, head="<i>")({"type": "http", "path": path, "headers": []}, None, send)  # type: ignore[arg-type]
        return dict(sent[0]["headers"])[b"content-length"], sent[1]["body"]

    assert asyncio.run(seen("/")) == (b"36", b"<head><i></head><body></head></body>")
    assert asyncio.run(seen("/other"))[1] == b"<head></head><body></head></body>"
