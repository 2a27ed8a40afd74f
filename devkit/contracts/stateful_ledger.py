"""A ledger against a plain model: random marks, claims, commits, losses and retractions, all views compared.

The model is dicts and knows the rules only by their sentences in ``Ledger`` and ``Outcome``. Knows no backend. Subclass
``LedgerMachine`` with ``make`` and hand its ``TestCase`` to pytest.
"""

# ruff: noqa: S101
from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devkit.contracts.ledger_kit import GONE, LEASE_S, SKIP, ManualClock, done, failed, record, ref, seen
from lookout.domain.records import Claim, Mark, ObjectRef, Outcome, Record, State
from lookout.ledger.port import Ledger, Settled

KEYS = ("", "a", "b\n", "é")
STAGES = ("s", "t")
PATHS = ("p", "p/x", "p/x/y", "p.z", "q")

keys = st.sampled_from(KEYS)
stages = st.sampled_from(STAGES)


@dataclass
class ModelSlot:
    """Slot as the model knows it."""

    state: State = State.PENDING
    dirty: int = 0
    tries: int = 0
    lost_with: int = 0
    lone_losses: int = 0
    proven: bool = False
    record: Record | None = None


@dataclass
class ModelClaim:
    """A claim that the model believes in, until ``until_s``."""

    claim: Claim
    until_s: float
    call: int


@dataclass
class Model:
    """Slots, who holds them, which content is visible, which inputs are there."""

    slots: dict[tuple[str, str], ModelSlot] = field(default_factory=dict)
    held: dict[tuple[str, str], ModelClaim] = field(default_factory=dict)
    visible: dict[tuple[str, str], ObjectRef] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    made: dict[str, Record] = field(default_factory=dict)

    def mark(self, stage: str, key: str) -> None:
        slot = self.slots.setdefault((stage, key), ModelSlot())
        if slot.dirty == 0:
            slot.tries = slot.lone_losses = 0
        slot.dirty += 1

    def lose_late(self, now_s: float) -> None:
        late = {name: held for name, held in self.held.items() if held.until_s <= now_s}
        together = Counter(held.call for held in late.values())
        for name, held in late.items():
            del self.held[name]
            slot = self.slots[name]
            alone = slot.lost_with > 0 and together[held.call] == 1
            slot.state, slot.lost_with = State.PENDING, together[held.call]
            if alone:
                slot.lone_losses += 1


class LedgerMachine(RuleBasedStateMachine):
    """The rules and what must hold after each."""

    @abstractmethod
    def make(self, clock: ManualClock) -> Ledger:
        """A new, empty ledger."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.ledger = self.make(self.clock)
        self.model = Model()
        self.session = self.ledger.session()
        self.owner = self.session.__enter__()
        self.claims: list[Claim] = []
        self.calls = self.records = 0
        self.store: dict[tuple[str, str], ObjectRef] = {}

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.session.__exit__(None, None, None)
            self.ledger.close()

    # --- what may happen --------------------------------------------------------------------------------------------

    @rule(stage=stages, key=keys)
    def mark(self, stage: str, key: str) -> None:
        self.ledger.mark([Mark(stage=stage, key=key)])
        self.model.mark(stage, key)

    @rule(stage=stages)
    def rebase(self, stage: str) -> None:
        live = [
            name for name, slot in self.model.slots.items() if name[0] == stage and slot.state is not State.RETRACTED
        ]
        assert self.ledger.rebase(stage, "basis") == len(live)
        for name in live:
            self.model.mark(*name)

    @rule(key=st.sampled_from(KEYS[1:]), content=st.sampled_from([None, "1", "2"]))
    def observe(self, key: str, content: str | None) -> None:
        differs = self.model.inputs.get(key) != content
        assert self.ledger.observe([seen(key, content)], ["s"]) == differs
        if differs:
            self.model.mark("s", key)
        if content is None:
            self.model.inputs.pop(key, None)
        else:
            self.model.inputs[key] = content

    @rule(stage=stages, limit=st.integers(0, 5), only=st.none() | st.sets(keys))
    def claim(self, stage: str, limit: int, only: set[str] | None) -> None:
        claims = self.ledger.claim(stage, self.owner, limit, LEASE_S, only)
        self.model.lose_late(self.clock())
        self.calls += 1
        free = {
            key: slot
            for (of_stage, key), slot in sorted(self.model.slots.items())
            if of_stage == stage
            and slot.dirty
            and (stage, key) not in self.model.held
            and (only is None or key in only)
        }
        fresh = [key for key, slot in free.items() if not slot.lost_with]
        got = [claim.key for claim in claims]
        if fresh or not free or not limit:
            assert got == fresh[:limit]
        else:
            (lost_with,) = {free[key].lost_with for key in got}
            assert got == sorted(got)
            assert 1 <= len(got) <= max(1, lost_with // 2)
            assert lost_with == max(slot.lost_with for slot in free.values())
        for claim in claims:
            slot = self.model.slots[stage, claim.key]
            assert (claim.dirty, claim.slot.tries, claim.slot.record) == (slot.dirty, slot.tries, slot.record)
            self.model.held[stage, claim.key] = ModelClaim(claim, self.clock() + LEASE_S, self.calls)
            slot.state = State.RUNNING
            self.claims.append(claim)

    @rule(seconds=st.sampled_from([LEASE_S / 2, LEASE_S]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        held = self._held(claim)
        assert self.ledger.extend([claim], LEASE_S) == [held is not None]
        if held is not None:
            held.until_s = self.clock() + LEASE_S

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), count=st.integers(1, 3))
    def commit(self, data: st.DataObject, count: int) -> None:
        outcomes = []
        for _ in range(count):
            claim = data.draw(st.sampled_from(self.claims))
            outcomes.append((claim, self._draw_outcome(data, claim)))
        answers = self.ledger.commit(outcomes)
        assert answers == [self._expect(claim, outcome) for claim, outcome in outcomes]

    @rule(fails=st.booleans(), limit=st.integers(1, 3), buckets=st.sampled_from([None, ["bucket", "other"]]))
    def publish(self, fails: bool, limit: int, buckets: list[str] | None) -> None:
        self._hand_out(self.store, limit, buckets, fails=fails)

    @rule()
    def publish_elsewhere(self) -> None:
        with self.ledger.unpublished(buckets=["other"]) as changes:
            assert list(changes) == []

    @rule()
    def new_session(self) -> None:
        self.session.__exit__(None, None, None)
        for name in self.model.held:
            self.model.slots[name].state = State.KILLED
        self.model.held.clear()
        self.session = self.ledger.session()
        self.owner = self.session.__enter__()

    def _hand_out(
        self, store: dict[tuple[str, str], ObjectRef], limit: int, buckets: list[str] | None = None, *, fails: bool
    ) -> None:
        with suppress(InterruptedError), self.ledger.unpublished(limit, buckets) as changes:
            for change in changes:
                if change.ref is None:
                    store.pop((change.bucket, change.key), None)
                else:
                    store[change.bucket, change.key] = change.ref
            _interrupt(fails)

    # --- the model's answer to a commit -----------------------------------------------------------------------------

    def _held(self, claim: Claim) -> ModelClaim | None:
        held = self.model.held.get((claim.stage, claim.key))
        return held if held is not None and held.claim == claim and self.clock() < held.until_s else None

    def _draw_outcome(self, data: st.DataObject, claim: Claim) -> Outcome:
        kind = data.draw(st.sampled_from(["new", "new", "old", "skip", "fail", "fail again", "gone", "killed", "up"]))
        known = [made for made in self.model.made.values() if (made.stage, made.key) == (claim.stage, claim.key)]
        if kind == "old" and known:
            return Outcome(state=State.SUCCESS, record=data.draw(st.sampled_from(known)), republished=True)
        if kind in ("new", "old"):
            marks = [Mark(stage="t", key=claim.key)] if claim.stage == "s" and data.draw(st.booleans()) else []
            refused = tuple(marks) if data.draw(st.booleans()) else ()
            return replace(done(self._draw_record(data, claim), marks=marks), marks_if_refused=refused)
        return {
            "skip": SKIP,
            "fail": failed(),
            "fail again": failed(final=False),
            "gone": GONE,
            "killed": Outcome(state=State.KILLED),
            "up": Outcome(state=State.UNRUNNABLE, error="up"),
        }[kind]

    def _draw_record(self, data: st.DataObject, claim: Claim) -> Record:
        self.records += 1
        hash_ = f"h{self.records}"
        paths = data.draw(st.lists(st.sampled_from(PATHS), unique=True, max_size=2))
        return record(
            claim.key,
            hash_,
            stage=claim.stage,
            outputs=[ref("bucket", path, hash_) for path in paths],
            group=data.draw(st.sampled_from(["g", "h"])),
            counts=data.draw(st.dictionaries(st.sampled_from(["n", "m"]), st.integers(0, 3))),
            at_s=data.draw(st.none() | st.sampled_from([1.0, 2.0])),
            label=data.draw(st.sampled_from([None, "x"])),
        )

    def _expect(self, claim: Claim, outcome: Outcome) -> Settled:
        name = (claim.stage, claim.key)
        if self._held(claim) is None:
            return Settled.LOST
        del self.model.held[name]
        slot = self.model.slots[name]
        slot.state = outcome.state
        if outcome.state is State.KILLED:
            if slot.dirty != claim.dirty:
                slot.lost_with = slot.lone_losses = 0
            return Settled.DONE
        if slot.dirty != claim.dirty:
            slot.state, slot.lost_with, slot.lone_losses = State.PENDING, 0, 0
            return Settled.SUPERSEDED
        if outcome.record is not None and self._conflicts(name, outcome.record):
            slot.state, slot.dirty = State.FAILED, 0
            slot.tries += 1
            if not slot.lone_losses:
                slot.lost_with = 0
            for mark in outcome.marks_if_refused:
                self.model.mark(mark.stage, mark.key)
            return Settled.CONFLICT
        self._settle(name, slot, outcome)
        for mark in outcome.marks:
            self.model.mark(mark.stage, mark.key)
        return Settled.DONE

    def _settle(self, name: tuple[str, str], slot: ModelSlot, outcome: Outcome) -> None:
        if outcome.state is State.FAILED:
            slot.tries += 1
        elif outcome.state is not State.UNRUNNABLE:
            slot.tries = slot.lone_losses = 0
        if outcome.state is not State.FAILED or not slot.lone_losses:
            slot.lost_with = 0
        if outcome.final or outcome.state is not State.FAILED:
            slot.dirty = 0
        if outcome.record is not None:
            slot.record, slot.proven = outcome.record, True
            self.model.made[outcome.record.hash] = outcome.record
        elif outcome.state is State.RETRACTED:
            slot.record = None
            if not slot.proven:
                del self.model.slots[name]

    def _conflicts(self, name: tuple[str, str], made: Record) -> bool:
        wanted = [output.path for output in made.outputs]
        others = [
            output.path
            for other, slot in self.model.slots.items()
            if other != name and slot.record is not None
            for output in slot.record.outputs
        ]
        nested = any(f"{one}/".startswith(f"{other}/") for one in wanted for other in wanted if one is not other)
        return nested or any(_clash(one, other) for one in wanted for other in others)

    # --- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def slots_are_those_of_the_model(self) -> None:
        if not hasattr(self, "ledger"):
            return
        shown = {
            (slot.stage, slot.key): (slot.state, slot.dirty, slot.tries, slot.losses, slot.record)
            for slot in self.ledger.slots()
        }
        assert shown == {
            name: (slot.state, slot.dirty, slot.tries, slot.lone_losses, slot.record)
            for name, slot in self.model.slots.items()
        }
        assert list(shown) == sorted(shown)
        counts: dict[str, Counter[State]] = {}
        for (stage, _), slot in self.model.slots.items():
            counts.setdefault(stage, Counter())[slot.state] += 1
        assert self.ledger.count_slots() == counts
        for stage in STAGES:
            dirty = sum(1 for (of_stage, _), slot in self.model.slots.items() if of_stage == stage and slot.dirty)
            assert self.ledger.count_dirty(stage) == dirty
        amiss = [name for name, (state, *_) in shown.items() if state in (State.FAILED, State.KILLED)]
        listed = self.ledger.slots(states=[State.FAILED, State.KILLED])
        assert [(slot.stage, slot.key) for slot in listed] == amiss

    @invariant()
    def tallies_are_sums_over_live_records(self) -> None:
        if not hasattr(self, "ledger"):
            return
        live = [slot.record for slot in self.model.slots.values() if slot.record is not None]
        told = {made.group for made in live if made.at_s is not None or any(made.counts.values())}
        tallies = self.ledger.tallies()
        assert [tally.group for tally in tallies] == sorted(told)
        for tally in tallies:
            mine = [made for made in live if made.group == tally.group]
            assert tally.counts == +sum((Counter(made.counts) for made in mine), Counter())
            assert tally.last_at_s == max((made.at_s for made in mine if made.at_s is not None), default=None)
        assert self.ledger.is_live(self.model.made) == {made.hash for made in live}
        labelled = [(slot.stage, slot.key) for slot in self.ledger.slots(labelled=True)]
        assert labelled == sorted((made.stage, made.key) for made in live if made.label is not None)

    @invariant()
    def history_and_inputs_are_kept(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert self.ledger.find_records(self.model.made) == self.model.made
        assert [item.key for item in self.ledger.inputs("images")] == sorted(self.model.inputs)
        assert self.ledger.count_inputs("images") == len(self.model.inputs)

    @invariant()
    def what_is_visible_in_the_end_is_what_is_live(self) -> None:
        if not hasattr(self, "ledger"):
            return
        store = dict(self.store)
        self._hand_out(store, 1000, fails=True)  # they stay due: only the rule "publish" takes them
        live = [slot.record for slot in self.model.slots.values() if slot.record is not None]
        assert store == {(out.bucket, out.key): out for made in live for out in made.outputs}
        for out in store.values():
            (maker, *_) = self.ledger.makers(out.bucket, out.key)
            assert out in maker.outputs


def _clash(one: str, other: str) -> bool:
    """Tell whether no folder can hold both paths as files."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _interrupt(now: bool) -> None:
    if now:
        raise InterruptedError
