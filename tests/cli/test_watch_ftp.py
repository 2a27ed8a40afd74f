"""``lookout watch`` on a folder that an FTP server writes to, as cameras upload: by temporary names, deleted before,
overwritten in place, broken off."""

from __future__ import annotations

import ftplib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from devkit.fakes.sendgrid_api import SendGridApi
from devkit.servers.ports import free_port

from .shell import CALM, DEADLINE_S, PHOTOS, RULES, THREAT, Running, World

USER, PASSWORD = "camera", "the-password"
PERSON, NOBODY = (PHOTOS / THREAT).read_bytes(), (PHOTOS / CALM).read_bytes()
TOLD = 2
GONE = ("validate", "retracted")


@contextmanager
def ftp_server(folder: Path) -> Iterator[ftplib.FTP]:
    """A connection of a camera to an FTP server that writes into the folder."""
    port = free_port()
    words = ["-i", "127.0.0.1", "-p", str(port), "-w", "-d", str(folder), "-u", USER, "-P", PASSWORD]
    with subprocess.Popen([sys.executable, "-m", "pyftpdlib", *words], stderr=subprocess.DEVNULL) as server:
        try:
            connection = connect(port)
            with connection:
                yield connection
        finally:
            server.kill()


def connect(port: int) -> ftplib.FTP:
    end_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            connection = ftplib.FTP(timeout=30)
            connection.connect("127.0.0.1", port)
            connection.login(USER, PASSWORD)
        except ConnectionRefusedError:
            assert time.monotonic() < end_s
            time.sleep(0.05)
        else:
            return connection


def store(camera: ftplib.FTP, name: str, data: bytes) -> None:
    camera.storbinary(f"STOR {name}", BytesIO(data))


def break_off(camera: ftplib.FTP, name: str, data: bytes) -> None:
    """Half an upload, whose connections end, as after a power cut."""
    with socket.create_connection((camera.host, camera.port)) as _:
        half = ftplib.FTP(timeout=30)
        half.connect(camera.host, camera.port)
        half.login(USER, PASSWORD)
        data_line = half.transfercmd(f"STOR {name}")
        data_line.sendall(data[: len(data) // 2])
        data_line.close()
        half.close()


def events(watch: Running) -> list[dict[str, Any]]:
    return [json.loads(line) for line in watch.seen]


def test_each_final_picture_has_its_results_and_its_mail_once_and_nothing_else_is_left(empty_world: World) -> None:
    world = empty_world
    world.photos.mkdir(exist_ok=True)
    with SendGridApi() as api, ftp_server(world.photos) as camera:
        world.environment = {"SENDGRID_API_KEY": api.key, "LOOKOUT_SENDGRID_HOST": api.url}
        with world.start("watch", "photos", "--state", "state", "--rules", RULES, "--workers", "1", "--json") as watch:
            watch.expect_talk("watching photos")
            # By another name first, which is renamed when it is whole.
            store(camera, "porch_1763798400.jpg.tmp", PERSON)
            camera.rename("porch_1763798400.jpg.tmp", "porch_1763798400.jpg")
            store(camera, "camera_tmp.jpg", PERSON)
            camera.rename("camera_tmp.jpg", "porch_1763798401.jpg")
            watch.expect(stage="threat-detect", key="porch_1763798400.jpg", state="success")
            watch.expect(stage="threat-detect", key="porch_1763798401.jpg", state="success")
            # Deleted before each upload; the last one counts.
            store(camera, "gate_1763798460.jpg", NOBODY)
            watch.expect(stage="threat-detect", key="gate_1763798460.jpg", state="success")
            for data in (NOBODY + b"1", PERSON):
                camera.delete("gate_1763798460.jpg")
                store(camera, "gate_1763798460.jpg", data)
                watch.expect(stage="validate", key="gate_1763798460.jpg", state="success")
            # Broken off, and uploaded again; and broken off for good, and deleted by the camera.
            break_off(camera, "porch_1763798520.jpg", PERSON)
            break_off(camera, "porch_1763798580.jpg", PERSON)
            watch.expect(stage="validate", key="porch_1763798520.jpg", state="success")
            watch.expect(stage="validate", key="porch_1763798580.jpg", state="success")
            store(camera, "porch_1763798520.jpg", PERSON)
            watch.expect(stage="threat-detect", key="porch_1763798520.jpg", state="success")
            camera.delete("porch_1763798580.jpg")
            watch.expect(stage="validate", key="porch_1763798580.jpg", state="retracted")
            # The same name for ever.
            for number in range(10):
                store(camera, "snapshot.jpg", NOBODY + bytes([number]))
            watch.expect(stage="validate", key="snapshot.jpg", state="success")
            for _ in range(4 * TOLD):
                assert api.arrived.acquire(timeout=DEADLINE_S), "no mail came"
            assert watch.stop(signal.SIGTERM) == 130
        retracted = {one["key"] for one in events(watch) if (one.get("stage"), one.get("state")) == GONE}
        assert retracted <= {"porch_1763798580.jpg", "camera_tmp.jpg"}
        world.run("--rules", RULES)
        assert sum(one.status == 202 for one in api.posted) == 4 * TOLD
    valid = {path for path in world.results() if path.startswith("validate/valid/")}
    invalid = {path for path in world.results() if path.startswith("validate/invalid/")}
    assert valid == {
        f"validate/valid/{name}.jpg"
        for name in ("porch_1763798400", "porch_1763798401", "gate_1763798460", "porch_1763798520")
    }
    assert {path.removeprefix("validate/invalid/").partition(".")[0] for path in invalid} == {"snapshot"}
    world.environment = {}
    alerts = world.lookout("alerts", "list", "--state", "state", "--json").lines
    assert sorted(alert["state"] for alert in alerts) == ["sent"] * 4 * TOLD
