"""Objects that a real MinIO can never read again, as their files on its disk are damaged: each fails alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.servers.for_tests import MinioServer
from lookout.domain.errors import ObjectUnreadable, Unavailable
from lookout.object_store.minio import MinioStore
from tests.cli.shell import CALM, NEW, PHOTOS, RULES, THREAT

from .cli_kit import Site
from .minio_kit import Minio

BUCKET = "images"
DATA = bytes(range(256)) * 1200
LARGE = DATA * 16


def flip(file: Path, at: int) -> None:
    """Change one byte, as a bad sector does."""
    data = bytearray(file.read_bytes())
    data[at] ^= 255
    file.write_bytes(data)


def part(folder: Path) -> Path:
    (found,) = folder.rglob("part.1")
    return found


def cut_short(folder: Path) -> None:
    part(folder).write_bytes(part(folder).read_bytes()[:1000])


def lose_meta(folder: Path) -> None:
    (folder / "xl.meta").write_bytes(b"garbage" * 50)


def cut_meta(folder: Path) -> None:
    (folder / "xl.meta").write_bytes((folder / "xl.meta").read_bytes()[:100])


DAMAGES = {
    "first block": lambda folder: flip(part(folder), 1000),
    "late block": lambda folder: flip(part(folder), 4_000_000),
    "part cut short": cut_short,
    "part gone": lambda folder: part(folder).unlink(),
    "metadata garbage": lose_meta,
    "metadata cut short": cut_meta,
}


def folder_of(server: MinioServer, store: MinioStore, bucket: str, key: str) -> Path:
    return server.folder / "data" / store.full(bucket) / key


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_an_object_that_cannot_be_read_is_named_and_others_are_read(
    minio: MinioServer, damage: Callable[[Path], None]
) -> None:
    store = Minio(minio).store(BUCKET)
    bad = store.put(BUCKET, "b/bad", LARGE, "image/jpeg")
    good = store.put(BUCKET, "a", DATA, "image/jpeg")
    damage(folder_of(minio, store, BUCKET, "b/bad"))
    with pytest.raises(ObjectUnreadable, match="b/bad: the server cannot read it"):
        store.get(bad)
    assert store.get(good) == DATA


def test_a_damaged_object_is_to_blame_beside_others_that_are_damaged_and_alone_in_its_bucket(
    minio: MinioServer,
) -> None:
    store = Minio(minio).store(BUCKET)
    refs = [store.put(BUCKET, f"{number:02}", DATA, "image/jpeg") for number in range(20)]
    for ref in refs[:-1]:
        flip(part(folder_of(minio, store, BUCKET, ref.key)), 1000)
    with pytest.raises(ObjectUnreadable):
        store.get(refs[0])
    lone = Minio(minio).store(BUCKET)
    only = lone.put(BUCKET, "only", DATA, "image/jpeg")
    lose_meta(folder_of(minio, lone, BUCKET, "only"))
    with pytest.raises(ObjectUnreadable):
        lone.get(only)
    assert lone.has([only]) == [False]
    with pytest.raises(ObjectUnreadable):
        lone.put(BUCKET, "only", DATA, "image/jpeg")


def test_a_server_that_can_read_none_is_to_blame_itself(minio: MinioServer) -> None:
    store = Minio(minio).store(BUCKET)
    refs = [store.put(BUCKET, key, DATA, "image/jpeg") for key in "abc"]
    for ref in refs:
        flip(part(folder_of(minio, store, BUCKET, ref.key)), 1000)
    with pytest.raises(Unavailable) as caught:
        store.get(refs[0])
    assert not isinstance(caught.value, ObjectUnreadable)


def test_another_version_with_the_same_bytes_is_read_instead(minio: MinioServer) -> None:
    store = Minio(minio).store(BUCKET)
    first = store.put(BUCKET, "a", DATA, "image/jpeg")
    damaged = part(folder_of(minio, store, BUCKET, "a"))
    store.put(BUCKET, "a", DATA, "image/jpeg")
    flip(damaged, 1000)
    assert store.get(first) == DATA


# --- the whole pipeline ----------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    site = Site(root=tmp_path, environment=store_settings | ledger_settings)
    site.begin()
    return site


def put(site: Site, *names: str) -> None:
    for name in names:
        site.store.put(BUCKET, name, (PHOTOS / name).read_bytes(), "image/jpeg")


@pytest.mark.parametrize("how", ["part gone", "metadata garbage"])
def test_a_damaged_picture_fails_alone_and_is_done_once_it_is_whole(site: Site, minio: MinioServer, how: str) -> None:
    put(site, CALM, THREAT, NEW)
    folder = folder_of(minio, site.store, BUCKET, THREAT)
    whole = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    DAMAGES[how](folder)
    listed = how == "part gone"  # what has no metadata is not even listed
    ran = site.work("--rules", RULES, code=1 if listed else 0)
    assert ran["stages"]["plot"]["success"] > 0
    assert ran["stages"]["object-detect"]["success"] == 2
    assert [(one["stage"], one["key"]) for one in ran["failures"]] == ([("validate", THREAT)] if listed else [])
    assert all("the server cannot read it" in one["error"] for one in ran["failures"])
    for file, data in whole.items():
        file.write_bytes(data)
    again = site.work()
    assert (again["failures"], again["stages"]["object-detect"]["success"]) == ([], 1)


@pytest.mark.parametrize("how", ["part gone", "metadata garbage"])
def test_a_picture_that_is_damaged_after_it_was_done_is_not_retracted(site: Site, minio: MinioServer, how: str) -> None:
    put(site, CALM, THREAT)
    site.work("--rules", RULES)
    was = site.objects()
    DAMAGES[how](folder_of(minio, site.store, BUCKET, CALM))
    put(site, NEW)
    ran = site.work("--verify", code=1)
    assert [(one["stage"], one["key"]) for one in ran["failures"]] == [("validate", CALM)]
    assert ran["retracted"] == 0
    assert ran["stages"]["threat-detect"]["success"] == 1
    assert {path for path in was if not path.startswith("plot/")} <= site.objects().keys()


@pytest.mark.parametrize("bucket", ["validate", "object-detect"])
def test_a_damaged_result_is_made_again_by_run_with_verify(site: Site, minio: MinioServer, bucket: str) -> None:
    put(site, CALM, THREAT)
    site.work("--rules", RULES)
    was = site.objects()
    store = site.store
    (key, *_) = [one.key for one in store.list(bucket)]
    root = folder_of(minio, store, bucket, key)
    parts = list(root.rglob("part.1"))
    file = parts[0] if parts else root / "xl.meta"  # a small object's bytes are in its metadata, towards the end
    flip(file, 1000 if parts else file.stat().st_size - 100)
    connection = store.connection
    with pytest.raises(ObjectUnreadable):
        connection.read(store.full(bucket), key)
    ran = site.work("--verify")
    assert ran["stages"][bucket]["success"] == 1
    now = site.objects()
    assert {path: data for path, data in now.items() if not path.startswith("plot/")} == {
        path: data for path, data in was.items() if not path.startswith("plot/")
    }
    assert ran["alerts"]["pending"] == ran["alerts"]["written"] == 0
