"""HTTP interface of an intake: events by POST; liveness, readiness and metrics by GET.

An answer of 2xx means that the ledger has the object, so the sender may forget the event. Any other says why not, in
a sentence; MinIO keeps the event then and sends it again. Knows no ledger and no store.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from event_sources.intake.metrics import Metrics
from event_sources.intake.recent_versions import RecentVersions
from event_sources.intake.recorder import Recorder
from event_sources.intake.s3_events import MAX_BODY_BYTES, Happened, read_events
from lookout.domain.errors import InputRejected, LookoutError
from lookout.log import get_logger

log = get_logger(__name__)

PATH: Final = "/uploads"
ANSWER_S: Final = 6.0
"""The longest that a post waits for its answer."""
READY_S: Final = 3.0


class _Refused(Exception):
    """A post that is not taken. ``reason`` is for counting, ``said`` for people."""

    def __init__(self, status: int, reason: str, said: str) -> None:
        super().__init__(status, reason, said)
        self.status, self.reason, self.said = status, reason, said


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """Full names of the buckets whose events matter."""

    pictures: str
    references: Collection[str]


class IntakeApi:
    """HTTP interface. ``forward`` passes on the body of an event about a model or a rule: activating these
    takes a stage's code, which only a workflow has."""

    def __init__(
        self,
        *,
        token: str,
        buckets: Buckets,
        recorder: Recorder,
        forward: Callable[[bytes], None],
        is_alive: Callable[[], bool],
        metrics: Metrics,
        answer_s: float,
        recent: RecentVersions,
    ) -> None:
        self._token = token.encode()
        self._recent = recent
        self._buckets, self._recorder, self._forward = buckets, recorder, forward
        self._is_alive, self._metrics, self._answer_s = is_alive, metrics, answer_s

    def app(self) -> Starlette:
        """Return the application to be served."""
        return Starlette(
            routes=[
                Route(PATH, self.post, methods=["POST"]),
                Route("/healthz", self.health, methods=["GET"]),
                Route("/readyz", self.ready, methods=["GET"]),
                Route("/metrics", self.show_metrics, methods=["GET"]),
            ]
        )

    async def post(self, request: Request) -> Response:
        """Take one event, or several in one body."""
        began_s = time.perf_counter()
        try:
            self._check_token(request)
            async with asyncio.timeout(self._answer_s):
                body = await _body(request)
                events = _read(body)
                await self._take(events, body)
        except _Refused as refused:
            return self._refuse(refused)
        except TimeoutError:
            said = f"not entered within {self._answer_s:g} s; send it again"
            return self._refuse(_Refused(503, "too slow", said))
        except LookoutError as error:
            return self._refuse(_Refused(503, "unavailable", str(error)))
        except ClientDisconnect:
            return self._refuse(_Refused(400, "gone", "the sender has gone"))
        self._metrics.answered.observe(time.perf_counter() - began_s)
        return JSONResponse({"taken": len(events)})

    async def _take(self, events: list[Happened], body: bytes) -> None:
        """Return when the ledger has all pictures, and the bus what else matters. Raises LookoutError."""
        pictures = {event.key for event in events if event.bucket == self._buckets.pictures and not self._knows(event)}
        answers: list[Awaitable[None]] = [asyncio.wrap_future(self._recorder.take(key)) for key in pictures]
        if any(event.bucket in self._buckets.references for event in events):
            answers.append(asyncio.to_thread(self._forward, body))
        await asyncio.gather(*answers)
        for event in events:
            if event.bucket == self._buckets.pictures or event.bucket in self._buckets.references:
                self._metrics.events.labels(event.bucket, event.kind).inc()
                if event.bucket == self._buckets.pictures:
                    self._metrics.note_delay("durable", event.at_s)
            else:
                self._metrics.ignored.labels("bucket").inc()
                log.info("ignored", bucket=event.bucket, key=event.key)

    def _knows(self, event: Happened) -> bool:
        """Tell whether a hint, or a repeat of this event, has brought this very version into the ledger. The removal of
        a version bears its name too, so it is looked at."""
        known = event.kind == "created" and self._recent.has(event.key, event.version)
        if known:
            self._metrics.ignored.labels("known").inc()
        return known

    def _check_token(self, request: Request) -> None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.encode(), self._token):
            raise _Refused(401, "token", "expected the header Authorization: Bearer with the token of this intake")

    def _refuse(self, refused: _Refused) -> Response:
        self._metrics.refused.labels(refused.reason).inc()
        log.warning("refused", status=refused.status, why=refused.said)
        headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else None
        return JSONResponse({"error": refused.said}, refused.status, headers)

    async def health(self, _: Request) -> Response:
        """Answer 500 when a thread has ended that should not have: only a new process helps."""
        if self._is_alive():
            return PlainTextResponse("alive\n")
        return PlainTextResponse("a thread has ended; the log says why\n", 500)

    async def ready(self, _: Request) -> Response:
        """Ask the store and the ledger."""
        try:
            async with asyncio.timeout(READY_S):
                await asyncio.wrap_future(self._recorder.check())
        except TimeoutError:
            return PlainTextResponse(f"store or ledger did not answer within {READY_S:g} s\n", 503)
        except LookoutError as error:
            return PlainTextResponse(f"{error}\n", 503)
        return PlainTextResponse("ready\n")

    async def show_metrics(self, _: Request) -> Response:
        """Answer with the metrics for Prometheus."""
        return Response(self._metrics.as_text(), media_type=CONTENT_TYPE_LATEST)


def _read(body: bytes) -> list[Happened]:
    try:
        return read_events(body)
    except InputRejected as error:
        raise _Refused(400, "no event", str(error)) from error


async def _body(request: Request) -> bytes:
    """Return the body. Raises _Refused when it is too large, before more of it is read."""
    said = f"expected at most {MAX_BODY_BYTES} bytes"
    if int(request.headers.get("content-length", "0")) > MAX_BODY_BYTES:
        raise _Refused(413, "too large", said)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _Refused(413, "too large", said)
    return bytes(body)
