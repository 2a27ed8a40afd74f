"""State machine of runs that stay open: intakes, keepers and stages act in any order, one in the middle of another.

Each party has a client, a clock and a session of its own. ``interleave`` begins an action of one party and lets another
party act before one of its requests, so between a reading and the transaction that rests on it. What must hold after
each step is in the invariants: (I1) a key that waits for a later stage is in exactly one unfinished batch, and one that
waits for the first stage is there or is found by the sweep; (I2) an unfinished batch belongs to a run that has not
ended; (I3) a run that has ended has no unfinished batch. In the end everything is done, whoever was killed.
"""

# ruff: noqa: S101
from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from devkit.contracts.ledger_kit import LEASE_S, ManualClock, done, record
from lookout.domain.errors import ClaimLost, InputRejected, Unavailable
from lookout.domain.records import Claim, Mark, Outcome, State
from lookout.ledger.batches import LIVE, UNFINISHED, Batch
from lookout.ledger.open_runs import OPENING_S, OpenRunLedger, RunLease, RunState, RunView, opening
from lookout.ledger.rules.open_runs import state_of

STAGES = ("s", "t")
"""The first marks the second."""
KEYS = ("a", "b")
INTAKES = (("intake", 0), ("intake", 1))
KEEPERS = (("keeper", 0), ("keeper", 1))
WORKERS = (("s", 0), ("t", 0), ("s", 1))
PARTIES = (*INTAKES, *KEEPERS, *WORKERS)
SKEW_S = dict(zip(PARTIES, (0.0, 7.0, -3.0, 2.0, 0.0, 5.0, -5.0), strict=True))
"""Seconds by which the clock of each party is ahead."""
ACTIONS = {
    "intake": ("land", "assign", "recover", "bury"),
    "keeper": ("keep", "end", "close"),
    "s": ("work", "work"),
    "t": ("work", "work"),
}
Action = tuple[tuple[str, int], str, int]
"""Party, its act, and a number that chooses among what there is."""
actions = st.tuples(
    st.sampled_from([(who, what) for who in PARTIES for what in ACTIONS[who[0]]]), st.integers(min_value=0, max_value=1)
).map(lambda drawn: (*drawn[0], drawn[1]))


@dataclass
class Party:
    """One process. A number chooses the run that it works on."""

    who: tuple[str, int]
    ledger: OpenRunLedger
    owner: str
    stack: ExitStack
    line: set[str] = field(default_factory=set)
    lease: RunLease | None = None
    taken: list[Batch] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    run: str = ""
    verified: bool = False


class OpenRunsMachine(RuleBasedStateMachine):
    """The actions, and what must hold after each."""

    @abstractmethod
    def open(self, clock: Callable[[], float]) -> OpenRunLedger:
        """Open a client of the one ledger."""

    @abstractmethod
    def before_request(self, call: Callable[[], None]) -> None:
        """Have this called before each request of any client."""

    @abstractmethod
    def kill(self, owner: str) -> None:
        """End the owner's session as the store does for a process that is gone."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.numbers = count(1)
        self.parties: dict[tuple[str, int], Party] = {}
        self.ended: list[Party] = []
        self.observer = self.open(self.clock)

    def party(self, who: tuple[str, int]) -> Party:
        if who not in self.parties:
            stack = ExitStack()
            ledger = self.open(lambda: self.clock.now_s + SKEW_S[who])
            owner = stack.enter_context(ledger.session())
            self.parties[who] = Party(who, ledger, owner, stack)
        return self.parties[who]

    # --- rules --------------------------------------------------------------------------------------------------------

    @rule(some=st.lists(actions, min_size=1, max_size=6))
    def act(self, some: list[Action]) -> None:
        for action in some:
            self.do(*action)

    @rule(first=actions, at=st.integers(min_value=1, max_value=5), others=st.lists(actions, min_size=1, max_size=5))
    def interleave(self, first: Action, at: int, others: list[Action]) -> None:
        """Have others act before the n-th request of the first."""
        for who in {action[0] for action in (first, *others)}:
            self.party(who)
        left = [at]

        def meanwhile() -> None:
            left[0] -= 1
            if left[0] == 0:
                self.before_request(lambda: None)
                for action in others:
                    if action[0] != first[0]:
                        self.do(*action)

        self.before_request(meanwhile)
        try:
            self.do(*first)
        finally:
            self.before_request(lambda: None)

    @rule(who=st.sampled_from(PARTIES), how=st.sampled_from(["die", "freeze", "drain", "pass", "pass long"]))
    def disturb(self, who: tuple[str, int], how: str) -> None:
        """Kill a process, whose memory is gone; freeze it for longer than its session lives, after which it goes on as
        if nothing had happened; drain its run; or let time pass."""
        party = self.parties.get(who)
        if how == "pass" or party is None:
            self.clock.now_s += 10.0
        elif how == "pass long":
            self.clock.now_s += OPENING_S
        elif how == "drain":
            self.drain(party, 0)
        elif how == "die":
            self.die(party, 0)
        else:
            self.kill(party.owner)

    def die(self, party: Party, _choice: int) -> None:
        self.kill(party.owner)
        self.end_party(party)

    def end_party(self, party: Party) -> None:
        self.ended.append(self.parties.pop(party.who))

    def do(self, who: tuple[str, int], what: str, choice: int) -> None:
        """Have a party act; one whose session is over learns that, and ends."""
        party = self.party(who)
        try:
            getattr(self, what)(party, choice)
        except Unavailable:
            if self.parties.get(who) is party:
                self.end_party(party)

    # --- the intake ---------------------------------------------------------------------------------------------------

    def land(self, party: Party, choice: int) -> None:
        party.ledger.mark([Mark(stage="s", key=KEYS[choice])])
        party.line.add(KEYS[choice])

    def age(self, _party: Party, _choice: int) -> None:
        """Let time pass until a new run is lost by some clocks and not by others."""
        self.clock.now_s += OPENING_S - 4

    def sweep(self, party: Party, _choice: int) -> None:
        held = {key for batch in party.ledger.batches(states=UNFINISHED) for key in batch.keys}
        party.line.update(key for key in party.ledger.dirty("s") if key not in held)

    def assign(self, party: Party, choice: int) -> None:
        if choice:
            self.sweep(party, 0)
        slots = party.ledger.find_slots("s", sorted(party.line))
        waiting = tuple(sorted(key for key, slot in slots.items() if slot.dirty))
        if waiting:
            run = self.target(party, choice)
            batch = Batch(id=f"{next(self.numbers):03}", kind=LIVE, keys=waiting, run=run, created_at_s=1.0)
            try:
                party.ledger.assign_batch(batch)
            except InputRejected:
                return
        party.line.clear()

    def target(self, party: Party, choice: int) -> str:
        """Choose a run that takes batches, or begin one."""
        runs = self.in_state(party, RunState.OPEN, RunState.OPENING)
        if not runs or (choice and len(runs) == 1):
            id_ = f"run-{next(self.numbers):03}"
            party.ledger.start_run(opening(id_, "1", self.clock.now_s + SKEW_S[party.who]))
            return id_
        return runs[choice % len(runs)].record.id

    def recover(self, party: Party, choice: int) -> None:
        """Move what is in runs that are lost."""
        for view in self.in_state(party, RunState.LOST):
            for id_ in view.unfinished:
                try:
                    party.ledger.move_batch(id_, self.target(party, choice))
                except InputRejected:
                    return

    def bury(self, party: Party, _choice: int) -> None:
        for view in self.in_state(party, RunState.LOST):
            party.ledger.bury_run(view.record.id)

    def in_state(self, party: Party, *states: RunState) -> list[RunView]:
        now_s = self.clock.now_s + SKEW_S[party.who]
        views = party.ledger.open_runs()
        return [view for view in views if state_of(view.record, view.lease, now_s, OPENING_S) in states]

    # --- the keeper ---------------------------------------------------------------------------------------------------

    def keep(self, party: Party, choice: int) -> None:
        """Become the keeper of a run that has none, or take its batches."""
        if party.lease is None:
            free = [view.record.id for view in party.ledger.open_runs() if view.lease is None]
            if free:
                try:
                    party.lease = party.ledger.lease_run(free[choice % len(free)], party.owner)
                except InputRejected:
                    return
            party.taken = []
        if party.lease is not None:
            while (one := party.ledger.take_batch(party.owner, LEASE_S, run=party.lease.run)) is not None:
                party.taken.append(one)

    def end(self, party: Party, choice: int) -> None:
        if choice:
            self.keep(party, choice)
        ended = {batch.id for batch in party.ledger.end_settled(party.taken, STAGES)}
        party.taken = [batch for batch in party.taken if batch.id not in ended]

    def drain(self, party: Party, _choice: int) -> None:
        if party.lease is not None:
            try:
                party.lease = party.ledger.drain_run(party.lease, "asked for")
            except (ClaimLost, Unavailable):
                party.lease = None

    def close(self, party: Party, _choice: int) -> None:
        if party.lease is not None:
            try:
                if party.ledger.close_kept_run(party.lease, "success", {}):
                    party.lease = None
            except ClaimLost:
                party.lease = None

    # --- the stages ---------------------------------------------------------------------------------------------------

    def work(self, party: Party, choice: int) -> None:
        """Do the next step: join a run, claim what waits in it, see that it is still in a batch, commit."""
        if not party.run:
            self.join(party, choice)
        elif not party.claims:
            self.claim(party)
        elif not party.verified:
            self.verify(party)
        else:
            self.commit(party)

    def join(self, party: Party, choice: int) -> None:
        runs = [view.record.id for view in party.ledger.open_runs() if view.unfinished]
        if runs and party.ledger.join_run(runs[choice % len(runs)], party.who[0], party.owner):
            party.run = runs[choice % len(runs)]

    def claim(self, party: Party) -> None:
        stage, behind = party.who[0], ("s",) if party.who[0] == "t" else ()
        keys = party.ledger.waiting(party.run, stage).keys
        party.claims = party.ledger.claim(stage, party.owner, 2, LEASE_S, keys, behind)
        party.verified = False
        if not party.claims:
            party.run = ""

    def verify(self, party: Party) -> None:
        """Give back what is in no unfinished batch of the run any more."""
        kept = party.ledger.waiting(party.run, party.who[0]).keys
        strays = [claim for claim in party.claims if claim.key not in kept]
        party.ledger.commit([(claim, Outcome(state=State.PENDING)) for claim in strays])
        party.claims = [claim for claim in party.claims if claim.key in kept]
        party.verified = True

    def commit(self, party: Party) -> None:
        outcomes = []
        for claim in party.claims:
            marks = [Mark(stage="t", key=claim.key)] if claim.stage == "s" else []
            outcomes.append((claim, done(record(claim.key, stage=claim.stage), marks=marks)))
        party.ledger.commit(outcomes)
        party.claims = []

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def a_key_that_waits_for_a_later_stage_is_in_one_unfinished_batch(self) -> None:
        held = Counter(key for batch in self.observer.batches(states=UNFINISHED) for key in batch.keys)
        assert not [key for key, number in held.items() if number > 1], held
        first, later = set(self.observer.dirty("s")), set(self.observer.dirty("t"))
        assert later <= first | held.keys(), "in no batch, and not found by the sweep"

    @invariant()
    def an_unfinished_batch_belongs_to_a_run_that_has_not_ended(self) -> None:
        for batch in self.observer.batches(states=UNFINISHED):
            view = self.observer.find_run(batch.run)
            assert view is not None
            assert view.record.state == "running", (batch.id, view.record)
            assert batch.id in view.unfinished

    @invariant()
    def a_run_with_a_lease_has_not_ended(self) -> None:
        listed = {view.record.id for view in self.observer.open_runs()}
        for run in self.observer.runs():
            assert (run.state == "running") == (run.id in listed), run
            view = self.observer.find_run(run.id)
            assert view is not None
            assert view.lease is None or view.record.state == "running", view

    def check(self) -> None:
        """Check what must hold."""
        self.a_key_that_waits_for_a_later_stage_is_in_one_unfinished_batch()
        self.an_unfinished_batch_belongs_to_a_run_that_has_not_ended()
        self.a_run_with_a_lease_has_not_ended()

    def settle(self) -> None:
        """Have what is left done by an intake, a keeper and workers that nobody disturbs."""
        for party in list(self.parties.values()):
            self.die(party, 0)
        intake, keeper, *workers = (self.party(who) for who in (INTAKES[0], KEEPERS[0], *WORKERS[:2]))
        for _ in range(8):
            self.clock.now_s += OPENING_S + 10
            self.recover(intake, 0)
            self.assign(intake, 1)
            self.keep(keeper, -1)
            for worker in workers * 5 * len(KEYS):
                self.work(worker, 0)
            self.end(keeper, -1)
            self.close(keeper, 0)
            self.bury(intake, 0)
        assert not [*self.observer.dirty("s"), *self.observer.dirty("t")], "not all is done"
        assert not list(self.observer.batches(states=UNFINISHED))
        assert self.observer.open_runs() == []

    def teardown(self) -> None:
        if not hasattr(self, "observer"):
            return
        try:
            self.settle()
        finally:
            for party in (*self.ended, *self.parties.values()):
                party.stack.close()
                party.ledger.close()
            self.observer.close()
