"""The rules by which an alert changes while it is delivered. Pure, and the same for every backend; knows no channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lookout.datum import Alert, AlertState
from lookout.ledger.base import Delivered

UNKNOWN_TRIES: Final = 2
"""A try whose end is not known is followed by one more, and by no third."""


def is_open(alert: Alert) -> bool:
    """Whether it waits to be sent, now or later."""
    return alert.state is AlertState.PENDING or (alert.state is AlertState.UNKNOWN and alert.tries < UNKNOWN_TRIES)


def taken(alert: Alert) -> Alert:
    """The alert while it is being sent."""
    return replace(alert, state=AlertState.SENDING, tries=alert.tries + 1)


def delivered(alert: Alert, how: Delivered, now_s: float, *, withdrawn: bool) -> Alert:
    """The alert after a try. What was withdrawn meanwhile and certainly did not arrive is not tried again."""
    state = AlertState.CANCELED if withdrawn and how.state is AlertState.PENDING else how.state
    return replace(
        alert,
        state=state,
        message_id=how.message_id,
        error=how.error,
        due_at_s=how.due_at_s,
        settled_at_s=None if state is AlertState.PENDING else now_s,
    )


def abandoned(alert: Alert, now_s: float) -> Alert:
    """The alert whose sender is gone: nobody knows whether it arrived."""
    return replace(
        alert, state=AlertState.UNKNOWN, error="its sender ended before it knew", due_at_s=0.0, settled_at_s=now_s
    )


def canceled(alert: Alert, now_s: float) -> Alert:
    """The alert that nobody needs any more."""
    return replace(alert, state=AlertState.CANCELED, settled_at_s=now_s)


def can_resend(alert: Alert) -> bool:
    """Whether a person may have it sent again: it ended without having certainly arrived."""
    ended = alert.state in (AlertState.DEAD, AlertState.CANCELED)
    return ended or (alert.state is AlertState.UNKNOWN and alert.tries >= UNKNOWN_TRIES)


def resent(alert: Alert) -> Alert:
    """The alert as if it had never been tried."""
    return replace(
        alert, state=AlertState.PENDING, tries=0, due_at_s=0.0, message_id=None, error=None, settled_at_s=None
    )
