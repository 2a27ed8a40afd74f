"""Object stores: where pictures and results are kept. ``base`` is the contract."""
