"""Extras of the installation: which package comes with which, and the sentence for a command that lacks one."""

from __future__ import annotations

from typing import Final

from lookout.domain.errors import InputRejected

EXTRAS: Final = {
    "apprise": "apprise",
    "paho": "apprise",
    "etcd3": "servers",
    "grpc": "servers",
    "minio": "servers",
    "urllib3": "servers",
    "h11": "intake",
    "nats": "intake",
    "python_multipart": "intake",
    "starlette": "intake",
    "uvicorn": "intake",
}
"""The extra of each package that is imported and that no installation needs to have."""


def explain(error: Exception) -> Exception:
    """Turn the failed import of a package of an extra into the InputRejected that says what to install; any other
    error stays as it is."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if name not in EXTRAS:
        return error
    extra = EXTRAS[name]
    return InputRejected(
        f"the extra {extra} is not installed: {name} is missing", hint=f"pip install 'lookout[{extra}]'"
    )
