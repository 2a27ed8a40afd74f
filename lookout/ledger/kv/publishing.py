"""Publication of what commits have changed: by one session at a time, and by none while a commit touches the paths.

Whoever publishes puts one key, which lives by a lease of its own, with the paths that are handed out. A commit reads it
and compares it: one that touches a path in it waits until the key is gone. A publisher that dies holds others up until
its lease ends; one that was frozen so long that somebody else may have published newer versions finds its key gone, and
has what is live now published once more, over what it may have put there late.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lookout.domain.errors import LookoutError, Unavailable
from lookout.ledger.kv import keys, record_values, slot_values
from lookout.ledger.kv.history import History
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.liveness import Life, log
from lookout.ledger.kv.port import Delete, Kv, NoneNewer, Put, Range, SameLife, Unchanged, most_ops
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.object_store.port import Publish

PathName = tuple[str, str]
WAIT_S = 60.0
"""Time to wait for another session that publishes, in all."""


class Publishing:
    """Changes that are to be published. See ``Ledger``."""

    def __init__(self, space: Keyspace, history: History) -> None:
        self._space, self._history = space, history
        self._life: Life | None = None

    @contextmanager
    def unpublished(
        self, limit: int = 1000, buckets: Collection[str] | None = None, without: Collection[PathName] = ()
    ) -> Iterator[Sequence[Publish]]:
        self._space.check_writing()
        taken = self._take_changes(limit, buckets, without)
        if taken is None:
            yield ()
            return
        held_since, entries, changes = taken
        try:
            with self._space.handing_out():
                yield changes
        except BaseException:
            try:
                self._let_go(held_since)
            except LookoutError as exc:  # it is ours, and we take it again; what ended the context says more
                log.warning("publishing not ended", why=str(exc))
            raise
        self._forget(held_since, entries, changes)

    def close(self) -> None:
        """End the lease by which this connection publishes, if there is one."""
        if self._life is not None:
            self._life.end()
            self._life = None

    @property
    def publisher(self) -> str:
        """Text that names this ledger where it publishes."""
        return self._space.kv.id

    def end_of(self, publisher: str) -> None:
        """End the publication of another ledger, which is dead. One that is frozen finds its key gone when it wakes."""
        held = self._space.kv.read([Range(self._space.name(keys.PUBLISHING))]).get(0).kvs
        if held and slot_values.load(held[0], _publisher)[0] == publisher:
            self._let_go(held[0].create_revision)

    # --- taking -----------------------------------------------------------------------------------------------------

    def _take_changes(
        self, limit: int, buckets: Collection[str] | None, without: Collection[PathName]
    ) -> tuple[int, list[tuple[Kv, list[Publish]]], list[Publish]] | None:
        """Hold the publishing key: since which revision, all entries, and what is handed out. None: nothing is due."""
        name = self._space.name(keys.PUBLISHING)
        for _attempt in self._space.attempts("taking changes to publish"):
            start, end = self._space.span(keys.CHANGE)
            answer = self._space.kv.read([Range(start, end, limit=1, keys_only=True), Range(name)])
            if not answer.get(0).kvs:
                return None
            held = answer.get(1).kvs
            found = [kv for page in self._space.kv.pages(start, end) for kv in page]
            entries = [(kv, record_values.read_changes(kv)) for kv in sorted(found, key=lambda kv: kv.create_revision)]
            latest: dict[PathName, Publish] = {}
            for _, changes in entries:
                for change in changes:
                    latest.pop((change.bucket, change.key), None)
                    if (buckets is None or change.bucket in buckets) and (change.bucket, change.key) not in without:
                        latest[change.bucket, change.key] = change
            if not latest:
                return None
            if held and not self._is_mine(held[0]):
                self._wait_for_publisher(held[0], answer.revision)
                continue
            handed = list(latest.values())[: max(0, limit)]
            life = self._publisher_life()
            paths = [[change.bucket, change.key] for change in handed]
            put = Put(name, slot_values.dump([self._space.kv.id, paths]), life.lease)
            free = Unchanged(name, held[0].mod_revision if held else 0)
            written = self._space.write([free, NoneNewer(start, end, answer.revision)], [put])
            if written.succeeded:
                return held[0].create_revision if held else written.revision, entries, handed
        return None

    def _publisher_life(self) -> Life:
        if self._life is not None and self._life.lost:
            self._life.end()
            self._life = None
        if self._life is None:
            self._life = Life(self._space.kv, self._space.ttl_s)
        return self._life

    def _is_mine(self, kv: Kv) -> bool:
        """Tell whether this ledger put the key: it could not be ended when the store was away."""
        return slot_values.load(kv, _publisher)[0] == self._space.kv.id

    def _wait_for_publisher(self, kv: Kv, revision: int) -> None:
        if not self._space.kv.wait_for_change([(kv.key, keys.behind(kv.key))], revision, WAIT_S):
            raise Unavailable(self._space.kv.name, f"another session has been publishing for {WAIT_S:.0f} s")

    def expect_unpublished(self, draft: TransactionBuilder, paths: Collection[PathName]) -> None:
        """Let the draft hold only while nobody publishes one of these paths; waits while somebody does."""
        name = self._space.name(keys.PUBLISHING)
        while True:
            answer = self._space.kv.read([Range(name)])
            if not answer.get(0).kvs:
                draft.expect(name, 0)
                return
            kv = answer.get(0).kvs[0]
            if self._is_mine(kv) or slot_values.load(kv, _publisher)[1].isdisjoint(paths):
                draft.expect(name, kv.mod_revision)
                return
            self._wait_for_publisher(kv, answer.revision)

    # --- letting go -------------------------------------------------------------------------------------------------

    def _let_go(self, held_since: int) -> None:
        name = self._space.name(keys.PUBLISHING)
        self._space.write([SameLife(name, held_since)], [Delete(name)])

    def _forget(self, held_since: int, entries: Sequence[tuple[Kv, list[Publish]]], handed: Sequence[Publish]) -> None:
        """Drop what was handed out, and what it took the place of."""
        name = self._space.name(keys.PUBLISHING)
        done = {(change.bucket, change.key) for change in handed}
        draft = TransactionBuilder(self._space.prefix)
        for kv, changes in entries:
            left = [change for change in changes if (change.bucket, change.key) not in done]
            if not left:
                draft.delete(kv.key)
            elif len(left) < len(changes):
                draft.put(kv.key, record_values.write_changes(left))
        ops = draft.ops
        step = most_ops(1) - 1
        for start in range(0, len(ops), step):
            if not self._space.write([SameLife(name, held_since)], ops[start : start + step]).succeeded:
                self._publish_again(done)
                return
        self._let_go(held_since)

    def _publish_again(self, paths: Collection[PathName]) -> None:
        """Have what is live at these paths published: they may hold what a late publisher put there."""
        log.warning("published after the lease had ended", paths=len(paths))
        changes: list[Publish] = []
        for bucket, key in sorted(paths):
            name = self._space.name(keys.PATH, bucket, key)
            kv = self._space.kv.get_many([name]).get(name)
            holder = record_values.read_path(kv).holder if kv is not None else None
            ref = None
            if holder is not None:
                for record in self._history.live_records([holder]):
                    ref = next((out for out in record.outputs if (out.bucket, out.key) == (bucket, key)), None)
            changes.append(Publish(bucket=bucket, key=key, ref=ref))
        self._space.write([], [Put(self.change_name(), record_values.write_changes(changes))])

    def change_name(self) -> bytes:
        """A new key for changes. Their order is that of their making, by revisions."""
        return self._space.prefix + keys.CHANGE + _nonce()


def _publisher(value: Any) -> tuple[str, set[PathName]]:
    """Return who publishes, and which paths."""
    by, paths = value
    return by, {(bucket, key) for bucket, key in paths}


def _nonce() -> bytes:
    return os.urandom(12).hex().encode()
