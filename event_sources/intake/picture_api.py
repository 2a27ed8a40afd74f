"""HTTP interface for devices: a picture by PUT or POST, raw or as a form, answered 201 when the bucket has it.

Each device shows a token of its own and uploads as itself only. Whatever can be refused is refused by the headers,
before the body is read; the bodies that are read at once are bounded in bytes. Knows no store.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from event_sources.intake.captures import Capture, FindName, FindTime, Said, add_fields, describe, read_said
from event_sources.intake.connections import BoundedProtocol
from event_sources.intake.daemon_pool import DaemonPool
from event_sources.intake.device_tokens import DeviceTokens
from event_sources.intake.metrics import Metrics
from event_sources.intake.picture_shelf import Kept, KeyTaken
from lookout.domain.errors import InputRejected, LookoutError
from lookout.domain.identity import MAX_INPUT_BYTES
from lookout.log import get_logger

log = get_logger(__name__)

PATH: Final = "/pictures"
MAX_FORM_BYTES: Final = MAX_INPUT_BYTES + 64 * 1024
"""A form has a few fields beside the picture."""
BODIES_BYTES: Final = 2 * MAX_FORM_BYTES
"""Bodies read at once."""
STORE_S: Final = 20.0
"""The longest that a picture waits to be stored."""
_STORED_AT_ONCE: Final = 8
_JPEG: Final = b"\xff\xd8\xff"
_MOST_FIELDS: Final = 16
_FORM: Final = "multipart/form-data"


class PictureProtocol(BoundedProtocol):
    """Connections of devices, which send large bodies over slow lines: fewer than those of events, and for longer."""

    most = 128
    request_s = 120.0


class Shelf(Protocol):
    """Port for the bucket of pictures; see ``PictureShelf``."""

    def keep(self, capture: Capture, picture: bytes) -> Kept: ...


@dataclass(frozen=True, kw_only=True)
class WayIn:
    """Parts of the interface: who may upload, to where, and how device and time are read."""

    devices: DeviceTokens
    shelf: Shelf
    find_name: FindName
    find_time: FindTime


class _Refused(Exception):
    """An upload that is not taken. ``said`` is for people."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status, self.said = status, said


class PictureApi:
    """HTTP interface. ``on_kept`` is told the key of each new picture, and may take its time: the store tells of it
    too."""

    def __init__(
        self,
        way: WayIn,
        *,
        on_kept: Callable[[str], object],
        metrics: Metrics,
        clock: Callable[[], float],
        bodies_bytes: int = BODIES_BYTES,
        store_s: float = STORE_S,
    ) -> None:
        self._way, self._on_kept, self._metrics, self._clock = way, on_kept, metrics, clock
        self._room_bytes, self._store_s = bodies_bytes, store_s
        self._pool: DaemonPool[Kept] = DaemonPool(_STORED_AT_ONCE, "storing")

    def app(self) -> Starlette:
        """Return the application to be served."""
        methods = ["PUT", "POST"]
        routes = [Route(PATH, self.take, methods=methods), Route(PATH + "/{path:path}", self.take, methods=methods)]
        return Starlette(routes=routes)

    async def take(self, request: Request) -> Response:
        """Take one picture."""
        began_s = time.perf_counter()
        try:
            mine = self._check_token(request)
            said = read_said(request.path_params.get("path", ""), request.headers, self._way.find_name)
            _check_device(said, mine)
            with self._room(_length(request)):
                picture, fields = await _read(request)
                said = add_fields(said, fields)
                kept = await self._keep(said, _choose_device(said, mine), picture)
        except _Refused as refused:
            return self._refuse(refused.status, refused.said)
        except InputRejected as error:
            return self._refuse(400, str(error))
        except HTTPException as error:  # by the parser of forms
            return self._refuse(400, f"the form cannot be read: {error.detail}")
        except TimeoutError:
            return self._refuse(503, f"not stored within {self._store_s:g} s; send it again")
        except LookoutError as error:
            return self._refuse(503, str(error))
        except ClientDisconnect:
            return self._refuse(400, "the sender has gone")
        self._metrics.stored.observe(time.perf_counter() - began_s)
        return self._answer(kept)

    def _answer(self, kept: Kept) -> Response:
        if kept.is_new:
            self._on_kept(kept.key)
        status = 201 if kept.is_new else 200
        self._metrics.pictures.labels(str(status)).inc()
        log.info("picture stored" if kept.is_new else "picture is there", key=kept.key)
        return JSONResponse({"key": kept.key, "new": kept.is_new}, status)

    async def _keep(self, said: Said, device: str, picture: bytes) -> Kept:
        if not picture.startswith(_JPEG):
            raise _Refused(415, "the picture is not a JPEG: it does not begin with FF D8 FF")
        if len(picture) > MAX_INPUT_BYTES:
            raise _Refused(413, f"expected a picture of at most {MAX_INPUT_BYTES} bytes, got {len(picture)}")
        async with asyncio.timeout(self._store_s):
            return await asyncio.wrap_future(self._pool.submit(lambda: self._store(said, device, picture)))

    def _store(self, said: Said, device: str, picture: bytes) -> Kept:
        now = datetime.fromtimestamp(int(self._clock() * 1000) / 1000, UTC)
        in_picture = None
        if said.time is None and said.name is None:
            in_picture = self._way.find_time(picture, self._way.devices.zones.get(device), now)
        try:
            return self._way.shelf.keep(describe(said, device, now, in_picture), picture)
        except KeyTaken as taken:
            raise _Refused(409, f"another picture is stored as {taken.key}; send a time in milliseconds") from taken

    def _check_token(self, request: Request) -> frozenset[str]:
        """Return the devices whose token was shown."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        token = given if kind.lower() == "bearer" else _password(given) if kind.lower() == "basic" else ""
        mine = self._way.devices.of(token) if token else frozenset()
        if not mine:
            raise _Refused(401, "expected the token of a device as Authorization: Bearer, or as the password of Basic")
        return mine

    @contextmanager
    def _room(self, length: int) -> Iterator[None]:
        """Hold room for a body. All callers are on one thread."""
        if length > self._room_bytes:
            raise _Refused(503, "too many pictures are on their way; send it again")
        self._room_bytes -= length
        try:
            yield
        finally:
            self._room_bytes += length

    def _refuse(self, status: int, said: str) -> Response:
        self._metrics.pictures.labels(str(status)).inc()
        log.warning("picture refused", status=status, why=said)
        headers = {401: {"WWW-Authenticate": 'Basic realm="pictures"'}, 503: {"Retry-After": "1"}}.get(status)
        return JSONResponse({"error": said}, status, headers)


def _password(given: str) -> str:
    """Return the password of ``Authorization: Basic``; empty if there is none. The user's name does not matter."""
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _check_device(said: Said, mine: frozenset[str]) -> None:
    if others := said.devices - mine:
        raise _Refused(403, f"the token is not that of {', '.join(sorted(others))}")


def _choose_device(said: Said, mine: frozenset[str]) -> str:
    _check_device(said, mine)
    named = said.devices or mine
    if len(named) > 1:
        what = "names several devices" if said.devices else "is that of several devices, and none is named"
        raise _Refused(400, f"the {'request' if said.devices else 'token'} {what}: {', '.join(sorted(named))}")
    (device,) = named
    return device


def _length(request: Request) -> int:
    length = request.headers.get("content-length")
    if length is None:
        raise _Refused(411, "expected the header Content-Length")
    most = MAX_FORM_BYTES if _is_form(request) else MAX_INPUT_BYTES
    if int(length) > most:
        raise _Refused(413, f"expected at most {most} bytes, got {length}")
    return int(length)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM


async def _read(request: Request) -> tuple[bytes, Mapping[str, str]]:
    """Return the picture, and a form's other fields."""
    if not _is_form(request):
        return await request.body(), {}
    async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if not files:
            raise _Refused(400, "expected a form with a file")
        return await files[0].read(), {name: value for name, value in form.items() if isinstance(value, str)}
