"""What a browser may do with an answer: which scripts it runs, where they may ask, who may show the page in a frame."""

from __future__ import annotations

import base64
import hashlib
import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

INLINE = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
END_OF_HEAD = b"</head>"
NOBODY = "'none'"
RULES = {
    "default-src": "'self'",
    # What a button of Gradio's does in the browser is text that Gradio makes a function of.
    "script-src": "'self' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": NOBODY,
    "base-uri": "'self'",
    "form-action": "'self'",
}
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Policy:
    """ASGI middleware that adds the rules to every answer, refusals too.

    The scripts inside a page of HTML are Gradio's, with the page's configuration in them: they are allowed by their
    hashes, and no others are.
    """

    def __init__(self, app: ASGIApp, framed_by: str | None = None, head: str = "") -> None:
        """framed_by: the only site that may show the page in a frame; None: no site.

        head: HTML for the head of the page, where a browser begins to load what it names before it runs any script;
        what Gradio is given for that it adds by a script of its own, a second later.
        """
        self.app, self.framed_by, self.head = app, framed_by, head.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Only pages of HTML are held back until they are whole."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] == "/":  # compressed, the page could not be looked through
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}
        start: Message | None = None
        page = bytearray()

        async def with_rules(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    start = message
                    return
                self._add(headers)
            elif start is not None:
                page.extend(message.get("body", b""))
                if message.get("more_body", False):
                    return
                if scope["path"] == "/":
                    page[:] = page.replace(END_OF_HEAD, self.head + END_OF_HEAD, 1)
                headers = MutableHeaders(scope=start)
                headers["Content-Length"] = str(len(page))
                self._add(headers, [_hash(script) for script in INLINE.findall(page)])
                await send(start)
                message = {**message, "body": bytes(page)}
            await send(message)

        await self.app(scope, receive, with_rules)

    def _add(self, headers: MutableHeaders, scripts: list[str] | None = None) -> None:
        script = " ".join([RULES["script-src"], *(scripts or [])])
        rules = {**RULES, "script-src": script, "frame-ancestors": self.framed_by or NOBODY}
        headers["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in rules.items())
        for name, value in ALWAYS.items():
            headers[name] = value
        if self.framed_by is None:
            headers["X-Frame-Options"] = "DENY"


def _hash(script: bytes) -> str:
    """As a browser makes it, which knows one kind of line end only."""
    normal = script.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return f"'sha256-{base64.b64encode(hashlib.sha256(normal).digest()).decode()}'"
