"""Users of an etcd: users for the ledger, and nobody without a password. For ``lookout init``, as etcd's root.

Asked over etcd's JSON gateway, as administration needs neither speed nor the ledger's patience. Where etcd demands
client certificates, which its gateway does not pass on, users are made by its own tools.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final

from lookout.domain.errors import InputRejected, LookoutError, Unavailable
from lookout.ledger.etcd import roles
from lookout.ledger.etcd.address import Address
from lookout.ledger.etcd.health import connect, tls_context
from lookout.ledger.etcd.roles import LedgerRole, LedgerUser
from lookout.ledger.kv import keys

ROOT: Final = "root"
_READ, _WRITE, _READWRITE = "READ", "WRITE", "READWRITE"

Right = tuple[str, bytes, bytes]
"""Kind of access, and the range of keys."""


def demand_passwords(
    address: Address, prefix: str, root_password: str, others: Sequence[LedgerUser] = ()
) -> tuple[str, ...]:
    """Let ``address.user`` in with its password, to read and write the ledger of this prefix and nothing else; the
    ``others`` to read it, and to write what their roles say; and nobody without a password. Says in words what was
    done; a second call does nothing. A password, or a right, that is another one now is set.

    On an etcd that lets everybody in, ``root_password`` becomes root's; else it has to be root's. Raises InputRejected
    when it is not, or when no user is named or one twice; Unavailable when no endpoint answers.
    """
    users = (_own_user(address), *others)
    names = [user.name for user in users]
    if ROOT in names or len(set(names)) < len(names):
        raise InputRejected(
            f"expected users of different names, none of them {ROOT}, got {', '.join(names)}",
            address.name,
            "set LOOKOUT_LEDGER_USER of each to a name of its own",
        )
    gateway = _Gateway(address)
    open_to_all = not gateway.log_in(ROOT, root_password)
    done: list[str] = []
    if open_to_all:
        gateway.add_user(ROOT, root_password, role=ROOT)
    for user in users:
        done += _make_user(gateway, address, user, open_to_all=open_to_all)
        done += _set_rights(gateway, user.name, rights(prefix, user.role))
    if open_to_all:
        gateway.ask("auth/enable")
        done.append("passwords demanded")
    return tuple(done)


def rights(prefix: str, role: LedgerRole) -> frozenset[Right]:
    """Return what etcd has to grant to a role in the ledger of this prefix."""
    begin = keys.text(prefix.rstrip("/"))
    if b"" in role.writes:
        return frozenset({(_READWRITE, begin, keys.after(begin))})
    writes = {(_WRITE, begin + some, keys.after(begin + some)) for some in role.writes}
    return frozenset({(_READ, begin, keys.after(begin)), *writes})


def _own_user(address: Address) -> LedgerUser:
    user, password = address.user, address.password
    if user is None or password is None or user == ROOT:
        raise InputRejected(f"expected a user that is not {ROOT}", address.name, "set LOOKOUT_LEDGER_USER")
    return LedgerUser(name=user, password=password, role=roles.operator())


def _make_user(gateway: _Gateway, address: Address, user: LedgerUser, *, open_to_all: bool) -> list[str]:
    if gateway.add_user(user.name, user.password, role=user.name):
        return [f"user {user.name} made"]
    if not open_to_all and not _Gateway(address).is_let_in(user.name, user.password):
        gateway.ask("auth/user/changepw", {"name": user.name, "password": user.password})
        return [f"password of {user.name} set"]
    return []


def _set_rights(gateway: _Gateway, role: str, wanted: frozenset[Right]) -> list[str]:
    """Grant what is missing, then take away what is too much: whoever is at work meanwhile lacks nothing. A range has
    one kind of right, so one of another kind is replaced by the grant."""
    there = gateway.rights(role)
    for kind, begin, end in sorted(wanted - there):
        may = {"permType": kind, "key": _base64(begin), "range_end": _base64(end)}
        gateway.ask("auth/role/grant", {"name": role, "perm": may})
    ranges = {(begin, end) for _, begin, end in wanted}
    for begin, end in sorted({(begin, end) for _, begin, end in there} - ranges):
        gateway.ask("auth/role/revoke", {"role": role, "key": _base64(begin), "range_end": _base64(end)})
    return [f"rights of {role} set"] if there and there != wanted else []


class _Refused(Exception):
    """Refusal of etcd, with its answer."""


class _Gateway:
    """The JSON gateway of whichever endpoint answers, as the user that logged in."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._token = ""
        self._context = tls_context(address) if address.tls else None

    def log_in(self, user: str, password: str) -> bool:
        """Be this user from now on; False when etcd asks nobody who they are. Raises InputRejected for a wrong one."""
        try:
            self._token = str(self._call("auth/authenticate", {"name": user, "password": password})["token"])
        except _Refused as error:
            if "not enabled" in str(error):
                return False
            if "invalid user ID or password" in str(error):
                raise InputRejected(
                    f"{user} is not let in: {error}", self._address.name, "check its password"
                ) from error
            raise Unavailable(self._address.name, str(error)) from error
        return True

    def is_let_in(self, user: str, password: str) -> bool:
        try:
            return self.log_in(user, password)
        except InputRejected:
            return False

    def add_user(self, name: str, password: str, *, role: str) -> bool:
        """Make a user, its role and the bond between them; False when the user is there, whose password then stays,
        unless etcd lets everybody in: then it is left from an attempt that was cut short."""
        self._add("auth/role/add", {"name": role})
        is_new = self._add("auth/user/add", {"name": name, "password": password})
        if not is_new and not self._token:
            self.ask("auth/user/changepw", {"name": name, "password": password})
        bond = self.ask("auth/user/get", {"name": name}).get("roles", [])
        if bond != [role]:
            self.ask("auth/user/grant", {"user": name, "role": role})
        return is_new

    def rights(self, role: str) -> frozenset[Right]:
        """Return what a role has now."""
        perms = self.ask("auth/role/get", {"role": role}).get("perm", [])
        return frozenset(
            (str(perm.get("permType", _READ)), _bytes(perm.get("key", "")), _bytes(perm.get("range_end", "")))
            for perm in perms
        )

    def ask(self, path: str, message: Mapping[str, object] | None = None) -> Mapping[str, Any]:
        """Raises Unavailable with etcd's words when it refuses."""
        try:
            return self._call(path, message or {})
        except _Refused as error:
            raise Unavailable(self._address.name, f"{path}: {error}") from error

    def _add(self, path: str, message: Mapping[str, object]) -> bool:
        try:
            self._call(path, message)
        except _Refused as error:
            if "already exists" in str(error):
                return False
            raise Unavailable(self._address.name, f"{path}: {error}") from error
        return True

    def _call(self, path: str, message: Mapping[str, object]) -> Mapping[str, Any]:
        trouble: LookoutError | None = None
        for endpoint in self._address.endpoints:
            try:
                status, answer = self._post(endpoint, path, json.dumps(message).encode())
            except (OSError, http.client.HTTPException, ValueError) as error:
                trouble = Unavailable(self._address.name, f"{endpoint}: {error or type(error).__name__}")
                trouble.__cause__ = error
                continue
            if status == 200:
                return answer
            raise _Refused(answer.get("message") or answer.get("error") or f"status {status}")
        raise trouble or Unavailable(self._address.name, "it has no endpoint")

    def _post(self, endpoint: str, path: str, body: bytes) -> tuple[int, Mapping[str, Any]]:
        headers = {"Content-Type": "application/json"} | ({"Authorization": self._token} if self._token else {})
        with closing(connect(endpoint, self._context)) as connection:
            connection.request("POST", f"/v3/{path}", body, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        return answer.status, found if isinstance(found, dict) else {}


def _base64(key: bytes) -> str:
    return base64.b64encode(key).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
