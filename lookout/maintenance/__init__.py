"""Maintenance: differences between store, ledger and inputs are found by comparison, and repaired.

``sweep`` compares a store with the ledger, ``orphans`` slots with their inputs. Both stream, keep their position in the
ledger, and decide nothing by a listing alone: whatever would be removed or retracted is asked for once more, by name.
Must not know any stage or backend.
"""
