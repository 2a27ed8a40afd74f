"""Pictures that devices send to an intake by HTTP, on real sockets: what is stored and answered, what is refused."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import pytest

from event_sources.intake.captures import Capture
from event_sources.intake.daemon_pool import DaemonPool
from event_sources.intake.device_tokens import DeviceTokens
from event_sources.intake.picture_api import BODIES_BYTES, PictureProtocol, WayIn
from event_sources.intake.picture_shelf import Kept, KeyTaken
from event_sources.intake.service import listen
from lookout.domain.errors import Unavailable
from lookout.domain.identity import MAX_INPUT_BYTES
from stages.picture_names import find_name
from tests.event_sources.intake_kit import (
    PACE,
    TOKEN,
    Answered,
    FolderPictures,
    RealWorld,
    Served,
    call,
    make_intake,
    serving_bus,
)

JPEG = b"\xff\xd8\xff\xe0 a picture"
EXIF_AT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
BOUNDARY = "7d44e178b0434"


@dataclass
class FolderShelf:
    """The world's source as the bucket. ``trouble`` is raised instead; ``hold`` is waited for first."""

    root: Path
    trouble: Exception | None = None
    hold: threading.Event | None = None

    def keep(self, capture: Capture, picture: bytes) -> Kept:
        if self.hold is not None:
            assert self.hold.wait(30)
        if self.trouble is not None:
            raise self.trouble
        key = ""
        for key in capture.candidates():
            try:
                with (self.root / key).open("xb") as file:
                    file.write(picture)
            except FileExistsError:
                if (self.root / key).read_bytes() == picture:
                    return Kept(key=key, is_new=False)
            else:
                return Kept(key=key, is_new=True)
        raise KeyTaken(key)


@dataclass
class Door:
    """An intake with its port for devices."""

    port: int
    served: Served
    shelf: FolderShelf

    def send(
        self, path: str = "", body: bytes = JPEG, token: str | None = "of-porch", method: str = "PUT", **headers: str
    ) -> Answered:
        return call(self.port, method, f"/pictures{path}", body, token, **headers)

    def stored(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.shelf.root.iterdir()}


def find_time(picture: bytes, zone: tzinfo | None, now: datetime) -> datetime | None:
    return EXIF_AT if b"exif" in picture else None


@contextmanager
def opened(root: Path, **more: object) -> Iterator[Door]:
    world = RealWorld(root)
    shelf = FolderShelf(world.source)
    tokens = {
        name: [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
        for name, tokens in {"porch": ["of-porch"], "gate": ["of-two"], "yard": ["of-two"]}.items()
    }
    way_in = WayIn(devices=DeviceTokens(tokens=tokens, zones={}), shelf=shelf, find_name=find_name, find_time=find_time)
    with ExitStack() as stack:
        bus = stack.enter_context(serving_bus())
        pictures = FolderPictures(world)
        intake = make_intake(world, pictures, bus.url, pace=PACE, nonce="aaaa", way_in=way_in)
        server, events, devices = intake.server(), listen("127.0.0.1", 0), listen("127.0.0.1", 0)
        thread = threading.Thread(target=intake.run, args=(server, events, devices))
        thread.start()
        try:
            yield Door(devices.getsockname()[1], Served(events.getsockname()[1], pictures), shelf)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with opened(tmp_path) as door:
        yield door


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """The body of a form, of (name, what else its header says, data), and its type."""
    body = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"
        for name, more, data in parts
    )
    return body + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"


# --- taken ------------------------------------------------------------------------------------------------------------


def test_a_picture_is_stored_before_it_is_answered_and_is_in_the_ledger_without_an_event(door: Door) -> None:
    answered = door.send("/porch_1763798400.jpg")
    assert (answered.status, answered.said) == (201, {"key": "porch_1763798400.jpg", "new": True})
    assert door.stored() == {"porch_1763798400.jpg": JPEG}
    end_s = time.monotonic() + 10
    while door.served.metric("lookout_intake_changed_total") < 1:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert door.served.pictures.looks == ["porch_1763798400.jpg"] * len(door.served.pictures.looks)


@pytest.mark.parametrize(
    ("path", "headers", "key"),
    [
        ("", {"X-Captured-At": "1763798400"}, "porch_1763798400.jpg"),
        ("/porch", {"X-Captured-At": "1763798400123"}, "porch_1763798400123.jpg"),
        ("/snapshot.jpg", {"X-Timestamp": "2025-11-22T09:00:00+01:00"}, "porch_1763798400.jpg"),
        ("/a/b/porch_1763798400.JPEG", {"X-Device": "porch"}, "porch_1763798400.jpg"),
        ("/", {"X-Device-Id": "porch", "X-Captured-At": "1763798400"}, "porch_1763798400.jpg"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_path_and_headers_name_it(door: Door, method: str, path: str, headers: dict[str, str], key: str) -> None:
    answered = door.send(path, method=method, **headers)
    assert (answered.status, answered.said["key"]) == (201, key)


def test_without_a_time_it_is_that_of_exif_and_without_that_it_is_now(door: Door) -> None:
    assert door.send(body=JPEG + b"exif").said["key"] == "porch_1735787045.jpg"
    before_s = time.time()
    key = str(door.send().said["key"])
    found = find_name(key)
    assert found is not None
    assert len(key) == len("porch_1763798400123.jpg")
    assert before_s - 0.001 <= found.captured_at_s <= time.time()


def test_a_form_brings_picture_device_and_time(door: Door) -> None:
    body, kind = form(
        ("captured_at", "", b"1763798400"),
        ("device", "", b"yard"),
        ("imageFile", '; filename="esp32-cam.jpg"\r\nContent-Type: image/jpeg', JPEG),
    )
    answered = door.send(body=body, token="of-two", method="POST", **{"Content-Type": kind})
    assert (answered.status, answered.said["key"]) == (201, "yard_1763798400.jpg")
    assert door.stored() == {"yard_1763798400.jpg": JPEG}


def test_the_token_may_be_the_password_of_any_user(door: Door) -> None:
    basic = b64encode(b"admin:of-porch").decode()
    assert door.send(token=None, Authorization=f"Basic {basic}").status == 201


def test_a_repeat_is_answered_200_and_another_picture_never_takes_its_place(door: Door) -> None:
    at = {"X-Captured-At": "1763798400"}
    keys = [door.send(body=JPEG + bytes([n]), **at).said["key"] for n in (1, 2, 3, 2)]
    assert keys == [
        "porch_1763798400.jpg",
        "porch_1763798400001.jpg",
        "porch_1763798400002.jpg",
        "porch_1763798400001.jpg",
    ]
    repeated = door.send(body=JPEG + b"\1", **at)
    assert (repeated.status, repeated.said) == (200, {"key": "porch_1763798400.jpg", "new": False})
    named = door.send("/porch_1763798400.jpg", JPEG + b"\4")
    assert named.status == 409
    assert "another picture is stored as porch_1763798400.jpg" in named.said["error"]
    assert len(door.stored()) == 3


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({"token": None}, 401, "expected the token of a device"),
        ({"token": "of-nobody"}, 401, "expected the token of a device"),
        ({"token": None, "Authorization": "Basic !!!"}, 401, "expected the token"),
        ({"path": "/gate"}, 403, "the token is not that of gate"),
        ({"path": "/gate_1763798400.jpg"}, 403, "the token is not that of gate"),
        ({"X-Device": "gate"}, 403, "the token is not that of gate"),
        ({"token": "of-two"}, 400, "the token is that of several devices, and none is named: gate, yard"),
        ({"token": "of-two", "path": "/gate", "X-Device": "yard"}, 400, "the request names several devices"),
        ({"X-Captured-At": "noon"}, 400, "x-captured-at: noon: is not a time"),
        ({"X-Captured-At": "2025-11-22T08:00:00"}, 400, "has no offset from UTC"),
        ({"body": b""}, 415, "is not a JPEG"),
        ({"body": b"\x89PNG\r\n"}, 415, "is not a JPEG"),
        ({"body": b"x", "Content-Type": "multipart/form-data"}, 400, "the form cannot be read"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_sentence(door: Door, sent: dict, status: int, said: str) -> None:
    answered = door.send(**sent)
    assert answered.status == status
    assert said in answered.said["error"]
    assert door.stored() == {}
    assert door.served.metric("lookout_intake_pictures_total", status=str(status)) == 1


@pytest.mark.parametrize(
    ("parts", "status", "said"),
    [
        ([("device", "", b"porch")], 400, "expected a form with a file"),
        ([("device", "", b"gate"), ("f", '; filename="a.jpg"', JPEG)], 403, "the token is not that of gate"),
        ([("f", '; filename="a.jpg"', b"text")], 415, "is not a JPEG"),
        ([("a", '; filename="a.jpg"', JPEG), ("b", '; filename="b.jpg"', JPEG)], 400, "the form cannot be read"),
    ],
)
def test_a_form_is_refused_too(door: Door, parts: list[tuple[str, str, bytes]], status: int, said: str) -> None:
    body, kind = form(*parts)
    answered = door.send(body=body, method="POST", **{"Content-Type": kind})
    assert (answered.status, door.stored()) == (status, {})
    assert said in answered.said["error"]


def test_length_is_needed_and_limited_and_other_paths_lead_nowhere(door: Door) -> None:
    assert call(door.port, "PUT", "/pictures", iter([JPEG]), "of-porch").status == 411
    for length, kind in ((MAX_INPUT_BYTES + 1, "image/jpeg"), (BODIES_BYTES, "multipart/form-data")):
        more = {"Content-Length": str(length), "Content-Type": kind}
        assert call(door.port, "PUT", "/pictures", None, "of-porch", **more).status == 413
    assert door.send(method="GET").status == 405
    assert call(door.port, "POST", "/uploads", b"{}", TOKEN).status == 404
    assert call(door.served.port, "PUT", "/pictures", JPEG, "of-porch").status == 404


def test_while_the_store_is_away_it_is_answered_503_and_nothing_is_lost_by_a_repeat(door: Door) -> None:
    door.shelf.trouble = Unavailable("s3", "cannot be reached")
    answered = door.send("/porch_1763798400.jpg")
    assert (answered.status, answered.headers["retry-after"]) == (503, "1")
    assert "cannot be reached" in answered.said["error"]
    door.shelf.trouble = None
    assert door.send("/porch_1763798400.jpg").status == 201


def test_a_body_that_breaks_off_is_not_stored(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port)) as half:
        lines = ["PUT /pictures HTTP/1.1", "Host: x", "Authorization: Bearer of-porch"]
        head = "\r\n".join([*lines, f"Content-Length: {len(JPEG)}", "", ""])
        half.sendall(head.encode() + JPEG[:8])
    until(lambda: door.served.metric("lookout_intake_pictures_total", status="400") == 1)
    assert door.stored() == {}


def ask_first(slow: socket.socket, length: int) -> str:
    """Ask whether a body of so many bytes may follow, as clients with large ones do, and give the answer. A client that
    sends at once may find the connection closed before it has read why."""
    lines = ["PUT /pictures HTTP/1.1", "Host: x", "Authorization: Bearer of-porch", "Expect: 100-continue"]
    slow.sendall("\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode())
    return slow.recv(10_000).decode()


def test_bodies_on_their_way_are_bounded_and_events_and_health_go_on(door: Door) -> None:
    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", door.port))

    with ExitStack() as stack:
        for _ in range(2):
            assert ask_first(stack.enter_context(connect()), MAX_INPUT_BYTES).startswith("HTTP/1.1 100 ")
        with connect() as refused:
            answered = ask_first(refused, 1_000_000)
            while not answered.endswith("}") and (more := refused.recv(10_000).decode()):
                answered += more
        assert answered.startswith("HTTP/1.1 503 ")
        assert "too many pictures are on their way" in answered
        assert door.served.call("GET", "/healthz").status == 200
        assert door.served.post("a/1").status == 200

    def has_room() -> bool:
        with connect() as slow:
            return ask_first(slow, 1_000_000).startswith("HTTP/1.1 100 ")

    until(has_room)
    assert door.send(body=JPEG + bytes(1_000_000)).status == 201


def test_silent_connections_give_way(door: Door) -> None:
    with ExitStack() as stack:
        for _ in range(PictureProtocol.most + 20):
            stack.enter_context(socket.create_connection(("127.0.0.1", door.port)))
        assert door.send().status == 201


def test_pictures_that_have_come_are_stored_and_answered_when_it_ends(tmp_path: Path) -> None:
    hold = threading.Event()
    answers: list[int] = []
    with opened(tmp_path) as door:
        door.shelf.hold = hold
        sender = threading.Thread(target=lambda: answers.append(door.send("/porch_1763798400.jpg").status))
        sender.start()
        until(lambda: door.served.metric("lookout_intake_pictures_total") == 0 and sender.is_alive())
        timer = threading.Timer(0.5, hold.set)
        timer.start()
    sender.join()
    assert answers == [201]


def test_a_call_that_hangs_delays_neither_others_nor_the_end_of_the_process() -> None:
    pool: DaemonPool[int] = DaemonPool(1, "hanging")
    hold = threading.Event()
    first, second = pool.submit(lambda: int(hold.wait(30))), pool.submit(lambda: 2)
    assert second.cancel()
    hold.set()
    assert (first.result(10), pool.submit(lambda: 3).result(10)) == (1, 3)
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(10)
    code = "import time; from event_sources.intake.daemon_pool import DaemonPool; "
    code += "DaemonPool(1, 'hanging').submit(lambda: time.sleep(600)); time.sleep(0.1)"
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)


def until(ready: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end_s
        time.sleep(0.02)
