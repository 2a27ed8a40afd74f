"""Rules that every backend of the ledger shares, as pure functions."""
