"""Ledgers: what has been processed, from what, by whom, and what is still to do. ``base`` is the contract."""
