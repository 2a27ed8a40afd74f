"""The user's folder: what is seen, what is not read again, what is gone, and what never stops a scan."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lookout.domain.errors import InputRejected, ObjectChanged, ObjectMissing, Unavailable
from lookout.domain.identity import MAX_INPUT_BYTES, sha256, unread_digest
from lookout.domain.records import ObjectRef, Observation
from lookout.sources.folder import FolderSource, observe_file, scan
from lookout.sources.folder_keys import key_of, name_of, origin_of

NOW_S = 1_763_798_400.0


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def age(*paths: Path) -> None:
    """Wait until the system's clock has moved on from the files' change times, so that they can be trusted."""
    newest_ns = max(path.stat().st_ctime_ns for path in paths)
    while time.time_ns() - newest_ns < 100_000_000:
        threading.Event().wait(0.01)  # the kernel's clock itself is awaited; no event tells it


def write(root: Path, files: dict[str, bytes]) -> None:
    for key, data in files.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if files:
        age(*(root / key for key in files))


def look(root: Path, known: list[Observation] = (), **options):
    return scan(root, "images", known, NOW_S, **options)


def known_after(root: Path) -> list[Observation]:
    return look(root).changed


def fails_without_reading_rights():
    """Be a user without privileges for a while, if this is root: root may read everything."""
    return _as_nobody() if os.geteuid() == 0 else contextlib.nullcontext()


@contextlib.contextmanager
def _as_nobody():
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_root():
    """A source folder that users without privileges can reach too (pytest's own is closed to them)."""
    folder = Path(tempfile.mkdtemp(prefix="lookout-test-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


# --- a scan ----------------------------------------------------------------------------------------------------------


def test_an_empty_folder_has_nothing(root):
    found = look(root)
    assert (found.changed, found.gone, found.unchanged, found.total) == ([], [], 0, 0)
    assert found.root_id == f"{root.stat().st_dev}:{root.stat().st_ino}"


def test_new_files_are_observed_with_digest_size_and_origin(root):
    write(root, {"porch_1.jpg": b"1", "a/b/yard.jpg": b"22"})
    found = look(root)
    assert [item.key for item in found.changed] == ["a/b/yard.jpg", "porch_1.jpg"]
    item = found.changed[1]
    assert item.ref == ObjectRef(bucket="images", key="porch_1.jpg", sha256=sha256(b"1"), size=1, version=str(root))
    assert (item.origin, item.observed_at_s, item.error) == (str(root), NOW_S, None)
    status = (root / "porch_1.jpg").stat()
    assert item.fingerprint == f"{status.st_ino}:1:{status.st_mtime_ns}:{status.st_ctime_ns}"


def test_a_second_scan_finds_everything_unchanged_in_any_order(root):
    write(root, {f"{number}.jpg": b"1" for number in range(5)})
    found = look(root, known_after(root)[::-1])
    assert (found.changed, found.gone, found.unchanged, found.total) == ([], [], 5, 5)


def test_changed_replaced_touched_and_removed_files_are_told_apart(root):
    write(root, {"changed": b"1", "replaced": b"1", "touched": b"1", "removed": b"1", "kept": b"1"})
    known = known_after(root)
    (root / "changed").write_bytes(b"2")
    (root / "new").write_bytes(b"3")
    (root / "new").rename(root / "replaced")
    (root / "touched").touch()
    (root / "removed").unlink()
    age(root / "changed", root / "replaced", root / "touched")
    found = look(root, known)
    assert {item.key: item.ref.sha256 for item in found.changed} == {
        "changed": sha256(b"2"),
        "replaced": sha256(b"3"),
        "touched": sha256(b"1"),
    }
    assert [(item.key, item.ref, item.error) for item in found.gone] == [("removed", None, None)]
    assert (found.unchanged, found.total) == (1, 4)


def test_a_change_that_keeps_size_and_modification_time_is_seen(root):
    write(root, {"a": b"1"})
    known = known_after(root)
    status = (root / "a").stat()
    (root / "a").write_bytes(b"2")
    os.utime(root / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    (item,) = look(root, known).changed
    assert item.ref.sha256 == sha256(b"2")


def test_a_file_read_in_the_tick_of_its_change_is_read_again_once(root):
    (root / "a").write_bytes(b"1")
    first = look(root).changed
    assert [item.fingerprint for item in first] == [""]
    age(root / "a")
    second = look(root, first).changed
    assert [item.fingerprint != "" for item in second] == [True]
    assert look(root, second).unchanged == 1


def test_a_modification_time_in_the_future_does_not_make_a_file_suspect_for_ever(root):
    (root / "a").write_bytes(b"1")
    os.utime(root / "a", (4e9, 4e9))
    age(root / "a")
    assert look(root, known_after(root)).unchanged == 1


def test_verify_reads_what_seems_unchanged(root):
    write(root, {"a": b"1", "b": b"2"})
    known = known_after(root)
    lying = [
        Observation(
            bucket=item.bucket,
            key=item.key,
            origin=item.origin,
            ref=ObjectRef(bucket="images", key=item.key, sha256=sha256(b"other"), size=1, version=str(root)),
            fingerprint=item.fingerprint,
        )
        for item in known
        if item.key == "a"
    ]
    known = lying + known[1:]
    assert look(root, known).unchanged == 2
    found = look(root, known, verify=True)
    assert [(item.key, item.ref.sha256) for item in found.changed] == [("a", sha256(b"1"))]
    assert found.unchanged == 1


def test_what_came_from_another_folder_is_not_gone_but_read_when_it_is_here_too(root):
    write(root, {"a": b"1"})
    (known,) = known_after(root)
    elsewhere = [
        Observation(bucket="images", key=key, origin="/other", ref=known.ref, fingerprint=known.fingerprint)
        for key in ("a", "b")
    ]
    found = look(root, elsewhere)
    assert [(item.key, item.origin) for item in found.changed] == [("a", str(root))]
    assert found.gone == []


def test_hidden_excluded_and_system_folders_are_left_alone(root):
    write(
        root, {".hidden": b"1", ".git/x": b"1", "state/objects/y": b"1", "lost+found/z": b"1", "a": b"1", "b.c": b"1"}
    )
    (root / "link").symlink_to(root / "state")
    found = look(root, exclude=[root / "link", root / "not there"])
    assert [item.key for item in found.changed] == ["a", "b.c"]


def test_what_is_no_file_is_no_input(root, tmp_path, monkeypatch):
    write(root, {"folder/a": b"1"})
    os.mkfifo(root / "pipe.jpg")
    (root / "loop").symlink_to(root)
    monkeypatch.chdir(root)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        assert [item.key for item in look(root).changed] == ["folder/a"]
        for key in ("pipe.jpg", "socket.jpg", "loop", "folder", "nothing", "folder/a/b"):
            item = observe_file(root, key, "images", NOW_S)
            assert (item.ref, item.error) == (None, None)


def test_links_to_files_are_followed_inside_the_folder_only(root, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    write(root, {"a/real.jpg": b"1"})
    (root / "link.jpg").symlink_to("a/real.jpg")
    (root / "out.jpg").symlink_to(tmp_path / "secret")
    (root / "dangling.jpg").symlink_to("nothing")
    (root / "self.jpg").symlink_to("self.jpg")
    found = {item.key: item for item in look(root).changed}
    assert found["link.jpg"].ref.sha256 == sha256(b"1")
    assert found["out.jpg"].error == "is a link that leads outside the folder"
    assert found["dangling.jpg"].error == "is a link to a file that is not there"
    assert "cannot be read" in found["self.jpg"].error
    assert look(root, found.values()).changed == []


def test_a_source_folder_that_is_a_link_itself_is_read(root, tmp_path):
    write(root, {"a": b"1"})
    (root / "inside").symlink_to("a")
    (tmp_path / "link").symlink_to(root)
    assert [item.error for item in look(tmp_path / "link").changed] == [None, None]


def test_an_unreadable_file_has_an_error_and_the_others_go_on(open_root):
    write(open_root, {"a": b"1", "b": b"2"})
    (open_root / "a").chmod(0)
    age(open_root / "a")
    with fails_without_reading_rights():
        first = look(open_root).changed
        assert [(item.key, item.ref is None) for item in first] == [("a", True), ("b", False)]
        assert first[0].error.startswith("cannot be read: permission denied")
        assert look(open_root, first).unchanged == 2
    (open_root / "a").chmod(0o644)
    age(open_root / "a")
    assert [(item.key, item.error) for item in look(open_root, first).changed] == [("a", None)]


def test_a_file_that_changes_while_it_is_read_is_being_written(root):
    path = root / "a"
    with path.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    stop = threading.Event()

    def keep_changing() -> None:
        stamp = 0
        while not stop.is_set():
            stamp += 1
            os.utime(path, ns=(stamp, stamp))

    writer = threading.Thread(target=keep_changing)
    writer.start()
    try:
        item = observe_file(root, "a", "images", NOW_S)
    finally:
        stop.set()
        writer.join()
    assert (item.ref, item.fingerprint, item.error) == (None, "", "is being written")
    assert observe_file(root, "a", "images", NOW_S).error is None


# --- a folder in trouble ----------------------------------------------------------------------------------------------


def test_a_missing_source_is_refused_with_a_hint(tmp_path):
    for path in (tmp_path / "nothing", tmp_path / "nothing" / "below"):
        with pytest.raises(InputRejected, match="mounted"):
            look(path)


def test_a_file_as_source_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(InputRejected, match="got a file"):
        look(tmp_path / "a")


def test_a_source_that_may_not_be_listed_is_refused(open_root):
    if os.geteuid() == 0:
        open_root.chmod(0o700)
        with pytest.raises(InputRejected, match="cannot be listed"), _as_nobody():
            look(open_root)
    else:
        open_root.chmod(0o300)
        with pytest.raises(InputRejected, match="cannot be listed"):
            look(open_root)


def test_a_folder_that_cannot_be_listed_is_named_and_all_else_is_compared(open_root):
    write(open_root, {"a/x": b"1", "a/deep/y": b"1", "b": b"2", "c": b"3", "z/1": b"4"})
    known = known_after(open_root)
    (open_root / "b").unlink()
    write(open_root, {"d": b"5", "z/1": b"44"})
    (open_root / "a").chmod(0o300 if os.geteuid() else 0o700)
    with fails_without_reading_rights():
        found = look(open_root, known)
    assert found.unlistable == {"a/": "permission denied; check the owner and the mode of the folder"}
    assert [item.key for item in found.changed] == ["d", "z/1"]
    assert [item.key for item in found.gone] == ["b"]
    (open_root / "a").chmod(0o755)
    (open_root / "a" / "x").unlink()
    again = look(open_root, known)
    assert (again.unlistable, [item.key for item in again.gone]) == ({}, ["a/x", "b"])


def test_folders_nested_beyond_the_path_limit_hide_nothing_else(root):
    write(root, {"b": b"2"})
    depth = os.open(root, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=depth)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=depth)
        os.close(depth)
        depth = deeper
    os.close(depth)
    found = look(root)
    assert [item.key for item in found.changed] == ["b"]
    assert list(found.unlistable.values()) == ["file name too long"]
    assert all(key.startswith("d" * 200 + "/") for key in found.unlistable)


def test_a_lack_of_files_of_this_process_blames_no_folder(root):
    """All files that it may open are open when it lists the subfolder."""
    write(root, {"a/x": b"1"})
    code = (
        "import os, resource, sys\nfrom pathlib import Path\n"
        "from lookout.domain.errors import Unavailable\nfrom lookout.filesystem.beneath import Root\n"
        "from lookout.sources.folder_walk import Walk\n"
        "with Root(sys.argv[1]) as opened:\n"
        "    walk = Walk(opened, ())\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))\n"
        "    listings = []\n"
        "    def fill(event, args):\n"
        "        listings.append(event) if event == 'os.scandir' else None\n"
        "        try:\n"
        "            while len(listings) == 2:\n"
        "                os.dup(0)\n"
        "        except OSError:\n"
        "            pass\n"
        "    sys.addaudithook(fill)\n"
        "    try:\n"
        "        walk.run()\n"
        "    except Unavailable as error:\n"
        "        print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"{root}/a: the folder cannot be listed: too many files are open")


def test_a_folder_swapped_while_it_is_scanned_retracts_nothing(root):
    """The list of what is known is asked for after the walk: there, the folder goes away as if unmounted."""
    write(root, {"a/x": b"1", "b": b"2"})
    known = known_after(root)
    (root / "a" / "x").unlink()

    def known_then_unmount():
        yield from known
        (root / "a").rename(root / "elsewhere")
        (root / "a").mkdir()

    found = look(root, known_then_unmount())
    assert (found.gone, list(found.unlistable)) == ([], ["a/"])
    assert "moved, removed or unmounted" in found.unlistable["a/"]


def test_a_source_replaced_while_it_is_scanned_retracts_nothing(root):
    write(root, {"a": b"1", "b": b"2"})
    known = known_after(root)
    (root / "a").unlink()

    def known_then_replace():
        yield from known
        root.rename(root.with_name("elsewhere"))
        root.mkdir()

    with pytest.raises(Unavailable, match="moved, removed or unmounted"):
        look(root, known_then_replace())


def test_a_file_that_goes_away_before_it_is_read_is_gone(root):
    write(root, {"a": b"1", "b": b"2", "c": b"3"})
    known = known_after(root)

    def known_then_remove():
        yield from known
        (root / "a").unlink()

    found = look(root, known_then_remove(), verify=True)
    assert [item.key for item in found.gone] == ["a"]
    assert (found.changed, found.total) == ([], 2)


# --- names -----------------------------------------------------------------------------------------------------------

ODD_NAMES = [
    b"plain.jpg",
    b"with space.jpg",
    b"new\nline.jpg",
    "日本語.jpg".encode(),
    b"-..\\x",
    b"a...",
    b"\\x5c",
    b"\\xff",
    b"\xff",
    b"\\\xff",
    b"\\x\xff",
    b"\\x5\xff",
    b"\\\\xff",
    b"\xc3",
    b"\xed\xb3\xbf",
    b"-rf",
    b"%00",
    b"a" * 255,
]


def test_every_name_has_its_own_key_and_is_read_back_by_it(root):
    for number, name in enumerate(ODD_NAMES):
        (root / os.fsdecode(name)).write_bytes(str(number).encode())
    age(*root.iterdir())
    found = look(root).changed
    assert len({item.key for item in found}) == len(ODD_NAMES) == len(found)
    source = FolderSource()
    assert {source.get(item.ref) for item in found} == {str(number).encode() for number in range(len(ODD_NAMES))}
    for item in found:
        item.key.encode()
    assert look(root, found).unchanged == len(ODD_NAMES)


def test_keys_of_odd_names_are_fixed():
    assert key_of("porch/1.jpg") == "porch/1.jpg"
    assert key_of("..\\x") == "..\\x"
    assert key_of(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"
    assert key_of("caf\\xe9.jpg") == "caf\\x5cxe9.jpg"


def test_random_names_survive_the_way_to_a_key_and_back():
    chance = random.Random(7)
    alphabet = [b"\\", b"x", b"5", b"c", b"f", b"8", b"\xff", b"\x80", "é".encode(), b"/"]
    keys = {}
    for _ in range(20_000):
        name = b"n" + b"".join(chance.choices(alphabet, k=chance.randint(1, 9))).replace(b"//", b"/").strip(b"/")
        if any(part in (b"", b".", b"..") for part in name.split(b"/")):
            continue
        key = key_of(os.fsdecode(name))
        key.encode()
        assert keys.setdefault(key, name) == name
        assert os.fsencode(name_of("/root", key)) == name


@pytest.mark.parametrize("key", ["", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a\0", "a/\\x5c/.."])
def test_a_key_that_leaves_the_folder_is_refused(root, key):
    with pytest.raises(InputRejected):
        name_of(str(root), key)
    with pytest.raises(InputRejected):
        observe_file(root, key, "images", NOW_S)
    ref = ObjectRef(bucket="images", key=key, sha256=sha256(b""), size=0, version=str(root))
    with pytest.raises(InputRejected):
        FolderSource().get(ref)
    assert FolderSource().has([ref]) == [False]


def test_a_path_of_a_thousand_characters_works(root):
    key = "/".join(["語" * 60] * 16) + "/x.jpg"
    write(root, {key: b"1"})
    (item,) = look(root).changed
    assert item.key == key
    assert FolderSource().get(item.ref) == b"1"


def test_a_name_too_long_for_the_system_is_an_error_not_a_crash(root):
    item = observe_file(root, "x" * 300, "images", NOW_S)
    assert "cannot be read" in item.error


@pytest.mark.parametrize("many", [1_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_files_of_junk_are_scanned(root, many):
    chance = random.Random(3)
    for number in range(many):
        name = bytes(chance.choices(range(1, 256), k=12)).replace(b"/", b"_").lstrip(b".") + str(number).encode()
        (root / os.fsdecode(name)).write_bytes(name)
    first = look(root)
    assert (first.total, len(first.changed)) == (many, many)
    assert all(item.ref for item in first.changed)
    second = look(root, first.changed)
    assert (second.total, second.gone) == (many, [])


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_source_reads_exactly_what_was_observed(root):
    write(root, {"a/b": b"1"})
    ref = observe_file(root, "a/b", "images", NOW_S).ref
    source = pickle.loads(pickle.dumps(FolderSource()))
    assert source.get(ref) == b"1"
    assert source.has([ref]) == [True]
    (root / "a/b").write_bytes(b"22")
    assert source.has([ref]) == [False]
    with pytest.raises(ObjectChanged) as caught:
        source.get(ref)
    assert caught.value.got == sha256(b"22")
    (root / "a/b").unlink()
    with pytest.raises(ObjectMissing):
        source.get(ref)
    assert source.has([ref]) == [False]


@pytest.mark.parametrize("version", [None, "", "relative", "0123"])
def test_a_ref_of_no_folder_is_missing(version):
    ref = ObjectRef(bucket="images", key="a", sha256=sha256(b""), size=0, version=version)
    with pytest.raises(ObjectMissing):
        FolderSource().get(ref)
    assert FolderSource().has([ref]) == [False]


def test_a_pipe_in_the_place_of_a_picture_does_not_block(root):
    os.mkfifo(root / "a")
    ref = ObjectRef(bucket="images", key="a", sha256=sha256(b""), size=0, version=str(root))
    with pytest.raises(ObjectMissing):
        FolderSource().get(ref)


def test_a_relative_root_is_the_same_origin_as_its_absolute_path(root, monkeypatch):
    write(root, {"a": b"1"})
    monkeypatch.chdir(root.parent)
    assert origin_of(Path("photos")) == str(root)
    assert look(Path("photos"), known_after(root)).unchanged == 1


# --- nothing outside --------------------------------------------------------------------------------------------------

OUTSIDE = "lies below 'sub', a link that leads outside it"


def test_a_folder_replaced_by_a_link_that_leads_outside_is_not_followed(root, tmp_path):
    write(root, {"sub/a.jpg": b"mine", "sub/gone.jpg": b"1", "b.jpg": b"2"})
    write(tmp_path / "elsewhere", {"a.jpg": b"canary", "new.jpg": b"canary"})
    known = known_after(root)
    (root / "sub").rename(tmp_path / "moved")
    (root / "sub").symlink_to(tmp_path / "elsewhere")
    found = look(root, known)
    assert [(item.key, item.ref, item.error) for item in found.changed] == [("sub/a.jpg", None, OUTSIDE)]
    assert [item.key for item in found.gone] == ["sub/gone.jpg"]
    again = [*found.changed, *(item for item in known if item.key == "b.jpg")]
    assert (look(root, again).changed, look(root, again).gone) == ([], [])
    source = FolderSource()
    (ref,) = (item.ref for item in known if item.key == "sub/a.jpg")
    with pytest.raises(ObjectMissing):
        source.get(ref)
    assert source.has([ref]) == [False]
    assert observe_file(root, "sub/new.jpg", "images", NOW_S).error == OUTSIDE


def test_a_picture_below_a_link_to_a_folder_inside_is_read_by_its_name(root):
    write(root, {"2025/a.jpg": b"1", "b.jpg": b"2"})
    (root / "now").symlink_to("2025")
    (root / "around").symlink_to(root.parent / root.name / "2025" / ".." / "now")
    for key in ("now/a.jpg", "around/a.jpg"):
        item = observe_file(root, key, "images", NOW_S)
        assert FolderSource().get(item.ref) == b"1"
        found = look(root, [*known_after(root), item])
        assert (found.changed, found.gone) == ([], [])


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("../secret", "is a link that leads outside the folder"),
        ("sub/../../secret", "is a link that leads outside the folder"),
        ("out/secret", "is a link that leads outside the folder"),
        ("../photos/a", None),
        ("sub/../a", None),
        ("b", "is a link to a file that is not there"),
    ],
)
def test_a_link_is_followed_as_far_as_it_stays_inside(root, tmp_path, target, error):
    (tmp_path / "secret").write_bytes(b"canary")
    write(root, {"a": b"1", "sub/b": b"1"})
    (root / "out").symlink_to(tmp_path)
    (root / "link").symlink_to(target)
    item = observe_file(root, "link", "images", NOW_S)
    assert (item.error, None if item.ref is None else item.ref.sha256) == (error, None if error else sha256(b"1"))


def test_a_folder_swapped_for_a_link_during_the_walk_is_not_listed(root, tmp_path):
    write(root, {"a/x": b"1", "z/y": b"1"})
    write(tmp_path / "elsewhere", {"canary": b"canary"})
    listings = 0

    def swap(event, args):
        nonlocal listings
        listings += event == "os.scandir"
        if event == "os.scandir" and listings == 2:  # the source's own listing has named both as folders
            for name in ("a", "z"):
                (root / name).rename(tmp_path / name)
                (root / name).symlink_to(tmp_path / "elsewhere")

    sys.addaudithook(swap)  # for good: after the second folder that is listed it does nothing any more
    found = look(root)
    (why,) = found.unlistable.values()
    assert why.startswith("a part of the path is no folder, or is a link")
    assert not [item for item in found.changed if "canary" in item.key]
    assert look(root).changed == []


# --- too large --------------------------------------------------------------------------------------------------------


def test_a_file_larger_than_any_stage_reads_is_named_by_its_size_and_never_read(root):
    path = root / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(30_000_000_000)
    write(root, {"a.jpg": b"1"})
    age(path)
    began_s = time.process_time()
    found = look(root)
    huge = next(item for item in found.changed if item.key == "huge.jpg")
    assert (huge.error, huge.ref.size, huge.ref.sha256) == (None, 30_000_000_000, unread_digest(30_000_000_000))
    assert look(root, found.changed).unchanged == 2
    assert look(root, found.changed, verify=True).unchanged == 2
    with pytest.raises(InputRejected, match="has 30,000,000,000 bytes; at most 33,554,432 are read"):
        FolderSource().get(huge.ref)
    assert time.process_time() - began_s < 2


def test_a_picture_replaced_by_a_file_that_is_too_large_is_changed_and_not_read(root):
    write(root, {"a.jpg": b"1"})
    ref = observe_file(root, "a.jpg", "images", NOW_S).ref
    with (root / "a.jpg").open("wb") as file:
        file.truncate(30_000_000_000)
    with pytest.raises(ObjectChanged):
        FolderSource().get(ref)


def test_the_largest_picture_that_is_read_is_named_by_its_content(root):
    for size, digest in ((MAX_INPUT_BYTES, sha256(bytes(MAX_INPUT_BYTES))), (MAX_INPUT_BYTES + 1, None)):
        with (root / "a").open("wb") as file:
            file.truncate(size)
        ref = observe_file(root, "a", "images", NOW_S).ref
        assert ref.sha256 == (digest or unread_digest(size))
