"""What every ledger must do: alerts from their commit to their end. See ``lookout.testing.ledger``."""

# ruff: noqa: S101
from __future__ import annotations

from dataclasses import replace

import pytest

from lookout.datum import AlertState, Outcome, State
from lookout.ledger.base import Delivered, Settled
from lookout.testing.ledger_kit import GONE, Desk, alert, done, record

SENT = Delivered(state=AlertState.SENT, message_id="m-1")
UNKNOWN = Delivered(state=AlertState.UNKNOWN, error="timeout")
RETRY = Delivered(state=AlertState.PENDING, error="429", due_at_s=500.0)


class OutboxContract:
    """Subclasses have a fixture ``bench``."""

    def _enter(self, desk: Desk, *ids: str, key: str = "k", hash_: str = "hash of k") -> None:
        alerts = [alert(id_, hash_=hash_) for id_ in ids]
        assert desk.do(record(key, hash_, alerts=alerts), alerts=alerts) is Settled.DONE

    def _state(self, desk: Desk, id_: str) -> AlertState:
        (found,) = desk.ledger.alerts(ids=[id_])
        return found.state

    def _send(self, desk: Desk, how: Delivered, now_s: float = 100.0) -> list[str]:
        ids = [item.id for item in desk.ledger.claim_alerts(desk.owner, 10, now_s)]
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

    def test_a_claimed_alert_is_being_sent_and_shows_what_it_was(self, desk: Desk) -> None:
        self._enter(desk, "a")
        (claimed,) = desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        assert (claimed.state, claimed.tries) == (AlertState.PENDING, 0)
        (now,) = desk.ledger.alerts()
        assert (now.state, now.tries) == (AlertState.SENDING, 1)
        assert desk.ledger.claim_alerts(desk.owner, 10, 100.0) == []

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
        assert (claimed.tries, claimed.error) == (1, "429")

    def test_an_unknown_end_is_tried_once_more_and_then_final(self, desk: Desk) -> None:
        self._enter(desk, "a")
        assert self._send(desk, UNKNOWN) == ["a"]
        (again,) = desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        assert again.state is AlertState.UNKNOWN
        desk.ledger.settle_alerts(desk.owner, {"a": UNKNOWN}, 100.0)
        assert desk.ledger.claim_alerts(desk.owner, 10, 1e12) == []
        assert self._state(desk, "a") is AlertState.UNKNOWN

    def test_only_the_holder_settles_an_alert(self, desk: Desk) -> None:
        self._enter(desk, "a")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        desk.ledger.settle_alerts("somebody else", {"a": SENT, "unknown": SENT}, 100.0)
        assert self._state(desk, "a") is AlertState.SENDING
        desk.ledger.settle_alerts(desk.owner, {"a": SENT}, 100.0)
        desk.ledger.settle_alerts(desk.owner, {"a": UNKNOWN}, 100.0)
        assert self._state(desk, "a") is AlertState.SENT

    def test_an_alert_whose_sender_left_is_unknown(self, desk: Desk) -> None:
        self._enter(desk, "a")
        with desk.ledger.session() as other:
            assert len(desk.ledger.claim_alerts(other, 10, 100.0)) == 1
        assert self._state(desk, "a") is AlertState.UNKNOWN

    # --- again, or no more ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("how", [SENT, UNKNOWN, RETRY, Delivered(state=AlertState.DEAD, error="400")])
    def test_an_alert_that_was_there_is_not_queued_again(self, desk: Desk, how: Delivered) -> None:
        self._enter(desk, "a")
        self._send(desk, how)
        before = list(desk.ledger.alerts())
        self._enter(desk, "a", hash_="another model")
        assert list(desk.ledger.alerts()) == before

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

    def test_an_alert_whose_datum_goes_while_it_is_sent_is_not_tried_again(self, desk: Desk) -> None:
        self._enter(desk, "a")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        desk.settle("k", GONE)
        assert self._state(desk, "a") is AlertState.SENDING
        desk.ledger.settle_alerts(desk.owner, {"a": RETRY}, 100.0)
        assert self._state(desk, "a") is AlertState.CANCELED

    def test_a_person_can_have_ended_alerts_sent_again(self, desk: Desk) -> None:
        self._enter(desk, "dead", "sent")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0)
        dead = Delivered(state=AlertState.DEAD, error="400")
        desk.ledger.settle_alerts(desk.owner, {"dead": dead, "sent": SENT}, 100.0)
        self._enter(desk, "unknown", "canceled", key="l", hash_="hash of l")
        desk.ledger.claim_alerts(desk.owner, 10, 100.0, ids=["unknown"])
        desk.ledger.settle_alerts(desk.owner, {"unknown": UNKNOWN}, 100.0)
        desk.settle("l", GONE)
        ids = ["dead", "sent", "unknown", "canceled", "never"]
        assert desk.ledger.resend_alerts(ids) == 2  # the unknown one will be tried once more by itself
        self._send(desk, UNKNOWN)
        self._send(desk, UNKNOWN)
        assert desk.ledger.resend_alerts(["unknown"]) == 1
        (again,) = desk.ledger.alerts(ids=["unknown"])
        assert (again.state, again.tries, again.error) == (AlertState.PENDING, 0, None)

    def test_alerts_are_listed_and_counted_by_state_and_run(self, desk: Desk) -> None:
        alerts = [alert("a", run="r1"), alert("b", run="r2"), alert("c", run="r2")]
        desk.do(record("k", alerts=alerts), alerts=alerts)
        desk.ledger.claim_alerts(desk.owner, 2, 100.0)

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
