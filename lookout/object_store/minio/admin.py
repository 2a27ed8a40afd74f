"""Users and their policies on a MinIO server, by its admin interface: for `lookout init`, with the server's own user.

This is MinIO's own interface and no S3: on another server the policy documents are applied by its own tools. Apart
from the store, because it needs rights that no worker has and loads libraries that no worker needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlencode

from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from urllib3.exceptions import HTTPError

from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import JsonObject
from lookout.object_store.minio.access import Access
from lookout.object_store.minio.errors import failure
from lookout.object_store.minio.http import make_pool, signed
from lookout.object_store.minio.policies import Role, policy
from lookout.object_store.minio.store import MinioStore

_MISSING = frozenset({"XMinioAdminNoSuchUser", "XMinioAdminNoSuchPolicy"})
_SHORTEST_SECRET = 8
_REVOKED: Final = frozenset({200, 204})


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """One user after ``make_users``: ``done`` says what was done, in words (empty: nothing). ``secret_key`` is there
    only when it was set now: the server does not give it out again."""

    role: str
    access_key: str
    policy: str
    done: tuple[str, ...] = ()
    secret_key: str | None = field(default=None, repr=False)


def make_users(
    store: MinioStore, roles: Sequence[Role], new_secret: Callable[[], str], *, renew: bool = False
) -> list[User]:
    """Make a user and a policy for each role, named ``<prefix><role>``, and set the policies right; a second call does
    nothing. ``renew`` gives every user a new secret, after which the old one is refused, and so is whatever was made
    with it: the user's service accounts and temporary credentials are removed.

    ``store`` is opened with the server's own credentials. Raises Unavailable when they may not administer, and
    InputRejected for a secret of fewer than 8 characters.
    """
    admin = _Admin(store.access)
    return [_make(admin, store.prefix, role, new_secret, renew=renew) for role in roles]


def user_name(prefix: str, role: Role) -> str:
    """Return the access key of a role's user, and the name of its policy."""
    return f"{prefix}{role.name}"


def _make(admin: _Admin, prefix: str, role: Role, new_secret: Callable[[], str], *, renew: bool) -> User:
    name, document = user_name(prefix, role), policy(role, prefix)
    done, secret = [], None
    if _canonical(admin.find_policy(name)) != _canonical(document):
        admin.put_policy(name, document)
        done.append("policy set")
    user = admin.find_user(name)
    if user is None or renew:
        secret = new_secret()
        if len(secret) < _SHORTEST_SECRET:
            raise InputRejected(f"expected at least {_SHORTEST_SECRET} characters, got {len(secret)}", f"key of {name}")
        admin.put_user(name, secret)
        done.append("made" if user is None else "secret renewed")
        done += admin.remove_derived(name)  # after the new secret: nobody can make another one with the old
    if user is None or user.get("policyName") != name:
        admin.attach(name)
        if user is not None:
            done.append("policy attached")
    return User(role=role.name, access_key=name, policy=name, done=tuple(done), secret_key=secret)


def _canonical(document: JsonObject | None) -> str:
    """Return a policy in one form: the server gives lists back in an order of its own."""

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: ordered(value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return sorted((ordered(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
        return value

    return json.dumps(ordered(document))


class _Admin:
    """The few admin calls, with answers as JSON and errors as ours."""

    def __init__(self, access: Access) -> None:
        self._url, self._access, self._pool = access.url, access, make_pool(access)
        self._admin = MinioAdmin(
            endpoint=access.endpoint,
            credentials=StaticProvider(access.access_key, access.secret_key),
            region=access.region,
            secure=access.secure,
            http_client=self._pool,
        )

    def find_policy(self, name: str) -> JsonObject | None:
        text = self._find(lambda: self._admin.policy_info(name))
        return None if text is None else cast(JsonObject, json.loads(text))

    def find_user(self, name: str) -> JsonObject | None:
        text = self._find(lambda: self._admin.user_info(name))
        return None if text is None else cast(JsonObject, json.loads(text))

    def put_policy(self, name: str, document: JsonObject) -> None:
        with self._translated():
            self._admin.policy_add(name, policy=dict(document))

    def put_user(self, name: str, secret: str) -> None:
        with self._translated():
            self._admin.user_add(name, secret)

    def attach(self, name: str) -> None:
        with self._translated():
            self._admin.policy_set(name, user=name)

    def remove_derived(self, name: str) -> list[str]:
        """Remove the service accounts and temporary credentials (STS) that let somebody in on behalf of the user and
        without its secret; the service accounts, in words."""
        with self._translated():
            accounts = json.loads(self._admin.list_service_account(name)).get("accounts") or []
            for account in accounts:
                self._admin.delete_service_account(account["accessKey"])
        query = urlencode({"user": name, "fullRevoke": "true"})
        url = f"{self._url}/minio/admin/v3/revoke-tokens/builtin?{query}"
        with self._translated():
            response = self._pool.request("POST", url, headers=signed(self._access, "POST", url))
            if response.status not in _REVOKED:
                raise MinioAdminException(str(response.status), response.data.decode("utf-8", "replace"))
        return [f"service account {account['accessKey']} removed" for account in accounts]

    def _find(self, ask: Callable[[], str]) -> str | None:
        try:
            with self._translated():
                return ask()
        except _Missing:
            return None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except MinioAdminException as error:
            code, message = _reason(error)
            if code in _MISSING:
                raise _Missing from error
            raise Unavailable(self._url, f"refuses to administer users: {code}: {message}") from error
        except HTTPError as error:
            raise failure(self._url, "", error) from error


class _Missing(Exception):
    """There is no such user or policy; never leaves this module."""


def _reason(error: MinioAdminException) -> tuple[str, str]:
    """Return the code and the message in the JSON that ends the exception's text."""
    text = str(error)
    try:
        said = json.loads(text[text.index("{") :])
        return str(said["Code"]), str(said["Message"])
    except (ValueError, KeyError, TypeError):
        return "no reason given", "what answers there may be no MinIO"
