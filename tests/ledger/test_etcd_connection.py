"""Connection by the client of etcd3: how it speaks, and which files of an address it cannot use. No etcd."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lookout.domain.errors import InputRejected
from lookout.ledger.etcd.address import Address
from lookout.ledger.etcd.connection import Connection
from lookout.ledger.etcd.transactions import transaction

PLAIN = b"PRI * HTTP/2.0"
HANDSHAKE = b"\x16\x03"
"""First bytes of a record of TLS that begins a handshake."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


@pytest.mark.parametrize(("tls", "first"), [(True, HANDSHAKE), (False, PLAIN)])
def test_it_speaks_tls_where_the_address_says_so_though_no_authority_is_named(
    listener: socket.socket, tls: bool, first: bytes
) -> None:
    """The client of etcd3 by itself speaks plain text then."""
    endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
    connection = Connection(Address(endpoints=(endpoint,), tls=tls), endpoint, 5.0)
    try:
        asked = connection.send_txn.future(transaction((), ()), timeout=10)
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(10)
            assert accepted.recv(len(first), socket.MSG_WAITALL) == first
        asked.cancel()
    finally:
        connection.close()


@pytest.mark.parametrize("names", [("ca",), ("cert", "key")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    files = {name: tmp_path / name for name in names}
    with pytest.raises(InputRejected, match=f"{names[-1]}.*No such file|No such file.*{names[-1]}"):
        Connection(Address(endpoints=("127.0.0.1:1",), tls=True, **files), "127.0.0.1:1", 5.0)
