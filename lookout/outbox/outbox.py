"""Outbox: sends the alerts that were committed with their datum, each once, whatever dies in between.

An alert names its channel; a ``Channel`` is handed a letter and says how it went, and no more of it is known here.
Source of the method: the transactional outbox pattern. Delivery is at least once, and exactly once except where the
end of a request cannot be known; such a letter is repeated with a mark. docs/alerts.md has the states of an alert on
one page.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from lookout.domain.errors import InputRejected, ObjectChanged, ObjectMissing
from lookout.domain.identity import digest
from lookout.domain.isolation import apart, reason
from lookout.domain.records import Alert, AlertState
from lookout.ledger.port import Delivered, Ledger
from lookout.ledger.rules.alerts import WAITING
from lookout.ledger.rules.decisions import fill_summaries
from lookout.log import get_logger
from lookout.object_store.port import ObjectReader
from lookout.outbox.channel import Channel, Letter, Request
from lookout.outbox.departure import Departure, uptime_s
from lookout.outbox.letters import due_letters, letter_due_s, letters_of
from lookout.outbox.window import Window

log = get_logger(__name__)

DIGEST_PICTURES: Final = 6
"""Number of pictures in a digest; the others are named."""
PICTURE_TRIES: Final = 8
"""An alert waits so many tries, about four minutes, for a picture that cannot be read now; then it leaves without."""
MOST_UNREADY: Final = 3
"""Letters of a channel in a row that may fail before they are handed to it; after that the store is taken for
unreachable, and the round ends for its letters."""
MOST_ROUNDS: Final = 10
"""Rounds of a process that ends after them; letters that cannot be made ready are put off by each."""
HELD_S: Final = 5.0
"""Pause before the outbox looks again at an alert that another process holds."""
NOT_SET_UP_S: Final = 60.0
"""Pause of an alert whose channel is not set up in this process; another process may have it."""


@dataclass(kw_only=True)
class Outbox:
    """Outbox that sends due alerts. More than ``max_letters`` alerts in one window become one digest a recipient.

    ``channel`` gives the channel of that name, and is asked with its first letter: most runs send none. It raises
    InputRejected for one that is not set up; alerts that name it wait. Each channel has a window of its own: the life
    of this object, or the last ``window_s`` seconds; in a window whose letters are used up, digests leave
    ``digest_every_s`` apart. No channel ends the round of another.
    """

    ledger: Ledger
    store: ObjectReader
    channel: Callable[[str], Channel]
    owner: str
    clock: Callable[[], float]
    uptime: Callable[[], float] = uptime_s
    max_letters: int = 20
    window_s: float = float("inf")
    digest_every_s: float = 0.0
    digests: int = field(default=0, init=False)
    _opened: dict[str, Channel] = field(default_factory=dict, init=False)
    _windows: dict[str, Window] = field(default_factory=dict, init=False)
    _request: Request | None = field(default=None, init=False)
    _unsettled: dict[str, Delivered] = field(default_factory=dict, init=False)
    _singly: set[str] = field(default_factory=set, init=False)
    """Alerts of digests that were refused, which have not ended since."""
    _looked_at_s: float = field(default=float("-inf"), init=False)

    def dispatch(self, stopping: Callable[[], bool] = lambda: False) -> float | None:
        """Try everything that is due once, until ``stopping`` between two letters. Says when something will be due
        next, None when nothing waits. What was tried most often comes last, so that it holds up nothing else.

        A channel that is closed ends the round for its own letters: the other side is not there, or has enough for
        now. Raises Unavailable when the ledger does not answer; how a letter ended is kept then, and settled by the
        next call.
        """
        return self._round(stopping, set())

    def drain(self, stopping: Callable[[], bool] = lambda: False) -> float | None:
        """Make rounds until nothing is due that was not tried, but by channels that take no letters: for a process that
        ends then. Says when something will be due next."""
        closed: set[str] = set()
        for _ in range(MOST_ROUNDS):
            due_at_s = self._round(stopping, closed)
            if stopping() or due_at_s is None or due_at_s > self.clock() or not self._due(closed, self.clock()):
                break
        return due_at_s

    def _round(self, stopping: Callable[[], bool], closed: set[str]) -> float | None:
        """Make a round in which channels that are ``closed`` send nothing; those that are found so are added."""
        self._settle()
        now_s = self.clock()
        self._slide_windows(now_s)
        elsewhere: set[str] = set()
        unready: Counter[str] = Counter()
        letters, digests_at_s = self._letters(closed, now_s)
        while letters and not stopping():
            alerts = letters.popleft()
            name = alerts[0].draft.channel
            if name in closed or unready[name] >= MOST_UNREADY:
                continue
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
            unready[name] = 0 if ready else unready[name] + 1
            if delivered.closed:
                closed.add(name)
        return self._next_s(elsewhere, digests_at_s)

    def _letters(self, closed: Collection[str], now_s: float) -> tuple[deque[Sequence[Alert]], dict[str, float]]:
        """Return the letters of a round, and by channel the time before which its digests may not leave."""
        turns: list[tuple[int, int, Sequence[Alert]]] = []
        later: dict[str, float] = {}
        by_channel: dict[str, list[Sequence[Alert]]] = defaultdict(list)
        for letter in self._due(closed, now_s):
            by_channel[letter[0].draft.channel].append(letter)
        for number, (name, due) in enumerate(by_channel.items()):
            chosen = self._window(name).choose(due, self._singly, now_s)
            if isinstance(chosen, float):
                later[name] = chosen
            else:
                turns += [(turn, number, letter) for turn, letter in enumerate(chosen)]
        # The channels take turns, so that the letters of a slow one hold up at most as many of another.
        return deque(letter for _, _, letter in sorted(turns, key=lambda each: each[:2])), later

    def _due(self, closed: Collection[str], now_s: float) -> list[Sequence[Alert]]:
        """Return the letters that are due, but those of closed channels, in their order."""
        waiting = [alert for alert in self._waiting(now_s) if alert.draft.channel not in closed]
        return due_letters(waiting, self._singly, now_s)

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

    def _window(self, name: str) -> Window:
        if name not in self._windows:
            self._windows[name] = Window(
                max_letters=self.max_letters, window_s=self.window_s, digest_every_s=self.digest_every_s
            )
        return self._windows[name]

    def abort(self) -> None:
        """End a request that another thread waits for."""
        if (request := self._request) is not None:
            request.abort()

    # --- one letter -------------------------------------------------------------------------------------------------

    def _deliver(self, alerts: Sequence[Alert]) -> tuple[Delivered, bool]:
        """Send a letter; return how it ended, and whether it reached the channel. Raises nothing that an alert, its
        picture, the channel or a lack of memory, threads or files can cause: whatever the cause, the alert is
        retried."""
        try:
            channel = self._open(alerts[0].draft.channel)
            request = channel if isinstance(channel, Delivered) else channel.begin(self._letter(alerts))
            ready = True
            delivered = request if isinstance(request, Delivered) else self._send(request, alerts)
        except Exception as exc:  # noqa: BLE001 - nothing has left; the alert must outlive whatever this is
            delivered, ready = Delivered(state=AlertState.PENDING, error=reason(exc)), False
        self._tell(alerts, delivered)
        return delivered, ready

    def _open(self, name: str) -> Channel | Delivered:
        """Open the channel, once; return how the letter ended if it is not set up here."""
        if name not in self._opened:
            try:
                self._opened[name] = self.channel(name)
            except InputRejected as exc:
                again_s = self.clock() + NOT_SET_UP_S
                return Delivered(state=AlertState.PENDING, error=reason(exc), due_at_s=again_s, closed=True)
        return self._opened[name]

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

    def _tell(self, alerts: Sequence[Alert], delivered: Delivered) -> None:
        channel = self._opened.get(alerts[0].draft.channel)
        name = channel.name if channel is not None else alerts[0].draft.channel
        facts = {"alert": alerts[0].id, "alerts": len(alerts), "channel": name}
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
            self._window(alerts[0].draft.channel).note(self.clock())
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

    def _slide_windows(self, now_s: float) -> None:
        if now_s < self._looked_at_s:  # the clock was set back: what it said before means nothing any more
            log.warning("clock set back", seconds=round(self._looked_at_s - now_s, 3))
            for window in self._windows.values():
                window.clear()
        self._looked_at_s = now_s
        for window in self._windows.values():
            window.slide(now_s)

    def _next_s(self, elsewhere: Collection[str], later: Mapping[str, float]) -> float | None:
        held_s = self.clock() + HELD_S

        def due_s(letter: Sequence[Alert]) -> float:
            is_held = any(alert.id in elsewhere for alert in letter)
            digest_s = later.get(letter[0].draft.channel, 0.0)
            return max(letter_due_s(letter), digest_s, held_s if is_held else 0.0)

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
