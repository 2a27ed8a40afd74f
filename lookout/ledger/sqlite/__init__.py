"""The ledger of an embedded Lookout: one SQLite file, used by several processes at once.

WAL with ``synchronous = NORMAL``: a killed process loses nothing that was committed; a power cut may lose the newest
transactions, never a part of one, and their datums are done again. Alerts are written through to the disk.
"""

from __future__ import annotations

from lookout.ledger.sqlite.batches import BatchesPart
from lookout.ledger.sqlite.commits import CommitsPart
from lookout.ledger.sqlite.history import HistoryPart
from lookout.ledger.sqlite.inputs import InputsPart
from lookout.ledger.sqlite.maintenance import UpkeepPart
from lookout.ledger.sqlite.outbox import OutboxPart
from lookout.ledger.sqlite.policy import PolicyPart
from lookout.ledger.sqlite.slots import ViewsPart


class SqliteLedger(BatchesPart, CommitsPart, InputsPart, ViewsPart, HistoryPart, OutboxPart, PolicyPart, UpkeepPart):
    """See ``Ledger`` and ``BatchLedger``. One instance is for one thread; a process may open several on one file, and
    so may others.

    Raises InputRejected for a file or folder that cannot be written, is no ledger or is of a newer form, Corrupt for a
    damaged one, Unavailable when there is no room or others hold it for half a minute.
    """


__all__ = ["SqliteLedger"]
