"""On a real etcd alerts are decided as in a simulation, and decisions of several workers of one group count once."""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing
from typing import Any

import pytest

from devkit.contracts.ledger_kit import ManualClock
from devkit.contracts.ledger_policy import decided, decisions_on, states, verdict
from devkit.servers.for_tests import EtcdServer
from lookout.domain.policy import codec
from lookout.domain.records import Mark
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.rules import decisions
from lookout.ledger.rules.decisions import GROUP
from tests.policy.test_ledger import difference
from tests.policy.test_scenarios import SCENARIOS

WORKERS = 32
EACH = 4
P99_S = 1.0


def test_decisions_of_many_workers_of_one_group_follow_one_another(etcd: EtcdServer, prefix: str) -> None:
    _decide_at_once(etcd, prefix)


@pytest.mark.slow
def test_many_workers_of_one_group_wait_less_than_a_second(etcd: EtcdServer, prefix: str) -> None:
    """On a machine that does nothing else."""
    took_s = sorted(_decide_at_once(etcd, prefix))
    p99_s = took_s[int(len(took_s) * 0.99)]
    assert p99_s < P99_S, f"p50 {took_s[len(took_s) // 2]:.3f} s, p99 {p99_s:.3f} s"


def _decide_at_once(etcd: EtcdServer, prefix: str) -> list[float]:
    """Have many workers, each with a connection and a session of its own, commit pictures of one device, one at a time;
    how long each commit took."""
    took_s: list[float] = []
    failures: list[Exception] = []
    together = threading.Barrier(WORKERS)

    def work(number: int) -> None:
        try:
            with closing(EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix)) as ledger, ledger.session() as owner:
                together.wait(60)
                for n in range(EACH):
                    key = f"p{number}-{n}"
                    ledger.mark([Mark(stage="s", key=key)])
                    (claim,) = ledger.claim("s", owner, 1, 60.0, [key])
                    outcome = decided(verdict(time.time() - random.uniform(0, 20), key), key=key)
                    began_s = time.monotonic()
                    (answer,) = ledger.commit([(claim, outcome)])
                    took_s.append(time.monotonic() - began_s)
                    assert answer.value == "done"
        except Exception as exc:  # noqa: BLE001 - told below
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix)) as ledger:
        ((_, text),) = ledger.policy_texts(GROUP)
        group = codec.kept_group_from_json(text).group
        assert (group.decisions, group.events[0].pictures) == (WORKERS * EACH, WORKERS * EACH)
        codes = [decisions_on(ledger, f"p{w}-{n}")[0].kept.code for w in range(WORKERS) for n in range(EACH)]
        assert codes.count("sent") == len(states(ledger)) == 1
    return took_s


@pytest.mark.parametrize("scenario", SCENARIOS[::6], ids=[one["name"] for one in SCENARIOS[::6]])
def test_a_scenario_is_decided_on_etcd(scenario: dict[str, Any], etcd: EtcdServer, prefix: str, exact: None) -> None:
    def open_ledger(clock: ManualClock) -> EtcdLedger:
        return EtcdLedger(Address(endpoints=(etcd.endpoint,)), prefix, clock)

    assert difference(scenario["rules"], scenario["events"], open_ledger) is None


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "_CLOCKS_S", 0.0)
