"""Contract of all ledgers: alerts from their commit to their end. See ``devkit.contracts.ledger``."""

# ruff: noqa: S101
from __future__ import annotations

from dataclasses import replace

import pytest

from devkit.contracts.ledger_kit import GONE, Desk, alert, done, record
from lookout.domain.records import Alert, AlertState, Outcome, State
from lookout.ledger.port import Delivered, Settled

SENT = Delivered(state=AlertState.SENT, message_id="m-1")
UNKNOWN = Delivered(state=AlertState.UNKNOWN, error="timeout")
RETRY = Delivered(state=AlertState.PENDING, error="429", due_at_s=500.0)
REFUSED = Delivered(state=AlertState.DEAD, error="400")
FAR_S = 1e12


class OutboxContract:
    """Subclasses have a fixture ``bench``."""

    def _enter(self, desk: Desk, *ids: str, key: str = "k", hash_: str = "hash of k") -> None:
        alerts = [alert(id_, hash_=hash_) for id_ in ids]
        assert desk.do(record(key, hash_, alerts=alerts), alerts=alerts) is Settled.DONE

    def _get(self, desk: Desk, id_: str) -> Alert:
        (found,) = desk.ledger.alerts(ids=[id_])
        return found

    def _state(self, desk: Desk, id_: str) -> AlertState:
        return self._get(desk, id_).state

    def _send(self, desk: Desk, how: Delivered, now_s: float = 100.0) -> list[str]:
        ids = [item.id for item in desk.ledger.claim_alerts(desk.owner, 10, now_s)]
        assert desk.ledger.begin_sending(desk.owner, ids) == frozenset(ids)
        desk.ledger.settle_alerts(desk.owner, dict.fromkeys(ids, how), now_s)
        return ids

    def test_an_alert_enters_with_its_datum_as_it_was(self, desk: Desk) -> None:
        self._enter(desk, "a")
        assert list(desk.ledger.alerts()) == [alert("a")]

    def test_no_alert_enters_with_an_outcome_that_is_not_applied(self, desk: Desk) -> None:
        claim = desk.take("k")
        desk.mark("k")
        desk.ledger.commit([(claim, done(record("k", alerts=[alert("a")]), alerts=[alert("a")]))])
        assert list(desk.ledger.alerts()) == []

    def test_a_claimed_alert_is_as_it_was_but_held(self, desk: Desk) -> None:
        self._enter(desk, "a")
        assert desk.ledger.claim_alerts(desk.owner, 10, 100.0) == [alert("a")]
        assert list(desk.ledger.alerts(states=[AlertState.PENDING])) == [alert("a")]
        assert desk.ledger.count_alerts() == {AlertState.PENDING: 1}
        assert desk.ledger.claim_alerts(desk.owner, 10, 100.0) == []

    def test_an_alert_is_sending_from_the_moment_on_at_which_its_request_may_leave(self, desk: Desk) -> None:
        self._enter(desk, "a", "b", "free")
        desk.ledger.claim_alerts(desk.owner, 2, 100.0, ["a", "b"])
        assert desk.ledger.begin_sending(desk.owner, ["a", "free", "none"]) == {"a"}
        assert self._get(desk, "a") == replace(alert("a"), state=AlertState.SENDING)
        assert desk.ledger.count_alerts() == {AlertState.SENDING: 1, AlertState.PENDING: 2}

    def test_an_alert_that_was_canceled_while_it_was_held_must_not_leave(self, desk: Desk) -> None:
        self._enter(desk, "a")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        desk.settle("k", GONE)
        assert self._state(desk, "a") is AlertState.CANCELED
        assert desk.ledger.begin_sending(desk.owner, ["a"]) == frozenset()
        desk.ledger.settle_alerts(desk.owner, {"a": SENT}, 100.0)
        assert self._state(desk, "a") is AlertState.CANCELED

    def test_many_alerts_are_held_sent_and_settled_together(self, desk: Desk) -> None:
        ids = [f"{n:03}" for n in range(200)]
        self._enter(desk, *ids)
        assert [item.id for item in desk.ledger.claim_alerts(desk.owner, 1000, 100.0)] == ids
        assert desk.ledger.begin_sending(desk.owner, ids) == frozenset(ids)
        desk.ledger.settle_alerts(desk.owner, dict.fromkeys(ids, UNKNOWN), 100.0)
        assert desk.ledger.count_alerts() == {AlertState.UNKNOWN: 200}
        assert desk.ledger.cancel_alerts(ids, 101.0) == 200

    def test_alerts_are_claimed_in_the_order_of_their_creation_up_to_the_limit(self, desk: Desk) -> None:
        alerts = [alert("c", created_at_s=2.0), alert("b", created_at_s=1.0), alert("a", created_at_s=2.0)]
        desk.do(record("k", alerts=alerts), alerts=alerts)
        assert [item.id for item in desk.ledger.alerts()] == ["b", "a", "c"]
        assert [item.id for item in desk.ledger.claim_alerts(desk.owner, 2, 100.0)] == ["b", "a"]
        assert [item.id for item in desk.ledger.claim_alerts(desk.owner, 2, 100.0)] == ["c"]

    def test_alerts_can_be_claimed_by_id(self, desk: Desk) -> None:
        self._enter(desk, "a", "b", "c")
        assert [item.id for item in desk.ledger.claim_alerts(desk.owner, 10, 100.0, ids=["c", "b", "?"])] == ["b", "c"]
        assert desk.ledger.claim_alerts(desk.owner, 10, 100.0, ids=[]) == []

    def test_a_sent_alert_is_sent(self, desk: Desk) -> None:
        self._enter(desk, "a")
        assert self._send(desk, SENT) == ["a"]
        (sent,) = desk.ledger.alerts()
        assert (sent.state, sent.message_id, sent.settled_at_s) == (AlertState.SENT, "m-1", 100.0)
        assert self._send(desk, SENT) == []

    def test_an_alert_to_be_tried_again_waits_until_it_is_due(self, desk: Desk) -> None:
        self._enter(desk, "a")
        self._send(desk, RETRY)
        assert desk.ledger.claim_alerts(desk.owner, 10, 499.0) == []
        (claimed,) = desk.ledger.claim_alerts(desk.owner, 10, 500.0)
        assert (claimed.tries, claimed.doubts, claimed.error) == (1, 0, "429")

    def test_a_time_to_wait_for_holds_nothing_up_when_the_clock_was_set_back(self, desk: Desk) -> None:
        self._enter(desk, "a", "b")
        far = Delivered(state=AlertState.PENDING, error="429", due_at_s=9e8 + 900)
        desk.ledger.claim_alerts(desk.owner, 10, 9e8)
        desk.ledger.settle_alerts(desk.owner, {"a": far, "b": far}, 9e8)
        assert desk.ledger.claim_alerts(desk.owner, 10, 9e8 + 1) == []
        assert [item.id for item in desk.ledger.claim_alerts(desk.owner, 10, 5e8, ["a"])] == ["a"]
        assert [item.id for item in desk.ledger.claim_alerts(desk.owner, 10, 5e8)] == ["b"]

    def test_an_unknown_end_is_repeated_for_as_long_as_it_takes(self, desk: Desk) -> None:
        self._enter(desk, "a")
        now_s, pauses = 100.0, []
        for doubts in range(1, 9):
            assert self._send(desk, UNKNOWN, now_s) == ["a"]
            found = self._get(desk, "a")
            assert (found.state, found.tries, found.doubts) == (AlertState.UNKNOWN, doubts, doubts)
            pauses.append(found.due_at_s - now_s)
            assert desk.ledger.claim_alerts(desk.owner, 10, found.due_at_s - 1) == []
            now_s = found.due_at_s
        assert pauses == [300.0, 900.0, 2700.0, 8100.0, *[21600.0] * 4]
        assert self._send(desk, SENT, now_s) == ["a"]
        assert self._state(desk, "a") is AlertState.SENT

    def test_what_certainly_did_not_leave_is_retried_for_as_long_as_it_takes(self, desk: Desk) -> None:
        self._enter(desk, "a")
        now_s, pauses = 100.0, []
        for _ in range(9):
            assert self._send(desk, Delivered(state=AlertState.PENDING, error="refused"), now_s) == ["a"]
            found = self._get(desk, "a")
            pauses.append(found.due_at_s - now_s)
            now_s = found.due_at_s
        assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, *[60.0] * 4]
        assert (found.state, found.doubts) == (AlertState.PENDING, 0)

    def test_earlier_certain_failures_leave_a_doubtful_end_all_its_repeats(self, desk: Desk) -> None:
        self._enter(desk, "a")
        for how in (RETRY, RETRY, UNKNOWN):
            self._send(desk, how, 500.0)
        assert (self._state(desk, "a"), self._get(desk, "a").doubts) == (AlertState.UNKNOWN, 1)
        assert self._send(desk, UNKNOWN, FAR_S) == ["a"]
        assert self._send(desk, UNKNOWN, 2 * FAR_S) == ["a"]

    @pytest.mark.parametrize("how", [RETRY, Delivered(state=AlertState.PENDING, error="connection refused")])
    def test_what_may_have_arrived_once_stays_unknown_when_a_repeat_fails_for_certain(
        self, desk: Desk, how: Delivered
    ) -> None:
        self._enter(desk, "a")
        self._send(desk, UNKNOWN)
        self._send(desk, how, 400.0)
        found = self._get(desk, "a")
        assert (found.state, found.tries, found.doubts, found.error) == (AlertState.UNKNOWN, 2, 1, how.error)
        assert found.due_at_s == (how.due_at_s or 404.0)

    def test_only_the_holder_settles_an_alert(self, desk: Desk) -> None:
        self._enter(desk, "a")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        assert desk.ledger.begin_sending("somebody else", ["a"]) == frozenset()
        desk.ledger.settle_alerts("somebody else", {"a": SENT, "unknown": SENT}, 100.0)
        assert self._state(desk, "a") is AlertState.PENDING
        desk.ledger.settle_alerts(desk.owner, {"a": SENT}, 100.0)
        desk.ledger.settle_alerts(desk.owner, {"a": UNKNOWN}, 100.0)
        assert self._state(desk, "a") is AlertState.SENT

    def test_an_alert_whose_sender_left_before_its_request_is_as_it_was(self, desk: Desk) -> None:
        self._enter(desk, "a", "b")
        self._send(desk, UNKNOWN)
        desk.ledger.resend_alerts(["b"])
        self._enter(desk, "c", key="l", hash_="hash of l")
        before = list(desk.ledger.alerts())
        for _ in range(5):
            with desk.ledger.session() as other:
                assert len(desk.ledger.claim_alerts(other, 10, FAR_S)) == 3
            assert list(desk.ledger.alerts()) == before

    def test_an_alert_whose_sender_left_after_its_request_may_have_arrived(self, desk: Desk) -> None:
        self._enter(desk, "a")
        for doubts, pause_s in ((1, 0.0), (2, 900.0), (3, 2700.0)):
            with desk.ledger.session() as other:
                assert len(desk.ledger.claim_alerts(other, 10, FAR_S)) == 1
                desk.ledger.begin_sending(other, ["a"])
            found = self._get(desk, "a")
            assert (found.state, found.doubts) == (AlertState.UNKNOWN, doubts)
            assert found.due_at_s == pytest.approx((found.settled_at_s or 0.0) + pause_s, abs=1.0)

    # --- again, or no more ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("how", [SENT, UNKNOWN, RETRY, REFUSED])
    def test_an_alert_that_was_there_is_not_queued_again(self, desk: Desk, how: Delivered) -> None:
        self._enter(desk, "a")
        self._send(desk, how)
        before = list(desk.ledger.alerts())
        self._enter(desk, "a", hash_="another model")
        assert list(desk.ledger.alerts()) == before

    @pytest.mark.parametrize("how", [UNKNOWN, RETRY])
    def test_an_alert_that_waits_is_canceled_with_its_datum(self, desk: Desk, how: Delivered) -> None:
        self._enter(desk, "a")
        self._send(desk, how)
        desk.settle("k", GONE)
        assert self._state(desk, "a") is AlertState.CANCELED
        assert desk.ledger.claim_alerts(desk.owner, 10, FAR_S) == []

    def test_a_pending_alert_that_the_new_record_does_not_carry_is_canceled(self, desk: Desk) -> None:
        self._enter(desk, "kept", "dropped")
        self._enter(desk, "kept", hash_="new")
        assert self._state(desk, "kept") is AlertState.PENDING
        assert self._state(desk, "dropped") is AlertState.CANCELED
        assert desk.ledger.count_alerts() == {AlertState.PENDING: 1, AlertState.CANCELED: 1}
        assert [item.id for item in desk.ledger.claim_alerts(desk.owner, 10, 100.0)] == ["kept"]

    def test_a_sent_alert_stays_sent_when_its_datum_goes(self, desk: Desk) -> None:
        self._enter(desk, "a")
        self._send(desk, SENT)
        desk.settle("k", GONE)
        assert self._state(desk, "a") is AlertState.SENT

    def test_retraction_cancels_what_is_pending_also_from_an_earlier_record(self, desk: Desk) -> None:
        self._enter(desk, "a")
        self._enter(desk, "a", hash_="new")
        desk.settle("k", GONE)
        assert self._state(desk, "a") is AlertState.CANCELED

    def test_an_alert_that_two_datums_need_is_canceled_with_the_last_of_them(self, desk: Desk) -> None:
        self._enter(desk, "a")
        self._enter(desk, "a", key="moved", hash_="hash of moved")
        assert self._get(desk, "a").keys == ("k", "moved")
        desk.settle("k", GONE)
        assert self._get(desk, "a").keys == ("moved",)
        assert self._state(desk, "a") is AlertState.PENDING
        desk.settle("moved", GONE)
        assert self._state(desk, "a") is AlertState.CANCELED
        self._enter(desk, "a", key="moved", hash_="hash of moved")
        assert self._state(desk, "a") is AlertState.PENDING
        desk.settle("moved", GONE)
        assert self._state(desk, "a") is AlertState.CANCELED

    def test_an_alert_on_its_way_is_kept_for_the_datum_that_came_to_need_it(self, desk: Desk) -> None:
        self._enter(desk, "a")
        desk.ledger.claim_alerts(desk.owner, 1, 100.0)
        desk.ledger.begin_sending(desk.owner, ["a"])
        self._enter(desk, "a", key="moved", hash_="hash of moved")
        desk.settle("k", GONE)
        desk.ledger.settle_alerts(desk.owner, {"a": RETRY}, 100.0)
        assert self._state(desk, "a") is AlertState.PENDING
        assert self._get(desk, "a").due_at_s == 500.0

    def test_an_alert_that_was_sent_is_not_entered_again_for_another_datum(self, desk: Desk) -> None:
        self._enter(desk, "a")
        self._send(desk, SENT)
        self._enter(desk, "a", key="moved", hash_="hash of moved")
        desk.settle("k", GONE)
        assert self._state(desk, "a") is AlertState.SENT

    def test_a_skip_or_failure_cancels_nothing(self, desk: Desk) -> None:
        self._enter(desk, "a")
        desk.settle("k", Outcome(state=State.SUCCESS))
        desk.settle("k", Outcome(state=State.FAILED, error="x"))
        assert self._state(desk, "a") is AlertState.PENDING

    def test_a_canceled_alert_that_comes_again_is_pending_anew(self, desk: Desk) -> None:
        self._enter(desk, "a")
        desk.settle("k", GONE)
        newer = replace(alert("a", hash_="new"), code="newer code")
        desk.do(record("k", "new", alerts=[newer]), alerts=[newer])
        assert list(desk.ledger.alerts()) == [newer]

    def test_a_record_of_history_brings_its_canceled_alerts_back(self, desk: Desk) -> None:
        self._enter(desk, "a", hash_="h1")
        desk.do(record("k", "h2"))
        assert self._state(desk, "a") is AlertState.CANCELED
        back = desk.ledger.find_records(["h1"])["h1"]
        desk.settle("k", Outcome(state=State.SUCCESS, record=back, republished=True))
        assert list(desk.ledger.alerts()) == [alert("a", hash_="h1")]

    @pytest.mark.parametrize("how", [RETRY, UNKNOWN, None])
    def test_an_alert_whose_datum_goes_while_it_is_sent_is_not_tried_again(
        self, desk: Desk, how: Delivered | None
    ) -> None:
        self._enter(desk, "a")
        with desk.ledger.session() as other:
            desk.ledger.claim_alerts(other, 10, 100.0)
            desk.ledger.begin_sending(other, ["a"])
            desk.settle("k", GONE)
            assert self._state(desk, "a") is AlertState.SENDING
            if how is not None:
                desk.ledger.settle_alerts(other, {"a": how}, 100.0)
        assert self._state(desk, "a") is AlertState.CANCELED

    def test_an_alert_whose_datum_goes_and_comes_back_while_it_is_sent_is_tried_again(self, desk: Desk) -> None:
        self._enter(desk, "a")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        desk.ledger.begin_sending(desk.owner, ["a"])
        desk.settle("k", GONE)
        self._enter(desk, "a", hash_="hash of k")
        desk.ledger.settle_alerts(desk.owner, {"a": RETRY}, 100.0)
        assert self._state(desk, "a") is AlertState.PENDING

    def test_what_may_have_arrived_keeps_that_doubt_when_it_was_canceled_and_comes_again(self, desk: Desk) -> None:
        self._enter(desk, "a")
        self._send(desk, UNKNOWN)
        desk.settle("k", GONE)
        self._enter(desk, "a", hash_="new")
        found = self._get(desk, "a")
        assert (found.state, found.doubts, found.tries, found.due_at_s) == (AlertState.UNKNOWN, 1, 0, 0.0)

    def test_a_person_can_have_what_waits_sent_at_once(self, desk: Desk) -> None:
        self._enter(desk, "pending", "unknown")
        self._send(desk, Delivered(state=AlertState.PENDING, error="429", due_at_s=FAR_S))
        desk.ledger.resend_alerts(["unknown"])
        self._send(desk, UNKNOWN)
        assert desk.ledger.resend_alerts(["pending", "unknown"]) == 2
        claimed = desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        assert [(item.id, item.state, item.tries) for item in claimed] == [
            ("pending", AlertState.PENDING, 0),
            ("unknown", AlertState.UNKNOWN, 0),
        ]

    def test_what_is_on_its_way_is_not_sent_again_by_a_person(self, desk: Desk) -> None:
        self._enter(desk, "a")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        desk.ledger.begin_sending(desk.owner, ["a"])
        assert desk.ledger.resend_alerts(["a"]) == 0
        assert desk.ledger.cancel_alerts(["a"], 100.0) == 0

    def test_a_person_can_call_off_what_waits_or_was_refused(self, desk: Desk) -> None:
        self._enter(desk, "dead", "pending", "sent", "held")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0, ["dead", "sent"])
        desk.ledger.settle_alerts(desk.owner, {"dead": REFUSED, "sent": SENT}, 100.0)
        desk.ledger.claim_alerts(desk.owner, 10, 100.0, ["held"])
        assert desk.ledger.cancel_alerts(["dead", "pending", "sent", "held", "never"], 200.0) == 3
        assert desk.ledger.count_alerts() == {AlertState.CANCELED: 3, AlertState.SENT: 1}
        assert desk.ledger.begin_sending(desk.owner, ["held"]) == frozenset()

    def test_a_person_can_have_ended_alerts_sent_again(self, desk: Desk) -> None:
        self._enter(desk, "dead", "sent")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        desk.ledger.settle_alerts(desk.owner, {"dead": REFUSED, "sent": SENT}, 100.0)
        self._enter(desk, "unknown", "canceled", key="l", hash_="hash of l")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0, ids=["unknown"])
        desk.ledger.settle_alerts(desk.owner, {"unknown": UNKNOWN}, 100.0)
        desk.settle("l", GONE)
        assert desk.ledger.resend_alerts(["dead", "sent", "unknown", "canceled", "never"]) == 3
        again = {item.id: (item.state, item.tries, item.doubts, item.error) for item in desk.ledger.alerts()}
        assert again["dead"] == again["canceled"] == (AlertState.PENDING, 0, 0, None)
        assert again["unknown"] == (AlertState.UNKNOWN, 0, 1, None), "a repeat has to say so"

    def test_alerts_are_listed_and_counted_by_state_and_run(self, desk: Desk) -> None:
        alerts = [alert("a", run="r1"), alert("b", run="r2"), alert("c", run="r2")]
        desk.do(record("k", alerts=alerts), alerts=alerts)
        desk.ledger.begin_sending(desk.owner, [one.id for one in desk.ledger.claim_alerts(desk.owner, 2, 100.0)])

        def ids(**how: object) -> list[str]:
            return [item.id for item in desk.ledger.alerts(**how)]  # type: ignore[arg-type]

        assert ids(run="r2") == ["b", "c"]
        assert ids(states=[AlertState.SENDING]) == ["a", "b"]
        assert ids(states=[AlertState.SENDING], run="r2") == ["b"]
        assert ids(states=[AlertState.PENDING], ids=["a", "c"]) == ["c"]
        assert desk.ledger.count_alerts() == {AlertState.SENDING: 2, AlertState.PENDING: 1}
        assert desk.ledger.count_alerts("r2") == {AlertState.SENDING: 1, AlertState.PENDING: 1}
        assert desk.ledger.count_alerts("none") == {}

    def test_more_alerts_than_a_page_are_listed_in_order(self, desk: Desk) -> None:
        alerts = [alert(f"{n:04}", created_at_s=float(n // 7)) for n in range(1100)]
        desk.do(record("k", alerts=alerts), alerts=alerts)
        assert [item.id for item in desk.ledger.alerts()] == [item.id for item in alerts]
