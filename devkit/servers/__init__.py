"""Real MinIO and etcd on this machine's loopback: for the tests that need them, and for ``make services``.

Nothing of the engine imports this package, and it imports nothing of the engine but its errors. It is no way to run a
site: production brings its own servers, and Lookout only gets their addresses.
"""
