"""Messages of transactions as bytes, and their answers back: all of the ledger's work goes through this one kind.

Written by hand for one reason: the generated classes are pure Python with the protobuf that etcd3 needs, and take ten
times as long for the same bytes; a claim of 200 slots is 400 keys. The numbers are those of etcd's public ``rpc.proto``
and ``kv.proto``, which are frozen. An unknown field of an answer is skipped. Knows no connection and no ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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


# --- encoding --------------------------------------------------------------------------------------------------------


_SMALL: Final = [bytes((number,)) for number in range(128)]
_UNCHANGED: Final = b"\x10\x02\x1a"
"""Compare, target MOD, tag of the key; equal, which is 0, is not written."""
_SAME_LIFE: Final = b"\x10\x01\x1a"
_EXISTS: Final = b"\x08\x01\x10\x01\x1a"
"""Greater than create revision 0."""
_NONE_NEWER: Final = b"\x08\x02\x10\x02\x1a"
"""Less than the mod revision after."""


def _number(value: int) -> bytes:
    if value < 128:
        return _SMALL[value]
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _text(mark: bytes, data: bytes) -> bytes:
    size = len(data)
    return mark + (_SMALL[size] if size < 128 else _number(size)) + data


def _int(mark: bytes, value: int) -> bytes:
    return mark + _number(value) if value else b""


def operation(op: Range | Op) -> bytes:
    """One operation of a transaction."""
    if type(op) is Put:
        key, value, lease = op
        body = _text(b"\x0a", key) + _text(b"\x12", value)
        return _text(b"\x12", body + _int(b"\x18", lease) if lease else body)
    if type(op) is Range:
        return _text(b"\x0a", _range(op))
    if type(op) is Delete:
        return _text(b"\x1a", _text(b"\x0a", op.key) + (_text(b"\x12", op.end) if op.end else b""))
    if type(op) is Guarded:
        return _nested(txn([comparison(each) for each in op.compares], [operation(each) for each in op.writes]))
    raise TypeError(f"expected an operation, got {op!r}")


def _nested(body: bytes) -> bytes:
    return _text(b"\x22", body)


def _range(op: Range) -> bytes:
    key, end, limit, revision, keys_only, count_only = op
    body = _text(b"\x0a", key)
    if end:
        body += _text(b"\x12", end)
    if limit or revision:
        body += _int(b"\x18", limit) + _int(b"\x20", revision)
    if keys_only or count_only:
        body += _int(b"\x40", keys_only) + _int(b"\x48", count_only)
    return body


def txn(compares: Sequence[bytes], success: Sequence[bytes], failure: Sequence[bytes] = ()) -> bytes:
    """A whole transaction."""
    return b"".join(
        [_text(b"\x0a", each) for each in compares]
        + [_text(b"\x12", each) for each in success]
        + [_text(b"\x1a", each) for each in failure]
    )


def comparison(compare: Compare) -> bytes:
    """One comparison of a transaction."""
    # A oneof must be on the wire even when it is 0, so the revisions are written in full.
    key = compare[0]
    size = len(key)
    named = (_SMALL[size] if size < 128 else _number(size)) + key
    if type(compare) is Unchanged:
        return _UNCHANGED + named + b"\x30" + _number(compare.mod_revision)
    if type(compare) is Exists:
        return _EXISTS + named + b"\x28\x00"
    if type(compare) is SameLife:
        return _SAME_LIFE + named + b"\x28" + _number(compare.create_revision)
    if type(compare) is NoneNewer:
        return _NONE_NEWER + named + b"\x30" + _number(compare.revision + 1) + _text(b"\x82\x04", compare.end)
    raise TypeError(f"expected a comparison, got {compare!r}")


# --- decoding --------------------------------------------------------------------------------------------------------


def read_answer(data: bytes) -> Answer:
    """The answer to a transaction. Raises ValueError or IndexError for bytes that are none."""
    succeeded, revision = False, 0
    found: list[Found | None] = []
    for tag, number, body in _fields(data, 0, len(data)):
        if tag == 1:
            revision = next((value for inner, value, _ in _fields(data, *body) if inner == 3), 0)
        elif tag == 2:
            succeeded = bool(number)
        elif tag == 3:
            found.append(next((_found(data, *inner) for kind, _, inner in _fields(data, *body) if kind == 1), None))
    return Answer(succeeded, revision, found)


def _found(data: bytes, at: int, end: int) -> Found:
    kvs: list[Kv] = []
    more, count = False, 0
    while at < end:
        mark = data[at]
        number, at = _read_number(data, at + 1)
        if mark & 7 == 2 and at + number > end:
            raise ValueError(f"expected {number} bytes, got {end - at}")
        if mark == 2 << 3 | 2:
            kvs.append(_kv(data, at, at + number))
        elif mark == 3 << 3:
            more = bool(number)
        elif mark == 4 << 3:
            count = number
        elif mark & 5 or mark > 127:
            raise ValueError(f"expected a field of an answer, got mark {mark}")
        if mark & 7 == 2:
            at += number
    return Found(kvs, more, count)


def _kv(data: bytes, at: int, end: int) -> Kv:
    # One loop without calls: a third of the time of a large answer is spent here.
    key = value = b""
    created = modified = version = 0
    while at < end:
        mark, number, shift = data[at], data[at + 1], 7
        at += 2
        while number >> shift:  # the highest bit says that there is more, and is no part of the number
            number += (data[at] - 1) << shift
            at += 1
            shift += 7
        if mark == 1 << 3 | 2:
            key = data[at : at + number]
            at += number
        elif mark == 5 << 3 | 2:
            value = data[at : at + number]
            at += number
        elif mark == 2 << 3:
            created = number
        elif mark == 3 << 3:
            modified = number
        elif mark == 4 << 3:
            version = number
        elif mark & 7 or mark > 127:
            raise ValueError(f"expected a field of a key, got mark {mark}")
    return Kv(key, value, modified, created, version)


_NOWHERE: Final = (0, 0)


def _fields(data: bytes, at: int, end: int) -> list[tuple[int, int, tuple[int, int]]]:
    """The fields of a message: tag, number if it is one, and from where to where its bytes go if it has them."""
    fields = []
    while at < end:
        mark, at = _read_number(data, at)
        number, at = _read_number(data, at)
        if mark & 7 == 0:
            fields.append((mark >> 3, number, _NOWHERE))
        elif mark & 7 == 2:
            if at + number > end:
                raise ValueError(f"expected {number} bytes, got {end - at}")
            fields.append((mark >> 3, 0, (at, at + number)))
            at += number
        else:
            raise ValueError(f"expected numbers and bytes, got wire type {mark & 7}")
    return fields


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7


# --- many operations -------------------------------------------------------------------------------------------------

_ATOM: Final = 4
"""Operations that one of the given ones may itself be nested of."""
_WIDE: Final = 62


def folded(compares: int, ops: Sequence[bytes]) -> Sequence[bytes]:
    """The same operations as at most so many that one transaction may have: nested in groups when they are many.

    etcd counts the lists of each nested transaction against what its parent leaves of the limit. Raises ValueError for
    more than ``port.most_ops`` beside one comparison less, which is the writer's.
    """
    if len(ops) + _ATOM < MAX_OPS and compares < MAX_OPS:
        return ops
    wide = max(compares, _WIDE)
    deep = MAX_OPS - _ATOM - wide
    if deep < 1 or len(ops) > wide * deep:
        raise ValueError(f"expected at most {wide * max(deep, 0)} operations, got {len(ops)}")
    return [_nested(txn((), ops[start : start + deep])) for start in range(0, len(ops), deep)]
