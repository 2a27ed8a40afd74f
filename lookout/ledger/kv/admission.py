"""Admission of batches to runs: what has to be read of a run, and to stay as it was, for a batch to be put into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lookout.ledger import batches as batching
from lookout.ledger.kv import keys, record_values
from lookout.ledger.kv.keyspace import Keyspace
from lookout.ledger.kv.port import Found, Kv, Range
from lookout.ledger.kv.slot_values import dump, load
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.open_runs import RunLease
from lookout.ledger.port import RunRecord
from lookout.ledger.rules.open_runs import check_takes


class Admission:
    """Admission to a run that has not ended; to no run, if its id is empty."""

    def __init__(self, space: Keyspace, run: str) -> None:
        self._space, self._run = space, run
        self._name = space.name(keys.RUN, run)

    @property
    def asked(self) -> list[Range]:
        """The ranges whose answers ``check`` wants."""
        return [Range(self._name)] if self._run else []

    def check(self, draft: TransactionBuilder, found: Sequence[Found]) -> None:
        """Let the draft hold only while the run takes batches. Raises KeyError for an unknown run, InputRejected for
        one that takes none."""
        if self._run:
            batching.check_run(self._run, self._read(draft, found).state)

    def _read(self, draft: TransactionBuilder, found: Sequence[Found]) -> RunRecord:
        if not found[0].kvs:
            raise KeyError(self._run)
        (kv,) = found[0].kvs
        draft.expect(kv.key, kv.mod_revision)
        return record_values.read_run(self._run, kv)


class OpenAdmission(Admission):
    """Admission to a run that is opening or open."""

    def __init__(self, space: Keyspace, run: str, opening_s: float) -> None:
        super().__init__(space, run)
        self._opening_s = opening_s
        self._lease = space.name(keys.RUN_LEASE, run)

    @property
    def asked(self) -> list[Range]:
        return [Range(self._name), Range(self._lease)]

    def check(self, draft: TransactionBuilder, found: Sequence[Found]) -> None:
        run = self._read(draft, found)
        kvs = found[1].kvs
        draft.expect(self._lease, kvs[0].mod_revision if kvs else 0)
        lease = read_run_lease(self._run, kvs[0]) if kvs else None
        check_takes(run, lease, self._space.clock(), self._opening_s)


def write_run_lease(lease: RunLease) -> bytes:
    """The value of a run lease's key."""
    return dump([lease.owner, lease.since_s, lease.draining])


def read_run_lease(run: str, kv: Kv) -> RunLease:
    """Read what ``write_run_lease`` wrote. Raises Corrupt."""

    def build(value: Any) -> RunLease:
        owner, since_s, draining = value
        return RunLease(run=run, owner=owner, since_s=since_s, draining=draining)

    return load(kv, build)
