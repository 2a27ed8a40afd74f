"""A Kubernetes of one node on this machine, in namespaces of its own: ``python3 -m k8s.local up``, ``down``.

For tests and for trying Lookout, on a bare Linux machine with root and no container registry. Needs Python's standard
library, the programs that ``scripts/servers.py`` builds, and packages of Debian. See docs/cluster.md.
"""
