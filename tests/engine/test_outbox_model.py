"""The outbox against a model of the world: whatever fails, dies or jumps between any two of its steps, no alert is
lost, and none arrives twice without the mark of a repeat."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devkit.contracts.ledger_kit import ManualClock, alert, done, record
from devkit.fakes.memory_kv import memory_ledger
from lookout.domain.errors import Unavailable
from lookout.domain.records import MAIL, Alert, AlertState, Mark, ObjectRef, Outcome, State
from lookout.ledger.port import Delivered, Ledger
from lookout.ledger.rules.alerts import REPEAT_LIMIT_S, WAITING, is_due
from lookout.ledger.sqlite import SqliteLedger
from lookout.outbox.channel import Letter
from lookout.outbox.departure import LATE, Departure
from lookout.outbox.outbox import Outbox

DAY_S = 86400.0
STEPS = ("list", "claim", "read", "open", "begin", "note", "send", "settle")
FAULTS = ("fail", "fail after", "kill", "kill after", "bug")
ANSWERS = ("dead", "refused", "lost", "arrived without an answer", "frozen")
JUMPS = (-3650 * DAY_S, -DAY_S, -90.0, 90.0, DAY_S, 3650 * DAY_S)
IDS = ("a", "b", "c")
HOME = "webhook:home"
CHANNELS = {"a": MAIL, "b": MAIL, "c": HOME}


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Fates:
    """Fates of the next steps, in turn; all goes well when it is used up. ``jump`` sets the clock first."""

    plan: Iterator[tuple[str, str, float]] = field(default_factory=lambda: iter(()))
    clock: ManualClock = field(default_factory=ManualClock)
    uptime: ManualClock = field(default_factory=ManualClock)
    """The clock that nobody sets."""
    next: tuple[str, str, float] | None = None

    def begin(self, plan: Sequence[tuple[str, str, float]]) -> None:
        self.plan = iter(plan)
        self.next = next(self.plan, None)

    def take(self, step: str) -> str:
        if self.next is None or self.next[0] != step:
            return "well"
        _, fate, jump_s = self.next
        self.next = next(self.plan, None)
        self.clock.now_s += jump_s
        return fate

    @contextmanager
    def at(self, step: str) -> Iterator[None]:
        """The step, which may fail or be the last one, before or after it has its effect."""
        fate = self.take(step)
        _raise(fate, before=True)
        yield
        _raise(fate, before=False)


def _raise(fate: str, *, before: bool) -> None:
    if fate == ("kill" if before else "kill after"):
        raise Killed
    if fate == ("fail" if before else "fail after"):
        raise Unavailable("the world", "it does not answer")
    if fate == "bug" and before:
        raise RuntimeError("can't start new thread")


class FaultyLedger:
    """The outbox's view of a ledger that may fail or die at each call."""

    def __init__(self, ledger: Ledger, fates: Fates) -> None:
        self._ledger, self._fates = ledger, fates

    def alerts(self, **chosen: object) -> list[Alert]:
        with self._fates.at("list"):
            return list(self._ledger.alerts(**chosen))  # type: ignore[arg-type]

    def claim_alerts(self, *args: object) -> list[Alert]:
        with self._fates.at("claim"):
            return self._ledger.claim_alerts(*args)  # type: ignore[arg-type]

    def begin_sending(self, *args: object) -> frozenset[str]:
        with self._fates.at("note"):
            return self._ledger.begin_sending(*args)  # type: ignore[arg-type]

    def settle_alerts(self, *args: object) -> None:
        with self._fates.at("settle"):
            self._ledger.settle_alerts(*args)  # type: ignore[arg-type]


@dataclass
class Service:
    """A mail service: it keeps what arrived, alert by alert, with its mark."""

    fates: Fates
    arrived: list[tuple[str, bool]] = field(default_factory=list)
    freeze: Callable[[], None] = lambda: None
    """Work of others while the process is frozen."""

    def get(self, ref: ObjectRef) -> bytes:
        with self.fates.at("read"):
            return b"picture"

    def open(self, name: str) -> Way:
        with self.fates.at("open"):
            return Way(self, name)


@dataclass
class Way:
    """A channel to the service, for the letters of its name alone."""

    service: Service
    name: str

    def begin(self, letter: Letter) -> Call | Delivered:
        assert {one.draft.channel for one in letter.alerts} == {self.name}
        with self.service.fates.at("begin"):
            return Call(self.service, letter)


@dataclass
class Call:
    service: Service
    letter: Letter

    def send(self, now_s: float, departure: Departure) -> Delivered:
        fate = self.service.fates.take("send")
        _raise(fate, before=True)
        if fate == "frozen":
            self.service.freeze()
        if departure.is_late():
            return Delivered(state=AlertState.PENDING, error=LATE)
        if fate == "refused":
            return Delivered(state=AlertState.PENDING, error="429", due_at_s=now_s + 60)
        if fate == "dead":
            return Delivered(state=AlertState.DEAD, error="400: no such address")
        if fate != "lost":
            self.service.arrived += [(one.id, self.letter.resend) for one in self.letter.alerts]
        _raise(fate, before=False)
        if fate == "frozen":
            raise Killed  # it has lost its session, and can do nothing more
        if fate in ("lost", "arrived without an answer"):
            return Delivered(state=AlertState.UNKNOWN, error="no answer")
        return Delivered(state=AlertState.SENT, message_id="m")

    def abort(self) -> None:
        raise AssertionError("nobody stops here")

    def close(self) -> None:
        """Nothing to give back."""


steps = st.tuples(st.sampled_from(STEPS), st.sampled_from((*FAULTS, *ANSWERS)), st.sampled_from((0.0, 0.0, *JUMPS)))
plans = st.lists(st.lists(steps, max_size=6), min_size=1, max_size=6)


def play(make: Callable[[ManualClock], Ledger], plan: Sequence[Sequence[tuple[str, str, float]]], most: int) -> None:
    """Processes that begin, meet what the plan says and end, until all is well and nothing waits any more."""
    fates = Fates()
    service = Service(fates)
    ledger = make(fates.clock)
    entered = [alert(id_, channel=CHANNELS[id_]) for id_ in IDS]
    with ledger.session() as owner:
        ledger.mark([_mark()])
        (claim,) = ledger.claim("s", owner, 1, 60.0)
        ledger.commit([(claim, done(record("k", alerts=entered), alerts=entered))])

    def process(steps: Sequence[tuple[str, str, float]]) -> None:
        fates.begin(steps)
        session = ExitStack()

        def take_over() -> None:
            session.close()
            fates.uptime.now_s += 20.0
            process([])

        service.freeze = take_over
        try:
            with session:
                owner = session.enter_context(ledger.session())
                outbox = Outbox(
                    ledger=FaultyLedger(ledger, fates),  # type: ignore[arg-type]
                    store=service,  # type: ignore[arg-type]
                    channel=service.open,
                    owner=owner,
                    clock=fates.clock,
                    uptime=fates.uptime,
                    max_letters=most,
                )
                for _ in range(4):  # as the thread of a watch does
                    try:
                        outbox.dispatch()
                    except (Unavailable, RuntimeError):
                        fates.clock.now_s += 5.0
        except Killed:
            pass
        fates.begin([])

    for each in plan:
        process(each)
        check_promises(ledger, service)
        fates.clock.now_s += 30.0
    for _ in range(60):  # all is well from here on, however long that takes
        waiting = list(ledger.alerts(states=WAITING))
        if not waiting:
            break
        if not any(is_due(one, fates.clock.now_s) for one in waiting):
            pause_s = min(one.due_at_s for one in waiting) - fates.clock.now_s
            assert pause_s <= REPEAT_LIMIT_S, "a clock that was ahead once holds nothing up"
            fates.clock.now_s += pause_s
        process([])
    check_promises(ledger, service)
    check_ends(ledger, service)
    ledger.close()


def check_ends(ledger: Ledger, service: Service) -> None:
    """Check what holds when nothing waits any more."""
    arrived = {id_ for id_, _ in service.arrived}
    for one in ledger.alerts():
        assert one.state in (AlertState.SENT, AlertState.DEAD), one
        assert one.state is not AlertState.SENT or one.id in arrived
        assert one.state is not AlertState.DEAD or one.error == "400: no such address"


def check_promises(ledger: Ledger, service: Service) -> None:
    """Check what holds at any time between two processes."""
    for one in ledger.alerts():
        marks = [marked for id_, marked in service.arrived if id_ == one.id]
        assert all(marks[1:]), f"{one.id} arrived twice without a mark"
        assert one.state is not AlertState.SENDING, "nobody lives who could be sending it"
        assert not marks or one.state is AlertState.SENT or one.doubts, "it may have arrived, and that is forgotten"
        assert one.state not in WAITING or (one.state is AlertState.UNKNOWN) == (one.doubts > 0)


def _mark() -> Mark:
    return Mark(stage="s", key="k")


@settings(max_examples=400, deadline=None)
@given(plan=plans, most=st.sampled_from((1, 20)))
def test_no_alert_is_lost_and_none_arrives_twice_without_a_mark(plan, most) -> None:
    play(memory_ledger, plan, most)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans, most=st.sampled_from((1, 20)))
def test_no_alert_is_lost_in_sqlite(tmp_path_factory: pytest.TempPathFactory, plan, most) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    play(lambda clock: SqliteLedger(folder / "ledger.sqlite", clock=clock), plan, most)


@pytest.mark.parametrize(("step", "fate"), list(itertools.product(STEPS, ("kill", "kill after", "fail", "fail after"))))
def test_any_one_fault_again_and_again_loses_nothing(step: str, fate: str) -> None:
    """Each step fails in each of ten processes, as a death at start-up would have it."""
    play(memory_ledger, [[(step, fate, 0.0)] * 3 for _ in range(10)], 20)


@pytest.mark.parametrize("away", ["open", "begin", "read", "list", "claim", "settle", "note"])
def test_a_day_without_an_answer_loses_nothing_and_repeats_nothing(away: str) -> None:
    fates = Fates()
    ledger, service = memory_ledger(fates.clock), Service(fates)
    with ledger.session() as owner:
        ledger.mark([_mark()])
        (claim,) = ledger.claim("s", owner, 1, 60.0)
        entered = [alert(id_, channel=CHANNELS[id_]) for id_ in IDS]
        ledger.commit([(claim, done(record("k", alerts=entered), alerts=entered))])
        outbox = Outbox(
            ledger=FaultyLedger(ledger, fates),  # type: ignore[arg-type]
            store=service,  # type: ignore[arg-type]
            channel=service.open,
            owner=owner,
            clock=fates.clock,
        )
        until_s = fates.clock.now_s + DAY_S
        while fates.clock.now_s < until_s:
            fates.begin([(away, "fail", 0.0)] * 10)
            due_at_s: float | None = None
            with suppress(Unavailable):
                due_at_s = outbox.dispatch()
            fates.clock.now_s = max(fates.clock.now_s + 5.0, min(due_at_s or 0.0, fates.clock.now_s + 60.0))
            if away == "read" and service.arrived:
                break  # a picture that cannot be read for minutes is not waited for
        fates.begin([])
        for _ in range(3):
            fates.clock.now_s += 60.0
            outbox.dispatch()
    assert sorted(service.arrived) == [(id_, False) for id_ in IDS]
    assert {one.state for one in ledger.alerts()} == {AlertState.SENT}


@pytest.mark.parametrize("most", [1, 20])
def test_a_sender_that_is_frozen_before_its_request_leaves_sends_nothing_when_it_wakes(most: int) -> None:
    play(memory_ledger, [[("send", "frozen", 0.0)]], most)


def test_an_alert_that_is_canceled_while_its_letter_is_rendered_does_not_leave() -> None:
    fates = Fates()
    ledger, service = memory_ledger(fates.clock), Service(fates)
    with ledger.session() as owner:
        ledger.mark([_mark()])
        (claim,) = ledger.claim("s", owner, 1, 60.0)
        ledger.commit([(claim, done(record("k", alerts=[alert("a")]), alerts=[alert("a")]))])

        def open_and_retract(name: str) -> Way:
            ledger.mark([_mark()])
            (again,) = ledger.claim("s", owner, 1, 60.0)
            ledger.commit([(again, Outcome(state=State.RETRACTED))])
            return service.open(name)

        Outbox(ledger=ledger, store=service, channel=open_and_retract, owner=owner, clock=fates.clock).dispatch()  # type: ignore[arg-type]
    assert service.arrived == []
    assert [one.state for one in ledger.alerts()] == [AlertState.CANCELED]
