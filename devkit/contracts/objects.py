"""Contract of all object stores, whatever keeps the bytes: derive from ``ObjectStoreSuite`` and give it a store.

Nothing here may depend on one backend. Where a backend cannot hide a version before it is published (a bucket has no
drawer), it sets ``hides_staged = False``: then what was only put is visible, so ``collect`` keeps it, and ``discard``
cannot know what was published. Keys that a backend refuses beside those that all refuse, it names in ``refused_keys``.
Where it does not list keys below a key that was ever an object itself, it sets ``lists_below_objects = False``.
"""
# ruff: noqa: S101

from __future__ import annotations

import pickle
import time
from abc import ABC, abstractmethod
from typing import ClassVar

import pytest

from lookout.domain.errors import InputRejected, ObjectChanged, ObjectMissing
from lookout.domain.identity import sha256
from lookout.domain.records import ObjectRef
from lookout.object_store.port import ObjectStore, Publish

BUCKET = "results"
HOUR_S = 3600.0


def show(ref: ObjectRef) -> Publish:
    """The change that makes this version visible under its key."""
    return Publish(bucket=ref.bucket, key=ref.key, ref=ref)


def hide(bucket: str, key: str) -> Publish:
    """The change that removes the key."""
    return Publish(bucket=bucket, key=key, ref=None)


class ObjectStoreSuite(ABC):
    """The conformance suite. ``store`` must be a fresh, empty store in each test."""

    hides_staged: ClassVar[bool] = True
    refused_keys: ClassVar[frozenset[str]] = frozenset()
    lists_below_objects: ClassVar[bool] = True

    @pytest.fixture
    @abstractmethod
    def store(self) -> ObjectStore:
        """A fresh, empty store; a subclass overrides this with a fixture that takes what it needs."""

    @staticmethod
    def put(store: ObjectStore, key: str, data: bytes) -> ObjectRef:
        return store.put(BUCKET, key, data, "application/octet-stream")

    def put_visible(self, store: ObjectStore, key: str, data: bytes) -> ObjectRef:
        ref = self.put(store, key, data)
        store.publish([show(ref)])
        return ref

    @staticmethod
    def keys(store: ObjectStore, prefix: str = "", after: str = "") -> list[str]:
        return [found.key for found in store.list(BUCKET, prefix, after)]

    # --- versions ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("data", [b"", b"x", b"\0" * 3_000_000], ids=["empty", "one byte", "3 MB"])
    def test_a_version_is_read_back_before_and_after_it_is_published(self, store: ObjectStore, data: bytes) -> None:
        ref = self.put(store, "porch/1.json", data)
        assert (ref.bucket, ref.key, ref.sha256, ref.size) == (BUCKET, "porch/1.json", sha256(data), len(data))
        assert store.get(ref) == data
        store.publish([show(ref)])
        assert store.get(ref) == data

    def test_a_flush_changes_nothing_that_can_be_seen(self, store: ObjectStore) -> None:
        staged, shown, dropped = (self.put(store, key, key.encode()) for key in "abc")
        store.publish([show(shown)])
        store.discard([dropped])
        listed = self.keys(store)
        store.flush([staged, shown, dropped])
        store.flush([])
        assert self.keys(store) == listed
        assert [store.get(ref) for ref in (staged, shown)] == [b"a", b"b"]

    def test_a_staged_version_is_not_listed(self, store: ObjectStore) -> None:
        self.put(store, "a", b"1")
        if self.hides_staged:
            assert self.keys(store) == []

    def test_a_staged_version_leaves_the_visible_one_alone(self, store: ObjectStore) -> None:
        self.put_visible(store, "a", b"old")
        self.put(store, "a", b"longer new")
        if self.hides_staged:
            assert [found.size for found in store.list(BUCKET)] == [3]

    def test_the_same_bytes_twice_are_two_versions_that_both_can_be_published(self, store: ObjectStore) -> None:
        first, second = self.put(store, "a", b"same"), self.put(store, "a", b"same")
        store.publish([show(first), show(second)])
        assert store.get(first) == store.get(second) == b"same"
        assert self.keys(store) == ["a"]

    def test_a_ref_without_a_version_finds_the_visible_bytes(self, store: ObjectStore) -> None:
        self.put_visible(store, "a", b"1")
        bare = ObjectRef(bucket=BUCKET, key="a", sha256=sha256(b"1"), size=1)
        assert store.get(bare) == b"1"

    # --- publishing -------------------------------------------------------------------------------------------------

    def test_publishing_nothing_does_nothing(self, store: ObjectStore) -> None:
        store.publish([])
        assert self.keys(store) == []

    def test_publishing_twice_changes_nothing(self, store: ObjectStore) -> None:
        ref = self.put_visible(store, "a/b", b"1")
        store.publish([show(ref), show(ref)])
        store.publish([hide(BUCKET, "never/was"), show(ref)])
        assert self.keys(store) == ["a/b"]
        assert store.get(ref) == b"1"

    def test_changes_are_made_in_order(self, store: ObjectStore) -> None:
        first, second = self.put(store, "a", b"1"), self.put(store, "a", b"22")
        store.publish([show(first), hide(BUCKET, "a"), show(second)])
        assert [(found.key, found.size) for found in store.list(BUCKET)] == [("a", 2)]

    def test_a_replaced_version_stays_readable(self, store: ObjectStore) -> None:
        old = self.put_visible(store, "a", b"old")
        new = self.put_visible(store, "a", b"new")
        assert (store.get(old), store.get(new)) == (b"old", b"new")
        assert store.has([old, new]) == [True, True]

    def test_a_removed_version_stays_readable_and_is_not_listed(self, store: ObjectStore) -> None:
        ref = self.put_visible(store, "a/b/c", b"1")
        store.publish([hide(BUCKET, "a/b/c")])
        store.publish([hide(BUCKET, "a/b/c")])
        assert self.keys(store) == []
        assert store.get(ref) == b"1"

    def test_an_old_version_can_be_published_again_for_each_key_that_had_it(self, store: ObjectStore) -> None:
        old = [self.put_visible(store, key, b"A") for key in ("x", "y")]
        for key in ("x", "y"):
            self.put_visible(store, key, b"BB")
        store.publish([show(ref) for ref in old])
        assert [found.size for found in store.list(BUCKET)] == [1, 1]
        assert [store.get(ref) for ref in old] == [b"A", b"A"]

    def test_a_removed_key_may_become_a_folder_and_back(self, store: ObjectStore) -> None:
        self.put_visible(store, "a", b"1")
        store.publish([hide(BUCKET, "a")])
        below = self.put_visible(store, "a/b", b"2")
        assert store.get(below) == b"2"
        if self.lists_below_objects:
            assert self.keys(store) == ["a/b"]
        store.publish([hide(BUCKET, "a/b")])
        self.put_visible(store, "a", b"3")
        assert self.keys(store) == ["a"]

    def test_publishing_a_version_that_is_gone_is_refused(self, store: ObjectStore) -> None:
        ref = self.put(store, "a", b"1")
        store.discard([ref])
        with pytest.raises(ObjectMissing):
            store.publish([show(ref)])
        assert self.keys(store) == []

    # --- what is missing --------------------------------------------------------------------------------------------

    def test_a_missing_key_is_missing(self, store: ObjectStore) -> None:
        ref = ObjectRef(bucket=BUCKET, key="a", sha256=sha256(b"1"), size=1)
        with pytest.raises(ObjectMissing) as caught:
            store.get(ref)
        assert (caught.value.bucket, caught.value.key) == (BUCKET, "a")
        assert store.has([ref]) == [False]

    def test_other_bytes_under_the_key_are_changed_not_missing(self, store: ObjectStore) -> None:
        self.put_visible(store, "a", b"other")
        with pytest.raises(ObjectChanged) as caught:
            store.get(ObjectRef(bucket=BUCKET, key="a", sha256=sha256(b"mine"), size=4))
        assert (caught.value.expected, caught.value.got) == (sha256(b"mine"), sha256(b"other"))

    def test_has_answers_in_the_order_asked(self, store: ObjectStore) -> None:
        first, second = self.put_visible(store, "a", b"1"), self.put(store, "b", b"22")
        missing = ObjectRef(bucket=BUCKET, key="c", sha256=sha256(b""), size=0)
        other_size = ObjectRef(bucket=BUCKET, key="a", sha256=sha256(b"12345"), size=5)
        assert store.has([missing, second, other_size, first]) == [False, True, False, True]
        assert store.has([]) == []

    # --- listing ----------------------------------------------------------------------------------------------------

    KEYS: ClassVar[tuple[str, ...]] = ("a b", "a.b", "a/b", "a/b.c", "a/b/c", "a0", "ab/c", "z", "é/ü", "日本\n語")

    def fill(self, store: ObjectStore) -> list[str]:
        keys = [key for key in self.KEYS if key != "a/b"]
        store.publish([show(self.put(store, key, key.encode())) for key in reversed(keys)])
        return sorted(keys)

    def test_an_unknown_bucket_is_empty(self, store: ObjectStore) -> None:
        assert list(store.list("nothing-here")) == []

    def test_keys_come_in_the_order_of_their_code_points(self, store: ObjectStore) -> None:
        filled = self.fill(store)
        assert self.keys(store) == filled

    @pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "a/b/c", "a/b/c/d", "é", "no/such", "../", "/", "a//"])
    def test_a_prefix_selects_by_text(self, store: ObjectStore, prefix: str) -> None:
        filled = self.fill(store)
        assert self.keys(store, prefix) == [key for key in filled if key.startswith(prefix)]

    @pytest.mark.parametrize(
        "after", ["", "a", "a b", "a/", "a/b", "a/b/c", "a/zz", "ab", "z", "日本\n語", "\U0010ffff"]
    )
    def test_a_listing_goes_on_after_a_key(self, store: ObjectStore, after: str) -> None:
        filled = self.fill(store)
        assert self.keys(store, "", after) == [key for key in filled if key > after]
        assert self.keys(store, "a", after) == [key for key in filled if key > after and key.startswith("a")]

    def test_a_listing_tells_size_and_time(self, store: ObjectStore) -> None:
        self.put_visible(store, "a", b"12345")
        (found,) = store.list(BUCKET)
        assert found.size == 5
        assert abs(found.modified_at_s - time.time()) < HOUR_S

    # --- keys -------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", "./a", "a/..", "../a", "..", "a\0b", "\udcff", "x" * 1025])
    def test_a_key_that_no_backend_can_hold_is_refused(self, store: ObjectStore, key: str) -> None:
        with pytest.raises(InputRejected):
            self.put(store, key, b"1")
        assert self.keys(store) == []

    @pytest.mark.parametrize(
        "key", ["a b", "-", "..x", "...", "a\nb", "..\\x", "%2e%2e/x", "日本語/写真.jpg", "x" * 200]
    )
    def test_an_odd_key_is_kept_as_it_is_or_refused_at_once(self, store: ObjectStore, key: str) -> None:
        if key in self.refused_keys:
            with pytest.raises(InputRejected):
                self.put(store, key, b"1")
            assert self.keys(store) == []
            return
        ref = self.put_visible(store, key, b"1")
        assert self.keys(store) == [key]
        assert store.get(ref) == b"1"

    # --- space ------------------------------------------------------------------------------------------------------

    def test_discard_drops_what_was_staged_and_nothing_else(self, store: ObjectStore) -> None:
        visible, staged = self.put_visible(store, "a", b"1"), self.put(store, "b", b"2")
        unknown = ObjectRef(bucket=BUCKET, key="c", sha256=sha256(b""), size=0, version="../../etc")
        store.discard([visible, staged, unknown] if self.hides_staged else [staged, unknown])
        store.discard([staged])
        assert store.has([visible, staged]) == [True, False]
        assert store.get(visible) == b"1"

    def test_collect_frees_what_is_old_and_not_visible(self, store: ObjectStore) -> None:
        visible = self.put_visible(store, "a", b"1")
        removed = self.put_visible(store, "b", b"2")
        store.publish([hide(BUCKET, "b")])
        replaced = self.put_visible(store, "c", b"3")
        current = self.put_visible(store, "c", b"4")
        staged = self.put(store, "d", b"5")
        assert store.collect(time.time() - HOUR_S) == 0
        assert store.has([visible, removed, replaced, current, staged]) == [True] * 5
        assert store.collect(time.time() + HOUR_S) == (3 if self.hides_staged else 2)
        with pytest.raises(ObjectMissing):
            store.get(removed)
        with pytest.raises(ObjectChanged):
            store.get(replaced)
        assert store.has([staged]) == [not self.hides_staged]
        if self.hides_staged:
            with pytest.raises(ObjectMissing):
                store.get(staged)
        assert (store.get(visible), store.get(current)) == (b"1", b"4")
        assert store.collect(time.time() + HOUR_S) == 0

    def test_collect_on_an_empty_store_frees_nothing(self, store: ObjectStore) -> None:
        assert store.collect(time.time() + HOUR_S) == 0

    # --- what no record names ----------------------------------------------------------------------------------------

    def test_overwriting_shows_the_bytes_and_keeps_no_version(self, store: ObjectStore) -> None:
        self.put_visible(store, "other", b"kept")
        store.overwrite(BUCKET, "status.js", b"first", "text/javascript")
        first = ObjectRef(bucket=BUCKET, key="status.js", sha256=sha256(b"first"), size=5)
        assert store.find_visible(BUCKET, "status.js") == b"first"
        assert store.get(first) == b"first"
        store.overwrite(BUCKET, "status.js", b"second", "text/javascript")
        assert store.find_visible(BUCKET, "status.js") == b"second"
        assert store.has([first]) == [False]
        assert self.keys(store) == ["other", "status.js"]
        assert store.collect(time.time() + HOUR_S) == 0

    def test_overwriting_what_was_published_shows_the_new_bytes(self, store: ObjectStore) -> None:
        self.put_visible(store, "status.js", b"published")
        store.overwrite(BUCKET, "status.js", b"", "text/javascript")
        assert store.find_visible(BUCKET, "status.js") == b""

    def test_what_is_not_there_is_not_visible(self, store: ObjectStore) -> None:
        assert store.find_visible(BUCKET, "nothing") is None
        self.put_visible(store, "a", b"1")
        store.publish([hide(BUCKET, "a")])
        assert store.find_visible(BUCKET, "a") is None

    @pytest.mark.parametrize("key", ["", "/a", "../a", "a\0b"])
    def test_overwriting_refuses_a_key_that_leads_elsewhere(self, store: ObjectStore, key: str) -> None:
        with pytest.raises(InputRejected):
            store.overwrite(BUCKET, key, b"x", "text/plain")

    # --- processes --------------------------------------------------------------------------------------------------

    def test_a_store_can_be_given_to_another_process(self, store: ObjectStore) -> None:
        ref = self.put_visible(store, "a", b"1")
        twin = pickle.loads(pickle.dumps(store))  # noqa: S301  bytes made in this line
        assert twin.get(ref) == b"1"
        other = twin.put(BUCKET, "b", b"2", "text/plain")
        assert store.get(other) == b"2"
