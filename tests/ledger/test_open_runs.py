"""Open runs keep their invariants whoever acts in the middle of whom, is killed, frozen or has another clock."""

from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from devkit.contracts.open_runs_machine import OpenRunsMachine
from devkit.fakes.memory_kv import MemoryKv, MemoryStore
from lookout.ledger.batches import UNFINISHED
from lookout.ledger.kv import KvLedger, keys


class MemoryMachine(OpenRunsMachine):
    def __init__(self):
        super().__init__()
        self.store = MemoryStore()

    def open(self, clock):
        return KvLedger(MemoryKv(self.store), "/lookout", clock, ttl_s=3600)

    def before_request(self, call):
        self.store.before_request = call

    def kill(self, owner):
        self.store.end_lease_of(keys.ledger("/lookout") + keys.ALIVE + keys.text(owner))


I0, I1, K0, K1, S0, S1, T0 = ("intake", 0), ("intake", 1), ("keeper", 0), ("keeper", 1), ("s", 0), ("s", 1), ("t", 0)
LAND, ASSIGN, KEEP = (I0, "land", 0), (I0, "assign", 0), (K0, "keep", 0)
ALL_WORK = [(who, "work", 0) for who in (S1, T0) for _ in range(4)]
BEFORE = {
    "old and opening": [(I0, "target", 0), (I0, "age", 0)],
    "assigned": [LAND, ASSIGN],
    "kept": [LAND, ASSIGN, KEEP],
    "worked on": [LAND, ASSIGN, KEEP, *ALL_WORK],
    "done": [LAND, ASSIGN, KEEP, *ALL_WORK, (K0, "end", 0)],
    "lost": [LAND, ASSIGN, KEEP, (K0, "die", 0)],
    "lost empty": [LAND, ASSIGN, KEEP, *ALL_WORK, (K0, "end", 0), (K0, "die", 0)],
}
FIRST = {
    "assign": [(I0, "land", 1), ASSIGN],
    "assign again": [LAND, ASSIGN],
    "recover": [(I0, "recover", 0)],
    "bury": [(I0, "bury", 0)],
    "keep": [KEEP],
    "end": [(K0, "end", 0)],
    "close": [(K0, "close", 0)],
    "work": [(S0, "work", 0)] * 2,
}
MEANWHILE = {
    "landing": [(I1, "land", 0)],
    "assigning": [(I1, "land", 0), (I1, "assign", 0)],
    "landing and claiming": [(I1, "land", 0), *[(S1, "work", 0)] * 2],
    "working, ending and landing": [*ALL_WORK, (K0, "end", 1), (I1, "land", 0)],
    "working, ending and closing": [*ALL_WORK, (K0, "end", 1), (K0, "close", 0)],
    "burying": [(I1, "bury", 0)],
    "closing": [(K0, "close", 0)],
    "draining": [(K0, "drain", 0)],
    "dying": [(K0, "die", 0)],
    "dying and recovering": [(K0, "die", 0), (I1, "recover", 1)],
    "recovering and burying": [(I1, "recover", 1), (I1, "bury", 0)],
    "keeping by another": [(K0, "die", 0), (K1, "keep", 0)],
    "working and closing by another": [(K0, "die", 0), (K1, "keep", 0), *ALL_WORK, (K1, "end", 0), (K1, "close", 0)],
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("requests", [(2, 3, 5), pytest.param((1, 4, 6, 7, 8), marks=pytest.mark.slow)], ids=str)
def test_whoever_acts_between_a_reading_and_its_transaction_breaks_nothing(before, first, requests):
    *prepare, raced = FIRST[first]
    for others in MEANWHILE.values():
        for at in requests:
            with ExitStack() as end:
                machine = MemoryMachine()
                machine.begin()
                end.callback(machine.teardown)
                for action in BEFORE[before] + prepare:
                    machine.do(*action)
                machine.interleave(first=raced, at=at, others=others)
                for action in [(S0, "work", 0), (S0, "work", 0), (S1, "work", 0)]:
                    machine.do(*action)
                machine.check()


def test_a_batch_goes_on_when_one_of_its_pictures_lands_again_while_it_is_ended():
    with ExitStack() as end:
        machine = MemoryMachine()
        machine.begin()
        end.callback(machine.teardown)
        for action in BEFORE["worked on"]:
            machine.do(*action)
        machine.interleave(first=(K0, "end", 0), at=3, others=[(I1, "land", 0)])
        assert len(list(machine.observer.batches(states=UNFINISHED))) == 1
        machine.do(I0, "sweep", 0)
        assert machine.party(I0).line == set()


class LongMemoryMachine(MemoryMachine):
    pass


def form(examples, steps):
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=examples < 1000,
        suppress_health_check=list(HealthCheck),
    )


TestOpenRuns = MemoryMachine.TestCase
TestOpenRuns.settings = form(25, 20)
TestOpenRunsLong = pytest.mark.slow(LongMemoryMachine.TestCase)
TestOpenRunsLong.settings = form(1500, 40)
