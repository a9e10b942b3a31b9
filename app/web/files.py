"""The page's own files, read once: a first visit asks for seventy of them at the moment when there is most to do."""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

TYPES = {".js": "text/javascript", ".mp3": "audio/mpeg"}  # which not every system knows


class Files:
    """The files of a folder, as they were when the server began."""

    def __init__(self, folder: Path) -> None:
        """folder: without folders in it."""
        self.files = {path.name: _answer(path) for path in folder.iterdir() if path.is_file()}

    async def get(self, request: Request) -> Response:
        """One of them, or word that the browser has it already."""
        found = self.files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        data, headers = found
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={"ETag": headers["ETag"]})
        return Response(data, headers=headers)


def _answer(path: Path) -> tuple[bytes, dict[str, str]]:
    data = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    text = "; charset=utf-8" if kind.startswith("text/") else ""
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    return data, {"Content-Type": kind + text, "ETag": tag, "Cache-Control": "no-cache"}  # asked for, seldom sent again
