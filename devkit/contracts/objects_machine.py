"""An object store against a plain dict, in any order of calls: a state machine that each backend derives from.

Beside ``ObjectStoreSuite``, which says what each call does, this finds the orders in which calls undo each other's
promises. Nothing here may depend on one backend.
"""
# ruff: noqa: S101

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from lookout.domain.errors import ObjectChanged, ObjectMissing
from lookout.domain.identity import sha256
from lookout.domain.records import ObjectRef
from lookout.object_store.port import ObjectStore, Publish

BUCKET = "results"
KEYS = st.sampled_from(["a b", "a.b", "a/b", "a/b.c", "a/c/d", "b", "é/ü"])
DATA = st.sampled_from([b"", b"1", b"2", b"22", b"\0" * 70_000])
HOUR_S = 3600.0


class Model(ABC):
    """Promises of a store, as dicts and sets."""

    @property
    @abstractmethod
    def visible(self) -> dict[str, ObjectRef]:
        """Return what each visible key shows."""

    @abstractmethod
    def promises(self, ref: ObjectRef) -> bool:
        """Tell whether the store still has to have these bytes under this key."""

    @abstractmethod
    def may_discard(self, ref: ObjectRef) -> bool:
        """Tell whether a caller may ask to discard the version at all."""

    @abstractmethod
    def put(self, ref: ObjectRef) -> None: ...

    @abstractmethod
    def publish(self, ref: ObjectRef) -> None: ...

    @abstractmethod
    def remove(self, key: str) -> None: ...

    @abstractmethod
    def discard(self, ref: ObjectRef) -> None: ...

    @abstractmethod
    def collect(self) -> None: ...


class HidingModel(Model):
    """A store that hides what was put until it is published."""

    def __init__(self) -> None:
        self._visible: dict[str, ObjectRef] = {}
        self._staged: set[ObjectRef] = set()
        self._replaced: set[tuple[str, str]] = set()

    @property
    def visible(self) -> dict[str, ObjectRef]:
        return self._visible

    def promises(self, ref: ObjectRef) -> bool:
        shown = self._visible.get(ref.key)
        is_shown = shown is not None and shown.sha256 == ref.sha256
        return is_shown or ref in self._staged or (ref.key, ref.sha256) in self._replaced

    def may_discard(self, ref: ObjectRef) -> bool:
        del ref
        return True

    def put(self, ref: ObjectRef) -> None:
        self._staged.add(ref)

    def publish(self, ref: ObjectRef) -> None:
        self.remove(ref.key)
        self._visible[ref.key] = ref
        self._staged.discard(ref)

    def remove(self, key: str) -> None:
        shown = self._visible.pop(key, None)
        if shown is not None:
            self._replaced.add((key, shown.sha256))

    def discard(self, ref: ObjectRef) -> None:
        self._staged.discard(ref)

    def collect(self) -> None:
        self._staged.clear()
        self._replaced.clear()


class LayeredModel(Model):
    """A store in which all versions of a key lie upon each other and the topmost is visible, also one only put.

    A layer is a version, the copy of one that publishing made, or None for a key that was removed.
    """

    def __init__(self) -> None:
        self._layers: dict[str, list[tuple[ObjectRef, bool] | None]] = {}
        self._published: set[ObjectRef] = set()

    @property
    def visible(self) -> dict[str, ObjectRef]:
        return {key: layers[-1][0] for key, layers in self._layers.items() if layers and layers[-1] is not None}

    def promises(self, ref: ObjectRef) -> bool:
        return any(layer is not None and layer[0].sha256 == ref.sha256 for layer in self._layers.get(ref.key, []))

    def may_discard(self, ref: ObjectRef) -> bool:
        return ref not in self._published

    def put(self, ref: ObjectRef) -> None:
        self._layers.setdefault(ref.key, []).append((ref, False))

    def publish(self, ref: ObjectRef) -> None:
        self._published.add(ref)
        layers = self._layers.setdefault(ref.key, [])
        top = layers[-1] if layers else None
        if top is None or (top[0] != ref and not (top[1] and top[0].sha256 == ref.sha256)):
            layers.append((ref, True))

    def remove(self, key: str) -> None:
        layers = self._layers.setdefault(key, [])
        if layers and layers[-1] is not None:
            layers.append(None)

    def discard(self, ref: ObjectRef) -> None:
        layers = self._layers.get(ref.key, [])
        if (ref, False) in layers:
            layers.remove((ref, False))

    def collect(self) -> None:
        self._layers = {key: layers[-1:] for key, layers in self._layers.items() if layers and layers[-1] is not None}


class ObjectStoreMachine(RuleBasedStateMachine):
    """The store and a model of it; ``hides_staged`` says which model (see ``ObjectStoreSuite``)."""

    hides_staged: ClassVar[bool] = True
    refs: Bundle[ObjectRef] = Bundle("refs")

    def __init__(self) -> None:
        super().__init__()
        self.model: Model = HidingModel() if self.hides_staged else LayeredModel()
        self.bytes: dict[str, bytes] = {}

    @abstractmethod
    def make_store(self) -> ObjectStore:
        """A fresh, empty store."""

    @initialize()
    def begin(self) -> None:
        self.store = self.make_store()

    @rule(target=refs, key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> ObjectRef:
        ref = self.store.put(BUCKET, key, data, "application/octet-stream")
        assert (ref.sha256, ref.size) == (sha256(data), len(data))
        self.bytes[ref.sha256] = data
        self.model.put(ref)
        return ref

    @rule(ref=refs)
    def publish(self, ref: ObjectRef) -> None:
        promised = self.model.promises(ref)
        try:
            self.store.publish([Publish(bucket=BUCKET, key=ref.key, ref=ref)])
        except ObjectMissing:
            assert not promised
        else:
            self.model.publish(ref)

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        self.store.publish([Publish(bucket=BUCKET, key=key, ref=None)])
        self.model.remove(key)

    @rule(ref=refs)
    def get(self, ref: ObjectRef) -> None:
        promised = self.model.promises(ref)
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
        if self.model.may_discard(ref):
            self.store.discard([ref])
            self.model.discard(ref)

    @rule()
    def collect_everything(self) -> None:
        self.store.collect(time.time() + HOUR_S)
        self.model.collect()

    @rule()
    def collect_nothing(self) -> None:
        assert self.store.collect(time.time() - HOUR_S) == 0

    @rule(prefix=st.sampled_from(["a", "a/", "a/b", "é", "x"]), after=st.one_of(st.just(""), KEYS))
    def list_a_part(self, prefix: str, after: str) -> None:
        found = [item.key for item in self.store.list(BUCKET, prefix, after)]
        assert found == sorted(key for key in self.model.visible if key.startswith(prefix) and key > after)

    @invariant()
    def what_is_visible_is_what_was_published(self) -> None:
        if not hasattr(self, "store"):
            return
        visible = self.model.visible
        found = {item.key: item.size for item in self.store.list(BUCKET)}
        assert found == {key: ref.size for key, ref in visible.items()}
        assert list(found) == sorted(found)
        for ref in visible.values():
            assert self.store.get(ref) == self.bytes[ref.sha256]
