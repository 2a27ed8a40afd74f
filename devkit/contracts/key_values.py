"""Conformance suite of the key-value port: subclass ``KeyValuesContract`` and give it a fixture ``bench``.

The store may hold other keys and have other writers, so tests look below ``root`` only and compare revisions by order.
Knows no backend, and no ledger.
"""

# ruff: noqa: S101
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from lookout.domain.errors import InputRejected, Unavailable
from lookout.ledger.kv.port import (
    MAX_BYTES,
    Compacted,
    Compare,
    Delete,
    Exists,
    Guarded,
    KeyValues,
    Kv,
    NoneNewer,
    Op,
    Put,
    Range,
    SameLife,
    Unchanged,
    most_ops,
)

TTL_S = 2
WAIT_S = 20.0


@dataclass
class KvBench:
    """Store for one test. ``open`` gives a new client, ``compact`` forgets all old revisions, ``pass_s`` lets seconds
    pass where time is not real; ``root`` begins keys that nobody else has. Whoever makes the bench closes clients."""

    open: Callable[[], KeyValues]
    compact: Callable[[], None]
    pass_s: Callable[[float], None]
    root: bytes

    @property
    def span(self) -> tuple[bytes, bytes]:
        """All keys of the test."""
        return self.root, self.root + b"\xff"

    def only(self, name: bytes) -> tuple[bytes, bytes]:
        """The span of one key."""
        return self.root + name, self.root + name + b"\x00"

    def put(self, kv: KeyValues, **values: bytes) -> int:
        """Write keys and return the revision."""
        return kv.write([], [Put(self.root + name.encode(), value) for name, value in values.items()]).revision

    def all(self, kv: KeyValues, revision: int = 0) -> dict[bytes, bytes]:
        """Return all keys below the root with their values, in their order."""
        found = kv.read([Range(*self.span, revision=revision)]).get(0).kvs
        return {each.key.removeprefix(self.root): each.value for each in found}


def get(kv: KeyValues, key: bytes) -> Kv:
    """Return a key that must be there."""
    return kv.get_many([key])[key]


class KeyValuesContract:
    """All of the contract."""

    # --- reading ----------------------------------------------------------------------------------------------------

    def test_a_missing_key_is_in_no_answer(self, bench: KvBench) -> None:
        kv = bench.open()
        found = kv.read([Range(bench.root), Range(*bench.span)])
        assert [(each.kvs, each.more, each.total) for each in (found.get(0), found.get(1))] == [([], False, 0)] * 2
        assert kv.get_many([bench.root]) == {}
        assert kv.get_many([]) == {}
        assert kv.count(*bench.span) == 0
        assert list(kv.pages(*bench.span)) == []

    def test_a_range_is_in_the_order_of_bytes_without_its_end(self, bench: KvBench) -> None:
        kv = bench.open()
        names = [b"a", b"a\x00", b"a\x00b", b"b", b"\x80"]
        kv.write([], [Put(bench.root + name, b"v" + name) for name in reversed(names)])
        assert list(bench.all(kv).items()) == [(name, b"v" + name) for name in names]
        first, last = bench.root + b"a", bench.root + b"b"
        asked = [
            Range(first, last),
            Range(first, last, limit=2),
            Range(first, last, limit=3),
            Range(first, last, keys_only=True),
            Range(first, last, count_only=True),
            Range(first),
            Range(last, first),
        ]
        found = kv.read(asked)
        shape = [(len(found.get(n).kvs), found.get(n).more, found.get(n).total) for n in range(len(asked))]
        assert shape[:4] == [(3, False, 3), (2, True, 3), (3, False, 3), (3, False, 3)]
        assert shape[4:] == [(0, False, 3), (1, False, 1), (0, False, 0)]
        assert [each.value for each in found.get(3).kvs] == [b"", b"", b""]

    def test_many_keys_are_found_by_name(self, bench: KvBench) -> None:
        kv = bench.open()
        names = [bench.root + b"%03d" % n for n in range(300)]
        kv.write([], [Put(name, name) for name in names[::2]])
        found = kv.get_many(names)
        assert {name: each.value for name, each in found.items()} == {name: name for name in names[::2]}
        assert kv.get_many(names[:1], keys_only=True)[names[0]].value == b""

    def test_a_key_knows_its_revisions_and_puts(self, bench: KvBench) -> None:
        kv = bench.open()
        first = bench.put(kv, k=b"1")
        second = bench.put(kv, k=b"2")
        assert second > first
        assert get(kv, bench.root + b"k") == Kv(bench.root + b"k", b"2", second, first, 2)
        kv.write([], [Delete(bench.root + b"k")])
        third = bench.put(kv, k=b"3")
        assert get(kv, bench.root + b"k") == Kv(bench.root + b"k", b"3", third, third, 1)

    def test_a_revision_is_read_as_it_was(self, bench: KvBench) -> None:
        kv = bench.open()
        first = bench.put(kv, a=b"1", b=b"1")
        kv.write([], [Delete(bench.root + b"a"), Put(bench.root + b"c", b"2")])
        third = bench.put(kv, a=b"3")
        assert bench.all(kv, first) == {b"a": b"1", b"b": b"1"}
        assert bench.all(kv, third) == bench.all(kv) == {b"a": b"3", b"b": b"1", b"c": b"2"}
        assert bench.all(kv, third - 1) == {b"b": b"1", b"c": b"2"}
        assert kv.get_many([bench.root + b"c"], first) == {}
        assert kv.read([Range(bench.root)]).revision >= third

    def test_pages_are_of_one_revision(self, bench: KvBench) -> None:
        kv, other = bench.open(), bench.open()
        bench.put(kv, **{f"k{n}": b"1" for n in range(5)})
        pages = kv.pages(*bench.span, limit=2)
        found = [each.key for each in next(pages)]
        other.write([], [Delete(bench.root + b"k3"), Put(bench.root + b"k9", b"")])
        found += [each.key for page in pages for each in page]
        assert found == [bench.root + b"k%d" % n for n in range(5)]

    def test_a_revision_that_is_gone_or_not_there_yet_is_compacted(self, bench: KvBench) -> None:
        kv = bench.open()
        first = bench.put(kv, a=b"1")
        last = bench.put(kv, a=b"2", b=b"2")
        kv.write([], [Delete(bench.root + b"b")])
        bench.compact()
        for revision in (first, last + 1000):
            with pytest.raises(Compacted):
                bench.all(kv, revision)
            with pytest.raises(Compacted):
                kv.get_many([bench.root], revision)
        assert bench.all(kv) == {b"a": b"2"}
        assert get(kv, bench.root + b"a").version == 2

    def test_pages_go_on_after_a_compaction(self, bench: KvBench) -> None:
        kv, other = bench.open(), bench.open()
        bench.put(kv, **{f"k{n}": b"1" for n in range(5)})
        pages = kv.pages(*bench.span, limit=2)
        found = [each.key for each in next(pages)]
        bench.put(other, k9=b"")
        bench.compact()
        found += [each.key for page in pages for each in page]
        assert found == [bench.root + b"k%d" % n for n in (*range(5), 9)]

    # --- writing ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", ["a", "none"])
    def test_comparisons_hold_or_do_not(self, bench: KvBench, name: str) -> None:
        kv, key = bench.open(), bench.root + name.encode()
        created = bench.put(kv, a=b"1")
        written = bench.put(kv, a=b"2")
        there = name == "a"
        table: list[tuple[Compare, bool]] = [
            (Unchanged(key, written), there),
            (Unchanged(key, created), False),
            (Unchanged(key, 0), not there),
            (SameLife(key, created), there),
            (SameLife(key, written), False),
            (SameLife(key, 0), not there),
            (Exists(key), there),
            (NoneNewer(key, key + b"\x00", written), True),
            (NoneNewer(key, key + b"\x00", written - 1), not there),
            (NoneNewer(key, key + b"\x00", 0), not there),
        ]
        for compare, holds in table:
            assert kv.write([compare], []).succeeded is holds, compare
        all_hold = [compare for compare, holds in table if holds]
        assert kv.write(all_hold, [Put(bench.root + b"b", b"")]).succeeded
        for compare, holds in table:
            if not holds:
                assert not kv.write([*all_hold, compare], [Put(bench.root + b"c", b""), Delete(key)]).succeeded
        assert bench.all(kv) == {b"a": b"2", b"b": b""}

    def test_what_was_deleted_is_not_newer(self, bench: KvBench) -> None:
        kv = bench.open()
        before = bench.put(kv, a=b"1")
        bench.put(kv, b=b"1")
        assert not kv.write([NoneNewer(*bench.span, before)], []).succeeded
        kv.write([], [Delete(bench.root + b"b")])
        assert kv.write([NoneNewer(*bench.span, before)], []).succeeded

    def test_comparisons_see_the_store_before_the_first_operation(self, bench: KvBench) -> None:
        kv, (a, b, c) = bench.open(), (bench.root + name for name in (b"a", b"b", b"c"))
        ops: list[Op] = [
            Put(a, b"1"),
            Guarded((Unchanged(a, 0),), (Put(b, b"1"),)),
            Guarded((Exists(a),), (Put(c, b""),)),
        ]
        assert kv.write([Unchanged(a, 0)], ops).succeeded
        assert bench.all(kv) == {b"a": b"1", b"b": b"1"}

    def test_a_guarded_operation_decides_about_its_own_writes(self, bench: KvBench) -> None:
        kv = bench.open()
        bench.put(kv, a=b"1")
        names = [bench.root + name for name in (b"a", b"b")]
        ops = [Guarded((Unchanged(name, 0),), (Put(name, b"2"), Put(name + b"x", b"2"))) for name in names]
        assert kv.write([], [*ops, Put(bench.root + b"c", b"2")]).succeeded
        assert bench.all(kv) == {b"a": b"1", b"b": b"2", b"bx": b"2", b"c": b"2"}

    def test_a_range_is_deleted_and_nothing_where_nothing_is(self, bench: KvBench) -> None:
        kv = bench.open()
        bench.put(kv, a=b"", ab=b"", b=b"", c=b"")
        revision = kv.write([], [Delete(bench.root + b"a", bench.root + b"b"), Delete(bench.root + b"d")]).revision
        assert bench.all(kv) == {b"b": b"", b"c": b""}
        assert bench.all(kv, revision - 1).keys() >= {b"a", b"ab", b"b", b"c"}
        assert kv.write([], [Delete(*bench.span), Delete(bench.root + b"\xff")]).succeeded
        assert bench.all(kv) == {}

    @pytest.mark.parametrize("compares", [0, 1, 61, 100])
    def test_as_many_operations_are_taken_as_promised(self, bench: KvBench, compares: int) -> None:
        kv, most = bench.open(), most_ops(compares)
        conditions = [Unchanged(bench.root + b"c%d" % n, 0) for n in range(compares)]
        keys = [bench.root + b"%05d" % n for n in range(most)]
        ops: list[Op] = [Put(key, b"") for key in keys]
        ops[1] = Guarded((Unchanged(keys[1], 0),), tuple(Put(keys[1] + bytes((n,)), b"") for n in range(3)))
        written = kv.write(conditions, ops)
        assert written.succeeded
        assert kv.count(*bench.span) == most + 2
        assert {each.mod_revision for each in kv.get_many(keys[::500]).values()} == {written.revision}
        with pytest.raises(ValueError, match="at most"):
            kv.write(conditions, [Delete(key) for key in [*keys, bench.root]])
        assert kv.count(*bench.span) == most + 2

    def test_a_transaction_that_is_too_large_is_refused_whole(self, bench: KvBench) -> None:
        kv = bench.open()
        half = b"x" * (MAX_BYTES // 2 - 1000)
        assert kv.write([], [Put(bench.root + name, half) for name in (b"a", b"b")]).succeeded
        with pytest.raises(InputRejected, match="too many"):
            kv.write([], [Put(bench.root + name, half) for name in (b"c", b"d", b"e")])
        assert kv.count(*bench.span) == 2
        assert kv.used_bytes() > 0

    def test_of_two_writers_with_one_comparison_one_succeeds(self, bench: KvBench) -> None:
        one, other = bench.open(), bench.open()
        assert one.id != other.id
        revision = bench.put(one, a=b"0")
        same = [Unchanged(bench.root + b"a", revision)]
        assert other.write(same, [Put(bench.root + b"a", b"2")]).succeeded
        refused = one.write(same, [Put(bench.root + b"a", b"1")])
        assert not refused.succeeded
        assert bench.all(one) == bench.all(other) == {b"a": b"2"}

    # --- leases -----------------------------------------------------------------------------------------------------

    def test_a_key_lives_as_long_as_its_lease(self, bench: KvBench) -> None:
        kv = bench.open()
        lease = kv.grant(TTL_S)
        revision = kv.write([], [Put(bench.root + b"a", b"", lease), Put(bench.root + b"b", b"")]).revision
        kv.write([], [Put(bench.root + b"c", b"", lease)])
        kv.write([], [Put(bench.root + b"c", b"for good")])
        assert kv.write([Exists(bench.root + b"a")], []).succeeded
        bench.pass_s(TTL_S)
        assert kv.wait_for_change([bench.only(b"a")], revision, WAIT_S)
        assert not kv.write([Exists(bench.root + b"a")], []).succeeded
        assert bench.all(kv) == {b"b": b"", b"c": b"for good"}
        assert kv.keep_alive(lease) == 0

    def test_a_lease_that_is_kept_alive_goes_on(self, bench: KvBench) -> None:
        kv = bench.open()
        lease = kv.grant(600)
        kv.write([], [Put(bench.root + b"a", b"", lease)])
        for _ in range(3):
            bench.pass_s(400)
            assert kv.keep_alive(lease) == 600
        assert bench.all(kv) == {b"a": b""}

    def test_a_lease_that_is_revoked_takes_its_keys_along(self, bench: KvBench) -> None:
        kv, other = bench.open(), bench.open()
        mine, others = kv.grant(600), other.grant(600)
        kv.write([], [Put(bench.root + b"a", b"", mine), Put(bench.root + b"b", b"", others)])
        kv.revoke(mine)
        kv.revoke(mine)
        assert kv.keep_alive(mine) == 0
        assert bench.all(other) == {b"b": b""}
        with pytest.raises(Unavailable):
            kv.write([], [Put(bench.root + b"c", b"", mine), Put(bench.root + b"d", b"")])
        assert bench.all(other) == {b"b": b""}

    # --- waiting ----------------------------------------------------------------------------------------------------

    def test_a_change_that_was_is_not_waited_for(self, bench: KvBench) -> None:
        kv = bench.open()
        before = bench.put(kv, a=b"1")
        bench.put(kv, a=b"2")
        assert kv.wait_for_change([bench.only(b"a")], before, WAIT_S)
        before = kv.read([Range(bench.root)]).revision
        kv.write([], [Delete(bench.root + b"a")])
        assert kv.wait_for_change([bench.only(b"a")], before, WAIT_S)

    def test_a_change_in_any_of_the_spans_ends_the_wait(self, bench: KvBench) -> None:
        kv = bench.open()
        spans = [bench.only(b"a"), (bench.root + b"c", bench.root + b"e")]
        before = bench.put(kv, a=b"1", b=b"1", d=b"1")
        bench.put(kv, b=b"2", e=b"2")
        assert not kv.wait_for_change(spans, before, 0.2)
        kv.write([], [Delete(bench.root + b"d")])
        assert kv.wait_for_change(spans, before, WAIT_S)

    def test_a_wait_after_a_revision_that_is_gone_ends_at_once(self, bench: KvBench) -> None:
        kv = bench.open()
        before = bench.put(kv, a=b"1")
        bench.put(kv, b=b"1")
        bench.put(kv, b=b"2")
        bench.compact()
        assert kv.wait_for_change([bench.only(b"a")], before - 1, WAIT_S)

    def test_a_write_meanwhile_ends_the_wait(self, bench: KvBench) -> None:
        kv, other = bench.open(), bench.open()
        before = bench.put(kv, a=b"1")
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(kv.wait_for_change, [bench.span], before, WAIT_S)
            bench.put(other, z=b"1")
            assert waiting.result(WAIT_S)

    def test_without_a_change_the_wait_ends(self, bench: KvBench) -> None:
        kv = bench.open()
        revision = bench.put(kv, a=b"1")
        bench.put(kv, b=b"1")
        assert not kv.wait_for_change([bench.only(b"a")], revision, 0.2)

    # --- connections ------------------------------------------------------------------------------------------------

    def test_a_closed_connection_answers_no_more_and_closes_no_other(self, bench: KvBench) -> None:
        kv = bench.open()
        bench.put(kv, a=b"1")
        other = kv.another()
        kv.close()
        kv.close()
        with pytest.raises(Unavailable):
            bench.all(kv)
        with pytest.raises(Unavailable):
            bench.put(kv, a=b"2")
        assert bench.all(other) == {b"a": b"1"}
        other.close()
