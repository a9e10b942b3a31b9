"""By which names the server may be asked, and from whose pages: as a browser says it, and from a browser."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from musicgen.app.errors import BadInput, is_plain
from musicgen.app.web.guard import OwnHosts, OwnRoutes
from musicgen.app.web.hosts import Hosts

from .conftest import CHROMIUM

LOCAL = Hosts.of("127.0.0.1")
GIVEN = Hosts.of("127.0.0.1", ["music.example.org", "https://Other.example:8443", ""])
EVERYWHERE = Hosts.of("0.0.0.0")


@pytest.mark.parametrize(
    ("hosts", "host", "origin", "answered"),
    [
        (LOCAL, "127.0.0.1:7860", None, True),
        (LOCAL, "localhost:7860", None, True),
        (LOCAL, "LocalHost:9000", "http://localhost:9000", True),  # through a tunnel
        (LOCAL, "[::1]:7860", "http://[::1]:7860", True),
        (LOCAL, "localhost.:7860", None, True),
        (LOCAL, "evil.example:7860", None, False),
        (LOCAL, "evil.example:7860", "http://evil.example:7860", False),  # its name now means this machine
        (LOCAL, "127.0.0.1.evil.example", None, False),
        (LOCAL, "localhost.evil.example", None, False),
        (LOCAL, "evil.example@127.0.0.1", None, False),
        (LOCAL, "127.0.0.1:7860/x", None, False),
        (LOCAL, "127.0.0.1:port", None, False),
        (LOCAL, "192.168.1.5:7860", None, False),
        (LOCAL, "[::1", None, False),
        (LOCAL, "", None, False),
        (LOCAL, None, None, False),
        (LOCAL, "\x1b[2J\n", None, False),
        (LOCAL, "127.0.0.1:7860", "http://evil.example", False),
        (LOCAL, "127.0.0.1:7860", "http://127.0.0.1:3000", False),  # another page on this machine
        (LOCAL, "127.0.0.1:7860", "http://localhost:7860", False),
        (LOCAL, "127.0.0.1:7860", "null", False),
        (LOCAL, "127.0.0.1:7860", "file://", False),
        (LOCAL, "127.0.0.1:7860", "", False),
        (LOCAL, "127.0.0.1:7860", "ftp://127.0.0.1:7860", False),
        (GIVEN, "music.example.org", "https://music.example.org", True),
        (GIVEN, "music.example.org:8080", "http://music.example.org", True),  # a proxy that keeps the name only
        (GIVEN, "127.0.0.1:7860", "https://music.example.org", True),  # a proxy that keeps nothing
        (GIVEN, "other.example", None, True),
        (GIVEN, "sub.music.example.org", None, False),
        (GIVEN, "music.example.org", "https://evil.example", False),
        (EVERYWHERE, "192.168.1.5:7860", "http://192.168.1.5:7860", True),  # nobody can rebind an address
        (EVERYWHERE, "[fe80::1]:7860", None, True),
        (EVERYWHERE, "127.0.0.1:7860", None, True),
        (EVERYWHERE, "evil.example:7860", None, False),
        (EVERYWHERE, "192.168.1.5:7860", "http://192.168.1.6", False),
        (Hosts.of("::"), "10.0.0.1", None, True),
        (Hosts.of("192.168.1.5"), "192.168.1.5:7860", None, True),
        (Hosts.of("192.168.1.5"), "192.168.1.6:7860", None, False),
        (Hosts.of("piano.lan"), "piano.lan:7860", None, True),
        (Hosts.of("0.0.0.0", ["*"]), "any.example", "https://any.other.example", True),
    ],
)
def test_who_is_answered(hosts: Hosts, host: str | None, origin: str | None, answered: bool) -> None:
    problem = hosts.refusal(host, origin)
    assert (problem is None) == answered
    assert problem is None or ("--allow-host" in problem and len(problem) < 300)


@pytest.mark.parametrize("name", ["a b", "a/b", "*.example.org", "a@b", "[::", "a,b", "s3://b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(BadInput, match="is no name of a host"):
        Hosts.of("127.0.0.1", [name])


def test_web_sockets_are_refused_as_requests_are() -> None:
    """The page has none, and nobody else's page may open one."""
    reached: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    def open_one(guard: Any, host: str) -> list[Any]:
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        scope = {"type": "websocket", "path": "/gradio_api/queue/data", "headers": [(b"host", host.encode())]}
        asyncio.run(guard(scope, None, send))
        return said

    assert open_one(OwnHosts(app, LOCAL), "evil.example") == [{"type": "websocket.close", "code": 1008}]
    assert open_one(OwnRoutes(app), "127.0.0.1") == [{"type": "websocket.close", "code": 1008}]
    assert reached == []
    open_one(OwnHosts(app, LOCAL), "127.0.0.1:7860")
    assert len(reached) == 1


EVERY_KIND = [
    ("GET", ""),
    ("GET", "config"),
    ("GET", "theme.css"),
    ("GET", "gradio_api/info"),
    ("GET", "gradio_api/queue/data?session_hash=a"),
    ("POST", "gradio_api/queue/join"),
    ("POST", "gradio_api/call/about"),
    ("POST", "gradio_api/cancel"),
    ("GET", "musicgen/about"),
    ("GET", "musicgen/health"),
    ("GET", "musicgen/page/main.js"),
    ("GET", "musicgen/samples/60.mp3"),
    ("POST", "musicgen/make"),
    ("POST", "musicgen/read"),
    ("POST", "musicgen/stop"),
    ("POST", "musicgen/recording/heard"),
    ("OPTIONS", "musicgen/make"),
    ("OPTIONS", "gradio_api/queue/join"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), EVERY_KIND)
@pytest.mark.parametrize("odd", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_every_route_asks_who_asks(site: Any, method: str, path: str, odd: dict[str, str]) -> None:
    headers = {"Content-Type": "application/json", "Access-Control-Request-Method": "POST", **odd}
    data = b"{}" if method == "POST" else None
    request = urllib.request.Request(f"{site.url}/{path}", data, headers, method=method)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=20)
    with refusal.value as answer:
        line = json.loads(answer.read())["error"]
        assert answer.code == 403 and "--allow-host" in line and is_plain(line)
        assert answer.headers.get("Access-Control-Allow-Origin") is None


@pytest.mark.slow
def test_a_proxy_whose_name_was_given_is_answered(site: Any) -> None:
    headers = {"Host": "music.example.org", "Origin": "https://music.example.org"}
    with urllib.request.urlopen(urllib.request.Request(f"{site.url}/config", headers=headers), timeout=20) as answer:
        assert answer.status == 200


# What a page of a stranger tries: to read, to make and to queue; by fetch, by a stream of events, by a socket.
ATTACK = """async (base) => {
  const told = {};
  const json = { "Content-Type": "application/json" };
  const bytes = { "Content-Type": "application/octet-stream" };
  const tries = {
    about: ["musicgen/about"],
    config: ["config"],
    make: ["musicgen/make", { method: "POST", headers: json, body: '{"settings": {"seconds": 60}}' }],
    join: ["gradio_api/queue/join", { method: "POST", headers: json, body: '{"data": [], "session_hash": "x"}' }],
    heard: ["musicgen/recording/heard", { method: "POST", headers: bytes, body: "RIFF" }],
    blind: ["musicgen/make", { method: "POST", mode: "no-cors", body: "{}" }],
  };
  for (const [name, [path, options]] of Object.entries(tries)) {
    try {
      const answer = await fetch(`${base}/${path}`, options);
      told[name] = answer.type === "opaque" ? "opaque" : answer.status;
    } catch (error) {
      told[name] = "failed";
    }
  }
  told.events = await new Promise((done) => {
    const source = new EventSource(`${base}/gradio_api/queue/data?session_hash=x`);
    source.onmessage = () => done("read");
    source.onerror = () => { source.close(); done("failed"); };
  });
  told.socket = await new Promise((done) => {
    const socket = new WebSocket(`${base.replace("http", "ws")}/gradio_api/queue/data`);
    socket.onopen = () => done("open");
    socket.onerror = () => done("failed");
  });
  return told;
}"""


@pytest.mark.slow
@pytest.mark.parametrize("rebound", [True, False], ids=["a name that is rebound", "another site"])
def test_a_page_of_a_stranger_in_a_real_browser(site: Any, rebound: bool) -> None:
    """Rebound, it reads the refusals, as its origin is its own; from another site it does not even read those."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (extra dev)")
    if CHROMIUM is None:
        pytest.skip("the browser tests need Chromium: apt-get install chromium")
    port = site.url.rpartition(":")[2]
    theirs = f"http://evil.example:{port}"
    finished = site.ask("musicgen/health").json["finished"]
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    flags = ["--no-sandbox", rules, "--disable-features=LocalNetworkAccessChecks"]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = chromium.new_page()
        # The page itself came from the stranger's server, before its name was rebound.
        page.route(f"{theirs}/page.html", lambda route: route.fulfill(body="<p>hello</p>", content_type="text/html"))
        page.goto(f"{theirs}/page.html")
        told = page.evaluate(ATTACK, theirs if rebound else site.url)
        chromium.close()
    refused = 403 if rebound else "failed"
    kinds = ("about", "config", "make", "join", "heard")
    assert {name: told[name] for name in kinds} == dict.fromkeys(kinds, refused)
    assert told["blind"] == refused
    assert (told["events"], told["socket"]) == ("failed", "failed")
    health = site.ask("musicgen/health").json
    assert (health["waiting"], health["batches"], health["finished"]) == (0, 0, finished)
