"""Health of each member of an etcd, for a person who looks: asked one by one, over HTTP, on the port of all clients.

The ledger speaks gRPC with whichever member answers; here one that does not must be seen. Read are ``/version``,
``/metrics`` and ``/health``, which need no user and tell the quota, which no call of gRPC does. etcd's JSON gateway
would tell more, but refuses client certificates where it demands users. Changes nothing, knows no key of the ledger.

Members that lose their leader elect another within a second or two. Who is looked at meanwhile is looked at again, so
that an election is told as what it is, and only its failure as trouble.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.ledger.etcd.address import Address

ELECTION_S: Final = 5.0
"""Time for members that see no leader: etcd's own settings give an election 2 s, and some need two."""
_AGAIN_S: Final = 0.2
_WAIT_S: Final = 10.0
"""For one answer: longer than the 7 s in which etcd looks for a leader before ``/health`` says that there is none."""
_METRIC: Final = re.compile(r"^(etcd_\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_PEERS: Final = "etcd_network_active_peers"
_ALARM: Final = re.compile(r"ALARM (\w+)")
_LEADERLESS: Final = "sees no leader: too few members work together"


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One member. ``error`` says why it cannot work; then the rest may be empty. ``members`` is how many the cluster
    has as this one sees it; ``alarms`` are in etcd's words, such as ``NOSPACE``. ``electing``: it saw no leader, or no
    reads were answered; without an error, that was over when it was looked at again."""

    endpoint: str
    error: str | None = None
    version: str = ""
    leads: bool = False
    members: int = 0
    database_bytes: int = 0
    quota_bytes: int | None = None
    alarms: tuple[str, ...] = ()
    electing: bool = False


def look(address: Address, *, election_s: float = ELECTION_S) -> list[Member]:
    """Every endpoint of the address, as it is; who sees no leader is looked at again for ``election_s`` at most. Raises
    InputRejected for files of certificates that are of no use."""
    context = tls_context(address) if address.tls else None
    end_s = time.monotonic() + election_s
    members = [_look_at(endpoint, context) for endpoint in address.endpoints]
    while any(map(_may_recover, members)) and time.monotonic() < end_s:
        time.sleep(_AGAIN_S)
        members = [
            replace(_look_at(member.endpoint, context), electing=True) if _may_recover(member) else member
            for member in members
        ]
    return members


def _may_recover(member: Member) -> bool:
    return member.electing and member.error is not None


def _look_at(endpoint: str, context: ssl.SSLContext | None) -> Member:
    try:
        with closing(connect(endpoint, context)) as connection:
            version = _get(connection, "/version")
            if not isinstance(version, dict) or "etcdserver" not in version:
                return Member(endpoint=endpoint, error="what answers there is no etcd, or serves no HTTP")
            metrics = _metrics(connection)
            if not metrics.get("etcd_server_has_leader", 1.0):
                return Member(endpoint=endpoint, error=_LEADERLESS, electing=True)
            return _member(endpoint, str(version["etcdserver"]), metrics, _get(connection, "/health"))
    except ssl.SSLError as error:
        return Member(endpoint=endpoint, error=f"no trusted TLS connection: {error.reason or error}")
    except OSError as error:
        return Member(endpoint=endpoint, error=f"does not answer: {error.strerror or str(error) or 'no reason given'}")
    except http.client.HTTPException as error:
        return Member(endpoint=endpoint, error=f"what answers there is no etcd: {type(error).__name__}")


def _member(endpoint: str, version: str, metrics: dict[str, float], health: object) -> Member:
    reason = str(health.get("reason", "")) if isinstance(health, dict) else ""
    alarms = tuple(_ALARM.findall(reason))
    if reason and not alarms:
        error = _LEADERLESS if reason == "RAFT NO LEADER" else f"cannot be read: {reason}"
        return Member(endpoint=endpoint, error=error, electing=True)
    quota = metrics.get("etcd_server_quota_backend_bytes")
    return Member(
        endpoint=endpoint,
        version=version,
        leads=metrics.get("etcd_server_is_leader") == 1.0,
        members=1 + int(metrics.get(f"{_PEERS} series", 0.0)),
        database_bytes=int(metrics.get("etcd_mvcc_db_total_size_in_bytes", 0.0)),
        quota_bytes=None if quota is None else int(quota),
        alarms=alarms,
    )


def connect(endpoint: str, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    """To one endpoint, for any kind of request; nothing is sent yet."""
    host, _, port = endpoint.rpartition(":")
    host = host.strip("[]")
    if context is None:
        return http.client.HTTPConnection(host, int(port), timeout=_WAIT_S)
    return http.client.HTTPSConnection(host, int(port), timeout=_WAIT_S, context=context)


def _get(connection: http.client.HTTPConnection, path: str) -> object:
    """The JSON there, whatever the status: ``/health`` says why it is not well with 503. None if it is none."""
    try:
        found: object = json.loads(_text(connection, path))
    except ValueError:
        return None
    return found


def _metrics(connection: http.client.HTTPConnection) -> dict[str, float]:
    """Values by name; of those with labels the last one, and under ``<name> series`` how many there are."""
    found: dict[str, float] = {}
    for name, value in _METRIC.findall(_text(connection, "/metrics").decode(errors="replace")):
        found[name] = float(value)
        found[f"{name} series"] = found.get(f"{name} series", 0.0) + 1.0
    return found


def _text(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def tls_context(address: Address) -> ssl.SSLContext:
    """Return whom to trust, and what to show. Raises InputRejected for files that are of no use."""
    try:
        context = ssl.create_default_context(cafile=None if address.ca is None else str(address.ca))
        if address.cert is not None:
            context.load_cert_chain(address.cert, address.key)
    except (OSError, ssl.SSLError) as error:
        raise InputRejected(f"the files of certificates are of no use: {error}", address.name) from error
    return context
