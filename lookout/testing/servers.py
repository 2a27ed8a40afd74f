"""Real servers for tests, under one name: etcd, MinIO, certificates, and a network between that can be made bad.

See ``lookout/servers`` for the servers and ``lookout/testing/proxy.py`` for the network.
"""

from lookout.servers.certificates import Certificates, make_certificates
from lookout.servers.etcd import EtcdCluster, EtcdServer
from lookout.servers.minio import MinioServer
from lookout.servers.process import PortTaken, Server
from lookout.testing.proxy import Proxy

__all__ = [
    "Certificates",
    "EtcdCluster",
    "EtcdServer",
    "MinioServer",
    "PortTaken",
    "Proxy",
    "Server",
    "make_certificates",
]
