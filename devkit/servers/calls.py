"""One HTTP call to a server of this machine: past any proxy of the environment, with the CA that it was given."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping

from devkit.servers.certificates import Certificates
from lookout.domain.errors import Unavailable


def call(
    url: str,
    *,
    tls: Certificates | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    wait_s: float = 5.0,
) -> bytes:
    """Return the body of the answer to a GET, or with ``body`` to a POST; with ``tls`` the client shows its
    certificate.

    Raises Unavailable for no answer within ``wait_s``, and for any that is not 200 with what the server said.
    """
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))  # noqa: S310 (http, https only)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if tls is not None:
        handlers.append(urllib.request.HTTPSHandler(context=_context(tls)))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=wait_s) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as exc:
        with exc:
            said = exc.read().decode(errors="replace").strip()
        raise Unavailable(url, f"status {exc.code}: {said or exc.reason}") from exc
    except (OSError, http.client.HTTPException) as exc:
        raise Unavailable(url, str(exc) or type(exc).__name__) from exc


def _context(tls: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.load_cert_chain(tls.client_certificate, tls.client_key)
    return context
