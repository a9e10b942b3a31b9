"""Processes on several hosts find each other and agree, before any of them computes.

Process 0 listens; each of the others connects to it and says who it is and what it was asked to train.  Process 0
looks whether all of that is the same, and answers all of them alike: where to go on, or what is wrong, so that every
host says the same line.  The connections stay open for as long as the run (watch.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen.app.errors import BadInput
from musicgen.app.training.hosts.place import Place, own_name

COMES = 300.0  # seconds in which all have to come: people start them by hand, schedulers when there is room
ANSWERS = 15.0  # seconds in which a host has to take a connection, and a name to be known
PATIENCE = 5.0  # seconds after which it is said what is waited for
SEEN = 10.0  # seconds after which a new file is seen on a file system that hosts share
SILENT = (5, 3, 3)  # seconds of silence, then between so many questions, after which a host is gone: 14 s
LONGEST = 65_536  # bytes of a message


class Link:
    """A connection that carries JSON, a line each."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket, self._rest = connection, b""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        for name, value in zip(names, SILENT, strict=True):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.own, self.other = connection.getsockname()[0], connection.getpeername()[0]

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno()

    def send(self, **message: Any) -> None:
        """Nothing is sent to one that is gone: `receive` tells that."""
        with contextlib.suppress(OSError):
            self.socket.settimeout(ANSWERS)
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, patience: float) -> dict[str, Any] | None:
        """The next message, within so many seconds; None if the other is gone.

        Raises TimeoutError, ValueError for what is no message.
        """
        until = time.monotonic() + patience
        while b"\n" not in self._rest:
            self.socket.settimeout(max(until - time.monotonic(), 0.01))
            try:
                more = self.socket.recv(LONGEST)
            except TimeoutError as error:
                if error.errno is not None:  # of the connection, not of the patience
                    return None
                raise
            except OSError:
                return None
            if not more:
                return None
            self._rest += more
            if len(self._rest) > LONGEST:
                raise ValueError("too long for a message")
        line, _, self._rest = self._rest.partition(b"\n")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("no message")
        return message

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


@dataclass
class Met:
    """All have come and agree.

    names: what each is called, by index.  links: to the others, by index: process 0 has one to each, they to it alone.
    coordinator: where JAX's own service will be.  address: this host's, as the others reach it.
    """

    place: Place
    names: list[str]
    links: dict[int, Link]
    coordinator: str
    address: str

    def close(self) -> None:
        """Close all connections."""
        for link in self.links.values():
            link.close()


def meet(place: Place, facts: Mapping[str, str], folder: Path) -> Met:
    """Wait for all, and agree with them.

    facts: what has to be the same on all, by what a person calls it.  folder: of the run, which all have to see.
    Raises BadInput for what one can't be reached, comes twice or not at all, or was asked to do something else.
    """
    if place.index:
        return _come(place, facts, folder)
    _find(place)
    mark = folder / f".meeting-{secrets.token_hex(4)}"
    mark.touch()
    try:
        with _listen(place) as listener:
            return _Host(place, facts, mark).wait(listener)
    finally:
        mark.unlink(missing_ok=True)


def _say(line: str) -> None:
    print(f"musicgen: {line}", file=sys.stderr, flush=True)


def _listen(place: Place) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", place.port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", place.port))
    except OSError as error:
        raise BadInput(
            f"--distributed: process 0 cannot listen at port {place.port} of {own_name()} ({error.strerror}): choose"
            " another one on all hosts"
        ) from None


class _Host:
    """Process 0, while it waits for the others."""

    def __init__(self, place: Place, facts: Mapping[str, str], mark: Path) -> None:
        self.place, self.facts, self.mark = place, facts, mark
        self.links: dict[int, Link] = {}
        self.names = {0: f"process 0 ({own_name()})"}

    def wait(self, listener: socket.socket) -> Met:
        began, told = time.monotonic(), PATIENCE
        while len(self.links) < self.place.count - 1:
            waited = time.monotonic() - began
            missing = [index for index in range(1, self.place.count) if index not in self.links]
            who = f"process {', '.join(map(str, missing))} of {self.place.count}"
            if waited > COMES:
                self._refuse(f"{who} did not come within {COMES:.0f} s: {self.place.start(missing[0])}")
            if waited > told:
                told = 6 * told
                _say(f"waiting for {who}: {self.place.start(missing[0])}")
            listener.settimeout(0.5)
            with contextlib.suppress(TimeoutError, OSError, ValueError):  # a stranger's connection, which is closed
                self._take(listener.accept()[0])
        return self._begin()

    def _take(self, connection: socket.socket) -> None:
        """Hear who connects, and what it was asked to train."""
        link = Link(connection)
        link.send(musicgen=True, mark=self.mark.name)
        try:
            said = link.receive(SEEN + PATIENCE)
            if said is None:
                raise ValueError("gone")
            index, count, name = int(said["index"]), int(said["count"]), str(said["name"])
            theirs = {str(what): str(value) for what, value in dict(said["facts"]).items()}
        except (KeyError, TypeError, ValueError, TimeoutError):
            link.close()
            raise ValueError("no process of a run") from None
        name = f"process {index} ({name}, {link.other.removeprefix('::ffff:')})"
        ours, here = self.names[0], self.place.count
        before = self.links.pop(index, None)
        if before is not None and _is_open(before):
            self.links[-1] = before
            self.links[index] = link
            self._refuse(f"{name} is there twice ({self.names[index]}): give each process an INDEX of its own")
        self.links[index], self.names[index] = link, name
        if count != here or not 0 < index < here:
            self._refuse(f"{name} was told of {count} processes, {ours} of {here}: give all the same COUNT")
        if not said.get("sees"):
            self._refuse(
                f"{name} does not see the folder of the run, {self.mark.parent}, as {ours} does: give one that is on"
                " a file system which all hosts share"
            )
        for what, value in self.facts.items():
            if theirs.get(what) != value:
                self._refuse(
                    f"{name} has another {what} than {ours} ({theirs.get(what)}, not {value}): start the same command"
                    " on all hosts, on the same data, with one version of all packages"
                )

    def _refuse(self, why: str) -> None:
        for link in self.links.values():
            link.send(refused=why)
        raise BadInput(f"--distributed: {why}")

    def _begin(self) -> Met:
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        names = [self.names[index] for index in range(self.place.count)]
        for link in self.links.values():
            link.send(names=names, port=port)
        own = self.links[1].own.removeprefix("::ffff:") if self.links else "127.0.0.1"
        return Met(self.place, names, self.links, _address(own, port), own)


def _is_open(link: Link) -> bool:
    try:
        return link.receive(0.01) is not None
    except (TimeoutError, ValueError):
        return True


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _come(place: Place, facts: Mapping[str, str], folder: Path) -> Met:
    """One of the others: connect, and hear what process 0 says."""
    link = Link(_connect(place))
    try:
        welcome = link.receive(SEEN + ANSWERS)  # it may be listening to another one
        if welcome is None or welcome.get("musicgen") is not True:
            raise ValueError("no process 0")
        mark = folder / os.path.basename(str(welcome["mark"]))
        sees, until = False, time.monotonic() + SEEN
        while not (sees := mark.exists()) and time.monotonic() < until:
            time.sleep(0.5)
        link.send(index=place.index, count=place.count, name=own_name(), facts=dict(facts), sees=sees)
        answer = link.receive(COMES + ANSWERS)
    except (KeyError, ValueError, TimeoutError):
        raise BadInput(f"--distributed: what answers at {place.address} is no process 0 of a run: {_CURE}") from None
    if answer is None:
        raise BadInput(f"--distributed: process 0 at {place.address} has gone before all came: see what it says there")
    if "refused" in answer:
        raise BadInput(f"--distributed: {answer['refused']}")
    host = link.other.removeprefix("::ffff:")
    own = link.own.removeprefix("::ffff:")
    return Met(place, list(answer["names"]), {0: link}, _address(host, int(answer["port"])), own)


def _find(place: Place) -> None:
    """Raises BadInput if nobody can come, as the name of process 0 is not even known to itself."""
    began = time.monotonic()
    while True:
        try:
            socket.getaddrinfo(place.leader, place.port)
            return
        except socket.gaierror as error:
            _wait_for_name(place, error, began)


def _wait_for_name(place: Place, error: socket.gaierror, began: float) -> None:
    """A new name may not be known everywhere yet; raises BadInput if it has not been for long."""
    if time.monotonic() - began > ANSWERS / 2:
        raise BadInput(
            f"--distributed: no host {place.leader} is known here ({error.strerror}): give the name or the address of"
            " the host of process 0 that the others know it by"
        ) from None
    time.sleep(0.5)


_CURE = "is the port right, and is process 0 started with the same address?"


def _connect(place: Place) -> socket.socket:
    """Raises BadInput if the host cannot be reached, or nobody listens there for long."""
    began, told = time.monotonic(), False
    while True:
        waited = time.monotonic() - began
        try:
            return socket.create_connection((place.leader, place.port), ANSWERS)
        except socket.gaierror as error:
            _wait_for_name(place, error, began)
        except ConnectionRefusedError:
            if waited > COMES:
                raise BadInput(f"--distributed: nobody listens at {place.address}: {place.start(0)}") from None
            if waited > PATIENCE and not told:
                told = True
                _say(f"waiting for process 0 at {place.address}: {place.start(0)}")
        except OSError as error:
            raise BadInput(
                f"--distributed: {place.address} cannot be reached from {own_name()} ({error.strerror or error}): is it"
                " the host of process 0, is it up, and does a firewall let this port through?"
            ) from None
        time.sleep(0.5)
