"""Folder watch: reports files as soon as each is whole. Knows no ledger and no picture."""
