"""Ledger over a key-value store: all logic of keys and values, through the port in ``port``.

A store keeps little, and one transaction takes few operations and bytes; so slots are claimed many at a time by few
keys, marks are puts that read nothing, a record lies once, and commits are cut into pieces, each datum whole. The rules
are those of ``lookout.ledger.rules``; what lies where is in ``keys``. Knows no server and no transport.
"""

from __future__ import annotations

from lookout.ledger.kv.batches import BatchesPart
from lookout.ledger.kv.commits import CommitsPart
from lookout.ledger.kv.inputs import InputsPart
from lookout.ledger.kv.maintenance import UpkeepPart
from lookout.ledger.kv.slots import ViewsPart


class KvLedger(BatchesPart, CommitsPart, InputsPart, UpkeepPart, ViewsPart):
    """See ``Ledger``, ``BatchLedger`` and ``UpkeepLedger``. One instance is for one thread; a process may open several,
    and so may others anywhere.

    Raises InputRejected for a prefix that is no use or a ledger of a newer form, Corrupt for a value that cannot be
    read, and what the store raises.
    """


__all__ = ["KvLedger"]
