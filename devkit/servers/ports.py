"""Ports of the loopback: one that is free, and who holds one that is not. Linux, by ``/proc``.

Free ports are taken from below the range that the kernel gives to outgoing connections. From within it, a client that
calls a server which is down could be given that very port and connect to itself, and the server could not come back.
"""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lookout.domain.errors import Unavailable

LOOPBACK: Final = "127.0.0.1"
_LOWEST: Final = 15_000
_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENING: Final = "0A"


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """The process that listens on a port; ``pid`` is None if it is another user's, which cannot be looked up."""

    pid: int | None
    program: str

    def __str__(self) -> str:
        return self.program if self.pid is None else f"{self.program}, process {self.pid}"


def free_port() -> int:
    """Return a port that nobody listens on now. Another process may take it before it is used: be ready to try
    again."""
    highest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    candidates = range(_LOWEST, highest) if highest > _LOWEST else range(_LOWEST, 65_536)
    for port in random.sample(candidates, 200):
        if is_free(port):
            return port
    raise Unavailable("ports of the loopback", f"none free of 200 tried from {candidates[0]} to {candidates[-1]}")


def free_ports(number: int) -> list[int]:
    """Return several different ones, as ``free_port`` chooses them."""
    found: dict[int, None] = {}
    while len(found) < number:
        found[free_port()] = None
    return list(found)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port of the loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def find_listener(port: int) -> Listener | None:
    """Return the process that listens on a port, on any address; None if there is none."""
    sockets = _listening_sockets(port)
    if not sockets:
        return None
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and sockets & _open_sockets(int(folder.name)):
            return Listener(pid=int(folder.name), program=_program(folder))
    return Listener(pid=None, program="a process of another user")


def listens(pid: int, port: int) -> bool:
    """Tell whether this very process listens on the port."""
    return bool(_listening_sockets(port) & _open_sockets(pid))


def _listening_sockets(port: int) -> set[str]:
    found = set()
    for table in _TABLES:
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _open_sockets(pid: int) -> set[str]:
    found = set()
    try:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            found.add(str(file.readlink()))
    except OSError:
        # It has ended, has just closed a file, or is another user's: what was seen so far is all there is to see.
        return found
    return found


def _program(folder: Path) -> str:
    try:
        return (folder / "comm").read_text().strip()
    except OSError:
        return "a process that has just ended"
