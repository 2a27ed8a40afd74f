"""Backup of a ledger: one file that every backend can write and restore."""
