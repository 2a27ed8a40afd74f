"""The connection to etcd: the one module that imports etcd3, and the place where its errors end.

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
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Final, NoReturn, TypeVar

import grpc  # type: ignore[import-untyped]

from lookout.domain.errors import Corrupt, InputRejected, Unavailable
from lookout.ledger.etcd import wire
from lookout.ledger.etcd.address import Address
from lookout.ledger.etcd.errors import MENDABLE, STALE, refusal, short
from lookout.ledger.kv.port import MAX_BYTES, Answer, Compacted, Compare, KeyValues, Op, Put, Range, Unchanged

with warnings.catch_warnings():
    # The messages that etcd3 brings were generated long ago, and protobuf says so at their import.
    warnings.simplefilter("ignore", DeprecationWarning)
    import etcd3.etcdrpc as rpc  # type: ignore[import-untyped]

T = TypeVar("T")

_WRITER_TTL_S: Final = 600
_SENDS: Final = 8


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
        self._channel: Any = None
        self._txn: Any = None
        self._metadata: tuple[tuple[str, str], ...] = ()
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
        if self._writer_lease and self._channel is not None:
            with suppress(grpc.RpcError):  # it would end by itself
                rpc.LeaseStub(self._channel).LeaseRevoke(
                    rpc.LeaseRevokeRequest(ID=self._writer_lease), timeout=1.0, metadata=self._metadata
                )
        self._closed = True
        self._disconnect()

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self, ranges: Sequence[Range]) -> Answer:
        body = wire.txn((), list(map(wire.operation, ranges)))
        return self._patiently(lambda: self._send(body))

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Answer:
        conditions = list(map(wire.comparison, compares))
        writes = wire.folded(len(compares) + 1, list(map(wire.operation, ops)))
        size = sum(map(len, conditions)) + sum(map(len, writes))
        if size > MAX_BYTES:
            raise InputRejected(f"{size} bytes are too many for one transaction of etcd", self.address.name)
        self._keep_writer()
        return self._patiently(lambda: self._write_once(conditions, writes))

    def _write_once(self, compares: Sequence[bytes], ops: Sequence[bytes]) -> Answer:
        for _ in range(_SENDS):
            self._written += 1
            nonce = b"%x" % self._written
            body = wire.txn(
                [wire.comparison(Unchanged(self._writer, self._writer_mod)), *compares],
                [wire.operation(Put(self._writer, nonce, self._writer_lease)), *ops],
                [wire.operation(Range(self._writer))],
            )
            try:
                answer = self._send(body)
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
            kvs = self._send(wire.txn((), [wire.operation(Range(self._writer))])).get(0).kvs
            mod = kvs[0].mod_revision if kvs else 0
            if kvs and kvs[0].value == nonce:
                self._writer_mod = mod
                return True
            fence = wire.operation(Put(self._writer, b"-", self._writer_lease))
            try:
                answer = self._send(wire.txn([wire.comparison(Unchanged(self._writer, mod))], [fence]))
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
        answer = self._patiently(lambda: self._stub(rpc.LeaseStub, "LeaseGrant", rpc.LeaseGrantRequest(TTL=ttl_s)))
        return int(answer.ID)

    def keep_alive(self, lease: int) -> int:
        def ask() -> int:
            requests = iter([rpc.LeaseKeepAliveRequest(ID=lease)])
            for answer in self._stub(rpc.LeaseStub, "LeaseKeepAlive", requests):
                return int(answer.TTL)
            raise _Lost("the stream ended")

        return self._patiently(ask)

    def revoke(self, lease: int) -> None:
        with suppress(LeaseGone):
            self._patiently(lambda: self._stub(rpc.LeaseStub, "LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease)))

    def wait_for_change(self, key: bytes, revision: int, seconds: float) -> bool:
        create = rpc.WatchCreateRequest(key=key, start_revision=revision + 1)
        done = Event()

        def requests() -> Iterator[object]:
            yield rpc.WatchRequest(create_request=create)
            done.wait()

        self._patiently(self._connect)
        stream = rpc.WatchStub(self._channel).Watch(requests(), timeout=seconds, metadata=self._metadata)
        try:
            for answer in stream:
                if answer.events or answer.canceled or answer.compact_revision:
                    return True
        except grpc.RpcError as exc:
            if exc.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return False
            with suppress(_Lost, Compacted, LeaseGone):
                self._fail(exc)
            self._idle.wait(0.1)
        finally:
            done.set()
            stream.cancel()
        return True

    def used_bytes(self) -> int:
        answer = self._patiently(lambda: self._stub(rpc.MaintenanceStub, "Status", rpc.StatusRequest()))
        return int(answer.dbSize)

    # --- requests ---------------------------------------------------------------------------------------------------

    def _send(self, body: bytes) -> Answer:
        self._connect()
        try:
            data = self._txn(body, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as exc:
            self._fail(exc)
        try:
            return wire.read_answer(data)
        except (ValueError, IndexError) as exc:
            raise Corrupt(self.address.name, "an answer of etcd", f"{bytes(data[:40])!r} ({exc})") from exc

    def _stub(self, stub: Callable[[Any], Any], method: str, request: Any) -> Any:
        self._connect()
        try:
            answer = getattr(stub(self._channel), method)(request, timeout=self._timeout_s, metadata=self._metadata)
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

    def _connect(self) -> None:
        if self._closed:
            raise Unavailable(self.address.name, "the ledger is closed")
        if self._channel is not None:
            return
        endpoint = self.address.endpoints[self._turn % len(self.address.endpoints)]
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.keepalive_time_ms", 10_000),
        ]
        if self.address.tls:
            channel = grpc.secure_channel(endpoint, self._credentials(), options=options)
        else:
            channel = grpc.insecure_channel(endpoint, options=options)
        self._channel, self._metadata = channel, ()
        try:
            if self.address.user is not None:
                request = rpc.AuthenticateRequest(name=self.address.user, password=self.address.password)
                answer = rpc.AuthStub(channel).Authenticate(request, timeout=self._timeout_s)
                self._metadata = (("token", answer.token),)
        except grpc.RpcError as exc:
            self._fail(exc)
        self._txn = channel.unary_unary("/etcdserverpb.KV/Txn")

    def _credentials(self) -> Any:
        def content(path: Path | None) -> bytes | None:
            try:
                return path.read_bytes() if path is not None else None
            except OSError as exc:
                raise InputRejected(f"cannot be read: {exc.strerror}", str(path)) from exc

        return grpc.ssl_channel_credentials(
            content(self.address.ca), content(self.address.key), content(self.address.cert)
        )

    def _disconnect(self) -> None:
        channel, self._channel, self._txn = self._channel, None, None
        if channel is not None:
            channel.close()

    # --- errors -----------------------------------------------------------------------------------------------------

    def _fail(self, exc: Any) -> NoReturn:
        """Say what an error of gRPC means; what another try may mend is _Lost, and the next try takes a new channel."""
        code, details = exc.code(), str(exc.details() or "")
        name = self.address.name
        if "compacted" in details or "future revision" in details:
            raise Compacted from exc
        if "requested lease not found" in details:
            raise LeaseGone from exc
        if (refused := refusal(code, details, name)) is not None:
            raise refused from exc
        if code in MENDABLE or any(words in details for words in STALE):
            self._disconnect()
            self._turn += 1
            raise _Lost(short(details) or str(code)) from exc
        raise Unavailable(name, short(details) or str(code)) from exc


def _first(stream: Any) -> Iterator[Any]:
    for answer in stream:
        yield answer
        stream.cancel()
        return
