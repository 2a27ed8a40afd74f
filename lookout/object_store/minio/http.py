"""HTTP to a MinIO server: pooled connections with limits and trust, and signatures for what minio-py has no call."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import urllib3
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from lookout.domain.errors import InputRejected
from lookout.object_store.minio.access import Access

REPEATS: Final = 3
"""Times that a request is repeated after a lost connection or a 5xx."""
_CONNECT_S: Final = 5.0
_BACKOFF_S: Final = 0.2
_SERVER_TROUBLE: Final = frozenset({500, 502, 503, 504})
_EMPTY_SHA256: Final = hashlib.sha256().hexdigest()


def signed(
    access: Access, method: str, url: str, sha256: str = _EMPTY_SHA256, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the headers of a request, with ``more`` among them, for what minio-py has no call. ``sha256`` is that of
    the body, by default of none."""
    now, parts = datetime.now(UTC), urlsplit(url)
    headers = sign_v4_s3(
        method=method,
        url=parts,
        region=access.region,
        headers={
            "Host": parts.netloc,
            "x-amz-content-sha256": sha256,
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
            **(more or {}),
        },
        credentials=Credentials(access.access_key, access.secret_key),
        content_sha256=sha256,
        date=now,
    )
    return {name: str(headers[name]) for name in headers}


def make_pool(access: Access) -> urllib3.PoolManager:
    """Return the connections to a server, with the limits and the trust that all calls share."""
    if access.ca is not None and not os.path.isfile(access.ca):
        raise InputRejected("no such file", access.ca, "LOOKOUT_STORE_CA names a PEM file of certificate authorities")
    return urllib3.PoolManager(
        maxsize=access.threads,
        timeout=urllib3.Timeout(connect=min(_CONNECT_S, access.timeout_s), read=access.timeout_s),
        cert_reqs="CERT_REQUIRED",
        ca_certs=access.ca,
        retries=urllib3.Retry(
            total=REPEATS,
            redirect=0,
            backoff_factor=_BACKOFF_S,
            status_forcelist=_SERVER_TROUBLE,
            allowed_methods=None,
            raise_on_status=False,
            respect_retry_after_header=False,  # it may ask for minutes; whoever called decides how long to wait
        ),
    )
