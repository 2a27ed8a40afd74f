"""Folder watch: announces files as soon as each is whole. Knows no ledger and no picture."""
