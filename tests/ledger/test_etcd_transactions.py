"""Transactions of the ledger as bytes of etcd's messages, and its answers. No etcd."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from lookout.ledger.etcd import messages as rpc
from lookout.ledger.etcd import transactions
from lookout.ledger.kv.port import Delete, Exists, Guarded, Kv, NoneNewer, Put, Range, SameLife, Unchanged, most_ops


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 2**63 - 1))
def test_requests_say_what_the_port_says(key, other, number):
    ops = [
        Range(key, other, limit=number, revision=number, keys_only=True),
        Range(key, count_only=True),
        Put(key, other, number),
        Delete(key, other),
        Guarded((Unchanged(key, number),), (Put(key, b""),)),
    ]
    compares = [Unchanged(key, number), SameLife(key, number), Exists(key), NoneNewer(key, other, number // 2)]
    request = sent(transactions.transaction(compares, ops, [Range(other)]))
    ranged, counted, put, deleted, nested = request.success
    assert ranged.request_range == rpc.RangeRequest(
        key=key, range_end=other, limit=number, revision=number, keys_only=True
    )
    assert counted.request_range == rpc.RangeRequest(key=key, count_only=True)
    assert put.request_put == rpc.PutRequest(key=key, value=other, lease=number)
    assert deleted.request_delete_range == rpc.DeleteRangeRequest(key=key, range_end=other)
    assert nested.request_txn.compare[0] == request.compare[0]
    assert nested.request_txn.success[0].request_put == rpc.PutRequest(key=key)
    assert [each.request_range for each in request.failure] == [rpc.RangeRequest(key=other)]
    mod, create, there, newer = request.compare
    compare = rpc.Compare
    assert mod == compare(result=compare.EQUAL, target=compare.MOD, key=key, mod_revision=number)
    assert create == compare(result=compare.EQUAL, target=compare.CREATE, key=key, create_revision=number)
    assert there == compare(result=compare.GREATER, target=compare.CREATE, key=key, create_revision=0)
    assert newer == compare(
        result=compare.LESS, target=compare.MOD, key=key, mod_revision=number // 2 + 1, range_end=other
    )


@pytest.mark.parametrize(
    ("compare", "op", "sent_bytes"),
    [
        (Unchanged(b"k", 0), Put(b"k", b"v"), "0a07 1002 1a016b 3000 1208 1206 0a016b 120176"),
        (SameLife(b"k", 300), Put(b"k", b"", 9), "0a08 1001 1a016b 28ac02 1209 1207 0a016b 1200 1809"),
        (Exists(b"k"), Delete(b"k"), "0a09 0801 1001 1a016b 2800 1205 1a03 0a016b"),
        (
            NoneNewer(b"k", b"l", 4),
            Range(b"k", b"l", 2),
            "0a0d 0802 1002 1a016b 3005 8204016c 120a 0a08 0a016b 12016c 1802",
        ),
    ],
)
def test_these_are_the_bytes_that_etcd_defines(compare, op, sent_bytes):
    """An oneof is on the wire even when it is 0: without it etcd would compare another thing. Empty fields need not be,
    and are left out or not as it comes."""
    wanted = rpc.TxnRequest.FromString(bytes.fromhex(sent_bytes))
    assert not wanted.DiscardUnknownFields()
    assert sent(transactions.transaction([compare], [op])) == wanted


def sent(request):
    """The message as etcd reads it."""
    return rpc.TxnRequest.FromString(request.SerializeToString())


@given(st.binary(max_size=300), st.integers(0, 2**63 - 1), st.booleans())
def test_answers_are_read(data, number, flag):
    kv = {"key": data, "value": data, "create_revision": number, "mod_revision": number // 2, "version": number // 3}
    found = {"kvs": [kv, {}], "more": flag, "count": number}
    answer = rpc.TxnResponse(
        header={"revision": number},
        succeeded=flag,
        responses=[{"response_range": found}, {"response_put": {}}, {"response_range": {}}],
    )
    got = transactions.read_answer(answer.SerializeToString())
    assert (got.succeeded, got.revision) == (flag, number)
    first = got.get(0)
    assert first.kvs == [Kv(data, data, number // 2, number, number // 3), Kv(b"", b"", 0, 0, 0)]
    assert (first.more, first.total) == (flag, number)
    assert got.get(2).kvs == []
    with pytest.raises(TypeError):
        got.get(1)


def test_fields_that_are_not_used_are_skipped():
    """Id of the cluster, of the member, and the term of a header; the lease of a key."""
    header, kv = "0a0a 08ffff03 1005 1807 2009", "0a016b 1003 1804 2001 300a"
    got = transactions.read_answer(bytes.fromhex(f"{header} 1001 1a0f 0a0d 120b {kv}"))
    assert (got.succeeded, got.revision, got.get(0).kvs) == (True, 7, [Kv(b"k", b"", 4, 3, 1)])


def test_half_an_answer_is_refused():
    data = rpc.TxnResponse(responses=[{"response_range": {"kvs": [{"key": b"k" * 50}]}}]).SerializeToString()
    for cut in range(1, len(data)):
        with pytest.raises(DecodeError):
            transactions.read_answer(data[:cut])


def allowed(request, allowance=transactions.MAX_OPS):
    """etcd's own rule: a nested transaction may have what the longest list around it leaves."""
    longest = max(len(request.compare), len(request.success), len(request.failure))
    nested = [op.request_txn for op in request.success if op.HasField("request_txn")]
    return longest <= allowance and all(allowed(inner, allowance - longest) for inner in nested)


@pytest.mark.parametrize("compares", [0, 1, 62, 63, 100, 110])
def test_operations_are_folded_under_etcds_limit(compares):
    leaf = Guarded((Exists(b"k"),), (Put(b"k", b""),) * 4)
    most = most_ops(compares - 1)
    for n in {0, 1, 123, 124, 500, most}:
        if n > most:
            continue
        request = transactions.transaction([Exists(b"k")] * compares, transactions.fold(compares, [leaf] * n))
        assert allowed(sent(request))
    with pytest.raises(ValueError, match="at most"):
        transactions.fold(compares, [leaf] * max(most + 1, 124))
