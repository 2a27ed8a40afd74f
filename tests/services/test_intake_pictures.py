"""Pictures sent to the intake by curl, on a real MinIO: stored before they are answered, then results and mail."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devkit.fakes.sendgrid_api import SendGridApi
from devkit.servers.for_tests import MinioServer
from devkit.servers.ports import free_port
from tests.camera_names.test_exif import jpeg, tiff
from tests.cli.shell import CALM, PHOTOS, RULES, THREAT
from tests.cli.stages_kit import run_stage
from tests.services.cli_kit import STAGES
from tests.services.test_intake import DEADLINE_S, Chain, make_chain, until

TOKEN = "the-token-of-the-porch"
TOLD = 2


@dataclass
class Sender:
    """curl on a device, and the intake that it sends to."""

    chain: Chain
    port: int

    def words(self, *arguments: str, path: str = "", token: str = TOKEN) -> list[str]:
        url = f"http://127.0.0.1:{self.port}/pictures{path}"
        told = ["--write-out", "\n%{http_code}", "--header", f"Authorization: Bearer {token}"]
        return ["curl", "--silent", "--show-error", "--max-time", "60", *told, *arguments, url]

    def curl(self, *arguments: str, path: str = "", token: str = TOKEN) -> tuple[int, Any]:
        """The status, and what was said."""
        return answer(subprocess.run(self.words(*arguments, path=path, token=token), capture_output=True, check=True))

    def put(self, file: Path, *arguments: str, path: str = "", token: str = TOKEN) -> tuple[int, Any]:
        return self.curl("--upload-file", str(file), *arguments, path=path, token=token)

    def stored(self) -> dict[str, bytes | None]:
        store = self.chain.site.store
        full = store.full("images")
        return {listed.key: store.connection.read(full, listed.key) for listed in store.list("images")}


def answer(done: subprocess.CompletedProcess[bytes]) -> tuple[int, Any]:
    said, _, status = done.stdout.decode().rpartition("\n")
    return int(status), json.loads(said)


@pytest.fixture
def sender(
    tmp_path: Path,
    closing: ExitStack,
    new_minio: Callable[..., MinioServer],
    ledger_settings: dict[str, str],
) -> Sender:
    chain = make_chain(tmp_path, closing, new_minio, ledger_settings)
    port = free_port()
    devices = tmp_path / "tokens.json"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    devices.write_text(json.dumps({"porch": {"tokens": [digest], "zone": "Europe/Vienna"}}))
    chain.settings |= {
        "LOOKOUT_INTAKE_DEVICE_TOKENS": str(devices),
        "LOOKOUT_INTAKE_PICTURES_LISTEN": f"127.0.0.1:{port}",
    }
    chain.start()
    chain.await_ready()
    return Sender(chain, port)


def test_pictures_by_put_and_by_form_go_through_all_stages_and_end_in_mail(sender: Sender) -> None:
    chain, site = sender.chain, sender.chain.site
    chain.put("home.json", (RULES / "home.json").read_bytes(), "rules")
    site.lookout("batches", "cut", "--run=first", "--reconcile=full")  # brings model and rules into force
    assert sender.put(PHOTOS / THREAT, path=f"/{THREAT}") == (201, {"key": THREAT, "new": True})
    form = ("--form", f"picture=@{PHOTOS / CALM}", "--form", "captured_at=2025-11-22T08:01:00+00:00")
    assert sender.curl(*form) == (201, {"key": "porch_1763798460.jpg", "new": True})
    assert sender.stored() == {
        THREAT: (PHOTOS / THREAT).read_bytes(),
        "porch_1763798460.jpg": (PHOTOS / CALM).read_bytes(),
    }
    until(lambda: {key for batch in chain.batches() for key in batch.keys} == {THREAT, "porch_1763798460.jpg"})
    chain.bus.wait_for(lambda: chain.posted() == {batch.id for batch in chain.batches()}, DEADLINE_S)
    with SendGridApi() as api:
        mail = {"SENDGRID_API_KEY": api.key, "LOOKOUT_SENDGRID_HOST": api.url}
        for id_, attempt in list(chain.bus.workflows):
            given = (f"--run=pipeline-{id_}-{attempt}", f"--batch={id_}", "--object=")
            for stage in STAGES:
                more = mail if stage == "threat-detect" else {}
                run_stage(site, stage, *given, env=site.be(stage) | more)
        assert sum(one.status == 202 for one in api.posted) == TOLD
    found = set(site.objects())
    assert {f"validate/valid/{THREAT}", "validate/valid/porch_1763798460.jpg"} <= found


def test_the_time_in_exif_is_that_of_the_zone_of_the_device(sender: Sender, tmp_path: Path) -> None:
    file = tmp_path / "snapshot.jpg"
    file.write_bytes(jpeg(tiff("<", {0x9003: b"2025:11:22 09:00:00\0"})))
    assert sender.put(file, path="/snapshot.jpg") == (201, {"key": "porch_1763798400.jpg", "new": True})
    file.write_bytes(jpeg(tiff("<", {0x9003: b"2025:11:22 09:00:00\0", 0x9011: b"+00:00\0", 0x9291: b"25\0"})))
    assert sender.put(file) == (201, {"key": "porch_1763802000250.jpg", "new": True})


def test_a_picture_is_never_put_in_the_place_of_another(sender: Sender, tmp_path: Path) -> None:
    assert sender.put(PHOTOS / THREAT, path=f"/{THREAT}")[0] == 201
    assert sender.put(PHOTOS / THREAT, path=f"/{THREAT}") == (200, {"key": THREAT, "new": False})
    status, said = sender.put(PHOTOS / CALM, path=f"/{THREAT}")
    assert (status, said) == (409, {"error": f"another picture is stored as {THREAT}; send a time in milliseconds"})
    # Eight at once, of one second: each has a place of its own, by the server's own check.
    files = [tmp_path / f"{n}.jpg" for n in range(8)]
    for n, file in enumerate(files):
        file.write_bytes((PHOTOS / CALM).read_bytes() + bytes([n]))
    at = ("--header", "X-Captured-At: 1763798400")
    started = [
        subprocess.Popen(sender.words("--upload-file", str(file), *at), stdout=subprocess.PIPE) for file in files
    ]
    keys = set()
    for process in started:
        out, _ = process.communicate(timeout=DEADLINE_S)
        status, said = answer(subprocess.CompletedProcess([], 0, out))
        assert status == 201
        keys.add(said["key"])
    assert len(keys) == 8
    assert THREAT not in keys
    bodies = {key: data for key, data in sender.stored().items() if key in keys}
    assert sorted(bodies.values()) == sorted(file.read_bytes() for file in files)
    versions = sender.chain.site.store.versions("images")
    assert len(list(versions)) == 9


def test_a_foreign_token_and_what_is_no_picture_are_refused_before_anything_is_stored(
    sender: Sender, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("no picture")
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    assert sender.put(PHOTOS / THREAT, token="another")[0] == 401
    assert sender.put(PHOTOS / THREAT, path="/gate_1763798400.jpg")[0] == 403
    assert sender.put(text)[0] == 415
    assert sender.put(large)[0] == 413
    assert sender.put(PHOTOS / THREAT, "--header", "Transfer-Encoding: chunked")[0] == 411
    assert sender.put(PHOTOS / THREAT, "--header", "X-Captured-At: now")[0] == 400
    assert sender.stored() == {}


def test_a_curl_that_is_killed_leaves_nothing(sender: Sender, tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes((PHOTOS / THREAT).read_bytes() + bytes(4_000_000))
    words = sender.words("--upload-file", str(file), "--limit-rate", "100k", path=f"/{THREAT}")
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        until(lambda: bool(connections(sender.port)))
        process.kill()
    until(lambda: not connections(sender.port))
    assert sender.stored() == {}
    assert sender.put(PHOTOS / THREAT, path=f"/{THREAT}")[0] == 201


def connections(port: int) -> list[str]:
    """The established connections to a port of this machine."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01"]
