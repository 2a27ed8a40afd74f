"""Errors of etcd and what each means: worth another try, or what to tell a person who has to do something about it."""

from __future__ import annotations

from typing import Final

import grpc  # type: ignore[import-untyped]

from lookout.domain.errors import InputRejected, LookoutError, Unavailable
from lookout.ledger.kv.port import NotPermitted

_MENDABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
_STALE: Final = ("invalid auth token", "auth store is old")
_BUSY: Final = "too many requests"


def is_mendable(code: object, details: str) -> bool:
    """Tell whether another try, on a new connection, may succeed."""
    return code in _MENDABLE or _BUSY in details or any(words in details for words in _STALE)


def doubts_token(code: object, details: str) -> bool:
    """Tell whether the token may be the reason: it has ended, or no answer came in time. An etcd that was restored from
    a backup answers nothing to a token that was given out later than that; it waits until it is as far."""
    late = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.DEADLINE_EXCEEDED)
    return code in late or any(words in details for words in _STALE)


def refusal(code: object, details: str, name: str) -> LookoutError | None:
    """The error for what no other try will mend."""
    if "space exceeded" in details:
        return Unavailable(
            name, "its space is used up (NOSPACE): compact, defragment, raise the quota, disarm the alarm"
        )
    if "invalid user ID or password" in details:
        return InputRejected("user or password is wrong", name, "check LOOKOUT_LEDGER_USER and LOOKOUT_LEDGER_PASSWORD")
    if "user name is empty" in details:
        return InputRejected(
            "it wants a user and a password", name, "set LOOKOUT_LEDGER_USER and LOOKOUT_LEDGER_PASSWORD"
        )
    if "authentication is not enabled" in details:
        return InputRejected(
            "a user is given, but it asks nobody who they are", name, "enable its authentication, or give no user"
        )
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return NotPermitted(
            f"the user may not do this: {short(details)}", name, "take the user that `lookout init` made for it"
        )
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return InputRejected("its certificate is not trusted", name, "check LOOKOUT_LEDGER_CA")
    if "WRONG_VERSION_NUMBER" in details:
        return InputRejected("it does not speak TLS", name, "use etcd:// for a server without TLS")
    if "request is too large" in details:
        return InputRejected("a transaction is too large for it", name, "raise its --max-request-bytes")
    return None


def short(details: str) -> str:
    """The beginning of a long text."""
    return details if len(details) <= 300 else details[:300] + "..."
