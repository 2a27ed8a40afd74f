"""Transactions of the port as messages of etcd, and their answers back: all of the ledger's work goes through this one
kind.

Messages are filled in place, which takes a third of the time that their constructors do; a claim of 200 slots is 400
keys. Knows no connection and no ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from lookout.ledger.etcd.messages import etcd_pb2 as messages
from lookout.ledger.kv.port import (
    Answer,
    Compare,
    Delete,
    Exists,
    Found,
    Guarded,
    Kv,
    NoneNewer,
    Op,
    Put,
    Range,
    SameLife,
    Unchanged,
)

MAX_OPS: Final = 128
"""etcd's limit for the comparisons and for the operations of one transaction, each list by itself."""
_ATOM: Final = 4
"""Operations that one of the given ones may itself be nested of."""
_WIDE: Final = 62

_CREATE: Final = messages.Compare.CREATE
_MOD: Final = messages.Compare.MOD
_GREATER: Final = messages.Compare.GREATER
_LESS: Final = messages.Compare.LESS


class Group(NamedTuple):
    """Operations that are nested in one transaction without comparisons, as one operation of another."""

    ops: Sequence[Op]


# --- requests --------------------------------------------------------------------------------------------------------


def transaction(
    compares: Sequence[Compare], success: Sequence[Range | Op | Group], failure: Sequence[Range] = ()
) -> messages.TxnRequest:
    """Build the message of a whole transaction."""
    request = messages.TxnRequest()
    _fill(request, compares, success)
    for each in failure:
        _fill_range(request.failure.add().request_range, each)
    return request


def _fill(request: messages.TxnRequest, compares: Sequence[Compare], success: Sequence[Range | Op | Group]) -> None:
    add = request.compare.add
    for compare in compares:
        _fill_compare(add(), compare)
    add_op = request.success.add
    for op in success:
        _fill_op(add_op(), op)


def _fill_op(message: messages.RequestOp, op: Range | Op | Group) -> None:
    if type(op) is Put:
        put = message.request_put
        put.key, put.value, lease = op
        if lease:
            put.lease = lease
    elif type(op) is Range:
        _fill_range(message.request_range, op)
    elif type(op) is Delete:
        deleted = message.request_delete_range
        deleted.key, deleted.range_end = op
    elif type(op) is Guarded:
        _fill(message.request_txn, op.compares, op.writes)
    elif type(op) is Group:
        _fill(message.request_txn, (), op.ops)
    else:
        raise TypeError(f"expected an operation, got {op!r}")


def _fill_range(message: messages.RangeRequest, op: Range) -> None:
    message.key, end, limit, revision, keys_only, count_only = op
    if end:
        message.range_end = end
    if limit or revision:
        message.limit, message.revision = limit, revision
    if keys_only or count_only:
        message.keys_only, message.count_only = keys_only, count_only


def _fill_compare(message: messages.Compare, compare: Compare) -> None:
    # The revision is of a oneof: it is on the wire even when it is 0, as it was set.
    message.key = compare[0]
    if type(compare) is Unchanged:
        message.target = _MOD
        message.mod_revision = compare.mod_revision
    elif type(compare) is SameLife:
        message.target = _CREATE
        message.create_revision = compare.create_revision
    elif type(compare) is Exists:
        message.result, message.target = _GREATER, _CREATE
        message.create_revision = 0
    elif type(compare) is NoneNewer:
        message.result, message.target = _LESS, _MOD
        message.mod_revision = compare.revision + 1
        message.range_end = compare.end
    else:
        raise TypeError(f"expected a comparison, got {compare!r}")


# --- answers ---------------------------------------------------------------------------------------------------------


def read_answer(data: bytes) -> Answer:
    """Read the answer to a transaction. Raises google.protobuf.message.DecodeError for bytes that are none."""
    answer = messages.TxnResponse.FromString(data)
    found = [_found(each.response_range) if each.HasField("response_range") else None for each in answer.responses]
    return Answer(answer.succeeded, answer.header.revision, found)


def _found(message: messages.RangeResponse) -> Found:
    kvs = [Kv(kv.key, kv.value, kv.mod_revision, kv.create_revision, kv.version) for kv in message.kvs]
    return Found(kvs, message.more, message.count)


# --- many operations -------------------------------------------------------------------------------------------------


def fold(compares: int, ops: Sequence[Op]) -> Sequence[Op | Group]:
    """Return the operations as at most so many that one transaction may have: nested in groups when they are many.

    etcd counts the lists of each nested transaction against what its parent leaves of the limit. Raises ValueError for
    more than ``port.most_ops`` beside one comparison less, which is the writer's.
    """
    if len(ops) + _ATOM < MAX_OPS and compares < MAX_OPS:
        return ops
    wide = max(compares, _WIDE)
    deep = MAX_OPS - _ATOM - wide
    if deep < 1 or len(ops) > wide * deep:
        raise ValueError(f"expected at most {wide * max(deep, 0)} operations, got {len(ops)}")
    return [Group(ops[start : start + deep]) for start in range(0, len(ops), deep)]
