"""Report of the alerts that are not sent, from the ledger: how many, for how long, and why.

One report for everything that has to tell people of it: the summary of a run, ``status``, ``doctor`` and metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lookout.domain.records import Alert, AlertState, JsonObject
from lookout.ledger.port import Ledger
from lookout.ledger.rules.alerts import NOT_SENT, is_due

LATE_S = 300.0
"""An alert that has waited so long, or failed before, is told as trouble; a younger one is on its way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsent:
    """Alerts by state that are neither sent, written nor canceled. Of those that wait: since when the oldest does, when
    the next is due (None: now), how many failed before, and what the one that was tried last met. ``late`` says that
    something of this is more than an alert on its way. ``planned`` alerts are none of these: the policy holds them for
    a later time, of which ``planned_at_s`` is the next."""

    counts: Mapping[AlertState, int]
    oldest_at_s: float | None = None
    due_at_s: float | None = None
    failed: int = 0
    reason: str | None = None
    late: bool = False
    planned: int = 0
    planned_at_s: float | None = None

    @property
    def waiting(self) -> int:
        """Return the number of alerts still to be sent; the others are dead."""
        return self.total - self.dead

    @property
    def dead(self) -> int:
        return self.counts.get(AlertState.DEAD, 0)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def as_json(self) -> JsonObject:
        """Return the contract of ``unsent`` in ``--json``; documented in docs/cli.md."""
        return {
            **{state.value: self.counts.get(state, 0) for state in NOT_SENT},
            "oldest_at_s": self.oldest_at_s,
            "due_at_s": self.due_at_s,
            "reason": self.reason,
            "planned": self.planned,
            "planned_at_s": self.planned_at_s,
        }


def find_unsent(ledger: Ledger, now_s: float) -> Unsent:
    """Look for alerts that are not sent. Its cost follows their number, not that of all alerts."""
    counted = ledger.count_alerts()
    counts = {state: counted[state] for state in NOT_SENT if counted.get(state)}
    waiting = [state for state in counts if state is not AlertState.DEAD]
    oldest_at_s: float | None = None
    dues: list[float] = []
    planned: list[float] = []
    failed = 0
    last: tuple[float, str | None] = (float("-inf"), None)
    for alert in ledger.alerts(states=waiting) if waiting else ():
        if _is_planned(alert, now_s):
            planned.append(alert.due_at_s)
            continue
        since_s = max(alert.created_at_s, 0.0 if alert.tries else alert.due_at_s)
        oldest_at_s = since_s if oldest_at_s is None else min(oldest_at_s, since_s)
        dues.append(now_s if is_due(alert, now_s) else alert.due_at_s)
        failed += alert.tries > 0
        last = max(last, (alert.settled_at_s or float("-inf"), alert.error), key=lambda seen: seen[0])
    if last[1] is None and AlertState.DEAD in counts:
        last = (0.0, next((alert.error for alert in ledger.alerts(states=[AlertState.DEAD])), None))
    due_at_s = min(dues, default=now_s)
    pending = counts.pop(AlertState.PENDING, 0) - len(planned)
    return Unsent(
        counts={AlertState.PENDING: pending, **counts} if pending > 0 else counts,
        oldest_at_s=oldest_at_s,
        due_at_s=due_at_s if due_at_s > now_s else None,
        failed=failed,
        reason=last[1],
        late=bool(failed or AlertState.DEAD in counts or (oldest_at_s is not None and now_s - oldest_at_s > LATE_S)),
        planned=len(planned),
        planned_at_s=min(planned, default=None),
    )


def _is_planned(alert: Alert, now_s: float) -> bool:
    """Tell whether the policy holds the alert until its time, and nothing has been tried."""
    return (
        alert.place is not None and not alert.tries and alert.state is AlertState.PENDING and not is_due(alert, now_s)
    )
