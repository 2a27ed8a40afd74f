"""Session of an engine: the owner, the run and the code version that its claims and records name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSession:
    """Names and times of an engine: claims are of ``owner`` and last ``lease_s``, records name ``run`` and ``code``."""

    owner: str
    run: str
    code: str
    clock: Callable[[], float] = time.time
    lease_s: float = 60.0
