"""Addresses of store and ledger from the environment: checked here, opened elsewhere. Secrets are not shown.

LOOKOUT_STORE   s3+http://host:port[/prefix] or s3+https://...; unset: the state folder
LOOKOUT_LEDGER  etcd://host:port[,host:port...][/prefix] or etcds://...; unset: SQLite in the state folder
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected

DEFAULT_LEDGER_PREFIX: Final = "lookout"

_STORE: Final = re.compile(r"s3\+(https?)://([^/@?#]+)(?:/([^/?#]*))?/?")
_LEDGER: Final = re.compile(r"(etcds?)://([^/@?#]+)(?:/([^?#]*))?")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_STORE_HINT: Final = "expected s3+http://host:port or s3+https://host:port, with /prefix if the buckets have one"
_LEDGER_HINT: Final = "expected etcd://host:port[,host:port...] or etcds://..., with /prefix if it has one"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreAddress:
    """A MinIO server and its user. ``prefix`` begins the names of all buckets."""

    endpoint: str
    secure: bool
    access_key: str
    secret_key: str = field(repr=False)
    prefix: str = ""
    ca: Path | None = None

    @property
    def url(self) -> str:
        return self.bucket_url("").rstrip("/")

    def bucket_url(self, bucket: str) -> str:
        """Return the URL of the bucket of this name."""
        return f"s3+{'https' if self.secure else 'http'}://{self.endpoint}/{self.prefix}{bucket}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> StoreAddress | None:
        """Read LOOKOUT_STORE, LOOKOUT_STORE_ACCESS_KEY, _SECRET_KEY and _CA. Raises InputRejected that names the
        variable and shows no secret."""
        url = environment.get("LOOKOUT_STORE")
        if not url:
            return None
        found = _STORE.fullmatch(url)
        if found is None or not _is_host(found[2]):
            raise InputRejected("is not a valid store address", "LOOKOUT_STORE", _STORE_HINT)
        return cls(
            endpoint=found[2],
            secure=found[1] == "https",
            access_key=_needed(environment, "LOOKOUT_STORE_ACCESS_KEY", "LOOKOUT_STORE"),
            secret_key=_needed(environment, "LOOKOUT_STORE_SECRET_KEY", "LOOKOUT_STORE"),
            prefix=found[3] or "",
            ca=_file(environment, "LOOKOUT_STORE_CA"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerAddress:
    """The members of an etcd, and the credentials. ``prefix`` keeps deployments in one etcd apart."""

    endpoints: tuple[str, ...]
    secure: bool
    prefix: str = DEFAULT_LEDGER_PREFIX
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @property
    def url(self) -> str:
        return f"{'etcds' if self.secure else 'etcd'}://{','.join(self.endpoints)}/{self.prefix}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> LedgerAddress | None:
        """Read LOOKOUT_LEDGER and LOOKOUT_LEDGER_USER, _PASSWORD, _CA, _CERT and _KEY. Raises InputRejected that names
        the variable and shows no secret."""
        url = environment.get("LOOKOUT_LEDGER")
        if not url:
            return None
        found = _LEDGER.fullmatch(url)
        endpoints = tuple(found[2].split(",")) if found is not None else ()
        if found is None or not all(_is_host(endpoint) for endpoint in endpoints):
            raise InputRejected("is not a valid ledger address", "LOOKOUT_LEDGER", _LEDGER_HINT)
        user = environment.get("LOOKOUT_LEDGER_USER") or None
        return cls(
            endpoints=endpoints,
            secure=found[1] == "etcds",
            prefix=(found[3] or "").strip("/") or DEFAULT_LEDGER_PREFIX,
            user=user,
            password=None if user is None else _needed(environment, "LOOKOUT_LEDGER_PASSWORD", "LOOKOUT_LEDGER_USER"),
            ca=_file(environment, "LOOKOUT_LEDGER_CA"),
            cert=_file(environment, "LOOKOUT_LEDGER_CERT"),
            key=_file(environment, "LOOKOUT_LEDGER_KEY"),
        )


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and 0 < int(found[1]) < 65536


def _needed(environment: Mapping[str, str], name: str, because: str) -> str:
    value = environment.get(name)
    if not value:
        raise InputRejected(f"is not set, and {because} is", name)
    return value


def _file(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name)
    if not value:
        return None
    path = Path(value)
    if not path.is_file():
        raise InputRejected(f"no such file: {path}", name)
    return path
