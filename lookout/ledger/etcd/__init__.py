"""The ledger in etcd: for many workers on many machines, with MinIO as the store.

etcd keeps little, and one transaction takes at most 128 operations and 1.5 MiB; so slots are claimed many at a time by
few keys, marks are puts that read nothing, a record lies once, and commits are cut into pieces, each datum whole. The
rules are those of ``settling`` and ``delivery``; what lies where is in ``keys``.
"""

from __future__ import annotations

from lookout.ledger.etcd.address import Address
from lookout.ledger.etcd.batches import BatchesPart
from lookout.ledger.etcd.commits import CommitsPart
from lookout.ledger.etcd.inputs import InputsPart
from lookout.ledger.etcd.upkeep import UpkeepPart
from lookout.ledger.etcd.views import ViewsPart


class EtcdLedger(BatchesPart, CommitsPart, InputsPart, UpkeepPart, ViewsPart):
    """See ``Ledger``, ``BatchLedger`` and ``UpkeepLedger``. One instance is for one thread; a process may open several,
    and so may others anywhere.

    Raises InputRejected for an address, a user or a prefix that is no use or of a newer form, Corrupt for a value that
    cannot be read, Unavailable when etcd does not answer for ``patience_s`` or has no room.
    """


__all__ = ["Address", "EtcdLedger"]
