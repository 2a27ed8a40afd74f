"""The folder store passes the shared suite; beside that, what only files can do: names, kills, full disks, damage."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from devkit.contracts.objects import BUCKET, ObjectStoreSuite, hide, show
from lookout.domain.errors import InputRejected, ObjectChanged, ObjectMissing, Unavailable
from lookout.domain.identity import sha256
from lookout.domain.records import ObjectRef
from lookout.filesystem.files import failure
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.port import Publish

PROJECT = Path(__file__).parents[2]


class TestFolderStore(ObjectStoreSuite):
    @pytest.fixture(params=[False, True], ids=["fast", "durable"])
    def store(self, request, tmp_path) -> FolderStore:
        return FolderStore(tmp_path / "objects", durable=request.param)


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "objects", durable=False)


def put(store: FolderStore, key: str, data: bytes) -> ObjectRef:
    return store.put(BUCKET, key, data, "application/octet-stream")


def tree(store: FolderStore) -> dict[str, bytes]:
    """Every visible file and folder (as an empty value with a slash) of the bucket."""
    top = store.root / BUCKET
    return {
        str(path.relative_to(top)) + ("/" if path.is_dir() else ""): b"" if path.is_dir() else path.read_bytes()
        for path in top.rglob("*")
    }


# --- where things lie ------------------------------------------------------------------------------------------------


def test_a_visible_object_is_a_plain_file_at_its_key(store):
    store.publish([show(put(store, "porch/1.json", b"{}"))])
    assert (store.root / BUCKET / "porch/1.json").read_bytes() == b"{}"


def test_an_object_is_readable_as_the_users_mask_says(store):
    store.publish([show(put(store, "a", b"1"))])
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((store.root / BUCKET / "a").stat().st_mode) == 0o666 & ~mask


def test_folders_left_empty_are_removed_up_to_the_bucket(store):
    store.publish([show(put(store, "a/b/c/d", b"1")), show(put(store, "a/x", b"2"))])
    store.publish([hide(BUCKET, "a/b/c/d")])
    assert tree(store) == {"a/": b"", "a/x": b"2"}


def test_the_hidden_folders_are_no_buckets(store):
    for bucket in (".staging", ".versions", "..", "", "a/b", ".", "a\0"):
        with pytest.raises(InputRejected):
            store.put(bucket, "a", b"1", "text/plain")
        with pytest.raises(InputRejected):
            store.list(bucket)


def test_a_version_handle_is_never_used_as_a_path(store, tmp_path):
    (tmp_path / "secret").write_bytes(b"1")
    ref = ObjectRef(bucket=BUCKET, key="a", sha256=sha256(b"1"), size=1, version="../../secret")
    with pytest.raises(ObjectMissing):
        store.get(ref)
    store.discard([ref])
    assert (tmp_path / "secret").exists()


@pytest.mark.parametrize("key", ["a/../../../secret", "..", "/etc/passwd"])
def test_a_key_cannot_leave_the_folder(store, tmp_path, key):
    ref = ObjectRef(bucket=BUCKET, key=key, sha256=sha256(b"1"), size=1)
    with pytest.raises(InputRejected):
        store.get(ref)
    with pytest.raises(InputRejected):
        store.publish([show(ref)])
    assert store.has([ref]) == [False]


def test_a_part_over_255_bytes_is_refused_with_its_length(store):
    with pytest.raises(InputRejected, match="part of 258 bytes"):
        put(store, "a/" + "語" * 86, b"1")
    put(store, "a/" + "語" * 85, b"1")


def test_a_key_of_1024_bytes_in_512_folders_works(store):
    key = "/".join(["d"] * 512) + "e"
    ref = put(store, key, b"1")
    store.publish([show(ref)])
    assert [found.key for found in store.list(BUCKET)] == [key]
    store.publish([hide(BUCKET, key)])
    assert tree(store) == {}


def test_an_object_cannot_be_a_folder_too(store):
    store.publish([show(put(store, "a", b"1")), show(put(store, "b/c", b"2"))])
    with pytest.raises(InputRejected, match="object itself"):
        store.publish([show(put(store, "a/b", b"3"))])
    with pytest.raises(InputRejected, match="other keys lie below"):
        store.publish([show(put(store, "b", b"3"))])
    assert tree(store) == {"a": b"1", "b/": b"", "b/c": b"2"}


def test_of_two_staged_keys_that_exclude_each_other_the_second_is_refused_when_published(store):
    file, below = put(store, "a", b"1"), put(store, "a/b", b"2")
    store.publish([show(file)])
    with pytest.raises(InputRejected, match="object itself"):
        store.publish([show(below)])
    store.publish([hide(BUCKET, "a"), show(below)])
    with pytest.raises(InputRejected, match="other keys lie below"):
        store.publish([show(file)])
    assert tree(store) == {"a/": b"", "a/b": b"2"}


def test_foreign_things_in_the_folder_are_not_listed(store):
    store.publish([show(put(store, "a", b"1"))])
    top = store.root / BUCKET
    (top / os.fsdecode(b"bad\xff")).write_bytes(b"")
    os.mkfifo(top / "pipe")
    (top / "link").symlink_to("a")
    (top / "empty").mkdir()
    assert [found.key for found in store.list(BUCKET)] == ["a"]


def test_a_listing_does_not_enter_folders_that_cannot_match(store, tmp_path):
    store.publish([show(put(store, f"{letter}/x", b"1")) for letter in "abc"])
    loop = store.root / BUCKET / "b"
    shutil.rmtree(loop)
    loop.symlink_to(loop)  # entering it would fail with ELOOP
    assert [found.key for found in store.list(BUCKET, "c/")] == ["c/x"]
    assert [found.key for found in store.list(BUCKET, "", "b/zz")] == ["c/x"]


def test_a_listing_survives_what_is_removed_meanwhile(store):
    store.publish([show(put(store, key, b"1")) for key in ("a", "b", "c/d", "e")])
    listing = store.list(BUCKET)
    assert next(listing).key == "a"
    store.publish([hide(BUCKET, "b"), hide(BUCKET, "c/d")])
    assert [found.key for found in listing] == ["e"]


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_file_changed_in_place_is_changed_never_returned(store):
    ref = put(store, "a", b"good")
    store.publish([show(ref)])
    (store.root / BUCKET / "a").write_bytes(b"evil")
    with pytest.raises(ObjectChanged):
        store.get(ref)


def test_a_good_copy_elsewhere_is_found_behind_a_damaged_file(store):
    ref = put(store, "a", b"good")
    store.publish([show(ref), hide(BUCKET, "a")])
    store.publish([show(ref)])
    (store.root / BUCKET / "a").write_bytes(b"evil")
    assert store.get(ref) == b"good"
    store.publish([show(ref)])
    assert tree(store) == {"a": b"good"}


def test_a_damaged_kept_version_is_not_published(store):
    old = put(store, "a", b"old")
    store.publish([show(old), show(put(store, "a", b"new"))])
    (store.root / ".versions" / old.sha256).write_bytes(b"bad")
    with pytest.raises(ObjectMissing):
        store.publish([show(old)])
    assert tree(store) == {"a": b"new"}


def test_a_folder_or_pipe_in_the_place_of_an_object_is_no_object(store):
    (store.root / BUCKET).mkdir(parents=True)
    os.mkfifo(store.root / BUCKET / "pipe")
    ref = ObjectRef(bucket=BUCKET, key="pipe", sha256=sha256(b""), size=0)
    with pytest.raises(ObjectMissing):
        store.get(ref)
    assert store.has([ref]) == [False]


# --- kills -----------------------------------------------------------------------------------------------------------

CHANGING_CALLS = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "open"}


def _publish_until_killed(root: Path, changes: list[Publish], stop_at: int) -> None:
    """Runs in a process of its own and kills it before its call number ``stop_at`` that can change the disk."""
    store = FolderStore(root, durable=True)
    calls = 0

    def count(event: str, args: tuple[object, ...]) -> None:
        nonlocal calls
        if event in CHANGING_CALLS:
            calls += 1
            if calls == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    store.publish(changes)
    os._exit(0)


def test_publish_killed_before_any_of_its_system_calls_is_finished_by_the_same_call(tmp_path):
    stop_at, finished = 0, False
    while not finished:
        stop_at += 1
        store = FolderStore(tmp_path / str(stop_at), durable=False)
        old, removed, replaced = put(store, "again", b"old"), put(store, "gone/x", b"bye"), put(store, "a/b/c", b"1")
        store.publish([show(old), show(put(store, "again", b"between")), show(removed), show(replaced)])
        new, other = put(store, "a/b/c", b"new"), put(store, "fresh/y", b"other")
        changes = [show(new), hide(BUCKET, "gone/x"), show(other), show(old)]
        versions = {old: b"old", new: b"new", other: b"other", removed: b"bye", replaced: b"1"}

        child = multiprocessing.get_context("fork").Process(
            target=_publish_until_killed, args=(store.root, changes, stop_at)
        )
        child.start()
        child.join(60)
        finished = child.exitcode == 0
        assert finished or child.exitcode == -signal.SIGKILL
        assert {ref: store.get(ref) for ref in versions} == versions

        expected = {"a/": b"", "a/b/": b"", "a/b/c": b"new", "fresh/": b"", "fresh/y": b"other", "again": b"old"}
        for _ in range(2):
            store.publish(changes)
            assert tree(store) == expected
            assert {ref: store.get(ref) for ref in versions} == versions
        store.collect(time.time() + 3600)
        assert not list((store.root / ".staging").iterdir())
        assert not list((store.root / ".versions").iterdir())
        assert tree(store) == expected
    assert stop_at > 15  # the calls were really counted


def test_put_killed_leaves_nothing_visible_and_collect_clears_it(store):
    store.publish([show(put(store, "a", b"1"))])
    (store.root / ".staging" / ("0" * 32)).write_bytes(b"half")
    assert [found.key for found in store.list(BUCKET)] == ["a"]
    assert store.collect(time.time() + 3600) == 1


def _hammer(root: Path, number: int, rounds: int) -> None:
    store = FolderStore(root, durable=False)
    for turn in range(rounds):
        mine = put(store, f"shared/deep/{number}", f"{number} {turn}".encode() * 100)
        store.publish([show(mine)])
        assert store.get(mine)
        store.publish([Publish(bucket=BUCKET, key=mine.key, ref=None)])
    store.publish([show(put(store, f"shared/deep/{number}", str(number).encode()))])


def test_several_processes_make_and_empty_one_folder(tmp_path):
    """Folders made by one while another removes them as empty: nothing is lost and nothing fails."""
    workers = [
        multiprocessing.get_context("spawn").Process(target=_hammer, args=(tmp_path / "objects", number, 100))
        for number in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    store = FolderStore(tmp_path / "objects")
    assert [found.key for found in store.list(BUCKET)] == [f"shared/deep/{number}" for number in range(3)]


def _flicker(root: Path, number: int, rounds: int) -> None:
    store = FolderStore(root, durable=False)
    for turn in range(rounds):
        store.publish([show(put(store, "one", f"{number} {turn}".encode())), hide(BUCKET, "one")])


def test_several_processes_show_and_hide_one_key(tmp_path):
    """Content that one keeps while others replace and remove it stays under its own digest, and nothing fails."""
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_flicker, args=(tmp_path / "objects", number, 300)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    kept = list((tmp_path / "objects" / ".versions").iterdir())
    assert len(kept) > 300
    assert [path.name for path in kept if sha256(path.read_bytes()) != path.name] == []
    assert list((tmp_path / "objects" / ".staging").iterdir()) == []


# --- trouble ---------------------------------------------------------------------------------------------------------

FULL = """
    import resource, sys
    from pathlib import Path
    from lookout.domain.errors import Unavailable
    from lookout.object_store.folder.store import FolderStore

    store = FolderStore(Path(sys.argv[1]), durable=False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        store.put("results", "big", b"x" * 300_000, "text/plain")
    except Unavailable as error:
        print(error)
"""


def test_a_write_that_is_cut_short_is_unavailable_and_leaves_no_half_file(store):
    """The system refuses bytes in the middle of a file, as on a full disk, by a limit that needs no privilege."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(store.root)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stderr
    assert "larger than the system allows" in done.stdout
    assert str(store.root) in done.stdout
    assert not list((store.root / ".staging").iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000  # the limit was the other process's


def test_a_full_disk_is_unavailable_and_says_so(tmp_path):
    """A file system without room for one byte: /dev/full answers as a full disk does."""
    with pytest.raises(OSError, match="No space left") as caught:
        Path("/dev/full").write_bytes(b"1")
    found = failure(str(tmp_path), caught.value)
    assert isinstance(found, Unavailable)
    assert str(found) == f"{tmp_path}: no space is left on the disk; free some and try again"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root; the limit above needs nothing")
def test_a_small_disk_fills_and_works_again_when_space_is_freed(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine forbids mounting")
    try:
        store = FolderStore(disk / "objects", durable=True)
        first = put(store, "a", b"x" * 100_000)
        store.publish([show(first)])
        with pytest.raises(Unavailable, match="no space is left"):
            put(store, "b", b"y" * 300_000)
        assert not list((store.root / ".staging").iterdir())
        assert store.get(first) == b"x" * 100_000
        put(store, "b", b"y" * 50_000)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_state_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match=str(tmp_path / "file")):
        put(FolderStore(tmp_path / "file" / "objects"), "a", b"1")


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.EROFS, Unavailable, "read-only"),
        (errno.EACCES, Unavailable, "permission denied"),
        (errno.EIO, Unavailable, "input/output"),
        (errno.EDQUOT, Unavailable, "quota"),
        (errno.EMFILE, Unavailable, "too many files"),
        (errno.ENAMETOOLONG, InputRejected, "cannot hold this name"),
        (errno.EILSEQ, InputRejected, "cannot hold this name"),
    ],
)
def test_each_trouble_of_the_system_has_its_kind_and_words(number, kind, text):
    found = failure("/state/objects", OSError(number, os.strerror(number)))
    assert type(found) is kind
    assert text in str(found)
    assert "/state/objects" in str(found)


# --- nothing outside --------------------------------------------------------------------------------------------------


def make_outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_bytes(b"canary")
    return outside


def test_a_folder_replaced_by_a_link_is_refused_and_nothing_outside_is_read_changed_or_removed(store, tmp_path):
    outside = make_outside(tmp_path)
    ref, new = put(store, "sub/a", b"mine"), put(store, "sub/a", b"other")
    store.publish([show(ref)])
    shutil.rmtree(store.root / BUCKET / "sub")
    (store.root / BUCKET / "sub").symlink_to(outside)
    with pytest.raises(InputRejected, match=f"'{BUCKET}/sub' in the store's folder is a link, and none is followed"):
        store.publish([show(new)])
    with pytest.raises(InputRejected, match="remove it"):
        store.publish([show(put(store, "sub/a", b"more"))])
    store.publish([hide(BUCKET, "sub/a")])
    with pytest.raises(ObjectMissing):
        store.get(ObjectRef(bucket=BUCKET, key="sub/a", sha256=sha256(b"canary"), size=6))
    assert store.has([ref]) == [False]
    assert [found.key for found in store.list(BUCKET)] == []
    assert [path.read_bytes() for path in outside.iterdir()] == [b"canary"]
    assert not (store.root / ".versions" / sha256(b"canary")).exists()


def test_a_bucket_or_hidden_folder_replaced_by_a_link_is_not_followed(store, tmp_path):
    outside = make_outside(tmp_path)
    ref = put(store, "a", b"mine")
    store.publish([show(ref)])
    for name in (BUCKET, ".staging", ".versions"):
        (store.root / name).rename(tmp_path / "aside")
        (store.root / name).symlink_to(outside)
        with pytest.raises((InputRejected, Unavailable), match="a link"):
            store.publish([show(put(store, "a", b"other"))])
        store.collect(time.time() + 3600) if name == BUCKET else None
        assert [path.read_bytes() for path in outside.iterdir()] == [b"canary"]
        (store.root / name).unlink()
        (tmp_path / "aside").rename(store.root / name)
    assert store.get(ref) == b"mine"


def test_a_link_in_the_place_of_an_object_is_replaced_and_its_target_left_alone(store, tmp_path):
    outside = make_outside(tmp_path)
    ref = put(store, "a", b"mine")
    (store.root / BUCKET).mkdir()
    (store.root / BUCKET / "a").symlink_to(outside / "a")
    with pytest.raises(ObjectMissing):
        store.get(ObjectRef(bucket=BUCKET, key="a", sha256=sha256(b"canary"), size=6))
    store.publish([show(ref)])
    assert tree(store) == {"a": b"mine"}
    assert (outside / "a").read_bytes() == b"canary"
    assert list((store.root / ".versions").iterdir()) == []


def test_a_foreign_file_of_any_size_in_the_place_of_an_object_is_not_read(store):
    ref = put(store, "a", b"mine")
    store.publish([show(ref)])
    with (store.root / BUCKET / "a").open("wb") as file:
        file.truncate(30_000_000_000)
    began_s = time.process_time()
    with pytest.raises(ObjectChanged):
        store.get(ref)
    assert store.has([ref]) == [False]
    assert time.process_time() - began_s < 1
