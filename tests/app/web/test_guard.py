"""What strangers try with a server: slow ones, many, large bodies, Gradio's own routes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from musicgen.app.web import connections
from musicgen.app.web.calls import DEEPEST, names_files
from musicgen.app.web.guard import OwnBodies, OwnErrors
from musicgen.app.web.limits import Limits
from musicgen.app.web.log import BoundedStream, bounded_output
from musicgen.app.web.routes import guarded

pytestmark = pytest.mark.slow

BYTES = "application/octet-stream"


class Line:
    """A connection that speaks as slowly as it likes."""

    def __init__(self, site: Any) -> None:
        place = urlsplit(site.url)
        self.host = place.netloc
        self.socket = socket.create_connection((place.hostname, place.port), timeout=20)

    def ask(self, path: str, length: int, kind: str = "application/json") -> Line:
        head = f"POST /{path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        self.socket.sendall(head.encode())
        return self

    def answer(self) -> bytes:
        """All that still comes."""
        told = bytearray()
        with contextlib.suppress(ConnectionError):
            while part := self.socket.recv(1 << 16):
                told += part
        return bytes(told)

    def closed_after(self, trickle: bytes = b"", most: float = 15.0) -> float:
        """Seconds until the server closes the connection, to which a byte is sent now and then."""
        began = time.monotonic()
        self.socket.settimeout(0.25)
        at = 0
        while time.monotonic() - began < most:
            with contextlib.suppress(TimeoutError):
                try:
                    if not self.socket.recv(1 << 16):
                        return time.monotonic() - began
                    continue
                except ConnectionError:
                    return time.monotonic() - began
            with contextlib.suppress(OSError):
                self.socket.sendall(trickle[at : at + 1])
            at += 1
        raise AssertionError("the connection is still open")


@pytest.fixture
def lines(site: Any) -> Iterator[Any]:
    """Opens connections; all are closed in the end."""
    made: list[Line] = []

    def open_one() -> Line:
        made.append(Line(site))
        return made[-1]

    yield open_one
    for line in made:
        line.socket.close()


@pytest.mark.parametrize(
    "trickle", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 1000], ids=["idle", "slow"]
)
def test_who_says_nothing_is_let_go(lines: Any, trickle: bytes) -> None:
    """Also who says it letter by letter."""
    assert 1.5 < lines().closed_after(trickle) < 8


def test_who_says_nothing_after_an_answer_is_let_go(lines: Any, site: Any) -> None:
    line = lines()
    line.socket.sendall(f"GET /musicgen/health HTTP/1.1\r\nHost: {line.host}\r\n\r\nGET ".encode())
    assert line.closed_after(b"/musicgen" * 100) < 8


def test_more_connections_than_there_is_room_for(lines: Any, site: Any) -> None:
    """The oldest idle one gives way: whoever comes is answered at once, and nothing is written about it."""
    made = [lines() for _ in range(400)]
    began = time.monotonic()
    assert site.ask("musicgen/health").status == 200
    assert time.monotonic() - began < 5
    assert all(line.answer() == b"" for line in made[:300])  # closed; an open one would time out


def test_a_body_that_comes_slowly_holds_no_place(lines: Any, site: Any) -> None:
    """Two such shut the Audio tab for everybody; now another is served, and they are told that they are too slow."""
    slow = [lines().ask(path, 50_000, kind) for path, kind in 3 * [("musicgen/make", "application/json")]]
    for line in slow[1:]:  # of one comes nothing at all
        line.socket.sendall(b"{")
    assert site.ask("musicgen/read", {"prime": {"shipped": "bach"}}).status == 200
    assert all(b" 408 " in line.answer().splitlines()[0] for line in slow)


def test_a_body_that_stops_in_the_middle(lines: Any, site: Any) -> None:
    line = lines().ask("musicgen/make", 50_000)
    line.socket.sendall(b"x" * 30_000)
    line.socket.close()
    assert site.ask("musicgen/health").status == 200


def test_what_is_too_large_is_refused_before_it_comes(lines: Any) -> None:
    for path in ("musicgen/make", "gradio_api/queue/join", "gradio_api/call/make", "gradio_api/cancel"):
        assert b"too large" in lines().ask(path, 10**9).answer()


def test_a_body_without_end(lines: Any) -> None:
    """Its length is not told: what comes is counted."""
    line = lines()
    head = f"POST /gradio_api/queue/join HTTP/1.1\r\nHost: {line.host}\r\nTransfer-Encoding: chunked\r\n\r\n"
    line.socket.sendall(head.encode())
    with contextlib.suppress(OSError):
        for _ in range(20):
            line.socket.sendall(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    assert b"too large" in line.answer()


def test_the_largest_body_gives_way() -> None:
    """Of those that still arrive, when they are too much together; the others and those that are whole stay."""
    told: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told[scope["path"]] = len((await receive())["body"])
        await asyncio.sleep(0.5)  # at work on it

    async def ask(guard: OwnBodies, name: str, parts: list[tuple[float, int]]) -> None:
        """parts: seconds of waiting, then bytes."""
        left = list(parts)

        async def receive() -> Any:
            seconds, size = left.pop(0)
            await asyncio.sleep(seconds)
            return {"type": "http.request", "body": bytes(size), "more_body": bool(left)}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                told[name] = message["status"]

        await guard({"type": "http", "method": "POST", "path": name, "headers": []}, receive, send)

    async def all_at_once() -> None:
        guard = OwnBodies(app, Limits(bodies_bytes=1000), lambda path: (10_000, "too large"))
        async with asyncio.timeout(4):
            await asyncio.gather(
                ask(guard, "whole", [(0, 400)]),
                ask(guard, "large", [(0, 500), (3600, 1)]),
                ask(guard, "small", [(0, 200), (0.1, 200), (0.1, 1)]),
            )
        assert not guard.held

    asyncio.run(all_at_once())
    assert told == {"whole": 400, "large": 429, "small": 401}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "gradio_api/process_recording"),
        ("POST", "gradio_api/upload"),
        ("POST", "upload"),
        ("POST", "gradio_api/component_server"),
        ("POST", "gradio_api/run/read"),
        ("POST", "gradio_api/api/read"),
        ("POST", "gradio_api/stream/x"),
        ("POST", "gradio_api/vibe-edit"),
        ("POST", "gradio_api/run-history/connect"),
        ("POST", "login"),
        ("PUT", "gradio_api/queue/join"),
        ("DELETE", "config"),
        ("GET", "gradio_api/deep_link?session_hash=a"),
        ("GET", "gradio_api/file=/etc/passwd"),
        ("GET", "gradio_api/file=http://127.0.0.1:9/"),
        ("GET", "gradio_api/proxy=http://127.0.0.1:9/"),
        ("GET", "gradio_api/heartbeat/x"),
        ("GET", "gradio_api/custom_component/a/client/b/c"),
        ("GET", "gradio_api/runs"),
        ("GET", "gradio_api/token"),
        ("GET", "gradio_api/dev/reload"),
        ("GET", "gradio_api/queue/status"),
        ("GET", "monitoring/summary"),
        ("GET", "pwa_icon/5000"),
        ("GET", "/gradio_api/upload"),
        ("GET", "gradio_api//upload"),
        ("GET", "%67radio_api/token"),
    ],
)
def test_gradios_other_routes_are_closed(site: Any, method: str, path: str) -> None:
    """Whatever Gradio adds with a new version is closed, too, until somebody opens it."""
    import httpx

    data = b"--x\r\n" if method == "POST" else None
    answer = httpx.request(
        method, f"{site.url}/{path}", content=data, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 403 and "takes no files" in answer.json()["error"]


def call(site: Any, path: str, body: object) -> Any:
    """As soon as there is room for one more: calls of the tests before may still be known."""
    deadline = time.monotonic() + 30
    while (answer := site.ask(f"gradio_api/{path}", body)).status == 429:
        assert time.monotonic() < deadline, "calls are still kept"
        time.sleep(0.2)
    return answer


def function(site: Any, name: str) -> int:
    return next(one["id"] for one in site.ask("config").json["dependencies"] if one["api_name"] == name)


FILE = {"path": "http://127.0.0.1:9/x", "url": "http://127.0.0.1:9/x", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("value", [FILE, [[FILE]], {"a": {"b": FILE}}, {"path": "/etc/passwd"}, {"url": "http://x"}])
def test_a_call_names_no_files(site: Any, value: Any) -> None:
    """Nothing is fetched or copied: Gradio does not see it."""
    body = {"data": [value], "fn_index": function(site, "remake"), "session_hash": "files"}
    for path in ("gradio_api/queue/join", "gradio_api/call/remake", "gradio_api/call/v2/remake"):
        answer = site.ask(path, body)
        assert answer.status == 400 and "takes no files" in answer.json["error"]


def test_where_files_are_looked_for() -> None:
    deep: Any = 1
    for _ in range(DEEPEST + 2):
        deep = [deep]
    assert names_files(deep) and names_files([{"a": [{"url": 1}]}])
    assert not names_files({"data": ["path", "url", {"facts": {"settings": {}}, "prime": None}, 3, None]})


def test_calls_that_nobody_waits_for_are_forgotten(site: Any) -> None:
    """Neither what they asked nor what came of it is kept; meanwhile there is a bound on their number."""
    read = function(site, "read")
    statuses = []
    for number in range(40):
        body = {"data": ["A" * 150_000], "fn_index": read, "session_hash": f"nobody {number}"}
        statuses.append(site.ask("gradio_api/queue/join", body).status)
    assert statuses.count(200) <= 30 and 429 in statuses  # a slow machine forgets some of the first twenty meanwhile
    assert call(site, "call/about", {"data": []}).status == 200


def test_a_long_call_that_nobody_waits_for_is_stopped(site: Any) -> None:
    """It would hold a place at the model until it is made."""
    parameters = site.ask("gradio_api/info").json["named_endpoints"]["/make"]["parameters"]
    values = {one["parameter_name"]: one["parameter_default"] for one in parameters} | {"seconds": 120.0}
    body = {"data": list(values.values()), "fn_index": function(site, "make"), "session_hash": "gone"}
    with site.held():
        assert call(site, "queue/join", body).status == 200
        deadline = time.monotonic() + 20
        while not site.busy and time.monotonic() < deadline:
            time.sleep(0.02)
        assert site.busy
        site.until_idle(30)


def test_few_listen_to_one_call(lines: Any, site: Any) -> None:
    """Each listener is work for the server, and they are told nothing that one would not be told."""
    with site.held():
        parameters = site.ask("gradio_api/info").json["named_endpoints"]["/make"]["parameters"]
        values = {one["parameter_name"]: one["parameter_default"] for one in parameters} | {"seconds": 60.0}
        body = {"data": list(values.values()), "fn_index": function(site, "make"), "session_hash": "heard"}
        assert call(site, "queue/join", body).status == 200
        listeners = [lines() for _ in range(10)]
        for line in listeners:
            line.socket.sendall(
                f"GET /gradio_api/queue/data?session_hash=heard HTTP/1.1\r\nHost: {line.host}\r\n\r\n".encode()
            )
        heads = sorted(line.socket.recv(12) for line in listeners)
        assert heads == 4 * [b"HTTP/1.1 200"] + 6 * [b"HTTP/1.1 429"]
        for line in listeners:
            line.socket.close()
    site.until_idle()


def test_what_a_call_holds_is_checked(site: Any) -> None:
    """Whatever a program sends in the place of text, it gets a line."""
    for name, data in (
        ("read", [5]),
        ("read", [[1]]),
        ("sound", [None, "wav"]),
        ("picture", [{}, {}]),
        ("remake", [[1]]),
    ):
        event = call(site, f"call/{name}", {"data": data})
        assert event.status == 200
        told = site.ask(f"gradio_api/call/{name}/{event.json['event_id']}").body.decode()
        assert "event: error" in told and "Traceback" not in told and "wrong" not in told


def test_calls_that_fit_no_function_are_refused(site: Any) -> None:
    """In one line each: Gradio would fail at them, and log a page."""
    before = (site.folder / "log").read_text()
    good = {"data": ["bach"], "fn_index": function(site, "read"), "session_hash": "odd"}
    # Buttons whose work is done there.
    in_the_browser = [one["id"] for one in site.ask("config").json["dependencies"] if one.get("backend_fn") is False]
    for wrong, told in (
        ({"data": []}, "read takes prime"),
        ({"data": ["bach", "bach"]}, "read takes prime"),
        ({"data": {"prime": "bach"}}, "read takes prime"),
        ({"fn_index": 99_999}, "no such function"),
        ({"fn_index": -1}, "no such function"),
        ({"fn_index": "0"}, "no such function"),
        *(({"fn_index": number}, "no such function") for number in in_the_browser),
        ({"session_hash": ""}, "session_hash"),
        ({"session_hash": "x" * 101}, "session_hash"),
        ({"session_hash": None}, "session_hash"),
    ):
        answer = site.ask("gradio_api/queue/join", good | wrong)
        assert answer.status == 400 and told in answer.json["detail"], wrong
    for path, body, told in (
        ("queue/join", [1], "a JSON object"),
        ("call/nothing", {"data": []}, "no such function"),
        ("call/read", {"data": []}, "read takes prime"),
        ("call/about", {"data": [1]}, "about takes nothing"),
        ("call/v2/nothing", {}, "no such function"),
        ("call/v2/read", {}, "read takes prime"),
        ("call/v2/read", {"prime": "bach", "form": "wav"}, "read takes prime"),
    ):
        answer = site.ask(f"gradio_api/{path}", body)
        assert answer.status == 400 and told in answer.json["detail"], path
    for path in ("queue/data?session_hash=nobody", "call/read/nobody", "call/v2/read/nobody"):
        assert b"404" in site.ask(f"gradio_api/{path}").body
    event = call(site, "call/v2/read", {"prime": "bach"}).json["event_id"]
    assert b"event: complete" in site.ask(f"gradio_api/call/v2/read/{event}").body
    told = (site.folder / "log").read_text().removeprefix(before)
    assert not any(word in told for word in ("Traceback", "queue/join failed", "/call/"))


def test_what_fails_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """In the log, and for whoever asked, unless an answer has begun."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/early":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/told":
            raise RuntimeError("too late") from HTTPException(404)
        raise KeyError("one\ntwo")

    async def ask(path: str) -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await OwnErrors(app)({"type": "http", "method": "GET", "path": path}, send, send)
        return sent

    start, body = asyncio.run(ask("/early"))
    assert start["status"] == 500 and b"went wrong" in body["body"]
    for path in ("/late", "/told"):
        start, body = asyncio.run(ask(path))
        assert start["status"] == 200 and body["body"] == b""
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 and all("\n" not in line and "KeyError" in line for line in lines)
    assert lines[0].startswith("GET /early failed") and "test_guard.py:" in lines[0]


def test_who_has_gone_is_not_waited_for() -> None:
    """What is done for them is cancelled, so that their place is free."""
    told = []

    async def slow(self: object, request: Request) -> Response:
        try:
            await asyncio.sleep(3600)
        finally:
            told.append(await request.json())
        raise AssertionError

    async def ask() -> Response:
        messages = [{"type": "http.request", "body": b"[1]"}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            await asyncio.sleep(0.05)
            return messages.pop(0)

        async with asyncio.timeout(5):
            return await guarded(slow)(None, Request({"type": "http", "headers": []}, receive))  # type: ignore[call-arg]

    assert asyncio.run(ask()).status_code == 400 and told == [[1]]


def test_browsers_are_told_what_to_be_careful_with(site: Any) -> None:
    """On every kind of answer: the page, our own files, JSON, refusals."""
    for path in ("", "config", "musicgen/page/main.js", "musicgen/about", "gradio_api/upload", "musicgen/nowhere"):
        headers = site.ask(path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "object-src 'none'" in policy and "default-src 'self'" in policy
        script = next(rule for rule in policy.split("; ") if rule.startswith("script-src"))
        assert "unsafe-inline" not in script and ("sha256-" in script) == (path == "")


def test_who_takes_nothing_of_an_answer_is_let_go() -> None:
    """And who takes it slowly is not."""
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": bytes(200_000), "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})

    async def ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 19)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return reader, writer

    async def both() -> tuple[bytes, int]:
        limits = Limits(idle_seconds=2.0)
        config = uvicorn.Config(app, http=connections.protocol(limits), lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            port = listening.getsockname()[1]
            slow, slow_writer = await ask(port)
            _, deaf_writer = await ask(port)
            taken = b""
            for _ in range(15):  # in all longer than anybody may take nothing
                await asyncio.sleep(0.4)
                taken = await slow.read(1 << 20) or taken
            left = len(server.server_state.connections)
            while part := await slow.read(1 << 20):
                taken = part
            deaf_writer.close()
            slow_writer.close()
            server.should_exit = True
            await serving
        return taken, left

    taken, left = asyncio.run(both())
    assert taken.endswith(b"end\r\n0\r\n\r\n") and left <= 1


def test_whoever_has_most_connections_gives_way() -> None:
    """When all are at work, so that nobody can shut the others out by asking and asking."""
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.sleep(3600)

    async def ask(port: int, address: str) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"begun")
        return reader

    async def closed(reader: asyncio.StreamReader) -> bool:
        try:
            async with asyncio.timeout(1):
                await reader.read()
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    async def crowd() -> list[bool]:
        config = uvicorn.Config(
            app, http=connections.protocol(Limits(connections=8)), lifespan="off", log_level="critical"
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            port = listening.getsockname()[1]
            others = [await ask(port, "127.0.0.1") for _ in range(3)]
            many = [await ask(port, "127.0.0.2") for _ in range(20)]
            gone = await asyncio.gather(*map(closed, [*others, *many]))
            for writer in writers:
                writer.close()
            server.should_exit = server.force_exit = True
            await serving
        return gone

    writers: list[asyncio.StreamWriter] = []
    assert asyncio.run(crowd()) == 3 * [False] + 15 * [True] + 5 * [False]


def test_the_log_is_bounded() -> None:
    """With a word on what is left out, once a minute."""
    stream = io.StringIO()
    bounded = BoundedStream(stream, 100)
    for _ in range(1000):
        bounded.write("0123456789")
    assert len(stream.getvalue()) == 100
    bounded.began -= 61
    bounded.write("again")
    assert stream.getvalue()[100:] == "\nmusicgen: 9,900 more letters of such lines are left out\nagain"
    before = sys.stderr
    with bounded_output(10):
        print("x" * 100, file=sys.stderr)
    assert sys.stderr is before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_the_memory_of_large_requests_is_given_back() -> None:
    """Also that which several threads have had: all of it, whenever they are done."""
    program = """
import asyncio, concurrent.futures, json, pathlib, resource, threading
from musicgen.app.memory import return_memory

THREADS = 2
all_of_them = threading.Barrier(THREADS)
small = []  # what a server remembers of each request, such as a session, lies behind its large blocks

def pages():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

async def ask(body):
    read = bytearray()
    for at in range(0, len(body), 1 << 20):
        read += body[at : at + (1 << 20)]
    await asyncio.to_thread(understand, bytes(read))

def understand(body):
    value = json.loads(body)
    small.append(bytearray(3000))
    return value

async def until_idle():  # a thread still holds what it has answered until it takes something new
    await asyncio.gather(*(asyncio.to_thread(all_of_them.wait) for _ in range(THREADS)))

async def main():
    asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(THREADS))
    body = json.dumps(["A" * 25_000_000]).encode()
    await until_idle()
    before, kept = pages(), []
    for _ in range(8):
        await asyncio.gather(*(ask(body) for _ in range(THREADS)))
        await until_idle()
        kept.append(pages() - before)
    print(max(kept))

return_memory()
asyncio.run(main())
"""
    kept = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert int(kept) < 10_000_000  # 150 million without


def test_as_many_connections_as_there_are_files() -> None:
    """Where the system allows few files, a connection can still always be taken."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = Limits(connections=10**9)
    most = connections.most_connections(limits)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most == 10**9 or most <= soft - connections.FILES_LEFT
    assert connections.most_connections(Limits(connections=50)) == 50
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
