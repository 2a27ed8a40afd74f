"""Records of the policy: a rule's settings, a match, the state of a group, a decision, and changes of alerts.

A group is all that a rule saw at one place. Times are Unix seconds: T is a picture's time, D that of a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from lookout.domain.records import Json, JsonObject

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the picture."""
RuleId: TypeAlias = tuple[str, str]
"""User and name."""


class Code(StrEnum):
    """Reason codes of decisions. Codes stay; a new one may come."""

    SENT = "sent"
    HELD_CONFIRM = "held_confirm"
    HELD_QUIET = "held_quiet"
    LATE_SUMMARY = "late_summary"
    MERGED_EVENT = "merged_event"
    COOLDOWN = "cooldown"
    STATIC_OBJECT = "static_object"
    SILENCED = "silenced"
    ACKNOWLEDGED = "acknowledged"
    QUIET_DROPPED = "quiet_dropped"
    LATE_MERGED = "late_merged"
    LATE_DROPPED = "late_dropped"
    OLD_NEWS = "old_news"
    DECIDED_BEFORE = "decided_before"
    TOLD_BEFORE = "told_before"
    WITHDRAWN = "withdrawn"


OF_AN_EVENT: Final = frozenset(
    {Code.SENT, Code.HELD_CONFIRM, Code.HELD_QUIET, Code.MERGED_EVENT, Code.COOLDOWN, Code.SILENCED}
    | {Code.ACKNOWLEDGED, Code.QUIET_DROPPED}
)
"""Codes of pictures that belong to an event."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Static:
    """Settings for objects that stand still: least overlap, and the ages of sightings that count, in seconds."""

    iou: float
    hold_s: float
    forget_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Settings of one rule. ``again_s`` None means that an event is told once; ``reorder_s`` is the bound within which
    the order of pictures does not matter."""

    gap_s: float
    again_s: float | None
    cooldown_s: float
    reorder_s: float
    late_after_s: float
    late_action: Literal["summary", "drop", "send"]
    count: int = 1
    static: Static | None = None
    escalate_after_s: float | None = None

    @property
    def again_or_never_s(self) -> float:
        """The pause after which an event is told again; infinite for never."""
        return float("inf") if self.again_s is None else self.again_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighted:
    """An object that matters. ``may_stand`` is set if the rule wants its class only while it moves."""

    label: str
    score: float
    box: Box
    may_stand: bool = False

    def plain(self) -> Json:
        """Return the object as a decision keeps it."""
        return [self.label, self.score, list(self.box)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """The verdict of a rule on a picture. ``code`` is the reason why it does not match, or None for a match.

    ``at_s`` is T; ``until`` the end of the quiet time or the time of the digest, ``drop``, or None; ``repeated`` tells
    that the same picture was processed before, by another model or other rules.
    """

    key: str
    rule: RuleId
    device: str
    place: str
    at_s: float
    clock: str | None = None
    code: str | None = None
    numbers: JsonObject = field(default_factory=dict)
    objects: tuple[Sighted, ...] = ()
    until: float | Literal["drop"] | None = None
    repeated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """A silence: pictures of ``devices`` from ``from_s`` to before ``until_s`` tell nothing by the rules that the glob
    ``rule`` over ``user|name`` names. ``by``, ``why`` and ``made_at_s`` are for people."""

    id: str
    from_s: float
    until_s: float
    rule: str = "*"
    devices: tuple[str, ...] = ("*",)
    by: str | None = None
    ended_at_s: float | None = None
    why: str | None = None
    made_at_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Matches of which each is at most the gap after the one before: first and last time, the number of live pictures,
    the picture that opened it, and who acknowledged it ("" for somebody)."""

    first_s: float
    last_s: float
    pictures: int
    id: str
    ack: str | None = None

    def spans(self, at_s: float) -> bool:
        """Tell whether the time lies between its first and its last picture, or on one of them."""
        return self.first_s <= at_s <= self.last_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A told time. ``at_s`` is T of the picture in the mail, ``key`` that picture, ``due_s`` when the mail leaves;
    ``then_s`` the told time if the event turns out to be one with the event before it."""

    told_s: float
    at_s: float
    key: str
    due_s: float
    then_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An event on a summary. ``at_s`` is the least T of its pictures with this ``until_s``, ``key`` that picture;
    ``listed`` is None until the summary is filled, then tells whether the entry is on it."""

    at_s: float
    key: str
    until_s: float
    summary: int
    listed: bool | None = None

    def summary_name(self, place: str) -> str:
        """Return the name of its summary among the rule's alerts."""
        return _summary_name(place, self.until_s, self.summary)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A summary of one moment. ``number`` counts those of the same moment from 1; ``due_s`` None: it is filled."""

    until_s: float
    number: int
    due_s: float | None

    def name(self, place: str) -> str:
        """Return its name among the rule's alerts."""
        return _summary_name(place, self.until_s, self.number)


def _summary_name(place: str, until_s: float, number: int) -> str:
    return f"{place}|{until_s:.0f}#{number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LateSummary:
    """The open summary of late pictures: its first picture, when it was opened, and when it leaves."""

    key: str
    opened_s: float
    due_s: float
    pictures: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """State of one rule at one place. ``decisions`` numbers them; ``newest_s`` is the newest T in an event."""

    decisions: int = 0
    newest_s: float | None = None
    events: tuple[Event, ...] = ()
    told: tuple[Told, ...] = ()
    entries: tuple[Entry, ...] = ()
    summaries: tuple[Summary, ...] = ()
    late: LateSummary | None = None


class Kind(StrEnum):
    """Kinds of alerts."""

    EVENT = "event"
    SUMMARY = "summary"
    LATE = "late"
    ESCALATION = "escalation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Put:
    """Enter an alert that leaves at ``due_s``, or give one that has not left this time. A canceled one is renewed."""

    kind: Kind
    name: str
    due_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancel:
    """Cancel an alert, if it is there and has not left."""

    kind: Kind
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill:
    """Give a summary its pictures; without any it is canceled."""

    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AddItem:
    """Add a picture to the summary of late pictures."""

    name: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DropItem:
    """Take a picture off a summary that has not left; without any other it is canceled."""

    kind: Kind
    name: str
    key: str


Change: TypeAlias = Put | Cancel | Fill | AddItem | DropItem
HasLeft: TypeAlias = Callable[[Kind, str], bool]
"""Tells whether an alert of the rule, by kind and name, has left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A decision as the ledger keeps it, as far as later ones ask for it."""

    code: str
    at_s: float
    decided_s: float
    place: str
    summary: str | None = None
    withdrawn: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A decision with its reason code and numbers. ``kept`` is what the ledger keeps of it, None if nothing."""

    code: str
    numbers: Mapping[str, Json]
    kept: Kept | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """Result of a decision: the decision, the group after it, and the changes of alerts in their order."""

    decision: Decision
    group: Group
    changes: tuple[Change, ...] = ()
