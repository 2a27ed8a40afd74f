"""Contract of all ledgers: inputs, references, listings, provenance, tallies. See ``devkit.contracts.ledger``."""

# ruff: noqa: S101
from __future__ import annotations

from dataclasses import replace

import pytest

from devkit.contracts.ledger_kit import GONE, SKIP, Bench, Desk, failed, open_desk, record, ref, seen
from lookout.domain.records import Mark, Member, Observation, Outcome, Reference, State, Tally
from lookout.ledger.port import RunRecord, Settled


class ViewsContract:
    """Subclasses have a fixture ``bench``."""

    # --- notes ------------------------------------------------------------------------------------------------------

    def test_a_note_is_kept_for_every_handle(self, bench: Bench, desk: Desk) -> None:
        assert desk.ledger.find_note("cursor") is None
        desk.ledger.put_note("cursor", "1")
        desk.ledger.put_note("cursor", "ä\n2")
        with open_desk(bench) as other:
            assert other.ledger.find_note("cursor") == "ä\n2"

    # --- inputs -----------------------------------------------------------------------------------------------------

    def test_a_new_input_is_known_and_marks_its_readers(self, desk: Desk) -> None:
        assert desk.ledger.observe([seen("a"), seen("b")], ["s", "t"]) == 2
        assert list(desk.ledger.inputs("images")) == [seen("a"), seen("b")]
        assert [claim.key for claim in desk.claim()] == ["a", "b"]
        assert desk.ledger.count_dirty("t") == 2

    def test_the_same_content_again_marks_nothing_and_keeps_when_it_was_first_seen(self, desk: Desk) -> None:
        desk.ledger.observe([seen("a", at_s=5.0)], ["s"])
        again = seen("a", fingerprint="new", origin="other", at_s=9.0)
        assert desk.ledger.observe([again], ["s"]) == 0
        assert desk.slot("a").dirty == 1
        assert list(desk.ledger.inputs("images")) == [replace(again, observed_at_s=5.0)]
        assert desk.ledger.observe([again], ["s"]) == 0

    def test_other_content_marks_and_is_seen_anew(self, desk: Desk) -> None:
        desk.ledger.observe([seen("a", "1", at_s=5.0)], ["s"])
        assert desk.ledger.observe([seen("a", "2", at_s=9.0)], ["s"]) == 1
        assert desk.slot("a").dirty == 2
        assert desk.ledger.find_inputs("images", ["a"])["a"].observed_at_s == 9.0

    def test_a_gone_input_marks_once_and_is_forgotten(self, desk: Desk) -> None:
        desk.ledger.observe([seen("a")], ["s"])
        assert desk.ledger.observe([seen("a", None), seen("a", None), seen("never", None)], ["s"]) == 1
        assert desk.slot("a").dirty == 2
        assert list(desk.ledger.inputs("images")) == []
        assert desk.ledger.find_inputs("images", ["a"]) == {}
        assert desk.ledger.find_slots("s", ["never"]) == {}
        assert desk.ledger.count_inputs("images") == 0

    def test_an_unreadable_input_is_present_and_marks_when_its_error_changes(self, desk: Desk) -> None:
        assert desk.ledger.observe([seen("a", None, error="denied")], ["s"]) == 1
        assert desk.ledger.observe([seen("a", None, error="denied")], ["s"]) == 0
        assert desk.ledger.find_inputs("images", ["a"])["a"].error == "denied"
        assert desk.ledger.observe([seen("a")], ["s"]) == 1
        assert desk.ledger.count_inputs("images") == 1

    def test_one_call_may_see_one_key_twice(self, desk: Desk) -> None:
        assert desk.ledger.observe([seen("a", "1"), seen("a", "2"), seen("a", "2")], ["s"]) == 2
        assert list(desk.ledger.inputs("images")) == [seen("a", "2")]
        assert desk.ledger.count_inputs("images") == 1

    def test_inputs_are_counted_by_origin(self, desk: Desk) -> None:
        desk.ledger.observe([seen("a", origin="x"), seen("b", origin="y"), seen("c", bucket="rules")], ["s"])
        desk.ledger.observe([seen("a", origin="y")], ["s"])
        counts = [desk.ledger.count_inputs("images", origin) for origin in ("x", "y", "z", None)]
        assert counts == [0, 2, 0, 2]

    def test_inputs_are_listed_by_prefix_and_after_a_key(self, desk: Desk) -> None:
        keys = ["a", "b/1", "b/2", "b/3", "b0", "é"]
        desk.ledger.observe([seen(key) for key in reversed(keys)], [])
        assert [item.key for item in desk.ledger.inputs("images")] == keys
        assert [item.key for item in desk.ledger.inputs("images", "b/")] == ["b/1", "b/2", "b/3"]
        assert [item.key for item in desk.ledger.inputs("images", "b/", "b/1")] == ["b/2", "b/3"]
        assert [item.key for item in desk.ledger.inputs("images", after="b/3")] == ["b0", "é"]
        assert [item.key for item in desk.ledger.inputs("images", "b/", "c")] == []
        assert list(desk.ledger.inputs("other")) == []

    def test_a_long_listing_survives_changes_while_it_is_read(self, desk: Desk) -> None:
        keys = [f"{n:05}" for n in range(4500)]
        desk.ledger.observe([seen(key) for key in keys], [])
        got = []
        for item in desk.ledger.inputs("images"):
            got.append(item.key)
            if len(got) == 10:
                desk.ledger.observe([seen("00000", None)], [])
        assert got == keys

    def test_a_ref_of_another_object_is_refused(self, desk: Desk) -> None:
        wrong = Observation(bucket="images", key="a", origin="x", ref=ref("images", "b"))
        with pytest.raises(ValueError, match="images/a"):
            desk.ledger.observe([wrong], ["s"])

    # --- references and bases ---------------------------------------------------------------------------------------

    def test_exactly_the_enforced_references_are_in_force(self, desk: Desk) -> None:
        b = Reference(bucket="rules", name="b", files={"rule": ref("rules", "b.json")}, meta={"n": [1]})
        a = Reference(bucket="rules", name="a", files={})
        assert desk.ledger.references("rules") == ()
        desk.ledger.enforce("rules", [b, a])
        assert desk.ledger.references("rules") == (a, b)
        desk.ledger.enforce("rules", [b])
        assert desk.ledger.references("rules") == (b,)
        assert desk.ledger.references("model") == ()

    def test_a_new_basis_marks_every_slot_that_is_live(self, desk: Desk) -> None:
        desk.do(record("a"))
        desk.settle("b", failed())
        desk.do(record("gone"))
        desk.settle("gone", GONE)
        desk.do(record("a", stage="t"))
        assert desk.ledger.basis("s") is None
        assert desk.ledger.rebase("s", "basis 1") == 2
        assert (desk.ledger.basis("s"), desk.ledger.basis("t")) == ("basis 1", None)
        claims = desk.claim()
        assert [(claim.key, claim.slot.tries) for claim in claims] == [("a", 0), ("b", 0)]

    # --- slots ------------------------------------------------------------------------------------------------------

    def test_slots_are_counted_by_stage_and_state(self, desk: Desk) -> None:
        assert desk.ledger.count_slots() == {}
        desk.do(record("a"), marks=[Mark(stage="t", key="a")])
        desk.settle("b", failed())
        desk.mark("c", "d")
        desk.claim(1)
        assert desk.ledger.count_slots([]) == {}
        assert desk.ledger.count_slots(["s", "none"]) == {
            stage: states for stage, states in desk.ledger.count_slots().items() if stage == "s"
        }
        assert desk.ledger.count_slots() == {
            "s": {State.SUCCESS: 1, State.FAILED: 1, State.RUNNING: 1, State.PENDING: 1},
            "t": {State.PENDING: 1},
        }
        assert (desk.ledger.count_dirty("s"), desk.ledger.count_dirty("t"), desk.ledger.count_dirty("u")) == (2, 1, 0)

    def test_slots_are_listed_by_state_prefix_label_and_after(self, desk: Desk) -> None:
        desk.do(record("a/1", label="threat: dog"))
        desk.settle("a/2", failed())
        desk.settle("b/1", Outcome(state=State.UNRUNNABLE, error="up"))
        desk.do(record("b/2"))
        desk.do(record("", stage="t", label="x"))
        desk.mark("z", stage="t")

        def keys(**how: object) -> list[tuple[str, str]]:
            return [(slot.stage, slot.key) for slot in desk.ledger.slots(**how)]  # type: ignore[arg-type]

        every = [("s", "a/1"), ("s", "a/2"), ("s", "b/1"), ("s", "b/2"), ("t", ""), ("t", "z")]
        assert keys() == every
        assert keys(stage="t") == every[4:]
        assert keys(states=[State.UNRUNNABLE, State.FAILED]) == [("s", "a/2"), ("s", "b/1")]
        assert keys(states=[State.SUCCESS]) == [("s", "a/1"), ("s", "b/2"), ("t", "")]
        assert keys(states=[State.SUCCESS, State.FAILED], prefix="a") == [("s", "a/1"), ("s", "a/2")]
        assert keys(labelled=True) == [("s", "a/1"), ("t", "")]
        assert keys(labelled=True, states=[State.FAILED]) == []
        assert keys(prefix="b/") == [("s", "b/1"), ("s", "b/2")]
        for n, name in enumerate(every):
            assert keys(after=name) == every[n + 1 :]
        assert keys(after=("s", "a/1"), states=[State.SUCCESS]) == [("s", "b/2"), ("t", "")]
        assert keys(stage="s", after=("t", "")) == []

    def test_a_listing_of_slots_is_long(self, desk: Desk) -> None:
        keys = [f"{n:04}" for n in range(1203)]
        desk.mark(*keys)
        desk.claim(2)
        assert [slot.key for slot in desk.ledger.slots("s")] == keys
        listed = desk.ledger.slots("s", states=[State.PENDING, State.RUNNING], prefix="0")
        assert [slot.key for slot in listed] == keys[:1000]

    # --- provenance -------------------------------------------------------------------------------------------------

    def test_makers_are_the_newest_first_and_empty_for_an_unknown_path(self, desk: Desk) -> None:
        records = [record("k", f"h{n}", outputs=[ref("s", "k", str(n))]) for n in range(3)]
        for made in records:
            desk.do(made)
        assert desk.ledger.makers("s", "k") == records[::-1]
        assert desk.ledger.makers("s", "unknown") == []

    def test_users_of_bytes_are_found_page_by_page(self, desk: Desk) -> None:
        model = ref("model", "m.onnx")
        records = [record(str(n), f"h{n}", reads=[ref("images", str(n)), model, model]) for n in range(5)]
        for made in reversed(records):
            desk.do(made)
        assert desk.ledger.users(model.sha256) == records
        assert desk.ledger.users(model.sha256, limit=2) == records[:2]
        assert desk.ledger.users(model.sha256, limit=2, after="h1") == records[2:4]
        assert desk.ledger.users(ref("x", "nobody").sha256) == []

    def test_only_the_live_record_of_a_slot_is_live(self, desk: Desk) -> None:
        desk.do(record("k", "old"))
        desk.do(record("k", "new"))
        assert desk.ledger.is_live(["old", "new", "unknown"]) == {"new"}

    # --- tallies ----------------------------------------------------------------------------------------------------

    def test_a_tally_sums_the_live_datums_of_a_group(self, desk: Desk) -> None:
        desk.do(record("a", group="x", counts={"objects": 2, "seen:dog": 1, "zero": 0}, at_s=5.0))
        desk.do(record("b", group="x", counts={"objects": 1}, at_s=3.0))
        desk.do(record("c", group="y", counts={"objects": 7}))
        desk.do(record("a", stage="t", group="x", counts={"threats": 1}, at_s=5.0))
        x = Tally(group="x", counts={"objects": 3, "seen:dog": 1, "threats": 1}, last_at_s=5.0)
        y = Tally(group="y", counts={"objects": 7}, last_at_s=None)
        assert desk.ledger.tallies() == [x, y]
        assert desk.ledger.tallies(["y", "unknown"]) == [y]
        for name in {name for tally in (x, y) for name in tally.counts} | {"never"}:
            expected = {tally.group: tally.counts[name] for tally in (x, y) if name in tally.counts}
            assert desk.ledger.sums(name) == expected

    def test_a_tally_follows_replacement_and_retraction(self, desk: Desk) -> None:
        desk.do(record("a", "h1", group="x", counts={"n": 2, "m": 1}, at_s=5.0))
        desk.do(record("b", group="x", counts={"n": 1}, at_s=3.0))
        desk.do(record("a", "h2", group="x", counts={"n": 4}, at_s=4.0))
        assert desk.ledger.tallies() == [Tally(group="x", counts={"n": 5}, last_at_s=4.0)]
        desk.settle("a", failed())
        desk.settle("a", SKIP)
        assert desk.ledger.tallies() == [Tally(group="x", counts={"n": 5}, last_at_s=4.0)]
        desk.do(record("a", "h3", group="y", counts={"n": 4}, at_s=9.0))
        assert desk.ledger.tallies() == [
            Tally(group="x", counts={"n": 1}, last_at_s=3.0),
            Tally(group="y", counts={"n": 4}, last_at_s=9.0),
        ]
        desk.settle("b", GONE)
        assert [tally.group for tally in desk.ledger.tallies()] == ["y"]

    def test_a_datum_that_counts_nothing_and_never_happened_keeps_no_group_alive(self, desk: Desk) -> None:
        desk.do(record("x", stage="plot", group="x"))
        assert desk.ledger.tallies() == []
        desk.do(record("a", group="x", at_s=0.0))
        assert desk.ledger.tallies() == [Tally(group="x", last_at_s=0.0)]

    def test_members_are_the_live_datums_with_outputs(self, desk: Desk) -> None:
        made = record("b", group="x", facts={"n": 1}, at_s=2.0)
        desk.do(made)
        desk.do(record("a", group="x"))
        desk.do(record("none", group="x", outputs=[]))
        desk.do(record("other", group="y"))
        desk.do(record("b", stage="t", group="x"))
        a, b = desk.ledger.members("s", "x")
        assert a.key == "a"
        assert b == Member(stage="s", key="b", hash=made.hash, outputs=made.outputs, facts={"n": 1}, at_s=2.0)
        desk.settle("a", GONE)
        assert [member.key for member in desk.ledger.members("s", "x")] == ["b"]
        assert desk.ledger.members("s", "unknown") == []

    def test_the_live_view_holds_only_live_datums_after_replacement(self, desk: Desk) -> None:
        for n in range(5):
            assert desk.do(record("k", f"h{n}", outputs=[ref("s", f"k-{n}")], counts={"n": 1})) is Settled.DONE
        assert [slot.hash for slot in desk.ledger.slots()] == ["h4"]
        assert desk.ledger.tallies()[0].counts == {"n": 1}
        assert {change.key for change in desk.publish() if change.ref is not None} == {"k-4"}

    # --- runs -------------------------------------------------------------------------------------------------------

    def test_runs_are_listed_the_newest_first_with_how_they_ended(self, desk: Desk) -> None:
        for n in range(3):
            desk.ledger.start_run(RunRecord(id=f"r{n}", kind="run", owner=desk.owner, started_at_s=float(n)))
        desk.ledger.end_run("r1", "success", 9.0, {"stages": {"s": {"success": 1}}})
        assert [run.id for run in desk.ledger.runs(2)] == ["r2", "r1"]
        ended = desk.ledger.runs()[1]
        assert (ended.state, ended.ended_at_s, ended.summary) == ("success", 9.0, {"stages": {"s": {"success": 1}}})
        assert desk.ledger.runs()[0].state == "running"

    def test_a_run_id_is_used_once_and_an_unknown_one_cannot_end(self, desk: Desk) -> None:
        run = RunRecord(id="r", kind="run", owner=desk.owner, started_at_s=1.0)
        desk.ledger.start_run(run)
        with pytest.raises(ValueError, match="'r'"):
            desk.ledger.start_run(run)
        with pytest.raises(KeyError):
            desk.ledger.end_run("other", "success", 1.0, {})
