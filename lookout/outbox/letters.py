"""Letters of the outbox: which alerts leave together, and in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from lookout.domain.records import Alert
from lookout.ledger.rules.alerts import is_due

ALARM = "alarm"
"""Severity of alerts that leave first, and in no digest."""


def letters_of(alerts: Iterable[Alert], singly: Collection[str]) -> list[Sequence[Alert]]:
    """Return a letter for each alert; one for all alerts of a summary to one recipient, but for those ``singly``."""
    letters: dict[tuple[str, ...], list[Alert]] = defaultdict(list)
    for alert in alerts:
        alone = alert.summary is None or alert.id in singly
        key = (alert.id,) if alone else (str(alert.summary), *_to(alert))
        letters[key].append(alert)
    return list(letters.values())


def due_letters(waiting: Iterable[Alert], singly: Collection[str], now_s: float) -> list[Sequence[Alert]]:
    """Return the letters that are due: each once the last of its alerts is. What was tried most often comes last; of
    the others alarms come first, and then the oldest."""
    letters = [letter for letter in letters_of(waiting, singly) if all(is_due(alert, now_s) for alert in letter)]
    return sorted(letters, key=_order)


def by_recipient(letters: Iterable[Sequence[Alert]], singly: Collection[str]) -> list[Sequence[Alert]]:
    """Return a digest of single alerts for each recipient, in the order of the first of them. Summaries and alarms stay
    letters of their own, and so do the alerts ``singly``."""
    digests: dict[tuple[str, ...], list[Alert]] = defaultdict(list)
    for letter in letters:
        first = letter[0]
        alone = first.summary is not None or _is_alarm(first) or first.id in singly
        digests[*_to(first), *((first.id,) if alone else ())].extend(letter)
    return list(digests.values())


def _to(alert: Alert) -> tuple[str, str, str]:
    """Return the channel, sender and recipient, which all alerts of a letter have in common."""
    return alert.draft.channel, alert.draft.sender, alert.draft.recipient


def letter_due_s(letter: Sequence[Alert]) -> float:
    """Return when a letter is due, in Unix seconds."""
    return max(alert.due_at_s for alert in letter)


def _order(letter: Sequence[Alert]) -> tuple[int, bool, float, str]:
    first = min(letter, key=lambda alert: (alert.created_at_s, alert.id))
    return max(alert.tries for alert in letter), not _is_alarm(first), first.created_at_s, first.id


def _is_alarm(alert: Alert) -> bool:
    return alert.draft.detail.get("severity") == ALARM
