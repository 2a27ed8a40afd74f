"""MinIO's FTP and SFTP servers as ways in: what curl, lftp and sftp upload as the user ``camera`` ends in results and
mail, also what was uploaded by halves or again; and the user may do nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devkit.fakes.sendgrid_api import SendGridApi
from devkit.servers.for_tests import Certificates, MinioServer, Transfers, make_host_key
from devkit.servers.ports import free_port
from tests.cli.shell import CALM, PHOTOS, RULES, THREAT
from tests.services.camera_kit import Camera, until
from tests.services.cli_kit import Site

TOLD = 2
"""People whom the rules tell of the picture at the porch."""


@dataclass
class Scene:
    """A site with a camera, worked on by ``lookout run``; mail goes to a double of SendGrid."""

    site: Site
    camera: Camera
    api: SendGridApi

    def work(self) -> None:
        mail = {"SENDGRID_API_KEY": self.api.key, "LOOKOUT_SENDGRID_HOST": self.api.url}
        self.site.work("--rules", RULES, env=mail)

    def mails(self) -> int:
        return sum(one.status == 202 for one in self.api.posted)

    def states(self) -> dict[str, str]:
        """``valid`` or the reason, by the key of each picture."""
        store = self.site.store
        found = {key.key.removeprefix("valid/"): "valid" for key in store.list("validate", "valid/")}
        for listed in store.list("validate", "invalid/"):
            if listed.key.endswith(".json"):
                continue
            found[listed.key.removeprefix("invalid/")] = "invalid"
        return found

    def stored(self) -> dict[str, int]:
        """The sizes of all pictures in the bucket, by key."""
        return {listed.key: listed.size for listed in self.site.store.list("images")}


@pytest.fixture
def new_scene(
    tmp_path: Path,
    new_minio: Callable[..., MinioServer],
    certificates: Certificates,
    ledger_settings: dict[str, str],
) -> Iterator[Callable[..., Scene]]:
    with SendGridApi() as api:

        def make(*, tls: bool = True, s3_tls: bool = False, **more: Any) -> Scene:
            key = make_host_key(tmp_path / "ssh-host.key")
            transfers = Transfers(host_key=key, tls=certificates if tls else None, **more)
            minio = new_minio(transfers=transfers, tls=certificates if s3_tls else None)
            site = Site(root=tmp_path, environment=minio.settings() | ledger_settings)
            site.begin()
            return Scene(site, Camera.of(site, minio), api)

        yield make


def test_what_curl_lftp_and_sftp_upload_ends_in_results_and_mail(new_scene: Callable[..., Scene]) -> None:
    scene = new_scene()
    camera, threat = scene.camera, PHOTOS / THREAT
    camera.upload(threat, "porch_1763798400.jpg")
    camera.upload(threat, "site1/porch_1763798401.jpg", "--ftp-method", "nocwd")
    camera.upload(threat, "site1/porch_1763798402.jpg", "--disable-epsv")
    camera.lftp(f"cd {camera.bucket}", f"put {threat} -o porch_1763798403.jpg")
    camera.lftp(f"mirror -R {PHOTOS} {camera.bucket}/lftp --include-glob {CALM}")
    camera.sftp(f"put {threat} {camera.bucket}/porch_1763798404.jpg", f"put {PHOTOS / CALM} {camera.bucket}/site1/")
    keys = {
        "porch_1763798400.jpg",
        "site1/porch_1763798401.jpg",
        "site1/porch_1763798402.jpg",
        "porch_1763798403.jpg",
        f"lftp/{CALM}",
        "porch_1763798404.jpg",
        f"site1/{CALM}",
    }
    assert set(scene.stored()) == keys
    scene.work()
    assert scene.states() == dict.fromkeys(keys, "valid")
    assert scene.mails() == 5 * TOLD
    scene.work()
    assert scene.mails() == 5 * TOLD


@pytest.mark.parametrize("tls", [True, False], ids=["ftps", "ftp"])
def test_a_half_upload_is_refused_or_not_stored_and_the_whole_one_replaces_it(
    new_scene: Callable[..., Scene], tls: bool
) -> None:
    scene = new_scene(tls=tls)
    camera, whole = scene.camera, (PHOTOS / THREAT).read_bytes()
    camera.upload_half(whole, THREAT)
    if not tls:  # FTP has no other sign of a file's end than the end of the connection
        until(lambda: bool(scene.stored()))
    assert scene.stored().get(THREAT, 0) < len(whole)
    scene.work()
    assert scene.states() in ({}, {THREAT: "invalid"})
    assert tls or scene.states() == {THREAT: "invalid"}
    assert scene.mails() == 0
    camera.upload(PHOTOS / THREAT, THREAT)
    scene.work()
    assert scene.states() == {THREAT: "valid"}
    assert scene.mails() == TOLD


def test_a_half_upload_by_sftp_is_not_stored_and_leaves_no_part(new_scene: Callable[..., Scene]) -> None:
    scene = new_scene()
    scene.camera.sftp_half(PHOTOS / THREAT, THREAT)
    parts = scene.camera.minio.folder / "data" / ".minio.sys" / "multipart"
    until(lambda: not any(path.is_file() for path in parts.rglob("*")))
    assert scene.stored() == {}
    scene.camera.sftp(f"put {PHOTOS / THREAT} {scene.camera.bucket}/")
    assert scene.stored() == {THREAT: (PHOTOS / THREAT).stat().st_size}


def test_a_picture_that_is_overwritten_is_processed_again_and_told_once(new_scene: Callable[..., Scene]) -> None:
    scene = new_scene(tls=False)
    scene.camera.upload(PHOTOS / CALM, THREAT)
    scene.work()
    assert (scene.states(), scene.mails()) == ({THREAT: "valid"}, 0)
    # As many cameras do: delete first, which is refused, and the upload goes on.
    scene.camera.upload(PHOTOS / THREAT, THREAT, "--quote", f"*DELE {scene.camera.bucket}/{THREAT}")
    scene.work()
    assert scene.mails() == TOLD
    scene.camera.sftp(f"put {PHOTOS / THREAT} {scene.camera.bucket}/{THREAT}")
    scene.work()
    assert (scene.states(), scene.mails()) == ({THREAT: "valid"}, TOLD)


def test_a_camera_adds_and_sees_names_and_may_do_nothing_else(new_scene: Callable[..., Scene], tmp_path: Path) -> None:
    scene = new_scene(tls=False)
    camera, bucket = scene.camera, scene.camera.bucket
    camera.upload(PHOTOS / THREAT, THREAT)
    sizes = scene.stored()
    camera.curl("--output", str(tmp_path / "read"), camera.url(THREAT), code=19)
    assert THREAT in camera.curl("--list-only", camera.url())
    for quoted in (
        [f"DELE {bucket}/{THREAT}"],
        [f"RNFR {bucket}/{THREAT}", f"RNTO {bucket}/gate_1763798400.jpg"],
        [f"MKD {bucket}/folder"],
        [f"RMD {bucket}"],
        ["MKD another-bucket"],
        ["CWD rules"],
    ):
        words = [word for command in quoted for word in ("--quote", command)]
        camera.curl(*words, "--head", camera.url(), code=21)
    for command in (f"get {bucket}/{THREAT}", f"rm {bucket}/{THREAT}", f"rename {bucket}/{THREAT} {bucket}/x.jpg"):
        camera.sftp(command, code=1)
    for name in (f"{THREAT}.part", "folder", f"{THREAT}/porch_1763798401.jpg"):
        camera.curl("--upload-file", str(PHOTOS / THREAT), "--ftp-method", "nocwd", camera.url(name), code=18)
    assert scene.stored() == sizes
    wrong = Camera(root=tmp_path, minio=camera.minio, user=camera.user, secret="not-the-secret", bucket=bucket)
    wrong.upload(PHOTOS / THREAT, THREAT, code=67)
    wrong.sftp("ls", code=255)


def test_with_tls_a_picture_over_plain_ftp_is_refused(new_scene: Callable[..., Scene]) -> None:
    scene = new_scene()
    words = [word for word in scene.camera.curl_words() if word != "--ssl-reqd"]
    done = scene.camera._run([*words, "--upload-file", str(PHOTOS / THREAT), scene.camera.url(THREAT)], 18)
    assert "450" in done
    assert scene.stored() == {}


def test_ftps_and_sftp_also_beside_an_s3_with_tls(new_scene: Callable[..., Scene]) -> None:
    scene = new_scene(s3_tls=True)
    scene.camera.upload(PHOTOS / THREAT, THREAT)
    scene.camera.sftp(f"put {PHOTOS / CALM} {scene.camera.bucket}/")
    assert set(scene.stored()) == {THREAT, CALM}


def test_data_comes_by_the_passive_ports_that_are_set(new_scene: Callable[..., Scene]) -> None:
    first = free_port()
    scene = new_scene(passive=(first, first + 20))
    said = scene.camera.curl("--verbose", "--upload-file", str(PHOTOS / THREAT), scene.camera.url(THREAT))
    ports = [int(port) for port in re.findall(r"Entering Extended Passive Mode \(\|\|\|([0-9]+)\|\)", said)]
    assert len(ports) == 1
    assert first <= ports[0] < first + 20
