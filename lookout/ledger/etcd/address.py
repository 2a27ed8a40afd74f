"""Where an etcd is and how to be let in: what ``LOOKOUT_LEDGER`` and its companions say. Opens no connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lookout.errors import InputRejected

DEFAULT_PREFIX: Final = "/lookout"
_SHAPE: Final = "expected etcd://host:port[,host:port...][/prefix], or etcds:// for TLS"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Endpoints as ``host:port``, files as PEM. ``repr`` shows no secret. Raises InputRejected for half of a pair."""

    endpoints: tuple[str, ...]
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise InputRejected("no endpoint of etcd", "LOOKOUT_LEDGER", _SHAPE)
        if (self.user is None) != (self.password is None):
            raise InputRejected("a user without a password or the other way round", self.name)
        if (self.cert is None) != (self.key is None):
            raise InputRejected("a client certificate without its key or the other way round", self.name)
        if not self.tls and (self.ca or self.cert):
            raise InputRejected("certificates for a connection without TLS", self.name, "use etcds://")

    @property
    def name(self) -> str:
        """For messages."""
        return f"etcd at {','.join(self.endpoints)}"


def read_url(url: str, **how: object) -> tuple[Address, str]:
    """The address and the prefix of ``etcd://host:port[,host:port...][/prefix]``; ``how`` are other fields of Address.

    Raises InputRejected for anything else, without showing what might be a password in it.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in ("etcd", "etcds"):
        raise InputRejected("not an address of etcd", "LOOKOUT_LEDGER", _SHAPE)
    hosts, _, prefix = rest.partition("/")
    endpoints = tuple(hosts.split(","))
    if "@" in hosts:
        raise InputRejected(
            "a user in the address", "LOOKOUT_LEDGER", "give LOOKOUT_LEDGER_USER and LOOKOUT_LEDGER_PASSWORD instead"
        )
    for endpoint in endpoints:
        host, _, port = endpoint.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputRejected(f"no host and port: {endpoint!r}", "LOOKOUT_LEDGER", _SHAPE)
    address = Address(endpoints=endpoints, tls=scheme == "etcds", **how)  # type: ignore[arg-type]
    return address, f"/{prefix.strip('/')}" if prefix.strip("/") else DEFAULT_PREFIX
