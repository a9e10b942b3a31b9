"""Many people at one page at once: does everybody get a piece or a clear message, and does the server stay as it was?

    musicgen app --port 7871 &
    python benchmarks/app/crowd.py http://127.0.0.1:7871 --pid $! > benchmarks/app/result.json

Each person asks for a piece, reads every event, waits a moment as if listening, and asks again, until the time is over;
some press Stop, some close the page in the middle, some send a broken file.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from musicgen.app.errors import STOPPING

BROKEN = base64.b64encode(b"MThd\x00\x00\x00\x06 this is no music").decode()
OPENINGS = ("bach", "beethoven", "satie")


class Tally:
    """What happened, to everybody together."""

    def __init__(self) -> None:
        self.ends: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.first_note: list[float] = []
        self.waited: list[float] = []
        self.rates: list[float] = []
        self.seconds = 0.0
        self.again = 0
        self.memory: list[tuple[float, float]] = []


def wish_of(chance: random.Random, seconds: float) -> dict[str, Any]:
    """What one person asks for: mostly what the page asks for by itself."""
    wish: dict[str, Any] = {"settings": {"seconds": seconds, "latents": 512, "context": 2048, "end": True}}
    kind = chance.random()
    if kind < 0.4:
        wish["prime"] = {"shipped": chance.choice(OPENINGS)}
        wish["to"] = 8.0
    elif kind < 0.5:
        wish["takes"] = 2
    elif kind < 0.55:
        wish["prime"] = {"midi": BROKEN}
    if chance.random() < 0.1:
        wish["seed"] = chance.randrange(10**6)
    if chance.random() < 0.2:
        wish["apart"] = True
    return wish


async def visit(client: httpx.AsyncClient, chance: random.Random, name: str, seconds: float, tally: Tally) -> None:
    """One request from the click to its end."""
    began = time.perf_counter()
    leaves = chance.random() < 0.1
    stops = chance.random() < 0.1
    first = start = None
    ticket, known, last_rate = "", 0.0, 0.0
    headers = {"X-Musicgen-Client": name}
    async with client.stream("POST", "/musicgen/make", json=wish_of(chance, seconds), headers=headers) as response:
        if response.status_code != 200:
            message = json.loads(await response.aread()).get("error", "")
            clear = response.status_code in (400, 429) and bool(message)
            tally.ends["a clear message" if clear else "wrong"] += 1
            if not clear:
                tally.wrong.append(f"{response.status_code} {message}")
            return
        async for line in response.aiter_lines():
            event = json.loads(line)
            now = time.perf_counter()
            ticket = event.get("name", ticket)
            if event["event"] == "begin":
                start = now
                known = event["music"]["prime_seconds"] if event["music"] is not None else 0.0
            elif event["event"] == "notes":
                if first is None:
                    first = now
                    tally.first_note.append(now - (start or began))
                    tally.waited.append((start or began) - began)
                    if leaves:
                        tally.ends["left in the middle"] += 1
                        return
                    if stops:
                        await client.post("/musicgen/stop", json={"name": ticket})
                last_rate = (event["seconds"] - known) / max(now - (start or began), 1e-3)
            elif event["event"] == "take":
                tally.seconds += event["recipe"]["facts"]["settings"]["seconds"]
                tally.rates.append(last_rate)
            elif event["event"] == "again":
                tally.again += 1
            elif event["event"] == "error":
                # Asked to be unlike the training set, and it could not be; or cut off by a stop of the server.
                clear = "is not kept" in event["message"] or event["message"] == STOPPING
                tally.ends["a clear message" if clear else "wrong"] += 1
                if not clear:
                    tally.wrong.append(event["message"])
                return
            elif event["event"] == "end":
                tally.ends["stopped" if event["stopped"] else "a piece"] += 1
                return
    tally.ends["wrong"] += 1
    tally.wrong.append("the connection ended without an end")


async def person(number: int, client: httpx.AsyncClient, until: float, seconds: float, tally: Tally, seed: int) -> None:
    """Somebody who comes back again and again; what has begun when the time is over is waited for."""
    chance = random.Random(f"{seed} {number}")
    await asyncio.sleep(chance.random() * 2)
    while time.perf_counter() < until:
        try:
            await visit(client, chance, f"person {number}", seconds, tally)
        except (httpx.HTTPError, ValueError) as error:
            tally.ends["wrong"] += 1
            tally.wrong.append(f"{type(error).__name__}: {error}")
        await asyncio.sleep(1 + chance.random() * 3)


def resident(pid: int) -> float:
    """MB of memory that a process holds."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096 / 1e6


async def watch(pid: int | None, tally: Tally) -> None:
    """Note the server's memory every five seconds."""
    began = time.perf_counter()
    while pid is not None:
        tally.memory.append((round(time.perf_counter() - began), round(resident(pid))))
        await asyncio.sleep(5)


async def crowd(url: str, people: int, seconds: float, length: float, pid: int | None, seed: int) -> dict[str, Any]:
    """The whole test; gives what is recorded."""
    tally = Tally()
    began = time.perf_counter()
    limits = httpx.Limits(max_connections=people * 2)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        watching = asyncio.create_task(watch(pid, tally))
        until = began + seconds
        await asyncio.gather(*(person(n, client, until, length, tally, seed) for n in range(people)))
        watching.cancel()
        await asyncio.sleep(1)
        health = (await client.get("/musicgen/health")).json()
    wall = time.perf_counter() - began
    half = len(tally.memory) // 2
    return {
        "people": people,
        "asked_for_seconds": seconds,
        "wall_seconds": round(wall, 1),
        "requests": sum(tally.ends.values()),
        "ends": dict(tally.ends),
        "wrong": tally.wrong[:10],
        "made_again": tally.again,
        "seconds_of_music": round(tally.seconds, 1),
        "music_per_second": round(tally.seconds / wall, 2),
        "first_note_after_its_turn": quantiles(tally.first_note),
        "waited_for_its_turn": quantiles(tally.waited),
        "rate_of_a_take": quantiles(tally.rates),
        "memory_mb": {
            "first half, most": max((m for _, m in tally.memory[:half]), default=None),
            "second half, most": max((m for _, m in tally.memory[half:]), default=None),
            "at the end": tally.memory[-1][1] if tally.memory else None,
        },
        "still_busy_afterwards": health["batches"] + health["waiting"],
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 90th percentile and greatest."""
    if len(values) < 2:
        return {}
    return {
        "median": round(statistics.median(values), 2),
        "p90": round(statistics.quantiles(values, n=10)[-1], 2),
        "most": round(max(values), 2),
    }


def main() -> int:
    """Run it; the exit code says whether everything ended as it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long people keep coming (%(default)g)")
    parser.add_argument("--length", type=float, default=15.0, help="seconds of new music in a piece (%(default)g)")
    parser.add_argument("--pid", type=int, help="the server's process, to watch its memory")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    told = asyncio.run(crowd(asked.url, asked.people, asked.seconds, asked.length, asked.pid, asked.seed))
    print(json.dumps(told, indent=1))
    return int(bool(told["ends"].get("wrong") or told["still_busy_afterwards"]))


if __name__ == "__main__":
    sys.exit(main())
