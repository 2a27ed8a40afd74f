"""Keys and values of the ledger in etcd: what lies where, in which order, and in how many bytes. No etcd."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookout.domain.errors import Corrupt, InputRejected
from lookout.ledger.kv import claim_values, keys, record_values, slot_values
from lookout.ledger.kv.port import Kv

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
