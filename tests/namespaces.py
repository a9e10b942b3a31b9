"""Hosts on a network that can fail: network namespaces of this machine, on one bridge."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Hosts:
    """So many, with the addresses 10.77.0.1, 10.77.0.2 ...; the file system is shared."""

    def __init__(self) -> None:
        self.prefix, self.count = f"mg{os.getpid()}", 0
        self.processes: list[subprocess.Popen[str]] = []

    def build(self, count: int) -> None:
        """Raises OSError or CalledProcessError where that is not possible."""
        switch = self.prefix + "s"
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "name", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "dev", "bridge", "up")
        for self.count in range(1, count + 1):
            host, port = f"{self.prefix}{self.count - 1}", f"port{self.count - 1}"
            ip("netns", "add", host)
            ip("-n", switch, "link", "add", "name", port, "type", "veth", "peer", "name", "cable", "netns", host)
            ip("-n", switch, "link", "set", "dev", port, "master", "bridge", "up")
            ip("-n", host, "address", "add", f"{self.address(self.count - 1)}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", host, "link", "set", "dev", device, "up")

    @staticmethod
    def address(host: int) -> str:
        return f"10.77.0.{host + 1}"

    def start(
        self, host: int, *command: str, log: Path, environment: Mapping[str, str] = os.environ
    ) -> subprocess.Popen[str]:
        """A Python process on that host, which is called hostN; what it says is in the log."""
        named = ["unshare", "--uts", "sh", "-c", f'hostname host{host} && exec "$@"', "sh"]
        whole = ["ip", "netns", "exec", f"{self.prefix}{host}", *named, sys.executable, *command]
        with log.open("w") as file:
            process = subprocess.Popen(whole, stdout=file, stderr=subprocess.STDOUT, text=True, env=environment)
        self.processes.append(process)
        return process

    def cut(self, host: int) -> None:
        ip("-n", f"{self.prefix}{host}", "link", "set", "dev", "cable", "down")

    def mend(self, host: int) -> None:
        ip("-n", f"{self.prefix}{host}", "link", "set", "dev", "cable", "up")

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for name in ("s", *map(str, range(self.count))):
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "delete", self.prefix + name)
        self.count = 0
