"""Records of a MinIO server: its address and credentials, metadata of a version, and the error of a missing bucket.

Loads no client library, so that a store can be named, and sent to a worker process, before anything is connected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lookout.domain.errors import Unavailable


class NoBucket(Unavailable):
    """Error of a bucket that does not exist: for a caller to whom that is the same as an empty one."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Address and credentials of a server. ``endpoint`` is ``host:port``; the secret is not shown by repr.

    ``ca`` is a PEM file of the authorities to trust instead of the system's. ``threads`` bounds the requests at once.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    secure: bool = True
    ca: str | None = None
    region: str = "us-east-1"
    threads: int = 8
    timeout_s: float = 30.0

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.endpoint}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Metadata of one version: ``sha256`` and ``copy_of`` are what its writer declared, None if nothing."""

    version: str
    size: int
    etag: str
    modified_at_s: float
    content_type: str
    sha256: str | None
    copy_of: str | None
    metadata: Mapping[str, str]
