"""Reader of hints, which has their objects looked at: events that MinIO publishes beside the durable ones, unqueued.

It saves time and decides nothing: the object is observed like that of a durable event, so a hint that is lost, doubled,
late or forged changes no result. Of hints about pictures that were written, ``LOOKS`` are looked at side by side, so
that durable events find the recorder free. All else is left to the durable events. Knows no server.
"""

from __future__ import annotations

import asyncio
from typing import Final

from event_sources.intake.metrics import Metrics
from event_sources.intake.recent_versions import RecentVersions
from event_sources.intake.recorder import Recorder
from event_sources.intake.s3_events import Happened, read_events
from lookout.domain.errors import InputRejected, LookoutError
from lookout.log import get_logger

log = get_logger(__name__)

LOOKS: Final = 4
"""Half of the threads that the recorder has for its looks."""


class HintReader:
    """Reader of hints, on one event loop. ``bucket`` is the full name of the bucket of pictures."""

    def __init__(
        self,
        *,
        bucket: str,
        recorder: Recorder,
        recent: RecentVersions,
        metrics: Metrics,
    ) -> None:
        self._bucket, self._recorder, self._recent = bucket, recorder, recent
        self._metrics = metrics
        self._room = asyncio.Semaphore(LOOKS)
        self._looks: set[asyncio.Task[None]] = set()

    async def take(self, body: bytes) -> None:
        """Have the recorder look at what a hint names; returns when the look has begun."""
        try:
            events = read_events(body)
        except InputRejected:
            self._count("unreadable")
            return
        for event in events:
            if event.bucket != self._bucket or event.kind != "created":
                self._count("ignored")
            elif self._recent.has(event.key, event.version):
                self._count("known")
            else:
                await self._room.acquire()
                look = asyncio.create_task(self._look(event))
                self._looks.add(look)
                look.add_done_callback(self._looks.discard)

    def drop(self) -> None:
        """Count a hint for which there was no room."""
        self._count("dropped")

    async def _look(self, event: Happened) -> None:
        try:
            await asyncio.wrap_future(self._recorder.take(event.key))
        except LookoutError as error:
            self._count("failed")
            log.info("hint without effect", key=event.key, error=error)  # the durable event comes anyway
        else:
            # Whoever publishes may claim anything: the latency counts where the store has this very version.
            was_there = self._recent.has(event.key, event.version)
            self._count("recorded" if was_there else "outdated")
            if was_there:
                self._metrics.note_delay("hint", event.at_s)
        finally:
            self._room.release()

    def _count(self, outcome: str) -> None:
        self._metrics.hints.labels(outcome).inc()
