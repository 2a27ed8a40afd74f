"""Client of the package etcd3, on messages for today's protobuf: the one module that imports etcd3.

etcd3 0.12 brings messages that were generated for protobuf before 3.21; a newer one refuses to load them. Those that
were generated from our own ``etcd.proto`` take the place of its module ``etcd3.etcdrpc`` before it is imported. Its
client opens the channel and holds the services; what it would make of logins, keys, watches and errors is not used.
Knows no ledger.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import grpc  # type: ignore[import-untyped]

from lookout.domain.errors import InputRejected
from lookout.filesystem.files import MAX_SETTING_BYTES, read_named
from lookout.ledger.etcd import messages
from lookout.ledger.etcd.address import Address
from lookout.ledger.etcd.login import login_of
from lookout.ledger.etcd.messages.etcd_pb2_grpc import AuthStub, WatchStub

sys.modules["etcd3.etcdrpc"] = messages

import etcd3  # type: ignore[import-untyped]  # noqa: E402 (its messages are replaced first)

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 10_000),
)
_TXN: Final = "/etcdserverpb.KV/Txn"


class Connection(etcd3.Etcd3Client):  # type: ignore[misc]
    """Connection to one endpoint, with the token of this process's login if the address names a user.

    Its public attributes are etcd3's: ``channel``, ``metadata`` (the token), ``leasestub``, ``maintenancestub``.
    Raises InputRejected for a file of the address that cannot be read, grpc.RpcError when the login fails.
    """

    def __init__(self, address: Address, endpoint: str, timeout_s: float) -> None:
        self._address = address
        host, _, port = endpoint.rpartition(":")
        try:
            super().__init__(
                host,
                port,
                # etcd3 speaks TLS where an authority is named; which ones are trusted is said below.
                ca_cert=(address.ca or "") if address.tls else None,
                timeout=timeout_s,
                grpc_options=_OPTIONS,
            )
            if address.user is not None:
                self.metadata = (("token", login_of(address).token(self._authenticate)),)
        except BaseException:
            self.close()
            raise
        self.watchstub = WatchStub(self.channel)
        self.send_txn = self.channel.unary_unary(_TXN, request_serializer=messages.TxnRequest.SerializeToString)
        """Sends a transaction; the answer comes as bytes, so that what cannot be read is told from what is lost."""

    def drop_token(self) -> None:
        """Have the next connection of this process ask for a token, unless one has since this one connected."""
        if self.metadata is not None:
            login_of(self._address).drop(self.metadata[0][1])

    def _authenticate(self) -> str:
        request = messages.AuthenticateRequest(name=self._address.user, password=self._address.password)
        return str(AuthStub(self.channel).Authenticate(request, timeout=self.timeout).token)

    def _get_secure_creds(self, *_: object) -> Any:
        """Read the files of the address; without an authority's, those count that gRPC trusts."""
        files = (self._address.ca, self._address.key, self._address.cert)
        return grpc.ssl_channel_credentials(*map(_content, files))


def _content(path: Path | None) -> bytes | None:
    try:
        return read_named(path, MAX_SETTING_BYTES) if path is not None else None
    except OSError as exc:
        raise InputRejected(f"cannot be read: {exc.strerror}", str(path)) from exc
