"""Ledger over a key-value store: all logic of keys and values, through the port in ``port``.

A store keeps little, and one transaction takes few operations and bytes; so slots are claimed many at a time by few
keys, marks are puts that read nothing, a record lies once, and commits are cut into pieces, each datum whole. The rules
are those of ``lookout.ledger.rules``; what lies where is in ``keys``. Knows no server and no transport.
"""

from __future__ import annotations

from lookout.ledger.kv.ledger import KvLedger

__all__ = ["KvLedger"]
