"""Errors of MinIO: one table from the server's codes to plain words.

All of them are Unavailable here, also refused credentials and missing buckets: the picture being worked on is not the
cause, so it must not be marked as failed; the work stops, and the same call works once somebody has repaired the
deployment. Where one object is the cause after all, ``blame.py`` finds out. No message may quote a signature, a key or
a header: it names the server, the bucket and the remedy.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from minio import time as minio_time
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from lookout.domain.errors import Denied, Unavailable
from lookout.object_store.minio.access import NoBucket

GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "ObjectNotFound"})
"""There is no such object or version; MethodNotAllowed is what a delete marker answers when it is read."""


class NotAccepted(Unavailable):
    """The server will never take this object, by its name or its size: for a caller that has others."""


_KEYS_HINT: Final = "check LOOKOUT_STORE_ACCESS_KEY and LOOKOUT_STORE_SECRET_KEY"
_WORDS: Final = {
    "NoSuchBucket": "there is no such bucket; run `lookout init` to make it",
    "AccessDenied": "these credentials may not do that here; run `lookout init`, or use the user meant for this",
    "AllAccessDisabled": "these credentials may not do that here; ask the server's administrator",
    "InvalidAccessKeyId": f"the server does not know the access key; {_KEYS_HINT}",
    "SignatureDoesNotMatch": f"the secret key is not the one of this access key; {_KEYS_HINT}",
    "ExpiredToken": "the credentials have expired; set new ones",
    "InvalidToken": "the session token is not valid any more; set new credentials",
    "XMinioInvalidIAMCredentials": f"the server does not accept these credentials; {_KEYS_HINT}",
    "AccountProblem": "the server has disabled this user; enable it or set other credentials",
    "RequestTimeTooSkewed": "the clocks of this machine and of the server differ by more than 15 minutes; set them",
    "AuthorizationHeaderMalformed": "the server is set to another region",
    "XMinioStorageFull": "no space is left on the server's disks; free some and try again",
    "XMinioAdminBucketQuotaExceeded": "the bucket's quota is used up; raise it or free some space",
    "SlowDown": "the server is overloaded and asks to slow down",
    "SlowDownRead": "the server is overloaded and asks to slow down",
    "SlowDownWrite": "too few of the server's disks answer to write",
    "XMinioServerNotInitialized": "the server is starting or waits for its disks",
    "ServiceUnavailable": "the server says that it is unavailable",
    "InternalError": "the server failed inside; its log says why",
    "RequestTimeout": "the request did not reach the server in time",
}
_CLOCK_TOLERANCE: Final = timedelta(minutes=15)
_KINDS: Final = {
    "AccessDenied": Denied,
    "NoSuchBucket": NoBucket,
    "EntityTooLarge": NotAccepted,
    "KeyTooLongError": NotAccepted,
    "XMinioInvalidObjectName": NotAccepted,
    "XMinioObjectExistsAsDirectory": NotAccepted,
}


@contextmanager
def translated(server: str, bucket: str) -> Iterator[None]:
    """Turn what minio and urllib3 raise into Unavailable; ``server`` is its URL without credentials."""
    try:
        yield
    except (MinioException, HTTPError) as error:
        raise failure(server, bucket, error) from error


def failure(server: str, bucket: str, error: Exception) -> Unavailable:
    """Return the error to raise for one of a foreign library's."""
    where = f"{server}/{bucket}"
    if isinstance(error, S3Error):
        code = code_of(error)
        words = _WORDS.get(code) or f"{code}: {error.message or 'no reason given'}"
        return _KINDS.get(code, Unavailable)(where, words)
    if isinstance(error, ServerError):
        return Unavailable(where, f"the server answered with HTTP status {error.status_code}")
    if isinstance(error, InvalidResponseError):
        return Unavailable(where, "the server there is not an object store")
    return Unavailable(server, _network_words(error))


def code_of(error: S3Error) -> str:
    """Return the server's own code, also for HEAD, whose answer has no body and for which minio guesses.

    A HEAD that is refused because of the clock carries no code at all, but the server's time.
    """
    headers = error.response.headers
    said = headers.get("X-Minio-Error-Code") or error.code or ""
    if said == "AccessDenied" and "Date" in headers:
        difference = parsedate_to_datetime(headers["Date"]) - minio_time.utcnow()
        if abs(difference) > _CLOCK_TOLERANCE:
            return "RequestTimeTooSkewed"
    return said


def _network_words(error: Exception) -> str:
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
    if isinstance(reason, SSLError | ssl.SSLError):
        return (
            "no trusted TLS connection: the server speaks no TLS, or its certificate is of another authority "
            "or name; set LOOKOUT_STORE_CA to the authority's PEM file"
        )
    if isinstance(reason, ReadTimeoutError):
        return "did not answer in time"
    if isinstance(reason, ConnectTimeoutError) and not isinstance(reason, NewConnectionError):
        return "cannot be reached in time"
    if isinstance(reason, ProtocolError):
        return "broke off the connection"
    return "cannot be reached; is the server running, and the address right?"
