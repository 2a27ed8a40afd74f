"""Reports: read-only answers from the ledger."""
