"""Real servers for tests, under one name: etcd, MinIO, NATS, certificates, and a network between that can be made bad.

See ``devkit/servers`` for the servers and ``devkit/fakes/proxy.py`` for the network.
"""

from devkit.fakes.proxy import Proxy
from devkit.servers.certificates import Certificates, make_certificates
from devkit.servers.etcd import EtcdCluster, EtcdServer
from devkit.servers.minio import MinioServer
from devkit.servers.nats import NatsServer
from devkit.servers.process import PortTaken, Server
from devkit.servers.transfers import Transfers, make_host_key

__all__ = [
    "Certificates",
    "EtcdCluster",
    "EtcdServer",
    "MinioServer",
    "NatsServer",
    "PortTaken",
    "Proxy",
    "Server",
    "Transfers",
    "make_certificates",
    "make_host_key",
]
