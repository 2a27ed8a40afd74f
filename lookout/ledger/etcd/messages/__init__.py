"""Messages and services of etcd, generated from ``etcd.proto`` beside this file (``make messages``).

The package has all of their names, as ``etcd3.etcdrpc`` has, whose place it takes: see
``lookout.ledger.etcd.connection``. Knows no ledger.
"""

from lookout.ledger.etcd.messages.etcd_pb2 import *  # noqa: F403
from lookout.ledger.etcd.messages.etcd_pb2_grpc import *  # noqa: F403
