"""Contract of ledgers with upkeep: subclass ``UpkeepContract`` with fixtures ``bench`` and ``blank``.

``bench`` is that of ``LedgerContract`` on a new ledger; ``blank`` is another ledger, new and empty, of any backend.
"""

# ruff: noqa: S101
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import pytest

from devkit.contracts.ledger_kit import GONE, Bench, Desk, alert, done, failed, open_desk, record, ref, seen
from devkit.contracts.ledger_policy import fill_policy, policy_view
from lookout.domain.errors import InputRejected
from lookout.domain.records import AlertState, Mark, Outcome, Reference, Slot, State
from lookout.ledger.maintenance import Entry, KeptSlot, Note, UpkeepLedger
from lookout.ledger.port import Delivered, Ledger, RunRecord, Settled
from lookout.object_store.port import Publish


class UpkeepContract:
    """Subclasses have the fixtures ``bench`` and ``blank``."""

    @pytest.fixture
    def desk(self, bench: Bench) -> Iterator[Desk]:
        with open_desk(bench) as desk:
            yield desk

    @pytest.fixture
    def ledger(self, desk: Desk) -> UpkeepLedger:
        return cast(UpkeepLedger, desk.ledger)

    # --- what live records name -------------------------------------------------------------------------------------

    def test_named_gives_live_outputs_in_the_order_of_their_keys(self, desk: Desk, ledger: UpkeepLedger) -> None:
        last = record("a", outputs=[ref("s", "z"), ref("s", "b")])
        desk.do(last)
        desk.do(record("b", outputs=[ref("s", "é"), ref("other", "b")]))
        desk.do(record("nothing", outputs=[]))
        assert [named.ref.key for named in ledger.named("s")] == ["b", "z", "é"]
        assert [named.ref.key for named in ledger.named("s", after="b")] == ["z", "é"]
        assert next(ledger.named("s")).record == last
        assert list(ledger.named("nowhere")) == []

    def test_named_knows_neither_replaced_nor_retracted_outputs(self, desk: Desk, ledger: UpkeepLedger) -> None:
        desk.do(record("a", "h1", outputs=[ref("s", "kept", "1"), ref("s", "dropped")]))
        desk.do(record("b", outputs=[ref("s", "gone")]))
        desk.do(record("a", "h2", outputs=[ref("s", "kept", "2", "v2")]))
        desk.settle("b", GONE)
        assert [named.ref for named in ledger.named("s")] == [ref("s", "kept", "2", "v2")]

    def test_named_keeps_the_last_success_of_what_failed_since(self, desk: Desk, ledger: UpkeepLedger) -> None:
        desk.do(record("a", outputs=[ref("s", "a")]))
        desk.settle("a", failed())
        assert [named.ref.key for named in ledger.named("s")] == ["a"]

    def test_named_streams_past_a_page(self, desk: Desk, ledger: UpkeepLedger) -> None:
        keys = [f"{n:04}" for n in range(1100)]
        desk.mark(*keys)
        for start in range(0, len(keys), 100):
            claims = desk.claim(100)
            assert [claim.key for claim in claims] == keys[start : start + 100]
            desk.ledger.commit([(claim, done(record(claim.key, outputs=[ref("s", claim.key)]))) for claim in claims])
        assert [named.ref.key for named in ledger.named("s")] == keys

    def test_restate_hands_out_what_the_ledger_says_of_each_key(self, desk: Desk, ledger: UpkeepLedger) -> None:
        live = ref("s", "live", "1", "v1")
        desk.do(record("a", outputs=[live]))
        desk.do(record("b", outputs=[ref("s", "gone")]))
        desk.settle("b", GONE)
        desk.publish()
        said = ledger.restate("s", ["live", "gone", "never"])
        assert said == {"live": live, "gone": None, "never": None}
        changes = {change.key: change for change in desk.publish()}
        assert changes == {key: Publish(bucket="s", key=key, ref=ref_) for key, ref_ in said.items()}
        assert desk.publish() == []
        assert ledger.restate("s", []) == {}

    def test_a_commit_after_a_restated_removal_takes_its_place(self, desk: Desk, ledger: UpkeepLedger) -> None:
        claim = desk.take("a")
        assert ledger.restate("s", ["a"]) == {"a": None}
        new = ref("s", "a", "1", "v1")
        desk.ledger.commit([(claim, done(record("a", outputs=[new])))])
        assert desk.publish() == [Publish(bucket="s", key="a", ref=new)]

    def test_restate_leaves_a_noted_change_as_it_is(self, desk: Desk, ledger: UpkeepLedger) -> None:
        desk.do(record("a", outputs=[ref("s", "a")]))
        desk.do(record("b", outputs=[ref("s", "b")]))
        ledger.restate("s", ["a"])
        assert sorted(change.key for change in desk.publish()) == ["a", "b"]

    # --- saving and filling -----------------------------------------------------------------------------------------

    def test_what_was_saved_and_filled_in_says_the_same(
        self, desk: Desk, ledger: UpkeepLedger, blank: UpkeepLedger
    ) -> None:
        self.fill(desk)
        assert ledger.find_slots("s", ["held"])["held"].state is State.RUNNING
        _carry(ledger, blank)
        was, now = view(ledger), view(blank)
        name = ("s", "held")
        before, after = was.slots.pop(name), now.slots.pop(name)
        assert (before.state, before.dirty) == (State.RUNNING, 1)
        assert (after.state, after.dirty, after.owner) == (State.KILLED, 1, None)
        assert (was.alerts.pop("sending")[0], now.alerts.pop("sending")[0]) == (AlertState.SENDING, AlertState.UNKNOWN)
        assert (was.runs.pop("open"), now.runs.pop("open")) == ("running", "lost")
        assert now == was

    def test_a_filled_ledger_goes_on(self, desk: Desk, ledger: UpkeepLedger, blank: UpkeepLedger) -> None:
        self.fill(desk)
        _carry(ledger, blank)
        with blank.session() as owner:
            assert {item.id for item in blank.claim_alerts(owner, 10, desk.clock())} == {"waiting", "sending"}
            claims = {claim.key: claim for claim in blank.claim("s", owner, 100, 60.0)}
            assert claims.keys() == {"held", "waiting"}
            assert claims["held"].token > ledger.find_slots("s", ["held"])["held"].token
            newer = record("a", "a again", outputs=[ref("s", "a.json", "new")], counts={"n": 5}, at_s=9.0)
            blank.mark([Mark(stage="s", key="a")])
            (claim,) = blank.claim("s", owner, 1, 60.0, keys=["a"])
            assert blank.commit([(claim, done(newer))]) == [Settled.DONE]
            assert [made.hash for made in blank.makers("s", "a.json")] == ["a again", "a2", "a1"]
            assert blank.tallies(["g"])[0].counts == {"n": 8}
            assert blank.commit([(claims["held"], Outcome(state=State.RETRACTED))]) == [Settled.DONE]

    def test_only_an_empty_ledger_is_filled(self, desk: Desk, ledger: UpkeepLedger, blank: UpkeepLedger) -> None:
        self.fill(desk)
        blank.put_note("source", "another")
        with pytest.raises(InputRejected, match="not empty"):
            _carry(ledger, blank)
        assert list(blank.slots()) == []
        assert blank.find_note("source") == "another"

    def test_entries_that_break_off_leave_the_ledger_empty(self, desk: Desk, blank: UpkeepLedger) -> None:
        def broken() -> Iterator[Entry]:
            yield Note(name="n", value="1")
            raise InputRejected("is damaged", "here")

        with pytest.raises(InputRejected, match="damaged"):
            blank.load(broken())
        assert blank.find_note("n") is None
        _carry(cast(UpkeepLedger, desk.ledger), blank)

    def test_a_snapshot_is_of_one_moment_while_others_write(self, bench: Bench, desk: Desk) -> None:
        keys = [f"{n:03}" for n in range(20)]
        for key in keys:
            desk.do(record(key, counts={"n": 1}))
        with cast(UpkeepLedger, bench.open()).snapshot() as entries:
            first = next(entries)
            desk.do(record("new"))
            desk.settle("000", GONE)
            rest = [first, *entries]
        slots = {entry.key: entry.state for entry in rest if isinstance(entry, KeptSlot)}
        assert slots == dict.fromkeys(keys, State.SUCCESS)

    # --- size -------------------------------------------------------------------------------------------------------

    def test_the_size_counts_what_is_kept(self, desk: Desk, ledger: UpkeepLedger) -> None:
        empty = ledger.size()
        assert (empty.inputs, empty.slots, empty.records, empty.paths, empty.alerts, empty.runs) == (0,) * 6
        self.fill(desk)
        size = ledger.size()
        assert (size.inputs, size.slots, size.records, size.paths, size.alerts, size.runs) == (2, 6, 4, 3, 3, 2)
        assert size.used_bytes is None or size.used_bytes > 0

    # --- a ledger with a bit of everything --------------------------------------------------------------------------

    def test_the_state_of_the_policy_is_carried_over(
        self, desk: Desk, ledger: UpkeepLedger, blank: UpkeepLedger
    ) -> None:
        fill_policy(desk)
        _carry(ledger, blank)
        assert policy_view(blank) == policy_view(ledger)

    @staticmethod
    def fill(desk: Desk) -> None:
        """Inputs, references, notes; slots that are live, replaced, retracted, failed, held and waiting; three alerts;
        a change that is not published; two runs."""
        ledger = desk.ledger
        ledger.put_note("source", "/photos\u2603")
        ledger.observe([seen("a", fingerprint="1:2"), seen("b", None, error="cannot be read")], [])
        ledger.enforce("words", [Reference(bucket="words", name="w", files={"r": ref("words", "w/r")}, meta={"m": 1})])
        ledger.rebase("s", "basis")
        ledger.start_run(RunRecord(id="run-1", kind="run", owner=desk.owner, started_at_s=1.0))
        ledger.end_run("run-1", "success", 2.0, {"failed": 0})
        ledger.start_run(RunRecord(id="open", kind="run", owner=desk.owner, started_at_s=3.0))
        desk.do(record("a", "a1", outputs=[ref("s", "a.json", "1"), ref("s", "old")], counts={"n": 1}))
        alerts = [alert(id_, created_at_s=at_s, hash_="a2") for at_s, id_ in enumerate(["sent", "sending", "waiting"])]
        reads = [ref("images", "a"), ref("model", "m")]
        newer = record("a", "a2", outputs=[ref("s", "a.json", "2", "v2")], reads=reads, alerts=alerts, label="found")
        desk.do(newer, alerts=alerts)
        desk.do(record("b", counts={"n": 3, "zero": 0}, at_s=4.0, facts={"ü": [1.5, None]}))
        desk.publish()
        desk.do(record("c", outputs=[ref("s", "c.json", "1", "v3")]))
        desk.mark("late", stage="t")
        desk.settle("late", GONE, stage="t")
        desk.settle("broken", failed("it broke"))
        ledger.mark([Mark(stage="s", key="waiting")], salt="pepper")
        desk.take("held")
        ledger.claim_alerts(desk.owner, 1, desk.clock(), ["sent"])
        ledger.settle_alerts(desk.owner, {"sent": Delivered(state=AlertState.SENT, message_id="m1")}, desk.clock())
        ledger.claim_alerts(desk.owner, 1, desk.clock(), ["sending"])
        ledger.begin_sending(desk.owner, ["sending"])


def _carry(source: UpkeepLedger, target: UpkeepLedger) -> None:
    with source.snapshot() as entries:
        target.load(entries)


@dataclass
class View:
    """All that a ledger says."""

    slots: dict[tuple[str, str], Slot]
    alerts: dict[str, tuple[object, ...]]
    runs: dict[str, str]
    rest: dict[str, object]


def view(ledger: Ledger) -> View:
    """All that the daily contract says of a ledger filled by ``UpkeepContract.fill``.

    Without the tokens of slots that nobody holds: a backend need not keep them.
    """
    paths = ["a.json", "old", "b.json", "c.json"]
    digests = [ref("images", "a").sha256, ref("model", "m").sha256]
    with ledger.unpublished() as handed_out:
        changes = list(handed_out)
    return View(
        slots={
            (slot.stage, slot.key): slot if slot.owner is not None else replace(slot, token=0)
            for slot in ledger.slots()
        },
        alerts={item.id: (item.state, item.tries, item.message_id, item.draft) for item in ledger.alerts()},
        runs={run.id: run.state for run in ledger.runs()},
        rest={
            "note": ledger.find_note("source"),
            "basis": ledger.basis("s"),
            "references": ledger.references("words"),
            "inputs": list(ledger.inputs("images")),
            "counts": [ledger.count_inputs("images"), ledger.count_inputs("images", "folder")],
            "labelled": [slot.key for slot in ledger.slots("s", labelled=True)],
            "makers": {path: [made.hash for made in ledger.makers("s", path)] for path in paths},
            "users": {digest: [made.hash for made in ledger.users(digest)] for digest in digests},
            "tallies": ledger.tallies(),
            "sums": ledger.sums("n"),
            "members": ledger.members("s", "g"),
            "changes": changes,
        },
    )
