"""Address of an etcd and the credentials for it. Opens no connection and reads no environment, as
``lookout.config.addresses`` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lookout.config.addresses import DEFAULT_LEDGER_PREFIX, LedgerAddress
from lookout.domain.errors import InputRejected

DEFAULT_PREFIX: Final = f"/{DEFAULT_LEDGER_PREFIX}"


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
            raise InputRejected("no endpoint of etcd", "LOOKOUT_LEDGER", "expected etcd://host:port")
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

    @classmethod
    def of(cls, told: LedgerAddress) -> Address:
        """Read what the environment told, but for the prefix. Raises InputRejected for half of a pair."""
        return cls(
            endpoints=told.endpoints,
            tls=told.secure,
            ca=told.ca,
            cert=told.cert,
            key=told.key,
            user=told.user,
            password=told.password,
        )
