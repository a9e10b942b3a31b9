"""An S3 server on loopback, and in front of it a proxy that spoils what it is told to."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import pytest

from musicgen.checkpoints import remote
from musicgen.data_prep import stores

BUCKETS = count(1)
BUSY = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
REFUSED = "<Error><Code>InvalidAccessKeyId</Code><Message>The key does not exist in our records.</Message></Error>"


@dataclass
class Fault:
    """What happens to requests of this method whose path has this part, so many times.

    what: "busy", "refused"; "cut": half of the answer, then nothing; "torn": half of the request is read, then nothing.
    """

    method: str
    part: str
    what: str
    times: int = 1


@dataclass
class Store:
    """The server behind its proxy, with a bucket of this test's own."""

    address: str  # s3://bucket
    direct: Any  # the server, past the proxy
    folder: Path  # where copies lie
    faults: list[Fault]
    asked: list[tuple[str, str]] = field(default_factory=list)  # methods and paths

    def put(self, name: str, data: bytes) -> str:
        """Make an object; returns its address."""
        self.direct.pipe_file(f"{self.address}/{name}", data)
        return f"{self.address}/{name}"

    def get(self, name: str) -> bytes:
        """The bytes of an object, past the proxy."""
        return bytes(self.direct.cat_file(f"{self.address}/{name}"))

    def names(self) -> list[str]:
        """All there is."""
        return sorted(path.partition("/")[2] for path in self.direct.find(self.address))

    def spoil(self, method: str, part: str, what: str, times: int = 1) -> None:
        """See `Fault`."""
        self.faults.append(Fault(method, part, what, times))


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[Any, str, list[Fault], list[tuple[str, str]]]]:
    """(the S3 server, its proxy, the proxy's faults, what it was asked)."""
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    faults: list[Fault] = []
    asked: list[tuple[str, str]] = []
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler(host, port, faults, asked))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    options = {"use_listings_cache": False, "skip_instance_cache": True}
    direct = fsspec.filesystem("s3", key="key", secret="secret", endpoint_url=f"http://{host}:{port}", **options)
    yield direct, f"http://127.0.0.1:{proxy.server_port}", faults, asked
    proxy.shutdown()
    proxy.server_close()
    server.stop()


@pytest.fixture
def store(servers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """What a person's environment says, two tries with no wait between them, and a bucket."""
    server, proxy, faults, asked = servers
    for name, value in {
        "AWS_ENDPOINT_URL": proxy,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "WAIT", 0.0)
    for module in (stores, remote):
        monkeypatch.setattr(module, "TRIES", 2)
    bucket = f"bucket-{next(BUCKETS)}"
    found = Store(f"s3://{bucket}", server, tmp_path / "cache" / "musicgen" / "stores", faults, asked)
    server.mkdir(bucket)
    yield found
    faults.clear()
    asked.clear()


def handler(host: str, port: int, faults: list[Fault], asked: list[tuple[str, str]]) -> type[BaseHTTPRequestHandler]:
    """Of requests, which go on to the server unless there is a fault for them."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def forward(self) -> None:
            """To the server, and back."""
            asked.append((self.command, self.path))
            fault = next((x for x in faults if x.times and x.method == self.command and x.part in self.path), None)
            size = int(self.headers.get("Content-Length", 0))
            if fault is not None:
                fault.times -= 1
            if fault is not None and fault.what == "torn":
                self.rfile.read(size // 2)
                self.close_connection = True
                return
            body = self.rfile.read(size)
            if fault is not None and fault.what in ("busy", "refused"):
                self.answer(*((503, BUSY) if fault.what == "busy" else (403, REFUSED)))
                return
            server = http.client.HTTPConnection(host, port)
            server.request(self.command, self.path, body, dict(self.headers))
            answer = server.getresponse()
            content = answer.read()
            server.close()
            self.send_response(answer.status)
            length = answer.headers.get("Content-Length", str(len(content)))
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            cut = fault is not None and fault.what == "cut"
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut

        def answer(self, status: int, text: str) -> None:
            """In the server's place."""
            self.send_response(status)
            self.send_header("Content-Length", str(len(text) if self.command != "HEAD" else 0))
            self.end_headers()
            self.wfile.write(text.encode() if self.command != "HEAD" else b"")

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.forward)
    return Handler
