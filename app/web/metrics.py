"""What an operator watches, as Prometheus reads it: the queue, the first note, the pace, and what was refused."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from musicgen.app.web.ticket import Event, Ticket

if TYPE_CHECKING:
    from musicgen.app.web.scheduler import Load

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0)
HEARD = {"notes": "notes", "sound": "sound"}  # events that bring music, and where it lies


class Metrics:
    """Counts what happens to tickets.  Every call may come from another thread."""

    def __init__(self) -> None:
        """Of nothing yet."""
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"musicgen_{name}", what, labels, registry=registry)

        def seconds(name: str, what: str) -> Histogram:
            return Histogram(f"musicgen_{name}_seconds", what, ["kind"], buckets=SECONDS, registry=registry)

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(f"musicgen_{name}", what, registry=registry)

        self.waited = seconds("wait", "From a click to its turn.")
        self.first = seconds("first_note", "From a click to its first note or sound.")
        self.tokens = counter("tokens", "Tokens drawn for people.", "kind")
        self.takes = counter("takes", "Takes that were finished, or stopped and kept.", "kind")
        self.refused = counter("refusals", "Clicks that were refused as too many wait.")
        self.failed = counter("failures", "Clicks that ended without what they asked for.", "kind")
        self.waiting = gauge("waiting", "Clicks that wait for their turn.")
        self.batches = gauge("batches", "Batches at work.")
        self.rows = gauge("rows", "Takes at work.")
        self._lock = threading.Lock()
        # Take -> tokens so far, of tickets that somebody has.
        self._drawn: weakref.WeakKeyDictionary[Ticket[Any], dict[int, float]] = weakref.WeakKeyDictionary()

    def watch(self, ticket: Ticket[Any], event: Event) -> None:
        """Count an event of a ticket; see `Ticket`."""
        kind, what, passed = ticket.request.kind, event["event"], time.monotonic() - ticket.asked_at
        if what == "begin":
            self.waited.labels(kind).observe(passed)
        elif what == "take":
            self.takes.labels(kind).inc()
        elif what == "refused":
            self.refused.inc()
        elif what == "error":
            self.failed.labels(kind).inc()
        with self._lock:
            drawn = self._drawn.setdefault(ticket, {})
            if what == "again":
                drawn[event["take"]] = 0.0
            elif event.get(HEARD.get(what, "")):
                if not drawn:
                    self.first.labels(kind).observe(passed)
                now = float(event.get("drawn", 0.0))
                self.tokens.labels(kind).inc(max(now - drawn.get(event["take"], 0.0), 0.0))
                drawn[event["take"]] = now

    def text(self, load: Callable[[], Load]) -> bytes:
        """All of it, in Prometheus's text format."""
        from prometheus_client import generate_latest

        now = load()
        for one, value in ((self.waiting, now.waiting), (self.batches, now.batches), (self.rows, now.rows)):
            one.set(value)
        return bytes(generate_latest(self.registry))
