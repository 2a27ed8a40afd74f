"""Blame for a request that failed: one object that the server can never read, or a server that serves nobody.

A server answers for an object that is damaged on its disk as it does when it is overloaded or broken, and breaks off in
the middle of one. So others are asked for: where one can be read, the object is to blame. Each is asked once, for one
byte, and not for long. Knows no reference, ledger or stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final
from urllib.parse import quote

import urllib3
from minio.error import S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError, ReadTimeoutError

from lookout.domain.errors import LookoutError, ObjectUnreadable, Unavailable
from lookout.object_store.minio.listing import current

Signed = Callable[[str, str], Mapping[str, str]]
"""The headers of a request without a body, by method and URL."""
WAIT_S: Final = 5.0
_OTHERS: Final = 32
"""So many others are asked for at most, on each side of the key."""
_SERVER_FAILED: Final = 500
_READ: Final = frozenset({200, 206})


def blame(
    error: Unavailable, url: str, bucket: str, key: str, http: urllib3.PoolManager, signed: Signed
) -> Unavailable:
    """Give the error to raise for this one, which a request for the object met: ObjectUnreadable, with the server's
    words, if another object can be read, or the bucket can be listed and has no other; else the error itself."""
    if not may_be_of_one(error):
        return error
    try:
        has_others = False
        for other in _others(url, bucket, key, http, signed):
            has_others = True
            if _can_read(f"{url}/{bucket}/{quote(other)}", http, signed):
                break
        else:
            if has_others:
                return error
    except (HTTPError, LookoutError):
        return error  # nor does it answer for others
    return ObjectUnreadable(f"{url}/{bucket}/{key}", _said(error))


def may_be_of_one(error: Unavailable) -> bool:
    """Ask whether the server may serve others: it answered that it failed, or not to the end, or not in time."""
    cause = error.__cause__
    if isinstance(cause, S3Error):
        return cause.response.status >= _SERVER_FAILED
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, ServerError | ProtocolError | ReadTimeoutError)


def _others(url: str, bucket: str, key: str, http: urllib3.PoolManager, signed: Signed) -> Iterator[str]:
    """Yield the keys after this one, and those at the beginning of the bucket."""

    def fetch(query: Mapping[str, str]) -> bytes:
        asked = {**query, "max-keys": str(_OTHERS)}
        text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(asked.items()))
        response = _ask(f"{url}/{bucket}?{text}", http, signed)
        if response.status != 200:
            raise Unavailable(f"{url}/{bucket}", f"cannot be listed: HTTP status {response.status}")
        return response.data

    for after in (key, ""):
        for entry in islice(current(fetch, "", after), _OTHERS):
            if entry.key != key:
                yield entry.key


def _can_read(address: str, http: urllib3.PoolManager, signed: Signed) -> bool:
    try:
        return _ask(address, http, signed, {"Range": "bytes=0-0"}).status in _READ
    except ProtocolError:
        return False  # it has begun to answer, and met the damage


def _ask(
    address: str, http: urllib3.PoolManager, signed: Signed, more: Mapping[str, str] | None = None
) -> urllib3.BaseHTTPResponse:
    headers = {**signed("GET", address), **(more or {})}
    timeout = urllib3.Timeout(connect=WAIT_S, read=WAIT_S)
    return http.request("GET", address, headers=headers, retries=False, timeout=timeout)


def _said(error: Unavailable) -> str:
    cause = error.__cause__
    if isinstance(cause, S3Error):
        return f"the server cannot read it ({cause.code}: {cause.message})"
    return f"the server cannot read it: {error.reason}"
