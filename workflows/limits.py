"""Limits of what runs at once: the ConfigMap that the semaphores of the other workflows read, and overlays change."""

from __future__ import annotations

from typing import Any, Final

from workflows.parts import LIMITS

PIPELINES: Final = "pipelines"
"""Workflows of single objects: one landing after the other waits its turn, in the order of priority and time."""
WORKERS: Final = "workers"
"""Pods that pull batches, of all backfills together."""


def limits() -> dict[str, Any]:
    """Return the limits for one small node. A number is read whenever a lock is asked for, so a change needs no
    restart."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": LIMITS, "labels": {"app.kubernetes.io/part-of": "lookout"}},
        "data": {PIPELINES: "4", WORKERS: "2"},
    }
