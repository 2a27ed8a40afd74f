"""Health of a MinIO server, for a person: whether it answers, its clock, its version. Changes nothing.

Each question is asked once, without retries: the answer is about this moment.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Final

import urllib3
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from urllib3.exceptions import HTTPError

from lookout.domain.errors import Unavailable
from lookout.object_store.minio.access import Access
from lookout.object_store.minio.errors import failure
from lookout.object_store.minio.http import make_pool

_WAIT_S: Final = 5.0
_LIVE: Final = "/minio/health/live"
_CLUSTER: Final = "/minio/health/cluster"


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """``is_ready`` says whether enough disks answer to read and write. ``clock_ahead_s`` is how much the server's clock
    is ahead of this machine's, to about a second. ``version`` is told to administrators only."""

    server: str
    is_ready: bool
    clock_ahead_s: float | None
    version: str | None


def look(access: Access) -> Health:
    """Return the health of the server. Raises Unavailable with a remedy when nothing answers there."""
    pool = make_pool(replace(access, timeout_s=_WAIT_S))
    began_s = time.time()
    live = _ask(pool, access, _LIVE)
    middle_s = (began_s + time.time()) / 2
    date = live.headers.get("Date")
    # The header is cut to whole seconds: half a second is what is missing on average.
    ahead_s = None if date is None else parsedate_to_datetime(date).timestamp() + 0.5 - middle_s
    ready = _ask(pool, access, _CLUSTER).status == 200
    name = live.headers.get("Server", "no name")
    return Health(server=name, is_ready=ready, clock_ahead_s=ahead_s, version=_find_version(access))


def _ask(pool: urllib3.PoolManager, access: Access, path: str) -> urllib3.BaseHTTPResponse:
    try:
        return pool.request("GET", access.url + path, retries=False)
    except HTTPError as error:
        raise failure(access.url, "", error) from error


def _find_version(access: Access) -> str | None:
    admin = MinioAdmin(
        endpoint=access.endpoint,
        credentials=StaticProvider(access.access_key, access.secret_key),
        region=access.region,
        secure=access.secure,
        http_client=make_pool(replace(access, timeout_s=_WAIT_S)),
    )
    try:
        servers = json.loads(admin.info())["servers"]
        return ", ".join(sorted({str(server["version"]) for server in servers}))
    except MinioAdminException:
        return None  # not told to this user
    except HTTPError as error:
        raise failure(access.url, "", error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(access.url, "its answer to an administrator is not one of MinIO's") from error
