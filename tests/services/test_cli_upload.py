"""``lookout upload`` on a real MinIO: trees, single files, again, with files and servers that make trouble."""

from __future__ import annotations

import os
import shutil
from itertools import cycle
from pathlib import Path

import pytest

from devkit.servers.ports import free_port
from lookout.domain.errors import Unavailable
from lookout.domain.identity import sha256
from lookout.domain.records import Observation
from lookout.object_store.minio.buckets import make_buckets
from lookout.object_store.minio.version_history import history
from lookout.sources.folder import observe_file
from lookout.uploader.upload import Became, File, find_files, upload
from tests.cli.shell import CALM, PHOTOS, THREAT, nest
from tests.services.cli_kit import Site


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str]) -> Site:
    """A store with buckets and no ledger: an upload needs none."""
    site = Site(root=tmp_path, environment=store_settings)
    make_buckets(site.store, ["images"])
    return site


def keys(site: Site) -> list[str]:
    return [found.key for found in site.store.list("images")]


def embedded_keys(site: Site) -> list[str]:
    """The keys that an embedded run gives the same folder."""
    only = {name: value for name, value in site.variables().items() if not name.startswith("LOOKOUT_STORE")}
    site.lookout("run", "photos", "--state", "state", "--workers", "1", only_env=only)
    listed = site.lookout("ls", "images", "--state", "state", "--json", only_env=only)
    return [item["key"] for item in listed.lines]


def test_a_tree_is_brought_with_the_names_it_has_embedded(site: Site) -> None:
    site.put(THREAT)
    odd = [b"below/deeper/yard_1763798460.jpg", b"not utf-8 \xff.jpg", "Küche ✓.jpg".encode(), b"no picture.txt"]
    for name in odd:
        path = site.photos / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)
    for hidden in (".hidden.jpg", ".git/a.jpg"):
        (site.photos / hidden).parent.mkdir(exist_ok=True)
        (site.photos / hidden).write_bytes(b"1")
    (site.photos / "link").symlink_to(site.photos / "below")
    said = site.lookout("upload", "photos", "--json").json
    assert (said["uploaded"], said["skipped"], said["failed"]) == (5, 0, 0)
    assert said["bytes"] == (PHOTOS / THREAT).stat().st_size + sum(map(len, odd))
    uploaded = keys(site)
    assert uploaded == sorted(
        [THREAT, "below/deeper/yard_1763798460.jpg", "Küche ✓.jpg", "no picture.txt", "not utf-8 \\xff.jpg"]
    )
    assert uploaded == embedded_keys(site)
    data = site.store.connection.read(site.store.full("images"), THREAT)
    assert data == (PHOTOS / THREAT).read_bytes()


def test_a_subfolder_that_cannot_be_listed_is_named_and_stops_no_other(site: Site) -> None:
    site.put(THREAT)
    (site.photos / "a").mkdir()
    nest(site.photos / "a")
    said = site.lookout("upload", "photos", "--prefix", "new/", "--json", code=1).json
    assert (said["uploaded"], said["skipped"], said["failed"]) == (1, 0, 1)
    (failure,) = said["failures"]
    assert failure["key"].startswith("new/a/d")
    assert failure["file"].endswith("/")
    assert failure["error"].startswith("the folder cannot be listed: ")
    assert keys(site) == [f"new/{THREAT}"]


def test_a_file_without_an_ending_is_named_and_stops_no_other(site: Site) -> None:
    """In the bucket it could hide a folder of that name from every listing."""
    site.put(THREAT)
    (site.photos / "cam1").write_bytes(b"1")
    (site.photos / "cam.jpg").mkdir()
    (site.photos / "cam.jpg" / "b_1763798400.jpg").write_bytes(b"1")
    said = site.lookout("upload", "photos", "--json", code=1).json
    assert (said["uploaded"], said["failed"]) == (1, 2)
    assert {one["key"]: "lists nothing below an object" in one["error"] for one in said["failures"]} == {
        "cam1": True,
        "cam.jpg/b_1763798400.jpg": True,
    }
    assert keys(site) == [THREAT]


def test_an_object_that_may_hide_others_fails_each_run_until_it_is_removed_for_good(site: Site) -> None:
    site.begin()
    ref = site.store.put("images", "cam1", b"1", "image/jpeg")
    site.store.put("images", f"cam1/{THREAT}", (PHOTOS / THREAT).read_bytes(), "image/jpeg")
    said = site.work(code=1)
    (failed,) = said["failures"]
    assert failed["key"] == "cam1"
    assert "remove all its versions" in failed["error"]
    assert site.lookout("upkeep", "reconcile", "--verify", "--json").json["seen"] == 1
    assert site.work(code=1)["failures"] == said["failures"]
    site.store.discard([ref])
    said = site.work()
    assert (said["pictures"], said["failures"]) == (1, [])


def test_the_same_again_is_skipped_by_its_bytes_and_a_change_is_not(site: Site) -> None:
    site.put(THREAT, CALM)
    site.lookout("upload", "photos")
    os.utime(site.photos / THREAT, (1, 1))
    assert "0 uploaded (0.0 MB), 2 there already, in " in site.lookout("upload", "photos").out
    shutil.copyfile(PHOTOS / CALM, site.photos / THREAT)
    said = site.lookout("upload", f"photos/{THREAT}", f"photos/{CALM}", "--json").json
    assert (said["uploaded"], said["skipped"]) == (1, 1)
    versions = history(site.store, "images", THREAT)
    assert [version.declared_sha256 for version in versions] == [
        sha256((PHOTOS / name).read_bytes()) for name in (CALM, THREAT)
    ]


def test_a_prefix_begins_every_key(site: Site) -> None:
    site.put(THREAT)
    site.lookout("upload", "photos", "--prefix", "site1/")
    assert keys(site) == [f"site1/{THREAT}"]
    for bad in ("/", "../", "a//"):
        site.refused("upload", "photos", "--prefix", bad)


def test_one_bad_file_stops_no_other_and_is_named(site: Site) -> None:
    site.put(THREAT, CALM)
    (site.photos / "xl.meta").write_bytes(b"1")
    (site.photos / "outside.jpg").symlink_to(PHOTOS / THREAT)
    (site.photos / "nowhere.jpg").symlink_to(site.root / "nothing")
    os.mkfifo(site.photos / "pipe.jpg")
    ended = site.lookout("upload", "photos", "--json", code=1)
    assert (ended.json["uploaded"], ended.json["failed"]) == (2, 3)
    errors = {failure["key"]: failure["error"] for failure in ended.json["failures"]}
    assert sorted(errors) == ["nowhere.jpg", "outside.jpg", "xl.meta"]
    assert "leads outside" in errors["outside.jpg"]
    assert ended.err.count("failed: ") == 3
    assert keys(site) == sorted([THREAT, CALM])


def test_a_slip_of_the_pen_uploads_nothing(site: Site) -> None:
    site.put(THREAT)
    (site.root / "other").mkdir()
    shutil.copyfile(PHOTOS / CALM, site.root / "other" / THREAT)
    assert "no such file" in site.refused("upload", "photos", "photo")
    assert "would have the key of" in site.refused("upload", "photos", "other")
    assert keys(site) == []


def test_without_a_bucket_a_server_or_rights_it_says_so_once(site: Site, prefix: str) -> None:
    site.put(THREAT, CALM)
    store = site.environment["LOOKOUT_STORE"]
    cases = [
        ({"LOOKOUT_STORE": f"{store}other-"}, "run `lookout init`"),
        ({"LOOKOUT_STORE": f"s3+http://127.0.0.1:{free_port()}"}, "cannot be reached"),
        ({"LOOKOUT_STORE_SECRET_KEY": "not-the-secret"}, "LOOKOUT_STORE_SECRET_KEY"),
    ]
    for change, said in cases:
        assert said in site.refused("upload", "photos", code=75, env=change)


def test_progress_is_shown_on_a_terminal_only(site: Site) -> None:
    site.put(THREAT, CALM)
    with site.start("upload", "photos") as running:
        assert running.wait() == 0
        assert "2 of 2 files: 2 uploaded" in running.talk()
    assert site.lookout("upload", "photos").err == ""


def test_of_a_file_that_is_written_to_whenever_it_is_read_no_mixture_is_brought(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, letters = site.root / "busy.jpg", cycle(b"abcdefgh")
    path.write_bytes(bytes(3_000_000))

    def observe_and_write_half(root: Path, key: str, bucket: str, now_s: float) -> Observation:
        observed = observe_file(root, key, bucket, now_s)
        with path.open("r+b") as file:
            file.write(bytes([next(letters)]) * 1_500_000)
        return observed

    with monkeypatch.context() as patch:
        patch.setattr("lookout.uploader.upload.observe_file", observe_and_write_half)
        (sent,) = upload(site.store, "images", find_files([path]))
    assert (sent.became, sent.ref) == (Became.BUSY, None)
    assert "is being written" in str(sent.error)
    assert keys(site) == []
    (sent,) = upload(site.store, "images", find_files([path]))
    assert sent.ref is not None
    assert sent.ref.sha256 == sha256(path.read_bytes())


def test_a_file_that_goes_away_meanwhile_is_named(site: Site) -> None:
    missing = File(root=site.root, name="gone.jpg", key="gone.jpg")
    (sent,) = upload(site.store, "images", [missing])
    assert sent.error == "is not there any more, or is no regular file"


def test_it_goes_on_where_a_lost_connection_ended_it(site: Site, new_proxy, minio) -> None:
    folder = site.root / "many"
    folder.mkdir()
    for number in range(60):
        (folder / f"gate_{1763798400 + number}.jpg").write_bytes(number.to_bytes(4, "big"))
    proxy = new_proxy(minio.endpoint)
    through = {"LOOKOUT_STORE": site.environment["LOOKOUT_STORE"].replace(minio.endpoint, proxy.endpoint)}
    address = Site(root=site.root, environment=site.environment | through)
    done = 0
    for sent in upload(address.store, "images", find_files([folder]), workers=2):
        done += sent.error is None
        if done == 20:
            break
    proxy.refuse()
    proxy.cut()
    address.refused("upload", "many", code=75)
    proxy.accept()
    said = address.lookout("upload", "many", "--json").json
    assert said["failed"] == 0
    assert said["uploaded"] + said["skipped"] == 60
    assert said["skipped"] >= 20
    assert {len(history(site.store, "images", key)) for key in keys(site)} == {1}


def test_a_server_that_goes_away_on_the_way_ends_it_and_single_losses_do_not(site: Site, new_proxy, minio) -> None:
    # Of these 32 may be sent before the server goes; it takes 16 that are lost in a row.
    names = [f"gate_{1763798400 + number}.jpg" for number in range(60)]
    for name in names:
        (site.root / name).write_bytes(name.encode())
    proxy = new_proxy(minio.endpoint)
    through = {"LOOKOUT_STORE": site.environment["LOOKOUT_STORE"].replace(minio.endpoint, proxy.endpoint)}
    store = Site(root=site.root, environment=site.environment | through).store
    assert store.exists("images")
    sending = upload(store, "images", find_files([site.root / name for name in names]), workers=8)
    assert next(sending).error is None
    proxy.refuse()
    proxy.cut()
    with pytest.raises(Unavailable, match=r"reached|connection"):
        list(sending)
