"""Upkeep: what live records name, path by path; one moment of all for a backup; filling; the size.

A snapshot is one revision, copied into temporary files before it is told: a revision can be read only until it is
compacted, and whoever writes the file may be slow. If it is compacted all the same, the copy begins anew.

A ledger is filled by many transactions. Until the last, a word in the place of its form has everybody who opens it
refused, and says why; whatever goes wrong before, all of it is removed again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

from lookout.domain.errors import InputRejected, LookoutError, Unavailable
from lookout.domain.records import ObjectRef, Record
from lookout.ledger.kv import keys, record_values
from lookout.ledger.kv.history import History
from lookout.ledger.kv.keyspace import FILLING, FORM, Keyspace
from lookout.ledger.kv.liveness import log
from lookout.ledger.kv.port import Compacted, Compare, Delete, Kv, NoneNewer, Put, Range, Unchanged
from lookout.ledger.kv.publishing import Publishing
from lookout.ledger.kv.restore import Filler
from lookout.ledger.kv.sessions import Sessions
from lookout.ledger.kv.slots import Slots
from lookout.ledger.kv.snapshots import COPIED, Snapshot
from lookout.ledger.kv.spool import Spool
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.maintenance import Entry, LedgerSize, Named, refuse_filled
from lookout.object_store.port import Publish

PAGE: Final = 300
TOGETHER: Final = 90
"""Paths in one transaction: each is compared."""
COPIES: Final = 5
"""Number of times that a copy that was compacted away is begun anew."""

_OURS: Final = (keys.META, keys.WRITER, keys.OWNER, keys.ALIVE)
"""Kinds of keys that an empty ledger may hold."""


class Maintenance:
    """Comparison, snapshots and restoring. See ``UpkeepLedger``."""

    def __init__(
        self, space: Keyspace, sessions: Sessions, history: History, publishing: Publishing, slots: Slots
    ) -> None:
        self._space, self._sessions, self._history, self._publishing, self._slots = (
            space,
            sessions,
            history,
            publishing,
            slots,
        )

    # --- beside a store ---------------------------------------------------------------------------------------------

    def named(self, bucket: str, after: str = "") -> Iterator[Named]:
        start, end = self._space.span(keys.PATH, bucket)
        cut = len(start)
        if after:
            start = keys.behind(self._space.name(keys.PATH, bucket, after))
        while True:
            found = self._space.kv.read([Range(start, end, limit=PAGE)]).get(0)
            paths = {keys.parts(kv.key[cut:], 1)[0]: kv for kv in found.kvs}
            said = self._said(bucket, paths)
            yield from (named for key in paths if (named := said[key]) is not None)
            if not found.more:
                return
            start = keys.behind(found.kvs[-1].key)

    def _said(self, bucket: str, paths: dict[str, Kv]) -> dict[str, Named | None]:
        """Return what live records say of these paths."""
        holders = {key: record_values.read_path(kv).holder for key, kv in paths.items()}
        live: dict[tuple[str, str], Record] = {}
        for record in self._history.live_records({holder for holder in holders.values() if holder is not None}):
            live[record.stage, record.key] = record
        said: dict[str, Named | None] = {}
        for key, holder in holders.items():
            made = live.get(holder) if holder is not None else None
            refs = made.outputs if made is not None else ()
            ref = next((ref for ref in refs if (ref.bucket, ref.key) == (bucket, key)), None)
            said[key] = Named(ref=ref, record=made) if ref is not None and made is not None else None
        return said

    def restate(self, bucket: str, keys: Collection[str]) -> dict[str, ObjectRef | None]:
        self._space.check_writing()
        said: dict[str, ObjectRef | None] = {}
        todo = list(dict.fromkeys(keys))
        for start in range(0, len(todo), TOGETHER):
            said.update(self._restate(bucket, todo[start : start + TOGETHER]))
        return said

    def _restate(self, bucket: str, wanted: Sequence[str]) -> dict[str, ObjectRef | None]:
        names = {key: self._space.name(keys.PATH, bucket, key) for key in wanted}
        for _attempt in self._space.attempts("restating"):
            found = self._space.kv.get_many(names.values())
            named = self._said(bucket, {key: found[name] for key, name in names.items() if name in found})
            refs = {key: one.ref if (one := named.get(key)) is not None else None for key in wanted}
            # A commit that gives a path another version writes its key. A change that is noted already says the same
            # of the path as its record, so that it may be said twice.
            draft = TransactionBuilder(self._space.prefix)
            for name in names.values():
                draft.expect(name, found[name].mod_revision if name in found else 0)
            changes = [Publish(bucket=bucket, key=key, ref=ref) for key, ref in refs.items()]
            draft.put(self._publishing.change_name(), record_values.write_changes(changes))
            if self._space.write(draft.compares, draft.ops).succeeded:
                return refs
        return {}

    # --- saving -----------------------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[Iterator[Entry]]:
        with closing(Spool()) as spool:
            now_s = self._space.clock()
            self._copy(spool)
            parts = self._space.read_parts(list(spool.read(keys.CLAIM)), list(spool.read(keys.LEASE)))
            yield Snapshot(spool, len(self._space.prefix) + 1, parts, now_s).entries()

    def _copy(self, spool: Spool) -> None:
        """All that entries are made of, at one revision."""
        for _ in range(COPIES):
            revision = 0
            try:
                for kind in COPIED:
                    start, end = self._space.span(kind)
                    more = True
                    while more:
                        answer = self._space.kv.read([Range(start, end, limit=PAGE, revision=revision)])
                        revision = revision or answer.revision
                        found = answer.get(0)
                        spool.add(kind, found.kvs)
                        more = found.more
                        start = keys.behind(found.kvs[-1].key) if more else start
            except Compacted:
                log.info("snapshot compacted", revision=revision)
                spool.close()
                continue
            return
        raise Unavailable(
            self._space.kv.name,
            f"{COPIES} copies were compacted away while they were made: set its --auto-compaction-retention to minutes",
        )

    # --- filling ----------------------------------------------------------------------------------------------------

    def load(self, entries: Iterable[Entry]) -> None:
        self._space.check_writing()
        meta = self._space.name(keys.META)
        since = self._begin_filling(meta)
        same = Unchanged(meta, since)

        def write(draft: TransactionBuilder) -> None:
            if not self._space.write([same, *draft.compares], draft.ops).succeeded:
                raise Unavailable(self._space.kv.name, "another process has ended the restore of this ledger")

        try:
            with closing(Filler(self._space.prefix, write, self._space.kv.get_many)) as filler:
                for entry in entries:
                    filler.add(entry)
                filler.finish()
        except BaseException:
            try:
                self._remove_all(same)
            except LookoutError as exc:  # whoever opens it is told; what went wrong before says more
                log.warning("restored part not removed", why=str(exc))
            raise
        self._space.write([same], [Put(meta, b"%d" % FORM)])

    def _begin_filling(self, meta: bytes) -> int:
        """Keep others from opening the ledger; since which revision. Raises InputRejected when it is not empty."""
        self._sessions.bury_dead()
        kinds = [bytes((kind,)) for kind in keys.KINDS if bytes((kind,)) not in _OURS]
        for _attempt in self._space.attempts("beginning to restore"):
            answer = self._space.kv.read([Range(meta), Range(*self._space.span(keys.OWNER), limit=1, keys_only=True)])
            form = answer.get(0).kvs
            where = f"{self._space.kv.name}, prefix {self._space.prefix[:-1].decode()!r}"
            if answer.get(1).kvs:
                raise InputRejected("other processes use the ledger", where, "stop them, or restore into a new prefix")
            if not form or form[0].value == FILLING or self._holds_any(kinds):
                raise refuse_filled(where)
            # Nothing is newer than revision 0 where nothing is.
            empty = [NoneNewer(*self._space.span(kind), 0) for kind in (*kinds, keys.OWNER)]
            written = self._space.write([Unchanged(meta, form[0].mod_revision), *empty], [Put(meta, FILLING)])
            if written.succeeded:
                return written.revision
        return 0

    def _holds_any(self, kinds: Sequence[bytes]) -> bool:
        answer = self._space.kv.read([Range(*self._space.span(kind), limit=1, keys_only=True) for kind in kinds])
        return any(answer.get(n).kvs for n in range(len(kinds)))

    def _remove_all(self, same: Compare) -> None:
        """Make the ledger empty again, if it is still the one that is being filled."""
        for kind in keys.KINDS:
            if bytes((kind,)) not in _OURS:
                self._space.write([same], [Delete(*self._space.span(bytes((kind,))))])
        self._space.write([same], [Put(self._space.name(keys.META), b"%d" % FORM)])

    # --- size -------------------------------------------------------------------------------------------------------

    def size(self) -> LedgerSize:
        kinds = (keys.INPUT, keys.RECORD, keys.PATH, keys.ALERT, keys.RUN)
        answer = self._space.kv.read([Range(*self._space.span(kind), count_only=True) for kind in kinds])
        inputs, records, paths, alerts, runs = (answer.get(n).total for n in range(len(kinds)))
        slots = sum(count for states in self._slots.count_slots().values() for count in states.values())
        return LedgerSize(
            inputs=inputs,
            slots=slots,
            records=records,
            paths=paths,
            alerts=alerts,
            runs=runs,
            used_bytes=self._space.kv.used_bytes(),
        )
