"""Ledger in etcd: transport and administration, for many workers on many machines, with MinIO as the store of objects.

All logic is in ``lookout.ledger.kv``; here are the address, the connection, the messages, and who may do what.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lookout.ledger.etcd.address import DEFAULT_PREFIX, Address
from lookout.ledger.etcd.client import Etcd
from lookout.ledger.kv import KvLedger, keys


class EtcdLedger(KvLedger):
    """See ``KvLedger``. ``address`` says where etcd is; see ``Etcd`` for ``timeout_s`` and ``patience_s``.

    Raises InputRejected for an address, a user or a prefix that is no use or of a newer form, Corrupt for a value that
    cannot be read, Unavailable when etcd does not answer for ``patience_s`` or has no room.
    """

    def __init__(
        self,
        address: Address,
        prefix: str = DEFAULT_PREFIX,
        clock: Callable[[], float] = time.time,
        *,
        ttl_s: int = 15,
        timeout_s: float = 5.0,
        patience_s: float = 15.0,
    ) -> None:
        etcd = Etcd(address, keys.ledger(prefix), timeout_s=timeout_s, patience_s=patience_s)
        super().__init__(etcd, prefix, clock, ttl_s=ttl_s)


__all__ = ["Address", "EtcdLedger"]
