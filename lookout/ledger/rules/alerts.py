"""State changes of an alert while it is delivered. Pure, and the same for every backend; knows no channel.

An alert is *held* by one sender at a time; holding changes nothing else, so an alert whose sender dies before the
request leaves is as it was. Just before the request leaves it becomes SENDING. From then on until the answer is kept,
nobody can know whether it arrived: that is a *doubt*, and an alert with a doubt is only ever repeated with a mark.
docs/alerts.md has the states on one page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lookout.domain.records import Alert, AlertState

RETRY_LIMIT_S: Final = 60.0
"""What certainly did not leave is retried after 2 s, 4 s, 8 s ... and at least this often."""
REPEAT_S: Final = 300.0
"""What may have arrived is repeated after this pause, then after three times as long, and so on."""
REPEAT_LIMIT_S: Final = 6 * 3600.0
WAITING: Final = frozenset((AlertState.PENDING, AlertState.UNKNOWN))
NOT_SENT: Final = (AlertState.PENDING, AlertState.SENDING, AlertState.UNKNOWN, AlertState.DEAD)
"""Everything that a person has to be told of: not certain to have arrived, and not canceled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """Result of one try to send an alert. ``due_at_s`` is when a PENDING or UNKNOWN one may be tried again; None: after
    the pause that its tries and doubts ask for. ``closed`` says that the other side would take no other letter now.
    ``before`` has, by alert id, the ends of alerts of the letter that had ended before and were left out of it."""

    state: AlertState
    message_id: str | None = None
    error: str | None = None
    due_at_s: float | None = None
    closed: bool = False
    before: Mapping[str, Delivered] = field(default_factory=dict, hash=False)


def is_open(alert: Alert) -> bool:
    """Tell whether the alert is still to be sent, now or later."""
    return alert.state in WAITING


def is_due(alert: Alert, now_s: float) -> bool:
    """Tell whether it may be tried now. A time to wait for that was reckoned by a clock which has gone back since holds
    nothing up."""
    return is_open(alert) and (alert.due_at_s <= now_s or (alert.settled_at_s or 0.0) > now_s)


def sending(alert: Alert) -> Alert:
    """Return the alert from the moment on at which its request may leave."""
    return replace(alert, state=AlertState.SENDING)


def delivered(alert: Alert, how: Delivered, now_s: float, *, withdrawn: bool) -> Alert:
    """Return the alert after a try. What was withdrawn meanwhile is not tried again, and what may have arrived once
    stays UNKNOWN until it is known to have arrived, refused for good, or canceled."""
    doubts = alert.doubts + (how.state is AlertState.UNKNOWN)
    tries = alert.tries + 1
    state, due_at_s = how.state, how.due_at_s or 0.0
    if state in WAITING:
        if withdrawn:
            return replace(canceled(alert, now_s), tries=tries, doubts=doubts, error=how.error)
        if how.due_at_s is None:
            due_at_s = now_s + (repeat_pause_s(doubts) if how.state is AlertState.UNKNOWN else retry_pause_s(tries))
        due_at_s = min(due_at_s, now_s + REPEAT_LIMIT_S)  # the clock may have been set back during the try
        state = _waiting(doubts)
    return replace(
        alert,
        state=state,
        tries=tries,
        doubts=doubts,
        message_id=how.message_id,
        error=how.error,
        due_at_s=due_at_s,
        settled_at_s=now_s,
    )


def retry_pause_s(tries: int) -> float:
    """Return the pause after so many tries of which none left: 2 s, 4 s, 8 s ... up to a minute, for as long as it
    takes."""
    return min(RETRY_LIMIT_S, 2.0 ** min(tries, 10))


def repeat_pause_s(doubts: int) -> float:
    """Return the pause before the next repeat, after so many requests whose end is unknown: 5 min, 15 min, 45 min ... 6
    h."""
    return min(REPEAT_LIMIT_S, REPEAT_S * 3.0 ** min(doubts - 1, 10))


def abandoned(alert: Alert, now_s: float, *, withdrawn: bool = False) -> Alert:
    """Return the alert whose sender is gone. If its request may have left, it is repeated: the first time at once. If
    not, it is as it was."""
    if alert.state is not AlertState.SENDING:
        return alert
    due_at_s = None if alert.doubts else now_s
    how = Delivered(state=AlertState.UNKNOWN, error="its sender ended before it knew", due_at_s=due_at_s)
    return delivered(alert, how, now_s, withdrawn=withdrawn)


def keys_of(alert: Alert) -> tuple[str, ...]:
    """Return the keys of the datums that need the alert."""
    return alert.keys or (alert.draft.picture_key,)


def needed(alert: Alert, key: str) -> Alert:
    """Return the alert as one that the datum of this key needs too."""
    keys = keys_of(alert)
    return alert if key in keys else replace(alert, keys=(*keys, key))


def unneeded(alert: Alert, key: str) -> Alert | None:
    """Return the alert as one that the datum of this key needs no more; None if no other does."""
    keys = tuple(other for other in keys_of(alert) if other != key)
    return replace(alert, keys=keys) if keys else None


def canceled(alert: Alert, now_s: float) -> Alert:
    """Return the alert that nobody needs any more."""
    return replace(alert, state=AlertState.CANCELED, due_at_s=0.0, settled_at_s=now_s)


def can_cancel(alert: Alert) -> bool:
    """Tell whether it can still be called off: it waits, or was refused."""
    return is_open(alert) or alert.state is AlertState.DEAD


def can_resend(alert: Alert) -> bool:
    """Tell whether a person may have it sent at once: it is not certain to have arrived, and not on its way."""
    return is_open(alert) or alert.state in (AlertState.DEAD, AlertState.CANCELED)


def renewed(alert: Alert, doubts: int) -> Alert:
    """Return the alert as if it had never been tried, but for the doubts of earlier tries: these must be told."""
    return replace(
        alert,
        state=_waiting(doubts),
        tries=0,
        doubts=doubts,
        due_at_s=0.0,
        message_id=None,
        error=None,
        settled_at_s=None,
    )


def _waiting(doubts: int) -> AlertState:
    return AlertState.UNKNOWN if doubts else AlertState.PENDING
