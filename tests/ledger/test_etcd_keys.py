"""Keys, values and requests of the ledger in etcd: what lies where, in which order, and in how many bytes. No etcd."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout.domain.errors import Corrupt, InputRejected
from lookout.ledger.etcd import client, wire
from lookout.ledger.kv import claim_values, keys, record_values, slot_values
from lookout.ledger.kv.port import Delete, Exists, Guarded, Kv, NoneNewer, Put, Range, SameLife, Unchanged, most_ops

rpc = client.rpc
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\0\1\2a/"), max_size=6)


# --- keys ------------------------------------------------------------------------------------------------------------


@given(st.lists(texts, min_size=1, max_size=3))
def test_parts_of_a_key_are_read_back(given_texts):
    assert keys.parts(b"".join(map(keys.text, given_texts)), len(given_texts)) == given_texts


@given(st.tuples(texts, texts), st.tuples(texts, texts))
def test_keys_sort_as_their_texts_do(one, other):
    first, second = (b"".join(map(keys.text, pair)) for pair in (one, other))
    assert (first < second) == (one < other)


@given(texts, texts)
def test_a_range_of_a_prefix_holds_what_begins_with_it(prefix, text):
    start = keys.open_text(prefix)
    inside = start <= keys.text(text) < (keys.after(start) if start else b"\xff" * 9)
    assert inside == text.startswith(prefix)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_moments_sort_as_times_do(one, other):
    assert (keys.moment(one) < keys.moment(other)) == (one < other)
    assert keys.read_moment(keys.moment(one)) == one
    assert (keys.inverse(keys.moment(one)) > keys.inverse(keys.moment(other))) == (one < other)


def test_the_largest_and_newest_cohort_of_suspects_comes_first():
    order = [(300, 2), (300, 1), (2, 9), (1, 10), (1, 9)]
    assert sorted(order, key=lambda pair: keys.cohort(*pair)) == order


@pytest.mark.parametrize("hash_", ["ab" * 32, "AB" * 32, "zz" * 32, "h1", "", "hash of k\0"])
def test_a_hash_in_a_key_is_read_back(hash_):
    assert keys.read_hash_part(keys.hash_part(hash_)) == hash_
    assert len(keys.hash_part("ab" * 32)) == 33


@pytest.mark.parametrize("data", [b"", b"a", b"a\0b", b"a\0b\0", b"\xff\0"])
def test_bytes_that_are_no_part_are_corrupt(data):
    with pytest.raises(Corrupt):
        keys.parts(data, 1)


def test_a_text_without_utf8_form_is_refused():
    with pytest.raises(InputRejected, match="UTF-8"):
        keys.text("\udcff")


# --- values ----------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_packed_bytes_are_read_back_and_never_much_larger(data):
    assert slot_values.unpack(slot_values.pack(data)) == data
    assert len(slot_values.pack(data)) <= len(data) + 1


def test_text_of_a_record_shrinks():
    text = b'["g","r",[["picture","validate","valid/a.jpg","' + b"0123456789abcdef" * 4 + b'",9,null]],[],{},{},null]'
    assert len(slot_values.pack(text)) < len(text) * 0.7


@pytest.mark.parametrize("value", [b"", b"x", b"z", b"zjunk", b"j", b"j[1", b"j{}", b"j[1]", b"j\xff"])
def test_a_value_that_cannot_be_read_is_corrupt_and_names_its_key(value):
    kv = Kv(b"the key", value, 1, 1, 1)
    for read in (record_values.read_path, claim_values.read_lease, slot_values.read_record, record_values.read_changes):
        if read is record_values.read_path and value == b"j{}":
            continue
        if read is record_values.read_changes and value == b"j{}":
            continue
        with pytest.raises(Corrupt, match="the key"):
            read(kv)


# --- requests --------------------------------------------------------------------------------------------------------


def parsed(body):
    return rpc.TxnRequest.FromString(body)


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 2**63 - 1))
def test_requests_are_those_of_the_generated_classes(key, other, number):
    ops = [
        Range(key, other, limit=number, revision=number, keys_only=True),
        Range(key, count_only=True),
        Put(key, other, number),
        Delete(key, other),
        Guarded((Unchanged(key, number),), (Put(key, b""),)),
    ]
    compares = [Unchanged(key, number), SameLife(key, number), Exists(key), NoneNewer(key, other, number // 2)]
    request = parsed(wire.txn([*map(wire.comparison, compares)], [*map(wire.operation, ops)], []))
    ranged, counted, put, deleted, nested = request.success
    assert ranged.request_range == rpc.RangeRequest(
        key=key, range_end=other, limit=number, revision=number, keys_only=True
    )
    assert counted.request_range == rpc.RangeRequest(key=key, count_only=True)
    assert put.request_put == rpc.PutRequest(key=key, value=other, lease=number)
    assert deleted.request_delete_range == rpc.DeleteRangeRequest(key=key, range_end=other)
    assert nested.request_txn.compare[0] == request.compare[0]
    mod, create, there, newer = request.compare
    equal, greater, less = (rpc.Compare.CompareResult.Value(name) for name in ("EQUAL", "GREATER", "LESS"))
    targets = {name: rpc.Compare.CompareTarget.Value(name) for name in ("CREATE", "MOD")}
    assert mod == rpc.Compare(result=equal, target=targets["MOD"], key=key, mod_revision=number)
    assert create == rpc.Compare(result=equal, target=targets["CREATE"], key=key, create_revision=number)
    assert there == rpc.Compare(result=greater, target=targets["CREATE"], key=key, create_revision=0)
    assert newer == rpc.Compare(
        result=less, target=targets["MOD"], key=key, mod_revision=number // 2 + 1, range_end=other
    )


@given(st.binary(max_size=300), st.integers(0, 2**63 - 1), st.booleans())
def test_answers_of_the_generated_classes_are_read(data, number, flag):
    kv = {"key": data, "value": data, "create_revision": number, "mod_revision": number // 2, "version": number // 3}
    found = {"kvs": [{**kv, "lease": number}, {}], "more": flag, "count": number}
    answer = rpc.TxnResponse(
        header={"cluster_id": 2**64 - 1, "revision": number, "raft_term": 7},
        succeeded=flag,
        responses=[{"response_range": found}, {"response_put": {}}, {"response_range": {}}],
    )
    got = wire.read_answer(answer.SerializeToString())
    assert (got.succeeded, got.revision) == (flag, number)
    first = got.get(0)
    assert first.kvs == [Kv(data, data, number // 2, number, number // 3), Kv(b"", b"", 0, 0, 0)]
    assert (first.more, first.total) == (flag, number)
    assert got.get(2).kvs == []
    with pytest.raises(TypeError):
        got.get(1)


def test_half_an_answer_is_refused():
    data = rpc.TxnResponse(responses=[{"response_range": {"kvs": [{"key": b"k" * 50}]}}]).SerializeToString()
    for cut in range(1, len(data)):
        with pytest.raises((ValueError, IndexError)):
            wire.read_answer(data[:cut])


def allowed(request, allowance=wire.MAX_OPS):
    """etcd's own rule: a nested transaction may have what the longest list around it leaves."""
    longest = max(len(request.compare), len(request.success), len(request.failure))
    nested = [op.request_txn for op in request.success if op.HasField("request_txn")]
    return longest <= allowance and all(allowed(inner, allowance - longest) for inner in nested)


@pytest.mark.parametrize("compares", [0, 1, 62, 63, 100, 110])
def test_operations_are_folded_under_etcds_limit(compares):
    leaf = wire.operation(Guarded((Exists(b"k"),), (Put(b"k", b""),) * 4))
    most = most_ops(compares - 1)
    for n in {0, 1, 123, 124, 500, most}:
        if n > most:
            continue
        body = wire.txn([wire.comparison(Exists(b"k"))] * compares, wire.folded(compares, [leaf] * n))
        assert allowed(parsed(body))
    with pytest.raises(ValueError, match="at most"):
        wire.folded(compares, [leaf] * max(most + 1, 124))
