"""What Gradio offers and this page does not need: its own file upload, which would write what anybody sends to disk."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

CLOSED = ("/upload", "/upload_progress", "/proxy=", "/monitoring")
REFUSAL = "this server takes no files: send MIDI as base64 text to the API"


class NoUploads:
    """ASGI middleware that refuses Gradio's upload routes before a byte of the body is read."""

    def __init__(self, app: ASGIApp) -> None:
        """app: what comes behind."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on everything else."""
        path = scope.get("path", "") if scope["type"] == "http" else ""
        if path.startswith(tuple(prefix + name for prefix in ("", "/gradio_api") for name in CLOSED)):
            await JSONResponse({"detail": REFUSAL}, 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)
