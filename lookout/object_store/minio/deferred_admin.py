"""Deferred import of minio's client for administration.

The package minio loads it always, and with it three libraries for encryption: a third of the time that it takes to
load. ``lookout init`` and ``lookout doctor`` use it, and no worker does.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_NAME: Final = "minio.minioadmin"
_LOCK: Final = threading.Lock()


class _Deferred(ModuleType):
    """Stands for the module until somebody makes a client."""

    @staticmethod
    def MinioAdmin(*arguments: Any, **more: Any) -> Any:  # noqa: N802 (the name of the class)
        return _load().MinioAdmin(*arguments, **more)


def defer() -> None:
    """Have ``minio`` load without its client for administration, which ``minio.MinioAdmin(...)`` loads then. Call it
    before the first ``import minio``; later it does nothing."""
    if "minio" not in sys.modules:
        sys.modules.setdefault(_NAME, _Deferred(_NAME))


def _load() -> ModuleType:
    with _LOCK:
        if isinstance(sys.modules.get(_NAME), _Deferred):
            del sys.modules[_NAME]
        return import_module(_NAME)
