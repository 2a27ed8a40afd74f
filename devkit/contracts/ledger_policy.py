"""Contract of all ledgers: the state of the policy, and decisions in commits. See ``devkit.contracts.ledger``.

What is decided is the business of ``lookout.domain.policy``; here it is that all of it holds, together and once.
"""

# ruff: noqa: S101
from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from devkit.contracts.ledger_kit import GONE, Bench, Desk, alert, open_desk, record
from lookout.domain.policy import codec
from lookout.domain.policy.records import Match, Policy, Silence
from lookout.domain.policy.verdicts import PictureDecision, Verdict
from lookout.domain.records import Alert, AlertState, Outcome, State
from lookout.ledger.port import Ledger, Settled
from lookout.ledger.rules import decisions
from lookout.ledger.rules.decisions import DECISIONS, GROUP, PolicyUnit

POLICY = Policy(gap_s=60, again_s=600, cooldown_s=300, reorder_s=30, late_after_s=3600, late_action="summary")
RULE = ("ann", "night")


def verdict(at_s: float, key: str, *, place: str = "porch", code: str | None = None) -> Verdict:
    """The verdict of a rule on a picture of this time; its alert has the id ``alert of <key>``."""
    match = Match(key=key, rule=RULE, device=place, place=place, at_s=at_s, code=code)
    made = alert(f"alert of {key}", hash_=f"hash of {key}")
    told = (replace(made, draft=replace(made.draft, picture_key=key)),) if code is None else ()
    return Verdict(match=match, policy=POLICY, picture_sha256="0" * 64, rule_sha256="1" * 64, alerts=told)


def decided(*verdicts: Verdict, key: str = "k", hash_: str = "") -> Outcome:
    """Success of a datum with verdicts."""
    made = replace(
        record(key, hash_),
        decided=any(one.match.code is None for one in verdicts),
        alert_ids=tuple(alert.id for one in verdicts for alert in one.alerts),
    )
    return Outcome(state=State.SUCCESS, record=made, verdicts=verdicts)


def decisions_on(ledger: Ledger, key: str) -> list[PictureDecision]:
    """The decisions that the ledger keeps on a picture."""
    found = (codec.decisions_from_json(text) for _, text in ledger.policy_texts(DECISIONS, [key]))
    return [one for some in found for one in some]


def states(ledger: Ledger) -> dict[str, AlertState]:
    """The states of all alerts by their ids."""
    return {one.id: one.state for one in ledger.alerts()}


class PolicyContract:
    """Subclasses have a fixture ``bench``."""

    def test_a_member_of_a_group_has_the_decisions_on_it(self, desk: Desk) -> None:
        desk.settle("k", decided(verdict(desk.clock(), "k")))
        desk.settle("bare", decided(key="bare"))
        group = decided(key="k").record
        assert group is not None
        bare, judged = desk.ledger.members("s", group.group)
        assert (bare.key, bare.decisions) == ("bare", None)
        assert judged.decisions is not None
        (shown,), (kept,) = codec.decisions_from_json(judged.decisions), decisions_on(desk.ledger, "k")
        assert (shown.kept.code, shown.kept.at_s, shown.alerts) == (kept.kept.code, kept.kept.at_s, kept.alerts)
        assert kept.kept.decided_s == kept.numbers["d"] == desk.clock()
        # A part that is drawn from it is the same whenever the pictures were decided.
        assert shown.kept.decided_s == 0.0
        assert set(kept.numbers) - set(shown.numbers) == {"d", "n"}

    def test_a_decision_its_group_and_its_alert_come_with_the_commit(self, desk: Desk) -> None:
        assert desk.settle("k", decided(verdict(desk.clock(), "k"))) is Settled.DONE
        (made,) = decisions_on(desk.ledger, "k")
        assert (made.kept.code, made.kept.place, made.alerts) == ("sent", "porch", ("alert of k",))
        ((name, text),) = desk.ledger.policy_texts(GROUP)
        assert name == decisions.group_name(RULE, "porch")
        assert [one.key for one in codec.kept_group_from_json(text).group.told] == ["k"]
        (kept,) = desk.ledger.alerts()
        assert (kept.state, kept.place, kept.due_at_s) == (AlertState.PENDING, "porch", 0.0)

    def test_outcomes_of_one_call_are_decided_one_after_the_other(self, desk: Desk) -> None:
        desk.mark("a", "b")
        first, second = desk.claim()
        desk.ledger.commit(
            [
                (first, decided(verdict(desk.clock() - 10, "a"), key="a")),
                (second, decided(verdict(desk.clock(), "b"), key="b")),
            ]
        )
        assert [decisions_on(desk.ledger, key)[0].kept.code for key in "ab"] == ["sent", "merged_event"]
        assert set(states(desk.ledger)) == {"alert of a"}

    def test_an_outcome_that_is_not_applied_decides_nothing(self, desk: Desk) -> None:
        claim = desk.take("k")
        desk.mark("k")
        assert desk.ledger.commit([(claim, decided(verdict(desk.clock(), "k")))]) == [Settled.SUPERSEDED]
        assert list(desk.ledger.policy_texts(GROUP)) == []
        assert states(desk.ledger) == {}

    def test_two_owners_decide_for_one_group_one_after_the_other(self, bench: Bench, desk: Desk) -> None:
        with open_desk(bench) as other:
            for number in range(12):
                one = other if number % 2 else desk
                one.settle(f"p{number}", decided(verdict(desk.clock() - (20 - number), f"p{number}"), key=f"p{number}"))
        ((_, text),) = desk.ledger.policy_texts(GROUP)
        group = codec.kept_group_from_json(text).group
        assert (group.decisions, group.events[0].pictures) == (12, 12)
        assert set(states(desk.ledger)) == {"alert of p0"}

    def test_a_picture_is_decided_once(self, desk: Desk) -> None:
        desk.settle("k", decided(verdict(desk.clock(), "k")))
        before = decisions_on(desk.ledger, "k")
        desk.settle("k", decided(verdict(desk.clock(), "k"), hash_="again"))
        assert decisions_on(desk.ledger, "k") == before

    def test_a_picture_that_is_gone_takes_back_what_has_not_left(self, desk: Desk) -> None:
        desk.settle("k", decided(verdict(desk.clock(), "k")))
        desk.settle("k", GONE)
        assert states(desk.ledger) == {"alert of k": AlertState.CANCELED}
        assert decisions_on(desk.ledger, "k") == []

    def test_what_was_sent_stays_known(self, desk: Desk) -> None:
        desk.settle("k", decided(verdict(desk.clock(), "k")))
        desk.ledger.claim_alerts(desk.owner, 1, desk.clock(), ["alert of k"])
        desk.ledger.begin_sending(desk.owner, ["alert of k"])
        desk.settle("k", decided(verdict(desk.clock(), "k", code="below_score"), hash_="other"))
        (made,) = decisions_on(desk.ledger, "k")
        assert made.kept.withdrawn
        desk.settle("k", decided(verdict(desk.clock(), "k"), hash_="third"))
        assert decisions_on(desk.ledger, "k") == [made]

    def test_an_alert_of_the_policy_is_due_when_the_policy_says(self, desk: Desk) -> None:
        desk.settle("k", decided(verdict(desk.clock() - 90 * 86_400, "k")))
        (kept,) = desk.ledger.alerts()
        assert kept.summary is not None
        assert kept.due_at_s > desk.clock() + 60
        assert desk.ledger.claim_alerts(desk.owner, 9, desk.clock()) == []

    # --- changes beside commits ---------------------------------------------------------------------------------------

    def test_a_change_of_the_state_is_one_transaction(self, bench: Bench, desk: Desk) -> None:
        def fail(unit: PolicyUnit) -> None:
            decisions.put_silences(unit, [Silence(id="s1", from_s=0, until_s=1)])
            raise RuntimeError("in the middle")

        with pytest.raises(RuntimeError):
            desk.ledger.amend_policy(fail)
        assert desk.ledger.amend_policy(decisions.silences) == ()
        silence = Silence(id="s1", from_s=0.0, until_s=1.5, rule="*|night", devices=("a", "b"), by="me", why="☃")
        desk.ledger.amend_policy(lambda unit: decisions.put_silences(unit, [silence]))
        with closing(bench.open()) as other:
            assert other.amend_policy(decisions.silences) == (silence,)

    def test_a_silence_holds_for_the_next_decision(self, desk: Desk) -> None:
        silence = Silence(id="s1", from_s=0.0, until_s=desk.clock() + 60)
        desk.ledger.amend_policy(lambda unit: decisions.put_silences(unit, [silence]))
        desk.settle("k", decided(verdict(desk.clock(), "k")))
        assert decisions_on(desk.ledger, "k")[0].kept.code == "silenced"
        assert states(desk.ledger) == {}

    def test_an_acknowledged_event_tells_nothing_more(self, desk: Desk) -> None:
        desk.settle("a", decided(verdict(desk.clock() - 10, "a"), key="a"))
        (kept,) = desk.ledger.alerts()
        assert desk.ledger.amend_policy(lambda unit: decisions.acknowledge(unit, kept, "me", desk.clock()))
        desk.settle("b", decided(verdict(desk.clock(), "b"), key="b"))
        assert decisions_on(desk.ledger, "b")[0].kept.code == "acknowledged"

    def test_texts_are_given_in_the_order_of_their_names(self, desk: Desk) -> None:
        for place in ("z", "é", "a", "a b", "-"):
            desk.settle(place, decided(verdict(desk.clock(), place, place=place), key=place))
        assert [name[2] for name, _ in desk.ledger.policy_texts(GROUP)] == ["-", "a", "a b", "z", "é"]
        assert [name[1] for name, _ in desk.ledger.policy_texts(DECISIONS)] == ["-", "a", "a b", "z", "é"]
        assert [name for name, _ in desk.ledger.policy_texts(DECISIONS, ["z", "a", "b"])] == [
            (DECISIONS, "a", "s"),
            (DECISIONS, "z", "s"),
        ]


def fill_policy(desk: Desk) -> None:
    """Decisions, groups and a silence, for ledgers that are saved and filled."""
    desk.settle("judged", decided(verdict(desk.clock(), "judged"), key="judged"))
    desk.settle("late", decided(verdict(desk.clock() - 90 * 86_400, "late"), key="late"))
    silence = Silence(id="s1", from_s=0.0, until_s=1.5, by="me")
    desk.ledger.amend_policy(lambda unit: decisions.put_silences(unit, [silence]))


def policy_view(ledger: Ledger) -> dict[str, object]:
    """All that a ledger says of the policy's state and its alerts."""
    texts = {name: text for kind in (GROUP, DECISIONS, "silences") for name, text in ledger.policy_texts(kind)}
    alerts: Iterator[Alert] = ledger.alerts()
    return {"texts": texts, "alerts": {one.id: (one.place, one.summary) for one in alerts}}
