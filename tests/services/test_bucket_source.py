"""A bucket of pictures on a real MinIO: what is new, changed and gone, whatever happens to it meanwhile."""

from __future__ import annotations

import dataclasses
import io
import time

import pytest

from lookout.domain.errors import Unavailable
from lookout.domain.identity import MAX_INPUT_BYTES, sha256, unread_digest
from lookout.domain.records import ObjectRef, Observation
from lookout.object_store.minio.version_history import history
from lookout.object_store.port import Publish
from lookout.sources.bucket import BucketSource, observe_object, origin_of, scan_bucket
from lookout.uploader.upload import File, find_files, upload
from tests.services.minio_kit import Minio

pytestmark = pytest.mark.services

IMAGES = "images"
NOW_S = 1_700_000_000.0


@pytest.fixture(scope="module")
def minio(minio):
    return Minio(minio)


@pytest.fixture
def store(minio):
    return minio.store(IMAGES)


MANY = [f"dev{number // 500}_{1_700_000_000 + number}.jpg" for number in range(2_500)]


@pytest.fixture(scope="module")
def many(minio):
    """A store with more objects than two pages hold, and what is known of them; only read."""
    store = minio.store(IMAGES)
    store.connection.each(lambda key: put(store, key), MANY)
    return store, scan(store)[0]


def put(store, key: str, data: bytes = b"1") -> ObjectRef:
    return store.put(IMAGES, key, data, "image/jpeg")


def hide(store, key: str) -> None:
    store.publish([Publish(bucket=IMAGES, key=key, ref=None)])


def scan(store, known=(), **options):
    """Everything that all parts say."""
    changed, gone, unchanged = [], [], 0
    for part in scan_bucket(store, IMAGES, sorted(known, key=lambda item: item.key), NOW_S, **options):
        changed += part.changed
        gone += part.gone
        unchanged += part.unchanged
    return changed, gone, unchanged


def keep(kept, parts):
    """Take what comes, also when it ends in an error."""
    for part in parts:
        kept.append(part)


# --- what a scan says ------------------------------------------------------------------------------------------------


def test_an_empty_bucket_has_nothing_to_say(store):
    assert list(scan_bucket(store, IMAGES, [], NOW_S)) == [
        dataclasses.replace(next(scan_bucket(store, IMAGES, [], NOW_S)), changed=(), gone=(), unchanged=0, through=None)
    ]
    assert scan(store) == ([], [], 0)


def test_new_objects_are_read_and_known_by_content_version_and_origin(store):
    ref = put(store, "porch_1700000000.jpg", b"picture")
    changed, gone, unchanged = scan(store)
    assert (gone, unchanged) == ([], 0)
    assert changed == [
        Observation(
            bucket=IMAGES,
            key="porch_1700000000.jpg",
            origin=f"s3:{store.prefix}images",
            ref=ref,
            fingerprint=ref.version,
            observed_at_s=NOW_S,
        )
    ]
    assert store.get(changed[0].ref) == b"picture"


def test_what_is_known_is_unchanged_and_is_not_read_again(store, monkeypatch):
    put(store, "a")
    put(store, "b")
    known, _, _ = scan(store)
    reads = []
    monkeypatch.setattr(store.connection, "digest", lambda *asked: reads.append(asked))
    assert scan(store, known) == ([], [], 2)
    assert reads == []


def test_a_replaced_object_is_changed_and_its_older_version_stays_readable(store):
    old = put(store, "a", b"old")
    known, _, _ = scan(store)
    new = put(store, "a", b"new")
    changed, gone, unchanged = scan(store, known)
    assert ([item.ref for item in changed], gone, unchanged) == ([new], [], 0)
    assert store.get(old) == b"old"


def test_the_same_bytes_again_are_another_version_of_the_same_content(store):
    put(store, "a", b"same")
    known, _, _ = scan(store)
    again = put(store, "a", b"same")
    ((changed,), gone, _) = scan(store, known)
    assert gone == []
    assert (changed.ref.sha256, changed.fingerprint) == (known[0].ref.sha256, again.version)


def test_a_removed_object_is_gone_by_a_delete_marker_and_for_good(store):
    put(store, "marked")
    erased = put(store, "erased")
    known, _, _ = scan(store)
    hide(store, "marked")
    store.discard([erased])
    changed, gone, unchanged = scan(store, known)
    assert (changed, unchanged) == ([], 0)
    assert [(item.key, item.ref, item.error) for item in gone] == [("erased", None, None), ("marked", None, None)]


def test_an_object_that_comes_back_is_changed(store):
    put(store, "a", b"1")
    hide(store, "a")
    ref = put(store, "a", b"2")
    changed, gone, _ = scan(store, [])
    assert ([item.ref for item in changed], gone) == ([ref], [])


def test_what_came_from_elsewhere_is_never_gone_and_what_is_here_becomes_from_here(store):
    ref = put(store, "here")
    elsewhere = [
        Observation(bucket=IMAGES, key=key, origin="/photos", ref=dataclasses.replace(ref, key=key), fingerprint="1:2")
        for key in ("here", "only there")
    ]
    changed, gone, unchanged = scan(store, elsewhere)
    assert ([item.key for item in changed], gone, unchanged) == (["here"], [], 0)


def test_verify_reads_everything_and_finds_it_the_same(store):
    put(store, "a")
    known, _, _ = scan(store)
    assert scan(store, known, verify=True) == ([], [], 1)


def test_a_prefix_and_a_key_to_go_on_after_restrict_both_sides(store):
    for key in ("a1", "b1", "b2", "b3"):
        put(store, key)
    known, _, _ = scan(store)
    for key in ("a1", "b1", "b3"):
        hide(store, key)
    _, gone, unchanged = scan(store, known, prefix="b", after="b1")
    assert ([item.key for item in gone], unchanged) == (["b3"], 1)


def test_a_digest_in_the_metadata_is_not_believed(store):
    """A device may declare the digest of a harmless picture."""
    full, data = store.full(IMAGES), b"a threat"
    store.connection.client.put_object(full, "a", io.BytesIO(data), len(data), metadata={"sha256": sha256(b"a cat")})
    ((changed,), _, _) = scan(store)
    assert changed.ref.sha256 == sha256(data)


@pytest.mark.parametrize(
    "key", ["a b", "a+b&c=d?e#f%2f", "日本語/写真.jpg", "a\x01\n\r\tb", "..x", "a\\b", "<&>", "\ufffe"]
)
def test_any_key_is_seen_known_again_and_gone(store, key):
    put(store, key)
    known, _, _ = scan(store)
    assert [item.key for item in known] == [key]
    assert scan(store, known) == ([], [], 1)
    hide(store, key)
    assert [item.key for item in scan(store, known)[1]] == [key]


def test_an_object_whose_key_cannot_be_used_is_an_error_once(store):
    """Somebody else's tool may put what minio-py would not."""
    full = store.full(IMAGES)
    store.connection.client.put_object(full, "a/part__XLDIR__x/xl.meta", io.BytesIO(b""), 0)
    known, gone, _ = scan(store)
    assert [(item.key, item.ref) for item in known] == [("a/part__XLDIR__x/xl.meta", None)]
    assert "uses inside" in known[0].error
    assert (gone, scan(store, known)) == ([], ([], [], 1))


def test_a_key_below_an_object_is_not_called_gone_although_it_is_not_listed(store):
    put(store, "a/b.jpg")
    known, _, _ = scan(store)
    put(store, "a")
    changed, gone, unchanged = scan(store, known)
    assert ([item.key for item in changed], gone, unchanged) == (["a"], [], 1)


@pytest.mark.parametrize("key", ["../..", "x/", "a\0b", "/", "a//b", "./a", "x" * 1025, "a/xl.meta", "\ud800"])
def test_what_was_kept_under_a_key_that_no_store_can_hold_is_gone(store, key):
    kept = Observation(
        bucket=IMAGES, key=key, origin=origin_of(store, IMAGES), ref=None, observed_at_s=NOW_S, error="cannot be used"
    )
    put(store, "b")
    for verify in (False, True):
        changed, gone, _ = scan(store, [kept], verify=verify)
        assert ([item.key for item in changed], [(item.key, item.error) for item in gone]) == (["b"], [(key, None)])
    again = observe_object(store, IMAGES, key, NOW_S)
    assert (again.ref, again.error) == (None, None)


@pytest.mark.parametrize("hider", ["cam1", "site/cam1", "cam.1"])
def test_an_object_that_may_hide_others_is_an_error_until_all_its_versions_are_removed(store, hider):
    """MinIO lists nothing below an object, whatever it is asked for; so it is at least told."""
    endings = (".jpg",)
    ref = put(store, hider)
    put(store, f"{hider}/a.jpg")
    known, gone, _ = scan(store, endings=endings)
    assert [(item.key, item.ref) for item in known] == [(hider, None)]
    assert "lists nothing below an object" in known[0].error
    assert "remove all its versions" in known[0].error
    assert list(store.list(IMAGES, f"{hider}/")) == []
    assert (gone, scan(store, known, endings=endings)) == ([], ([], [], 1))
    hide(store, hider)
    (deleted,), gone, _ = scan(store, known, endings=endings)
    assert (deleted.key, deleted.error, gone) == (hider, known[0].error, [])
    assert observe_object(store, IMAGES, hider, NOW_S, endings).error == known[0].error
    marker = next(store.versions_of(IMAGES, hider)).version
    store.connection.delete_versions(store.full(IMAGES), [(hider, ref.version), (hider, marker)])
    changed, gone, _ = scan(store, [deleted], endings=endings)
    assert [item.key for item in changed] == [f"{hider}/a.jpg"]
    assert [item.key for item in gone] == [hider]


def test_what_can_hide_nothing_is_an_input_and_may_be_deleted(store):
    for key in ("cam1/a.jpg", "cam1/b/c.jpg", "notes.jpg"):
        put(store, key)
    known, _, _ = scan(store, endings=(".jpg",))
    assert [item.error for item in known] == [None, None, None]
    hide(store, "notes.jpg")
    assert [item.key for item in scan(store, known, endings=(".jpg",))[1]] == ["notes.jpg"]


# --- what happens meanwhile ------------------------------------------------------------------------------------------


def meanwhile(store, monkeypatch, act):
    """Do something between the listing and the first reading."""
    read = store.connection.digest
    done = []

    def first_act(*asked):
        if not done:
            done.append(act())
        return read(*asked)

    monkeypatch.setattr(store.connection, "digest", first_act)


def test_an_object_replaced_while_it_is_read_is_read_whole_and_seen_again_next_time(store, monkeypatch):
    old = put(store, "a", b"old")
    meanwhile(store, monkeypatch, lambda: put(store, "a", b"new"))
    ((first,), _, _) = scan(store)
    assert first.ref == old
    ((second,), _, _) = scan(store, [first])
    assert second.ref.sha256 == sha256(b"new")


def test_an_object_erased_while_it_is_read_is_gone_or_was_never_there(store, monkeypatch):
    ref = put(store, "a")
    known, _, _ = scan(store)
    meanwhile(store, monkeypatch, lambda: store.discard([ref]))
    changed, gone, _ = scan(store, known, verify=True)
    assert (changed, [item.key for item in gone]) == ([], ["a"])
    other = put(store, "b")
    meanwhile(store, monkeypatch, lambda: store.discard([other]))
    assert scan(store) == ([], [], 0)


def test_an_object_that_comes_back_after_the_listing_is_not_called_gone(store, monkeypatch):
    put(store, "a", b"1")
    known, _, _ = scan(store)
    hide(store, "a")
    meanwhile(store, monkeypatch, lambda: put(store, "a", b"2"))
    ((changed,), gone, _) = scan(store, known)
    assert (changed.ref.sha256, gone) == (sha256(b"2"), [])


def test_a_listing_that_breaks_off_calls_nothing_gone_and_goes_on_where_it_was(many, monkeypatch):
    store, known = many
    assert [item.key for item in known] == MANY
    page = store.connection.page

    def no_third_stretch(bucket, query):
        if query.get("key-marker", "") > MANY[1000]:
            raise Unavailable("the server", "went away")
        return page(bucket, query)

    monkeypatch.setattr(store.connection, "page", no_third_stretch)
    parts = []
    with pytest.raises(Unavailable, match="went away"):
        keep(parts, scan_bucket(store, IMAGES, iter(known), NOW_S))
    monkeypatch.undo()
    assert [(part.changed, part.gone) for part in parts] == [((), ()), ((), ())]
    assert parts[-1].through == MANY[sum(part.unchanged for part in parts) - 1]
    rest = list(scan_bucket(store, IMAGES, iter(known), NOW_S, after=parts[-1].through))
    assert [(part.changed, part.gone) for part in rest] == [((), ())] * len(rest)
    assert sum(part.unchanged for part in (*parts, *rest)) == len(MANY)


def test_a_bucket_that_vanished_is_unavailable_and_nothing_is_gone(minio):
    store = minio.store(IMAGES)
    known = [Observation(bucket=IMAGES, key="a", origin=origin_of(store, IMAGES), ref=put(store, "a"), fingerprint="x")]
    gone = minio.open(prefix="nowhere-")
    with pytest.raises(Unavailable, match="lookout init"):
        list(scan_bucket(gone, IMAGES, known, NOW_S))


# --- one object ------------------------------------------------------------------------------------------------------


def test_one_object_is_there_or_gone(store):
    ref = put(store, "a", b"picture")
    assert observe_object(store, IMAGES, "a", NOW_S).ref == ref
    source = BucketSource(store, IMAGES)
    assert source.observe("a", NOW_S) == observe_object(store, IMAGES, "a", NOW_S)
    assert [part.changed for part in source.scan([], NOW_S, verify=False)] == [(source.observe("a", NOW_S),)]
    hide(store, "a")
    seen = observe_object(store, IMAGES, "a", NOW_S)
    assert (seen.ref, seen.error, seen.fingerprint) == (None, None, "")
    impossible = observe_object(store, IMAGES, "a/../b", NOW_S)
    assert (impossible.ref, impossible.error) == (None, None)


def test_without_versioning_the_fingerprint_still_moves_with_the_bytes(minio):
    store = minio.store()
    full = store.full(IMAGES)
    store.connection.client.make_bucket(full)
    store.connection.client.put_object(full, "a", io.BytesIO(b"1"), 1)
    first, _, _ = scan(store)
    assert first[0].fingerprint.startswith("null:")
    assert scan(store, first) == ([], [], 1)
    store.connection.client.put_object(full, "a", io.BytesIO(b"2"), 1)
    ((second,), _, _) = scan(store, first)
    assert second.ref.sha256 == sha256(b"2")


# --- uploading, history ----------------------------------------------------------------------------------------------


def test_an_upload_is_skipped_when_the_same_bytes_are_there(store, tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"picture")
    (first,) = upload(store, IMAGES, find_files([file], "porch/"))
    (again,) = upload(store, IMAGES, find_files([file], "porch/"))
    assert (first.is_new, again.is_new, again.ref) == (True, False, first.ref)
    file.write_bytes(b"another")
    (changed,) = upload(store, IMAGES, find_files([file], "porch/"))
    assert changed.is_new
    seen = store.connection.stat(store.full(IMAGES), "porch/a.jpg")
    assert (seen.content_type, seen.sha256) == ("image/jpeg", sha256(b"another"))


def test_an_upload_of_no_file_or_under_no_key_is_refused(store, tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    no_file = File(root=tmp_path.parent, name=tmp_path.name, key="a")
    no_key = File(root=tmp_path, name="a", key="../a")
    assert [(sent.file, sent.ref) for sent in upload(store, IMAGES, [no_file, no_key]) if sent.error] == [
        (no_file, None),
        (no_key, None),
    ]
    assert scan(store) == ([], [], 0)


def test_history_tells_every_version_and_removal_newest_first(store):
    first, second = put(store, "a", b"1"), put(store, "a", b"22")
    hide(store, "a")
    put(store, "a b", b"other")
    told = history(store, IMAGES, "a")
    assert [(item.size, item.declared_sha256, item.is_removal, item.is_visible) for item in told] == [
        (None, None, True, False),
        (2, sha256(b"22"), False, False),
        (1, sha256(b"1"), False, False),
    ]
    assert [item.version for item in told[1:]] == [second.version, first.version]
    assert all(abs(item.modified_at_s - time.time()) < 3600 for item in told)
    assert history(store, IMAGES, "never") == []


# --- many ------------------------------------------------------------------------------------------------------------


def test_parts_are_of_a_bounded_size(many):
    store, known = many
    parts = list(scan_bucket(store, IMAGES, iter(known), NOW_S))
    assert [(part.unchanged, part.through) for part in parts] == [(950, MANY[949]), (950, MANY[1899]), (600, None)]


def test_what_is_new_between_what_is_known_is_found_where_a_stretch_has_more_of_it_than_a_part(many):
    store, known = many
    new = MANY[::10]
    before = [item for item in known if item.key not in new]
    parts = list(scan_bucket(store, IMAGES, iter(before), NOW_S))
    assert [item.key for part in parts for item in part.changed] == new
    assert [part.gone for part in parts] == [()] * len(parts)
    assert sum(part.unchanged for part in parts) == len(before)
    ends = [part.through for part in parts]
    assert ends == [MANY[999], before[949].key, MANY[MANY.index(before[949].key) + 1000], before[1899].key, None]


def test_stretches_between_any_keys_are_the_whole_listing(store):
    keys = sorted(["a!", "a-b", "a/b", "a/b/c", "a/c/d", "a0", "ab", "B/x", "é", "z\n", "z z"])
    for key in keys:
        put(store, key)
        hide(store, key)
        put(store, key)
    whole = list(store.versions(IMAGES))
    for bound in ["", "a", "a/", "a/b!", *keys, "~"]:
        cut = [*store.versions(IMAGES, through=bound), *store.versions(IMAGES, after=bound)]
        assert cut == whole
    assert [entry.key for entry in store.versions(IMAGES, after="a!", through="a-b")] == ["a-b"] * 3
    assert list(store.versions(IMAGES, page=1)) == whole


def test_many_unchanged_objects_cost_requests_by_the_thousand_only(many, monkeypatch):
    store, known = many
    page, pages = store.connection.page, []
    monkeypatch.setattr(store.connection, "page", lambda *asked: pages.append(asked) or page(*asked))
    for call in ("stat", "read", "digest"):
        monkeypatch.setattr(store.connection, call, lambda *asked: pytest.fail("asked for one object"))
    assert scan(store, known) == ([], [], len(MANY))
    assert len(pages) == 3


def test_an_object_larger_than_any_stage_reads_is_named_by_its_size_as_in_a_folder(store, tmp_path):
    data = bytes(MAX_INPUT_BYTES + 1)
    put(store, "huge.jpg", data)
    ((seen,), gone, _) = scan(store)
    assert (gone, seen.error, seen.ref.size, seen.ref.sha256) == ([], None, len(data), unread_digest(len(data)))
    assert scan(store, [seen]) == ([], [], 1)
    file = tmp_path / "huge.jpg"
    with file.open("wb") as opened:
        opened.truncate(30_000_000_000)
    (sent,) = upload(store, IMAGES, find_files([file], "new/"))
    assert sent.error == "has 30,000,000,000 bytes; no stage reads more than 33,554,432"
