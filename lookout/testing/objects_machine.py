"""An object store against a plain dict, in any order of calls: a state machine that each backend derives from.

Beside ``ObjectStoreSuite``, which says what each call does, this finds the orders in which calls undo each other's
promises. Nothing here may depend on one backend.
"""
# ruff: noqa: S101

from __future__ import annotations

import time
from abc import abstractmethod

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from lookout.datum import ObjectRef
from lookout.errors import ObjectChanged, ObjectMissing
from lookout.identity import sha256
from lookout.objects.base import ObjectStore, Publish

BUCKET = "results"
KEYS = st.sampled_from(["a b", "a.b", "a/b", "a/b.c", "a/c/d", "b", "é/ü"])
DATA = st.sampled_from([b"", b"1", b"2", b"22", b"\0" * 70_000])
HOUR_S = 3600.0


class ObjectStoreMachine(RuleBasedStateMachine):
    """``visible`` is what the dict says; ``readable`` are the versions that the store has promised to keep."""

    refs: Bundle[ObjectRef] = Bundle("refs")

    def __init__(self) -> None:
        super().__init__()
        self.visible: dict[str, ObjectRef] = {}
        self.staged: set[ObjectRef] = set()
        self.replaced: set[tuple[str, str]] = set()
        self.bytes: dict[str, bytes] = {}

    @abstractmethod
    def make_store(self) -> ObjectStore:
        """A fresh, empty store."""

    @initialize()
    def begin(self) -> None:
        self.store = self.make_store()

    def is_promised(self, ref: ObjectRef) -> bool:
        shown = self.visible.get(ref.key)
        is_shown = shown is not None and shown.sha256 == ref.sha256
        return is_shown or ref in self.staged or (ref.key, ref.sha256) in self.replaced

    @rule(target=refs, key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> ObjectRef:
        ref = self.store.put(BUCKET, key, data, "application/octet-stream")
        assert (ref.sha256, ref.size) == (sha256(data), len(data))
        self.bytes[ref.sha256] = data
        self.staged.add(ref)
        return ref

    @rule(ref=refs)
    def publish(self, ref: ObjectRef) -> None:
        promised = self.is_promised(ref)
        try:
            self.store.publish([Publish(bucket=BUCKET, key=ref.key, ref=ref)])
        except ObjectMissing:
            assert not promised
        else:
            self._leave(ref.key)
            self.visible[ref.key] = ref
            self.staged.discard(ref)

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        self.store.publish([Publish(bucket=BUCKET, key=key, ref=None)])
        self._leave(key)

    def _leave(self, key: str) -> None:
        shown = self.visible.pop(key, None)
        if shown is not None:
            self.replaced.add((key, shown.sha256))

    @rule(ref=refs)
    def get(self, ref: ObjectRef) -> None:
        promised = self.is_promised(ref)
        try:
            data = self.store.get(ref)
        except (ObjectMissing, ObjectChanged):
            assert not promised
        else:
            assert data == self.bytes[ref.sha256]
        if promised:
            assert self.store.has([ref]) == [True]

    @rule(ref=refs)
    def discard(self, ref: ObjectRef) -> None:
        self.store.discard([ref])
        self.staged.discard(ref)

    @rule()
    def collect_everything(self) -> None:
        self.store.collect(time.time() + HOUR_S)
        self.staged.clear()
        self.replaced.clear()

    @rule()
    def collect_nothing(self) -> None:
        assert self.store.collect(time.time() - HOUR_S) == 0

    @rule(prefix=st.sampled_from(["a", "a/", "a/b", "é", "x"]), after=st.one_of(st.just(""), KEYS))
    def list_a_part(self, prefix: str, after: str) -> None:
        found = [item.key for item in self.store.list(BUCKET, prefix, after)]
        assert found == sorted(key for key in self.visible if key.startswith(prefix) and key > after)

    @invariant()
    def what_is_visible_is_what_was_published(self) -> None:
        if not hasattr(self, "store"):
            return
        found = {item.key: item.size for item in self.store.list(BUCKET)}
        assert found == {key: ref.size for key, ref in self.visible.items()}
        assert list(found) == sorted(found)
        for ref in self.visible.values():
            assert self.store.get(ref) == self.bytes[ref.sha256]
