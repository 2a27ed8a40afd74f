"""Key-value port on etcd, and the place where errors of gRPC end.

What it adds to a channel: several endpoints, tried in turn for some seconds before anything is called unavailable;
credentials, renewed when their token ends; writes that are applied exactly once, also when an answer was lost; scans
that survive a compaction. Knows no ledger. One instance is for one thread.

*Exactly once.* Each client has a key of its own that every write changes, and every write compares it. When an answer
is lost, the key says whether the write was applied; if it was not, the key is changed before the write is sent again,
so that the first one, should it still be on its way, is refused.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from threading import Event
from typing import Any, Final, NoReturn, TypeVar

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError

from lookout.domain.errors import Corrupt, InputRejected, Unavailable
from lookout.ledger.etcd import messages as rpc
from lookout.ledger.etcd.address import Address
from lookout.ledger.etcd.connection import Connection
from lookout.ledger.etcd.errors import doubts_token, is_mendable, refusal, short
from lookout.ledger.etcd.transactions import fold, read_answer, transaction
from lookout.ledger.kv.port import MAX_BYTES, Answer, Compacted, Compare, KeyValues, Op, Put, Range, Unchanged

T = TypeVar("T")

_WRITER_TTL_S: Final = 600
_SENDS: Final = 8

_send_txn = attrgetter("send_txn")
_grant = attrgetter("leasestub.LeaseGrant")
_revoke = attrgetter("leasestub.LeaseRevoke")
_keep_alive = attrgetter("leasestub.LeaseKeepAlive")
_status = attrgetter("maintenancestub.Status")


class LeaseGone(Exception):
    """The lease is not there any more."""


class _Lost(Exception):
    """No answer came: what was asked may have been done, or be done yet."""


class Etcd(KeyValues):
    """See the module. ``timeout_s`` is for one request, ``patience_s`` for all tries of one call together."""

    def __init__(self, address: Address, prefix: bytes, *, timeout_s: float = 5.0, patience_s: float = 15.0) -> None:
        self.address, self.prefix = address, prefix
        self._timeout_s, self._patience_s = timeout_s, patience_s
        self._turn = 0
        self._connection: Connection | None = None
        self._closed = False
        self._idle = Event()
        self._id = os.urandom(9).hex()
        self._writer = prefix + b"T" + self._id.encode()
        self._writer_mod = self._writer_lease = self._written = 0
        self._writer_kept_at_s = 0.0

    @property
    def name(self) -> str:
        return self.address.name

    @property
    def id(self) -> str:
        return self._id

    def another(self) -> Etcd:
        return Etcd(self.address, self.prefix, timeout_s=self._timeout_s, patience_s=self._patience_s)

    def close(self) -> None:
        if self._closed:
            return
        if self._writer_lease and self._connection is not None:
            revoke = self._connection.leasestub.LeaseRevoke
            with suppress(grpc.RpcError):  # it would end by itself
                revoke(rpc.LeaseRevokeRequest(ID=self._writer_lease), timeout=1.0, metadata=self._connection.metadata)
        self._closed = True
        self._disconnect()

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self, ranges: Sequence[Range]) -> Answer:
        request = transaction((), ranges)
        return self._patiently(lambda: self._send(request))

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Answer:
        request = transaction(
            (Unchanged(self._writer, 0), *compares),
            (Put(self._writer, b""), *fold(len(compares) + 1, ops)),
            (Range(self._writer),),
        )
        if (size := request.ByteSize()) > MAX_BYTES:
            raise InputRejected(f"{size} bytes are too many for one transaction of etcd", self.address.name)
        self._keep_writer()
        return self._patiently(lambda: self._write_once(request))

    def _write_once(self, request: rpc.TxnRequest) -> Answer:
        expected, written = request.compare[0], request.success[0].request_put
        for _ in range(_SENDS):
            self._written += 1
            nonce = b"%x" % self._written
            expected.mod_revision = self._writer_mod
            written.value, written.lease = nonce, self._writer_lease
            try:
                answer = self._send(request)
            except LeaseGone:
                self._writer_lease = 0
                self._keep_writer()
                continue
            except _Lost:
                applied = self._patiently(lambda sent=nonce: self._find_out(sent))  # type: ignore[misc]
                if applied:
                    return Answer(True, self._writer_mod, [])
                continue
            if answer.succeeded:
                self._writer_mod = answer.revision
                return answer
            kvs = answer.get(0).kvs
            mod = kvs[0].mod_revision if kvs else 0
            if mod == self._writer_mod:
                return answer
            self._writer_mod = mod  # its lease had ended: nothing but that was different
        raise Unavailable(self.address.name, f"a transaction was sent {_SENDS} times and never answered")

    def _find_out(self, nonce: bytes) -> bool:
        """Tell whether the write was applied. If not, it never will be."""
        while True:
            kvs = self._send(transaction((), (Range(self._writer),))).get(0).kvs
            mod = kvs[0].mod_revision if kvs else 0
            if kvs and kvs[0].value == nonce:
                self._writer_mod = mod
                return True
            fence = Put(self._writer, b"-", self._writer_lease)
            try:
                answer = self._send(transaction((Unchanged(self._writer, mod),), (fence,)))
            except LeaseGone:
                self._writer_lease = 0
                self._keep_writer()
                continue
            if answer.succeeded:
                self._writer_mod = answer.revision
                return False

    def _keep_writer(self) -> None:
        """The writer's key lives by a lease, so that a killed process leaves nothing behind."""
        now_s = time.monotonic()
        if self._writer_lease and now_s - self._writer_kept_at_s < _WRITER_TTL_S / 3:
            return
        if self._writer_lease and self.keep_alive(self._writer_lease) <= 0:
            self._writer_lease = 0
        if not self._writer_lease:
            self._writer_lease = self.grant(_WRITER_TTL_S)
        self._writer_kept_at_s = now_s

    # --- leases, waiting, status ------------------------------------------------------------------------------------

    def grant(self, ttl_s: int) -> int:
        # Asked for twice when an answer is lost; the other one ends by itself.
        request = rpc.LeaseGrantRequest(TTL=ttl_s)
        return int(self._patiently(lambda: self._ask(_grant, request)).ID)

    def keep_alive(self, lease: int) -> int:
        def ask() -> int:
            requests = iter([rpc.LeaseKeepAliveRequest(ID=lease)])
            for answer in self._ask(_keep_alive, requests):
                return int(answer.TTL)
            raise _Lost("the stream ended")

        return self._patiently(ask)

    def revoke(self, lease: int) -> None:
        with suppress(LeaseGone):
            self._patiently(lambda: self._ask(_revoke, rpc.LeaseRevokeRequest(ID=lease)))

    def wait_for_change(self, spans: Sequence[tuple[bytes, bytes]], revision: int, seconds: float) -> bool:
        done = Event()

        def requests() -> Iterator[object]:
            for start, end in spans:
                create = rpc.WatchCreateRequest(key=start, range_end=end, start_revision=revision + 1)
                yield rpc.WatchRequest(create_request=create)
            done.wait()

        connection = self._patiently(self._connect)
        ends_s = time.monotonic() + seconds
        stream = connection.watchstub.Watch(requests(), timeout=seconds, metadata=connection.metadata)
        try:
            for answer in stream:
                if answer.events or answer.compact_revision:
                    return True
                if answer.canceled:
                    return time.monotonic() < ends_s
        except grpc.RpcError as exc:
            # At the end of the time the server may be faster to cancel the watch than this side to give it up.
            if exc.code() is grpc.StatusCode.DEADLINE_EXCEEDED or time.monotonic() >= ends_s:
                return False
            with suppress(_Lost, Compacted, LeaseGone):
                self._fail(exc)
            self._idle.wait(0.1)
        finally:
            done.set()
            stream.cancel()
        return True

    def used_bytes(self) -> int:
        return int(self._patiently(lambda: self._ask(_status, rpc.StatusRequest())).dbSize)

    # --- requests ---------------------------------------------------------------------------------------------------

    def _send(self, request: rpc.TxnRequest) -> Answer:
        data = self._ask(_send_txn, request)
        try:
            return read_answer(data)
        except DecodeError as exc:
            raise Corrupt(self.address.name, "an answer of etcd", f"{bytes(data[:40])!r} ({exc})") from exc

    def _ask(self, method: Callable[[Connection], Any], request: Any) -> Any:
        connection = self._connect()
        try:
            answer = method(connection)(request, timeout=self._timeout_s, metadata=connection.metadata)
            return answer if not hasattr(answer, "initial_metadata") else list(_first(answer))
        except grpc.RpcError as exc:
            self._fail(exc)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask again, of the next endpoint, while no answer comes and patience lasts."""
        deadline_s = time.monotonic() + self._patience_s
        pause_s = 0.02
        while True:
            try:
                return ask()
            except _Lost as exc:
                if time.monotonic() + pause_s > deadline_s:
                    raise Unavailable(self.address.name, f"no answer in {self._patience_s:.0f} s: {exc}") from exc
            self._idle.wait(pause_s)
            pause_s = min(pause_s * 2, 0.5)

    # --- connecting -------------------------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        if self._closed:
            raise Unavailable(self.address.name, "the ledger is closed")
        if self._connection is None:
            endpoint = self.address.endpoints[self._turn % len(self.address.endpoints)]
            try:
                self._connection = Connection(self.address, endpoint, self._timeout_s)
            except grpc.RpcError as exc:
                self._fail(exc)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --- errors -----------------------------------------------------------------------------------------------------

    def _fail(self, exc: Any) -> NoReturn:
        """Say what an error of gRPC means; what another try may mend is _Lost, and the next one connects anew."""
        code, details = exc.code(), str(exc.details() or "")
        name = self.address.name
        if "compacted" in details or "future revision" in details:
            raise Compacted from exc
        if "requested lease not found" in details:
            raise LeaseGone from exc
        if (refused := refusal(code, details, name)) is not None:
            raise refused from exc
        if is_mendable(code, details):
            if self._connection is not None and doubts_token(code, details):
                self._connection.drop_token()
            self._disconnect()
            self._turn += 1
            raise _Lost(short(details) or str(code)) from exc
        raise Unavailable(name, short(details) or str(code)) from exc


def _first(stream: Any) -> Iterator[Any]:
    for answer in stream:
        yield answer
        stream.cancel()
        return
