"""What strangers try with a server, one attack after the other: is it still reached, and what does it cost it?

    musicgen app --port 7871 2> app.log &
    python benchmarks/app/attacks.py http://127.0.0.1:7871 --pid $! --log app.log > benchmarks/app/attacks.json

During each attack somebody asks for /musicgen/health every half second; told are the longest of these times, how many
were not answered within five seconds, the most memory of the server, and how much its log has grown.
"""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import json
import resource
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

PATIENCE = 5.0  # seconds that the person who asks meanwhile waits
TICKS = 40_000  # in a second of a packed prime
YEAR = 365 * 86_400


class Target:
    """The server that is attacked."""

    def __init__(self, url: str) -> None:
        self.url, self.place = url, urlsplit(url)
        self.client = httpx.Client(base_url=url, timeout=60, limits=httpx.Limits(max_connections=20))
        config = self.client.get("/config").json()
        self.functions = {one["api_name"]: one["id"] for one in config["dependencies"]}

    def connect(self) -> socket.socket:
        return socket.create_connection((self.place.hostname, self.place.port), timeout=10)

    def join(self, name: str, data: list[Any], session: str) -> int:
        body = {"data": data, "fn_index": self.functions[name], "session_hash": session}
        return self.client.post("/gradio_api/queue/join", json=body).status_code

    def head(self, path: str, length: int, kind: str) -> bytes:
        lines = [f"POST {path} HTTP/1.1", f"Host: {self.place.netloc}", f"Content-Type: {kind}"]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


Tally = collections.Counter[str]


def idle(target: Target, count: int = 1100, trickle: bytes = b"", seconds: float = 15.0) -> Tally:
    """Connections that say nothing, or one letter of a request every half second."""
    told: Tally = collections.Counter()
    sockets = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            sockets.append(target.connect())
    told["opened"] = len(sockets)
    until = time.monotonic() + seconds
    at = 0
    while time.monotonic() < until:
        for one in sockets if trickle else ():
            with contextlib.suppress(OSError):
                one.sendall(trickle[at : at + 1])
        at += 1
        time.sleep(0.5)
    for one in sockets:
        one.settimeout(0.01)
        with contextlib.suppress(OSError):
            told["closed by the server"] += one.recv(1) == b""
        one.close()
    return told


def slow_headers(target: Target) -> Tally:
    """Three hundred requests whose headers come letter by letter."""
    return idle(target, 300, b"GET / HTTP/1.1\r\nX: " + b"x" * 1000)


def at_work(target: Target, count: int = 1100, seconds: float = 10.0) -> Tally:
    """Connections whose request is at work all the time: half wait for a body, half listen to one long call."""
    told: Tally = collections.Counter()
    about = target.client.get("/gradio_api/info").json()["named_endpoints"]["/make"]["parameters"]
    values = {one["parameter_name"]: one["parameter_default"] for one in about} | {"seconds": 300.0}
    told[f"call: {target.join('make', list(values.values()), 'heard by many')}"] += 1
    listen = f"GET /gradio_api/queue/data?session_hash=heard+by+many HTTP/1.1\r\nHost: {target.place.netloc}\r\n\r\n"
    requests = target.head("/musicgen/make", 50_000, "application/json") + b"{", listen.encode()
    sockets = []
    for number in range(count):
        with contextlib.suppress(OSError):
            sockets.append(target.connect())
            sockets[-1].sendall(requests[number % 2])
    time.sleep(seconds)
    return told + answers_to(sockets, 0.01)


def answers_to(sockets: list[socket.socket], seconds: float) -> Tally:
    """What became of requests: the first line of each answer that is there within so many seconds."""
    told: Tally = collections.Counter()
    for one in sockets:
        one.settimeout(seconds)
        try:
            told[one.recv(100).split(b"\r\n")[0].decode() or "closed by the server"] += 1
        except TimeoutError:
            told["still waited for"] += 1
        except OSError:
            told["closed by the server"] += 1
        one.close()
    return told


def slow_bodies(target: Target, count: int = 20) -> Tally:
    """Recordings that come a byte a second; meanwhile somebody else brings one."""
    told: Tally = collections.Counter()
    sockets = [target.connect() for _ in range(count)]
    for one in sockets:
        one.sendall(target.head("/musicgen/recording/heard", 1_000_000, "application/octet-stream"))
    for _ in range(20):
        for one in sockets:
            with contextlib.suppress(OSError):
                one.sendall(b"x")
        time.sleep(1)
        headers = {"Content-Type": "application/octet-stream"}
        answer = target.client.post("/musicgen/recording/heard", content=b"RIFF" + bytes(100), headers=headers)
        told[f"others: {answer.status_code}"] += 1
    for one in sockets:
        one.settimeout(1)
        with contextlib.suppress(OSError):
            told["let go: " + one.recv(100).split(b"\r\n")[0].decode()] += 1
        one.close()
    return told


def large_calls(target: Target, count: int = 80, size: int = 25_000_000) -> Tally:
    """Bodies of 25 MB to Gradio's queue, for a function that takes files of 1 MB."""
    text = "A" * size
    return collections.Counter(f"{target.join('read', [text], f'large {n}')}" for n in range(count))


def large_recordings(target: Target, count: int = 12, size: int = 50_000_000) -> Tally:
    """Recordings of 50 MB at once, all but their last byte."""
    sockets = []
    for _ in range(count):
        one = target.connect()
        one.sendall(target.head("/musicgen/recording/make", size, "application/json"))
        sockets.append(one)

    def send(one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for _ in range(size // 1_000_000):
                one.sendall(bytes(999_999))

    threads = [threading.Thread(target=send, args=[one]) for one in sockets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers_to(sockets, 0.5)


def answers_nobody_takes(target: Target, count: int = 300) -> Tally:
    """Pieces as pictures, whose text of many MB nobody comes for."""
    piece = target.client.post("/musicgen/make", json={"settings": {"seconds": 5.0}})
    takes = [json.loads(line) for line in piece.text.splitlines() if '"take"' in line]
    midi = next(take["midi"] for take in takes if take["event"] == "take")
    return collections.Counter(f"{target.join('picture', [midi, 'png'], f'none {n}')}" for n in range(count))


def nonsense(target: Target, count: int = 3000) -> Tally:
    """What is no HTTP, and calls with the wrong number of values: each is worth a line in a log."""
    told: Tally = collections.Counter()
    for number in range(count):
        if number % 10:
            with contextlib.suppress(OSError), target.connect() as one:
                one.sendall(b"\x16\x03\x01 no http\r\n\r\n")
                told["answered" if one.recv(100) else "closed"] += 1
        else:
            told[f"{target.join('read', [], f'nonsense {number}')}"] += 1
    return told


def bombs(target: Target, count: int = 40) -> Tally:
    """Recipes whose prime lasts a hundred years, or unpacks to 190 MB, of a few hundred bytes each."""
    steps = np.array([100 * YEAR * TICKS], "<i8").view(np.uint8).tobytes()
    years = np.array([1, 0], "<u4").tobytes() + bytes(8) + steps + bytes([60, 64])
    packed = [base64.b64encode(zlib.compress(data, 9)).decode() for data in (years, bytes(190_000_000))]
    about = target.client.get("/musicgen/about").json()
    settings = {"seconds": 2.0, "prime_seconds": None, "keep_prime": True, "latents": 512, "context": 2048}
    settings |= {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "num_samples": 1}
    facts = {"format": 1, "settings": settings, "seed": 1, "sample": 1, "checkpoint": "x", "prime_sha256": "a" * 64}
    facts |= {"checkpoint_sha256": about["checkpoint"]["sha256"], "prime_notes": 1, "join_seconds": 0.5}
    facts |= {"backend": "x", "version": "x"}
    told: Tally = collections.Counter()
    for number in range(count):
        recipe = {"facts": facts, "prime": packed[number % 2]}
        answer = target.client.post("/musicgen/make", json={"recipe": recipe})
        told[f"{answer.status_code} {answer.text[:60]}"] += 1
    return told


def strangers(target: Target) -> Tally:
    """By another name, from another page, by Gradio's own routes, with addresses in the place of files."""
    told: Tally = collections.Counter()
    file = {"path": "http://127.0.0.1:9/", "url": "http://127.0.0.1:9/", "meta": {"_type": "gradio.FileData"}}
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        for path in ("/", "/config", "/musicgen/about", "/gradio_api/info"):
            told[f"name or page: {target.client.get(path, headers=headers).status_code}"] += 1
    for path in ("upload", "process_recording", "component_server", "run/read", "vibe-edit"):
        told[f"routes: {target.client.post(f'/gradio_api/{path}', content=b'x').status_code}"] += 1
    for path in ("deep_link?session_hash=a", "file=/etc/passwd", "proxy=http://127.0.0.1:9/", "heartbeat/x"):
        told[f"routes: {target.client.get(f'/gradio_api/{path}').status_code}"] += 1
    told[f"files: {target.join('remake', [file], 'file')}"] += 1
    return told


ATTACKS: dict[str, Callable[[Target], Tally]] = {
    one.__name__: one
    for one in (
        strangers,
        idle,
        slow_headers,
        at_work,
        slow_bodies,
        large_calls,
        large_recordings,
        answers_nobody_takes,
        nonsense,
        bombs,
    )
}


class Watch:
    """Somebody who asks meanwhile, and what the server needs."""

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid
        self.waited: list[float] = []
        self.unanswered = 0
        self.memory = 0.0
        self.over = threading.Event()

    def look(self) -> None:
        """Until it is over."""
        while not self.over.wait(0.5):
            began = time.perf_counter()
            try:
                httpx.get(f"{self.url}/musicgen/health", timeout=PATIENCE)
            except httpx.HTTPError:
                self.unanswered += 1
            self.waited.append(time.perf_counter() - began)
            pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
            self.memory = max(self.memory, int(pages) * resource.getpagesize() / 1e6)


@contextlib.contextmanager
def watching(url: str, pid: int) -> Iterator[Watch]:
    """A watch while the body runs."""
    watch = Watch(url, pid)
    thread = threading.Thread(target=watch.look)
    thread.start()
    try:
        yield watch
    finally:
        watch.over.set()
        thread.join()


def attack(name: str, target: Target, pid: int, log: Path | None) -> dict[str, Any]:
    """One of them, and what is recorded of it."""
    before = log.stat().st_size if log is not None else 0
    began = time.perf_counter()
    with watching(target.url, pid) as watch:
        told = ATTACKS[name](target)
        time.sleep(1)
    return {
        "told": dict(told),
        "seconds": round(time.perf_counter() - began, 1),
        "asked_meanwhile": len(watch.waited),
        "not_answered": watch.unanswered,
        "longest_wait": round(max(watch.waited, default=0.0), 2),
        "most_memory_mb": round(watch.memory),
        "log_bytes": (log.stat().st_size if log is not None else 0) - before,
    }


def main() -> int:
    """Run them; the exit code says whether the server could be reached all the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--pid", type=int, required=True, help="the server's process, to watch its memory")
    parser.add_argument("--log", type=Path, help="the file that its stderr goes to")
    parser.add_argument("--only", choices=ATTACKS, action="append", help="this attack (default: all)")
    asked = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > soft else soft, hard))
    told = {name: attack(name, Target(asked.url), asked.pid, asked.log) for name in asked.only or ATTACKS}
    print(json.dumps(told, indent=1))
    return int(any(one["not_answered"] for one in told.values()))


if __name__ == "__main__":
    sys.exit(main())
