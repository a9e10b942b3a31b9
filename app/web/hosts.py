"""By which names the server may be asked, and from whose pages.

A page of anybody can give its own name the address of this machine (DNS rebinding); its requests then reach a server
that listens on loopback only, and the browser takes the answers for the page's own.  But a request names the page's
host, and no name of a stranger is one of ours.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from musicgen.app.errors import BadInput

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANY = "*"


@dataclasses.dataclass(frozen=True)
class Hosts:
    """names: lower case, without ports.  addresses: whether any IP address will do, since no page rebinds one.
    given: those names that the owner of the server gave, as a proxy or other sites may use them."""

    names: frozenset[str]
    given: frozenset[str]
    addresses: bool

    @classmethod
    def of(cls, bound: str, given: Iterable[str] = ()) -> Hosts:
        """Of a server that listens on the address `bound`.  given: of --allow-host.  Raises BadInput for no name."""
        allowed = frozenset(filter(None, (_checked(name) for name in given)))
        everywhere = bound in ("", "0.0.0.0", "::")
        machine = socket.gethostname().lower().removesuffix(".local")
        own = {machine, f"{machine}.local"} if everywhere else {bound.lower()}
        return cls(frozenset({*LOOPBACK, *own, *allowed}), allowed, everywhere)

    @property
    def only_here(self) -> bool:
        """Whether nobody but who sits at this machine can ask, as far as names tell."""
        return not self.addresses and not self.given and self.names <= {*LOOPBACK}

    def refusal(self, host: str | None, origin: str | None) -> str | None:
        """Why a request with these headers is not answered, in one line; None if it is.

        host: name and perhaps port.  origin: of the page that asks, if the browser names one.
        """
        name = _name_of(host or "")
        if not self._known(name):
            return (
                f"this server is not known as {(host or 'nothing')[:80]!r}: open it by its own address, or start it"
                " with --allow-host and that name"
            )
        if origin is None or f"//{host}".lower() == origin.lower().removeprefix("http:").removeprefix("https:"):
            return None
        if ANY in self.given or _name_of(_after_scheme(origin)) in self.given:
            return None
        return (
            f"pages of {origin[:80]!r} may not ask this server: start it with --allow-host and their name if they may"
        )

    def _known(self, name: str) -> bool:
        return ANY in self.given or name in self.names or (self.addresses and _is_address(name))


def _checked(given: str) -> str:
    """A name that was given, as it is looked for; '' for ''."""
    name = given.strip().lower()
    if name == ANY or not name:
        return name
    bare = _name_of(_after_scheme(name))
    scheme = name.removesuffix(_after_scheme(name))
    if not bare or scheme not in ("", "http://", "https://") or any(one in bare for one in " /*,@"):
        raise BadInput(f"--allow-host {given[:80]!r} is no name of a host: give one such as music.example.org")
    return bare


def _after_scheme(text: str) -> str:
    return text.partition("://")[2] if "://" in text else text


def _name_of(host: str) -> str:
    """The name or address in a Host header, lower case; '' if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018  # raises ValueError unless it is none or a number
    except ValueError:
        return ""
    odd = parts.path or parts.query or parts.fragment or "@" in host
    return "" if odd else (parts.hostname or "").removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
