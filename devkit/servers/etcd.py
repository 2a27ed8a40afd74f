"""etcd as a child process, alone or as a cluster of several on this machine; users and passwords for it.

Talks to etcd by its JSON gateway, so that no client library is needed here; the ledger's adapter has one.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from devkit.servers.calls import call
from devkit.servers.certificates import Certificates
from devkit.servers.ports import LOOPBACK, free_port
from devkit.servers.process import START_DEADLINE_S, STOP_DEADLINE_S, PortTaken, Server
from lookout.domain.errors import Unavailable

_POLL_S: Final = 0.02
_TRIES: Final = 5
_KEYS_ROLE: Final = "keys"


class EtcdServer(Server):
    """One etcd, or one member of a cluster.

    ``fsync=False`` is faster and loses data when the machine (not the process) crashes: for tests.
    ``client_certificates`` asks every client for a certificate of ``tls``. ``arguments`` are more of etcd's flags;
    nothing secret may be among them.
    """

    program: ClassVar[str] = "etcd"

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        tls: Certificates | None = None,
        client_certificates: bool = False,
        fsync: bool = True,
        arguments: Sequence[str] = (),
        name: str = "etcd",
        outlives: bool = False,
    ) -> None:
        super().__init__(folder, port=port, tls=tls, outlives=outlives)
        self.name = name
        self.user, self.password = "", ""
        self._root_password = ""
        self.peer_port = free_port()
        self._members: Mapping[str, str] = {}
        self.client_certificates = client_certificates
        self._fsync = fsync
        self._arguments = tuple(arguments)

    # ---- the process ----

    @property
    def url(self) -> str:
        """``etcd://127.0.0.1:port``, or ``etcds://`` with TLS."""
        return ledger_url([self])

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port, self.peer_port)

    @property
    def peer_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{LOOPBACK}:{self.peer_port}"

    def choose_ports(self) -> None:
        super().choose_ports()
        self.peer_port = free_port()

    @property
    def health_path(self) -> str:
        return "/health"

    def command(self) -> Sequence[str]:
        members = self._members or {self.name: self.peer_url}
        flags = {
            "name": self.name,
            "data-dir": str(self.folder / "data"),
            "listen-client-urls": self.http_url,
            "advertise-client-urls": self.http_url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": ",".join(f"{name}={url}" for name, url in members.items()),
            "log-outputs": "stderr",
        }
        if self.tls is not None:
            files = {"cert-file": str(self.tls.server_certificate), "key-file": str(self.tls.server_key)}
            # Whoever names an authority to etcd demands certificates: of members always, of clients if asked to.
            demands = {"trusted-ca-file": str(self.tls.ca), "client-cert-auth": "true"}
            flags |= files | {f"peer-{flag}": value for flag, value in (files | demands).items()}
            if self.client_certificates:
                flags |= demands
        if not self._fsync:
            flags["unsafe-no-fsync"] = "true"
        return [*(f"--{flag}={value}" for flag, value in flags.items()), *self._arguments]

    def environment(self) -> Mapping[str, str]:
        return {}

    def join(self, members: Mapping[str, str]) -> None:
        """Be one of these members, peer URLs by name, from the first start on."""
        self._members = dict(members)

    def settings(self) -> dict[str, str]:
        return ledger_settings([self])

    # ---- its API ----

    def ask(self, path: str, message: Mapping[str, Any] | None = None, *, token: str = "") -> dict[str, Any]:
        """Call ``/v3/<path>`` of the JSON gateway. Raises Unavailable with what etcd answered."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
        body = json.dumps(message or {}).encode()
        answer = call(f"{self.http_url}/v3/{path}", tls=self.tls, body=body, headers=headers)
        return dict(json.loads(answer))

    def is_leader(self) -> bool:
        """Tell whether this member says that it is the leader; one that does not answer is not."""
        try:
            status = self.ask("maintenance/status", token=self._token())
        except Unavailable:
            return False
        return bool(status.get("leader", "0") == status["header"]["member_id"])

    def compact(self) -> int:
        """Compact all that is older than now; the revision from which on there is history."""
        token = self._token()
        revision = int(self.ask("kv/range", {"key": encode(b"\0")}, token=token)["header"]["revision"])
        self.ask("kv/compaction", {"revision": str(revision), "physical": True}, token=token)
        return revision

    def demand_passwords(self, root_password: str, users: Mapping[str, str]) -> None:
        """From now on every client needs a user: ``root`` for administration, and ``users``, passwords by name.

        Each of ``users`` may read and write all keys, and administer nothing: compaction and defragmentation are the
        root's. Where passwords are demanded already, nothing is changed. The first of ``users`` is from then on in
        ``user``, ``password`` and ``settings``.
        """
        self.user, self.password = next(iter(users.items()))
        self._root_password = root_password
        if self._demands_passwords():
            return
        every_key = {"permType": "READWRITE", "key": encode(b"\0"), "range_end": encode(b"\0")}
        self._add("auth/role/add", {"name": "root"})
        self._add("auth/role/add", {"name": _KEYS_ROLE})
        self.ask("auth/role/grant", {"name": _KEYS_ROLE, "perm": every_key})
        for name, password, role in [("root", root_password, "root"), *((n, p, _KEYS_ROLE) for n, p in users.items())]:
            self._add("auth/user/add", {"name": name})
            self.ask("auth/user/changepw", {"name": name, "password": password})
            self.ask("auth/user/grant", {"user": name, "role": role})
        self.ask("auth/enable")

    def _demands_passwords(self) -> bool:
        try:
            self._token()
        except Unavailable as exc:
            if "not enabled" in exc.reason:
                return False
            raise
        return True

    def _add(self, path: str, message: Mapping[str, Any]) -> None:
        """Add a role or a user; one that is there is left from an attempt that was interrupted, and is taken."""
        try:
            self.ask(path, message)
        except Unavailable as exc:
            if "already exists" not in exc.reason:
                raise

    def _token(self) -> str:
        if not self._root_password:
            return ""
        return str(self.ask("auth/authenticate", {"name": "root", "password": self._root_password})["token"])


class EtcdCluster:
    """Several etcd on this machine as one cluster; ``members`` are servers of their own, to be killed and started.

    The members' ports are in their data: only the same object can start a cluster again.
    """

    def __init__(
        self, folder: Path, members: int = 3, *, tls: Certificates | None = None, fsync: bool = True, **more: Any
    ) -> None:
        self.folder = folder.absolute()
        names = [f"etcd{number}" for number in range(1, members + 1)]
        self.members = [EtcdServer(self.folder / name, name=name, tls=tls, fsync=fsync, **more) for name in names]

    @property
    def endpoint(self) -> str:
        """``127.0.0.1:port`` of each member, with commas between."""
        return ",".join(member.endpoint for member in self.members)

    @property
    def url(self) -> str:
        """``etcd://`` and all endpoints."""
        return ledger_url(self.members)

    def settings(self) -> dict[str, str]:
        """Return the LOOKOUT_* variables by which Lookout uses this cluster."""
        return ledger_settings(self.members)

    def start(self, deadline_s: float = START_DEADLINE_S) -> Self:
        """Start all members that do not run and return when each serves requests. Raises as a server's start does."""
        fresh = not self.folder.exists()
        for left in reversed(range(_TRIES)):
            peers = {member.name: member.peer_url for member in self.members}
            try:
                for member in self.members:
                    member.join(peers)
                    member.launch()
                for member in self.members:
                    member.await_ready(deadline_s)
            except PortTaken:
                self.kill()
                if not (fresh and left):
                    raise
                # Members write their first ports into their data.
                shutil.rmtree(self.folder)
                for member in self.members:
                    member.choose_ports()
            except BaseException:
                self.kill()
                raise
            else:
                break
        return self

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> None:
        """Stop all members."""
        for member in self.members:
            member.stop(deadline_s)

    def kill(self) -> None:
        """Kill all members."""
        for member in self.members:
            member.kill()

    def get_leader(self, deadline_s: float = 20.0) -> EtcdServer:
        """Return the member that leads. Raises Unavailable when none of the running ones does within the deadline."""
        end_s = time.monotonic() + deadline_s
        while time.monotonic() < end_s:
            for member in self.members:
                if member.running and member.is_leader():
                    return member
            time.sleep(_POLL_S)
        raise Unavailable("etcd", f"no leader after {deadline_s:g} s among {self.endpoint}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def ledger_url(members: Sequence[EtcdServer]) -> str:
    """Return the LOOKOUT_LEDGER for these members of one cluster."""
    scheme = "etcds" if members[0].tls else "etcd"
    return f"{scheme}://{','.join(member.endpoint for member in members)}"


def ledger_settings(members: Sequence[EtcdServer]) -> dict[str, str]:
    """Return all LOOKOUT_LEDGER* for these members of one cluster."""
    first = members[0]
    found = {"LOOKOUT_LEDGER": ledger_url(members)}
    if first.user:
        found |= {"LOOKOUT_LEDGER_USER": first.user, "LOOKOUT_LEDGER_PASSWORD": first.password}
    if first.tls is not None:
        found["LOOKOUT_LEDGER_CA"] = str(first.tls.ca)
        if first.client_certificates:
            found["LOOKOUT_LEDGER_CERT"] = str(first.tls.client_certificate)
            found["LOOKOUT_LEDGER_KEY"] = str(first.tls.client_key)
    return found


def encode(key: bytes) -> str:
    """Bytes as the JSON gateway takes them."""
    return base64.b64encode(key).decode()
