"""The token with which Prometheus asks MinIO for its metrics: a JWT that is signed with a user's secret.

What ``mc admin prometheus generate`` makes. It holds for as long as the user has this secret and the right to the
metrics. Standard library only: whoever makes Secrets for a cluster has nothing else.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

FOR_GOOD_S: Final = 4_102_444_800
"""The year 2100: a token of MinIO's metrics must name its end, and a new secret ends it before."""


def metrics_token(access_key: str, secret_key: str) -> str:
    """Return the token of this user; the same each time."""
    head = _encoded({"alg": "HS512", "typ": "JWT"})
    claims = _encoded({"exp": FOR_GOOD_S, "iss": "prometheus", "sub": access_key})
    signature = hmac.digest(secret_key.encode(), f"{head}.{claims}".encode(), "sha512")
    return f"{head}.{claims}.{_base64(signature)}"


def _encoded(value: Mapping[str, object]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
