"""The outbox: alerts that were committed with their datum are sent here, each once, whatever dies in between.

Knows no channel: a ``Channel`` is handed a letter and says how it went. Source of the method: the transactional outbox
pattern; delivery is at least once, and exactly once but where a try's end cannot be known.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from lookout.datum import Alert, AlertState
from lookout.errors import ObjectChanged, ObjectMissing
from lookout.identity import digest
from lookout.ledger.base import Delivered, Ledger
from lookout.log import get_logger
from lookout.objects.base import ObjectReader

log = get_logger(__name__)

DIGEST_PICTURES: Final = 6
"""How many pictures a digest carries; the others are named."""
UNKNOWN_TRIES: Final = 2
"""A try whose end is not known is repeated once, and said to be a repeat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """One mail to one recipient: one alert, or several as a digest. All its alerts have one sender and one recipient.

    ``id`` is stable over tries. ``evidence`` holds, by alert id, the bytes of the picture that shows the threat (of
    a digest: of as many alerts as the outbox chose to load). ``resend`` says that an earlier try may have arrived.
    """

    id: str
    alerts: tuple[Alert, ...]
    evidence: Mapping[str, bytes]
    resend: bool = False


class Channel(Protocol):
    """A way to send letters. ``name`` is shown to people: ``sendgrid``, ``folder``."""

    name: str

    def send(self, letter: Letter, now_s: float) -> Delivered:
        """Try once and say how it ended, with the states SENT (message id), WRITTEN (a file's path as message id),
        DEAD (refused for good), PENDING (certainly not delivered; ``due_at_s`` says when to try again) or UNKNOWN
        (may have been delivered). Never raises for anything that the other side or the network does."""
        ...


@dataclass(kw_only=True)
class Outbox:
    """Sends what is due. More than ``max_letters`` alerts in one window become one digest a recipient.

    ``channel`` is asked for with the first letter: most runs send none. The window is the life of this object, or the
    last ``window_s`` seconds; in a window whose letters are used up, digests leave ``digest_every_s`` apart.
    """

    ledger: Ledger
    store: ObjectReader
    channel: Callable[[], Channel]
    owner: str
    clock: Callable[[], float]
    max_letters: int = 20
    window_s: float = float("inf")
    digest_every_s: float = 0.0
    digests: int = field(default=0, init=False)
    _opened: Channel | None = field(default=None, init=False)
    _sent_at_s: deque[float] = field(default_factory=deque, init=False)
    _digest_at_s: float = field(default=float("-inf"), init=False)

    def dispatch(self, stopping: Callable[[], bool] = lambda: False) -> float | None:
        """Try everything that is due once, until ``stopping`` between two letters. Says when something will be due
        next, None when nothing waits.

        A channel that answers PENDING ends the round: the other side is not there, or has enough for now.
        """
        now_s = self.clock()
        due = [alert for alert in self._waiting() if alert.due_at_s <= now_s]
        while self._sent_at_s and self._sent_at_s[0] < now_s - self.window_s:
            self._sent_at_s.popleft()
        letters: list[Sequence[Alert]] = [[alert] for alert in due]
        if due and len(due) + len(self._sent_at_s) > self.max_letters:
            if now_s - self._digest_at_s < self.digest_every_s:
                return self._digest_at_s + self.digest_every_s
            letters = _by_recipient(due)
            self._digest_at_s = now_s
        for alerts in letters:
            if stopping() or not self._send(alerts):
                break
        return min((alert.due_at_s for alert in self._waiting()), default=None)

    def _waiting(self) -> list[Alert]:
        states = (AlertState.PENDING, AlertState.UNKNOWN)
        return [alert for alert in self.ledger.alerts(states=states) if _open(alert)]

    def _send(self, alerts: Sequence[Alert]) -> bool:
        """Claim, send and settle one letter; False when the channel asks to wait."""
        claimed = self.ledger.claim_alerts(self.owner, len(alerts), self.clock(), [alert.id for alert in alerts])
        if not claimed:
            return True  # another process has it
        letter = self._letter(claimed)
        channel = self._opened = self._opened or self.channel()
        delivered = channel.send(letter, self.clock())
        now_s = self.clock()
        self.ledger.settle_alerts(self.owner, {alert.id: delivered for alert in claimed}, now_s)
        told = {"id": letter.id, "alerts": len(claimed), "channel": channel.name, "state": delivered.state.value}
        if delivered.error is None:
            log.info("letter", **told)
        else:
            log.warning("letter", **told, error=delivered.error)
        if delivered.state is not AlertState.PENDING:
            self._sent_at_s.append(now_s)
            self.digests += len(claimed) > 1
        return delivered.state is not AlertState.PENDING

    def _letter(self, alerts: Sequence[Alert]) -> Letter:
        evidence: dict[str, bytes] = {}
        for alert in alerts[:DIGEST_PICTURES]:
            try:
                evidence[alert.id] = self.store.get(alert.evidence)
            except (ObjectMissing, ObjectChanged) as exc:
                # The alert matters more than its picture, which may have been retracted or lost since.
                log.warning("no picture", alert=alert.id, error=exc)
        ids = sorted(alert.id for alert in alerts)
        return Letter(
            id=ids[0] if len(ids) == 1 else digest("digest/1", ids),
            alerts=tuple(alerts),
            evidence=evidence,
            resend=any(alert.state is AlertState.UNKNOWN for alert in alerts),
        )


def _open(alert: Alert) -> bool:
    return alert.state is AlertState.PENDING or alert.tries < UNKNOWN_TRIES


def _by_recipient(alerts: Sequence[Alert]) -> list[Sequence[Alert]]:
    letters: dict[tuple[str, str], list[Alert]] = defaultdict(list)
    for alert in alerts:
        letters[alert.draft.sender, alert.draft.recipient].append(alert)
    return list(letters.values())
