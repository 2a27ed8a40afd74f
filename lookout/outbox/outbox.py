"""Outbox: sends the alerts that were committed with their datum, each once, whatever dies in between.

Knows no channel: a ``Channel`` is handed a letter and says how it went. Source of the method: the transactional outbox
pattern. Delivery is at least once, and exactly once except where the end of a request cannot be known; such a letter is
repeated with a mark. docs/alerts.md has the states of an alert on one page.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

from lookout.domain.errors import ObjectChanged, ObjectMissing
from lookout.domain.identity import digest
from lookout.domain.isolation import apart, reason
from lookout.domain.records import Alert, AlertState
from lookout.ledger.port import Delivered, Ledger
from lookout.ledger.rules.alerts import WAITING
from lookout.ledger.rules.decisions import fill_summaries
from lookout.log import get_logger
from lookout.object_store.port import ObjectReader
from lookout.outbox.departure import Departure, uptime_s
from lookout.outbox.letters import by_recipient, due_letters, letter_due_s, letters_of

log = get_logger(__name__)

DIGEST_PICTURES: Final = 6
"""Number of pictures in a digest; the others are named."""
PICTURE_TRIES: Final = 8
"""An alert waits so many tries, about four minutes, for a picture that cannot be read now; then it leaves without."""
MOST_UNREADY: Final = 3
"""Letters in a row that may fail before they are handed to the channel; after that the store is taken for unreachable
and the round ends."""
MOST_ROUNDS: Final = 10
"""Rounds of a process that ends after them; letters that cannot be made ready are put off by each."""
HELD_S: Final = 5.0
"""Pause before the outbox looks again at an alert that another process holds."""


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


class Request(Protocol):
    """A letter that is ready to leave: rendered, and connected to the other side."""

    def send(self, now_s: float, departure: Departure) -> Delivered:
        """Send once and say how it ended: SENT (with a message id), DEAD (refused for good), PENDING (certainly not
        delivered) or UNKNOWN (may have been delivered). PENDING if it is too late, directly before it leaves."""
        ...

    def abort(self) -> None:
        """End a ``send`` that another thread waits for, soon; it then says how that ended."""
        ...

    def close(self) -> None:
        """Give back what it holds. Twice is allowed."""
        ...


class Channel(Protocol):
    """A way to send letters. ``name`` is shown to people: ``sendgrid``, ``folder``."""

    name: str

    def begin(self, letter: Letter) -> Request | Delivered:
        """Render the letter and connect. Nothing has left when this returns a Request or raises. Where the end is
        certain already, that is given instead: PENDING without a connection, DEAD for a letter that nobody can send,
        WRITTEN (a file's path as message id) by a channel that does the same only once however often it is asked."""
        ...


@dataclass(kw_only=True)
class Outbox:
    """Outbox that sends due alerts. More than ``max_letters`` alerts in one window become one digest a recipient.

    ``channel`` is asked for with the first letter: most runs send none. The window is the life of this object, or the
    last ``window_s`` seconds; in a window whose letters are used up, digests leave ``digest_every_s`` apart.
    """

    ledger: Ledger
    store: ObjectReader
    channel: Callable[[], Channel]
    owner: str
    clock: Callable[[], float]
    uptime: Callable[[], float] = uptime_s
    max_letters: int = 20
    window_s: float = float("inf")
    digest_every_s: float = 0.0
    digests: int = field(default=0, init=False)
    closed: bool = field(default=False, init=False)
    """True when the last round ended because the other side took no letters."""
    _opened: Channel | None = field(default=None, init=False)
    _request: Request | None = field(default=None, init=False)
    _unsettled: dict[str, Delivered] = field(default_factory=dict, init=False)
    _singly: set[str] = field(default_factory=set, init=False)
    """Alerts of digests that were refused, which have not ended since."""
    _sent_at_s: deque[float] = field(default_factory=deque, init=False)
    _digest_at_s: float = field(default=float("-inf"), init=False)
    _looked_at_s: float = field(default=float("-inf"), init=False)

    def dispatch(self, stopping: Callable[[], bool] = lambda: False) -> float | None:
        """Try everything that is due once, until ``stopping`` between two letters. Says when something will be due
        next, None when nothing waits. What was tried most often comes last, so that it holds up nothing else.

        A channel that is closed ends the round: the other side is not there, or has enough for now. Raises
        Unavailable when the ledger does not answer; how a letter ended is kept then, and settled by the next call.
        """
        self._settle()
        self.closed = False
        now_s = self.clock()
        self._slide_window(now_s)
        letters = deque(due_letters(self._waiting(now_s), self._singly, now_s))
        if letters and len(letters) + len(self._sent_at_s) > self.max_letters:
            if now_s - self._digest_at_s < self.digest_every_s:
                return self._digest_at_s + self.digest_every_s
            letters = deque(by_recipient(letters, self._singly))
            self._digest_at_s = now_s
        elsewhere: set[str] = set()
        unready = 0
        while letters and not stopping() and unready < MOST_UNREADY:
            alerts = letters.popleft()
            held = self.ledger.claim_alerts(self.owner, len(alerts), self.clock(), [alert.id for alert in alerts])
            elsewhere.update({alert.id for alert in alerts} - {alert.id for alert in held})
            if not held:
                continue
            delivered, ready = self._deliver(held)
            refused = [alert for alert in held if alert.id not in delivered.before]
            if delivered.state is AlertState.DEAD and len(refused) > 1:
                # Perhaps only for one of them, or for their number: each leaves by itself and has an end of its own.
                self._singly.update(alert.id for alert in refused)
                letters.extend([alert] for alert in refused)
                delivered = replace(delivered, state=AlertState.PENDING, due_at_s=self.clock())
            self._keep(held, delivered)
            unready = 0 if ready else unready + 1
            if delivered.closed:
                self.closed = True
                break
        return self._next_s(elsewhere)

    def _waiting(self, now_s: float) -> list[Alert]:
        """Return the alerts that wait, once summaries that are due have what they list: the others are canceled."""
        waiting = list(self.ledger.alerts(states=WAITING))
        groups = {
            ((first.draft.user, first.draft.rule), first.place)
            for first, *_ in due_letters(waiting, self._singly, now_s)
            if first.summary is not None and first.place is not None
        }
        for rule, place in sorted(groups):
            self.ledger.amend_policy(partial(fill_summaries, rule=rule, place=place, now_s=now_s))
        return list(self.ledger.alerts(states=WAITING)) if groups else waiting

    def drain(self, stopping: Callable[[], bool] = lambda: False) -> float | None:
        """Make rounds until nothing is due that was not tried, or the other side takes no letters: for a process that
        ends then. Says when something will be due next."""
        for _ in range(MOST_ROUNDS):
            due_at_s = self.dispatch(stopping)
            if stopping() or self.closed or due_at_s is None or due_at_s > self.clock():
                break
        return due_at_s

    def abort(self) -> None:
        """End a request that another thread waits for."""
        if (request := self._request) is not None:
            request.abort()

    # --- one letter -------------------------------------------------------------------------------------------------

    def _deliver(self, alerts: Sequence[Alert]) -> tuple[Delivered, bool]:
        """Send a letter; return how it ended, and whether it reached the channel. Raises nothing that an alert, its
        picture, the channel or a lack of memory, threads or files can cause: whatever the cause, the alert is
        retried."""
        channel = None
        try:
            letter = self._letter(alerts)
            channel = self._opened = self._opened or self.channel()
            request = channel.begin(letter)
            ready = True
            delivered = request if isinstance(request, Delivered) else self._send(request, alerts)
        except Exception as exc:  # noqa: BLE001 - nothing has left; the alert must outlive whatever this is
            delivered, ready = Delivered(state=AlertState.PENDING, error=reason(exc)), False
        self._tell(alerts, channel, delivered)
        return delivered, ready

    def _send(self, request: Request, alerts: Sequence[Alert]) -> Delivered:
        """Note that the request may leave, and send it. Raises what the ledger raises; then nothing has left."""
        ids = frozenset(alert.id for alert in alerts)
        departure = Departure(self.uptime, self.clock)
        try:
            if self.ledger.begin_sending(self.owner, ids) == ids:
                return self._sent(request, departure)
        finally:
            _close(request)
        # Some were canceled meanwhile, or the session was taken for dead: the letter would say too much.
        return Delivered(state=AlertState.PENDING, error="the alerts of the letter changed", due_at_s=self.clock())

    def _sent(self, request: Request, departure: Departure) -> Delivered:
        self._request = request
        try:
            return request.send(self.clock(), departure)
        except Exception as exc:  # noqa: BLE001 - it may have left
            return Delivered(state=AlertState.UNKNOWN, error=reason(exc))
        finally:
            self._request = None

    def _letter(self, alerts: Sequence[Alert]) -> Letter:
        evidence: dict[str, bytes] = {}
        for alert in alerts[:DIGEST_PICTURES]:
            try:
                evidence[alert.id] = self.store.get(alert.evidence)
            except Exception as exc:
                gone = isinstance(exc, ObjectMissing | ObjectChanged)
                if not gone and alert.tries < PICTURE_TRIES:
                    raise
                # The alert matters more than its picture, which is lost, was retracted, or cannot be read for long.
                log.warning("picture missing", alert=alert.id, error=exc)
        ids = sorted(alert.id for alert in alerts)
        return Letter(
            id=ids[0] if len(ids) == 1 else digest("digest/1", ids),
            alerts=tuple(alerts),
            evidence=evidence,
            resend=any(alert.doubts for alert in alerts),
        )

    def _tell(self, alerts: Sequence[Alert], channel: Channel | None, delivered: Delivered) -> None:
        facts = {"alert": alerts[0].id, "alerts": len(alerts), "channel": channel.name if channel else None}
        if delivered.error is None:
            log.info("letter", **facts, state=delivered.state.value)
        else:
            log.warning("letter", **facts, state=delivered.state.value, error=delivered.error)

    # --- keeping how letters ended ----------------------------------------------------------------------------------

    def _keep(self, alerts: Sequence[Alert], delivered: Delivered) -> None:
        for alert in alerts:
            end = delivered.before.get(alert.id, delivered)
            self._unsettled[alert.id] = replace(end, message_id=_plain(end.message_id), error=_plain(end.error))
        if delivered.state is not AlertState.PENDING:
            self._singly.difference_update(alert.id for alert in alerts)
            self._sent_at_s.append(self.clock())
            self.digests += len(alerts) > 1
        self._settle()

    def _settle(self) -> None:
        """Have the ledger keep how letters ended. What it does not take now is offered again: an alert would be on its
        way for as long as this process lives otherwise."""
        if not self._unsettled:
            return

        def settle(some: Sequence[tuple[str, Delivered]]) -> list[None]:
            self.ledger.settle_alerts(self.owner, dict(some), self.clock())
            return [None] * len(some)

        ends = list(self._unsettled.items())
        for (id_, _), failure in zip(ends, apart(ends, settle), strict=True):
            del self._unsettled[id_]
            if failure is not None:  # it stays on its way until the session ends, and is repeated then
                log.error("outcome of an alert not recorded", alert=id_, error=reason(failure))

    # --- times ------------------------------------------------------------------------------------------------------

    def _slide_window(self, now_s: float) -> None:
        if now_s < self._looked_at_s:  # the clock was set back: what it said before means nothing any more
            log.warning("clock set back", seconds=round(self._looked_at_s - now_s, 3))
            self._sent_at_s.clear()
            self._digest_at_s = float("-inf")
        self._looked_at_s = now_s
        while self._sent_at_s and self._sent_at_s[0] < now_s - self.window_s:
            self._sent_at_s.popleft()

    def _next_s(self, elsewhere: set[str]) -> float | None:
        held_s = self.clock() + HELD_S

        def due_s(letter: Sequence[Alert]) -> float:
            is_held = any(alert.id in elsewhere for alert in letter)
            return max(letter_due_s(letter), held_s) if is_held else letter_due_s(letter)

        due = map(due_s, letters_of(self.ledger.alerts(states=WAITING), self._singly))
        return min(due, default=None)


def _close(request: Request) -> None:
    try:
        request.close()
    except Exception as exc:  # noqa: BLE001 - how the letter ended is known
        log.warning("connection not closed", error=exc)


def _plain(text: str | None) -> str | None:
    """Return the text as a ledger can keep it: of a path or an answer that is not UTF-8, the other bytes as escapes."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")
