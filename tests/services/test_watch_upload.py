"""``lookout watch DIR --upload`` on a real MinIO, as the uploader, by a network that comes and goes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devkit.servers.for_tests import MinioServer, Proxy
from lookout.domain.identity import sha256
from lookout.object_store.minio.version_history import history
from tests.cli.shell import CALM, LOOKOUT, NEW, PHOTOS, THREAT, Running
from tests.services.cli_kit import Site
from tests.uploading.site import until

ARGUMENTS = ("watch", "photos", "--upload", "--json")


class Device(Site):
    """A site whose environment is the uploader's. ``owner`` sees what is in the bucket."""

    owner: Site

    def watch(self, *more: object) -> Running:
        return self.start(*ARGUMENTS, *more)

    def through(self, proxy: Proxy) -> None:
        store = self.environment["LOOKOUT_STORE"]
        self.environment["LOOKOUT_STORE"] = store.replace(proxy.target, proxy.endpoint)

    def fill(self, number: int, size: int = 4) -> None:
        self.photos.mkdir(exist_ok=True)
        for n in range(number):
            (self.photos / f"gate_{1763798400 + n}.jpg").write_bytes(n.to_bytes(4, "big") * (size // 4))

    def versions(self) -> dict[str, list[str | None]]:
        """The digests of all that was ever put under each key: of the bytes, not of what was said of them."""
        store = self.owner.store
        found: dict[str, list[str | None]] = {}
        for listed in store.list("images"):
            for version in history(store, "images", listed.key):
                data = store.connection.read(store.full("images"), listed.key, version.version)
                found.setdefault(listed.key, []).append(None if data is None else sha256(data))
        return found

    def local(self) -> dict[str, str]:
        return {path.name: sha256(path.read_bytes()) for path in self.photos.iterdir()}


@pytest.fixture
def device(tmp_path: Path, store_settings: dict[str, str]) -> Device:
    owner = Site(root=tmp_path, environment=store_settings)
    owner.begin()
    device = Device(root=tmp_path, environment=owner.be("uploader"))
    device.environment["LOOKOUT_STORE"] = store_settings["LOOKOUT_STORE"]
    device.owner = owner
    device.photos.mkdir()
    return device


@pytest.fixture
def proxy(device: Device, minio: MinioServer, new_proxy: Callable[..., Proxy]) -> Iterator[Proxy]:
    proxy = new_proxy(minio.endpoint)
    device.through(proxy)
    yield proxy
    proxy.accept()


def sums(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found


def test_what_is_there_and_what_lands_is_brought_whole_and_once(device: Device) -> None:
    device.put(CALM)
    with device.watch("--prefix", "site1/") as watch:
        watch.expect(key=f"site1/{CALM}", **{"is": "uploaded"})
        whole = (PHOTOS / THREAT).read_bytes()
        with (device.photos / THREAT).open("wb") as half:
            half.write(whole[:20_000])
            half.flush()
            device.put(NEW)
            watch.expect(key=f"site1/{NEW}", **{"is": "uploaded"})
            assert not any(THREAT in line for line in watch.seen)
            half.write(whole[20_000:])
        watch.expect(key=f"site1/{THREAT}", **{"is": "uploaded"})
        (device.photos / NEW).write_bytes(whole)
        watch.expect(key=f"site1/{NEW}", **{"is": "uploaded"})
        (device.photos / CALM).unlink()
        assert watch.stop(signal.SIGTERM) == 130
    assert sums(watch.seen[-1])["uploaded"] == 4
    of = {name: sha256((PHOTOS / name).read_bytes()) for name in (CALM, NEW, THREAT)}
    assert device.versions() == {
        f"site1/{CALM}": [of[CALM]],
        f"site1/{NEW}": [of[THREAT], of[NEW]],
        f"site1/{THREAT}": [of[THREAT]],
    }


def test_a_restart_brings_nothing_twice_though_the_uploader_may_not_look(device: Device) -> None:
    device.fill(20)
    with device.watch() as watch:
        for _ in range(20):
            watch.expect(**{"is": "uploaded"})
        assert watch.stop(signal.SIGINT) == 130
    with device.watch() as watch:
        (device.photos / "late.jpg").write_bytes(b"late")
        watch.expect(key="late.jpg", **{"is": "uploaded"})
        assert watch.stop(signal.SIGTERM) == 130
    assert sums(watch.seen[-1])["uploaded"] == 1
    assert {key: versions[0] for key, versions in device.versions().items()} == device.local()
    assert {len(versions) for versions in device.versions().values()} == {1}


def test_who_may_look_skips_what_the_bucket_has_without_a_memory(device: Device) -> None:
    device.put(CALM, THREAT)
    device.owner.lookout("upload", "photos")
    device.environment = device.owner.environment
    device.put(NEW)
    with device.watch() as watch:
        watch.expect(key=NEW, **{"is": "uploaded"})
        until(lambda: len(device.versions()) == 3)
        watch.stop(signal.SIGTERM)
    assert {len(versions) for versions in device.versions().values()} == {1}


def test_the_network_may_be_gone_for_a_while_also_at_the_start(device: Device, proxy: Proxy) -> None:
    proxy.refuse()
    device.fill(30)
    with device.watch() as watch:
        watch.expect_talk("cannot be reached")
        proxy.accept()
        for _ in range(30):
            watch.expect(**{"is": "uploaded"})
        watch.expect_talk("takes files again")
        proxy.refuse()
        proxy.cut()
        device.put(THREAT, CALM)
        until(lambda: watch.talk().count("waiting: ") == 2)
        proxy.accept()
        keys = {watch.expect(**{"is": "uploaded"})["key"] for _ in range(2)}
        assert watch.stop(signal.SIGTERM) == 130
    assert keys == {THREAT, CALM}
    assert sums(watch.seen[-1])["failed"] == 0
    assert {key: set(versions) for key, versions in device.versions().items()} == {
        key: {digest} for key, digest in device.local().items()
    }


def test_connections_that_break_in_the_middle_of_files_leave_no_half_of_one(device: Device, proxy: Proxy) -> None:
    proxy.bytes_per_s = 2_000_000
    device.fill(24, size=400_000)
    with device.watch() as watch:
        for _ in range(4):
            watch.expect(**{"is": "uploaded"})
            proxy.cut()
        proxy.bytes_per_s = 0
        for _ in range(20):
            watch.expect(**{"is": "uploaded"})
        watch.stop(signal.SIGTERM)
    assert {key: set(versions) for key, versions in device.versions().items()} == {
        key: {digest} for key, digest in device.local().items()
    }


def test_a_frozen_network_does_not_hold_up_the_end_and_the_next_start_goes_on(device: Device, proxy: Proxy) -> None:
    device.fill(8, size=40_000)
    proxy.freeze()
    with device.watch() as watch:
        until(lambda: proxy.accepted >= 1)
        assert watch.stop(signal.SIGTERM) == 130
    assert sums(watch.seen[-1])["elapsed_s"] < 20
    proxy.thaw()
    with device.watch() as watch:
        for _ in range(8):
            watch.expect(**{"is": "uploaded"})
        watch.stop(signal.SIGTERM)
    assert {key: set(versions) for key, versions in device.versions().items()} == {
        key: {digest} for key, digest in device.local().items()
    }


def test_killed_in_the_middle_it_goes_on_and_at_most_what_was_under_way_is_there_twice(device: Device) -> None:
    number, workers = 300, 4
    device.fill(number, size=20_000)
    for _ in range(3):
        with device.watch("--workers", workers) as watch:
            for _ in range(20):
                watch.expect(**{"is": "uploaded"})
            watch.kill()
    with device.watch("--workers", workers) as watch:
        until(lambda: len(device.versions()) == number)
        watch.stop(signal.SIGTERM)
    versions = device.versions()
    assert {key: set(found) for key, found in versions.items()} == {k: {d} for k, d in device.local().items()}
    assert sum(len(found) for found in versions.values()) <= number + 3 * workers
    assert sums(watch.seen[-1])["failed"] == 0


def test_a_wrong_secret_is_said_once_and_the_mended_one_goes_on(device: Device) -> None:
    device.put(THREAT)
    right = device.environment["LOOKOUT_STORE_SECRET_KEY"]
    device.environment["LOOKOUT_STORE_SECRET_KEY"] = "not-the-secret"
    with device.watch() as watch:
        watch.expect_talk("LOOKOUT_STORE_SECRET_KEY")
        assert watch.stop(signal.SIGTERM) == 130
    assert right not in watch.err
    device.environment["LOOKOUT_STORE_SECRET_KEY"] = right
    with device.watch() as watch:
        watch.expect(key=THREAT, **{"is": "uploaded"})
        watch.stop(signal.SIGTERM)


def test_one_bad_name_is_named_and_left(device: Device) -> None:
    device.put(THREAT)
    (device.photos / "xl.meta").write_bytes(b"1")
    with device.watch() as watch:
        facts = [watch.expect() for _ in range(2)]
        assert watch.stop(signal.SIGTERM) == 130
    assert {fact["key"]: fact["is"] for fact in facts} == {THREAT: "uploaded", "xl.meta": "failed"}
    assert sums(watch.seen[-1])["failed"] == 1


def test_a_full_disk_under_its_log_keeps_no_file_from_the_bucket(device: Device) -> None:
    device.fill(3)
    with (
        Path("/dev/full").open("wb") as full,
        subprocess.Popen(
            [LOOKOUT, "watch", "photos", "--upload"], cwd=device.root, env=device.variables(), stdout=full, stderr=full
        ) as watch,
    ):
        until(lambda: len(device.versions()) == 3)
        device.fill(5)
        until(lambda: len(device.versions()) == 5)
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(30) == 130
