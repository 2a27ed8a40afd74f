"""Rules of version 2 as they are applied: checked, with classes resolved and defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from lookout.domain.policy.records import Policy
from lookout.domain.records import MAIL
from stages.threat_detect.rules.classes import ClassRef
from stages.threat_detect.rules.select import watches
from stages.threat_detect.rules.version2.polygon import Point
from stages.threat_detect.rules.version2.spans import Span, WallClock


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One class that matters. ``min_score`` None means the detection threshold; areas are shares of the picture."""

    of_class: ClassRef
    min_score: float | None
    min_area: float
    max_area: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Zone:
    """A part of the picture; ``classes`` None means all of the rule."""

    name: str
    polygon: tuple[Point, ...]
    mode: Literal["include", "exclude"]
    devices: tuple[str, ...]
    classes: tuple[ClassRef, ...] | None
    decides: Literal["foot", "centre", "overlap"]
    min_overlap: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MailChannel:
    """Mail from one sender to recipients, each of whom gets a mail of their own."""

    sender: str
    recipients: tuple[str, ...]

    @property
    def channel(self) -> str:
        """The channel of its alerts."""
        return MAIL


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherChannel:
    """A webhook, or a service of apprise: ``channel`` is type and name, as in ``webhook:home``."""

    channel: str

    @property
    def sender(self) -> str:
        """No address."""
        return ""

    @property
    def recipients(self) -> tuple[str, ...]:
        """The one recipient, which is the channel."""
        return (self.channel,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule2:
    """One rule. ``schedule`` None means always; ``policy`` has what decides who is told of a match."""

    name: str
    user: str
    devices: tuple[str, ...]
    wanted: tuple[Wanted, ...]
    count: int
    zones: tuple[Zone, ...]
    clock: WallClock
    schedule: tuple[Span, ...] | None
    quiet: tuple[Span, ...]
    digest_s: tuple[int, ...]
    severity: Literal["info", "warning", "alarm"]
    group: Literal["device", "site", "all"]
    static_classes: tuple[ClassRef, ...]
    channels: tuple[MailChannel | OtherChannel, ...]
    escalate_to: tuple[str, ...]
    policy: Policy

    @property
    def identity(self) -> tuple[str, str]:
        """User and name, which identify a rule."""
        return self.user, self.name

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its times."""
        return self.clock.zone

    @property
    def timezone(self) -> str:
        """IANA name of the zone of its times."""
        return self.clock.zone.key or "UTC"

    @property
    def recipients(self) -> tuple[str, ...]:
        """All recipients of the rule's channels: addresses, and channels that are not mail."""
        return tuple(address for channel in self.channels for address in channel.recipients)

    @property
    def other_channels(self) -> tuple[str, ...]:
        """The channels that are not mail."""
        return tuple(channel.channel for channel in self.channels if channel.channel != MAIL)

    @property
    def mail_sender(self) -> str:
        """The sender of the first mail channel; a rule that escalates has one."""
        return next((channel.sender for channel in self.channels if channel.channel == MAIL), "")

    def find_quiet(self, at_s: float) -> tuple[int, int] | None:
        """Return start and end, in seconds of the day, of the first quiet time that holds at this moment."""
        return next(((span.start_s, span.end_s) for span in self.quiet if self.clock.holds(span, at_s)), None)

    def until(self, at_s: float) -> float | Literal["drop"] | None:
        """Return the moment until which what is taken at this time is held, by digests or quiet times; ``drop`` if it
        is never told; None if it is told at once."""
        if self.digest_s:
            return self.clock.next_time(self.digest_s, at_s)
        return self.clock.quiet_until(self.quiet, at_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockRule:
    """The correction of some devices' clocks: an offset in seconds, or ``use_received`` for the time of receipt."""

    devices: tuple[str, ...]
    offset_s: int
    use_received: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleFile2:
    """A file of version 2. ``notes`` say what is allowed and can never hold."""

    sites: Mapping[str, tuple[str, ...]]
    clocks: tuple[ClockRule, ...]
    rules: tuple[Rule2, ...]
    notes: tuple[str, ...]

    def place(self, rule: Rule2, device: str) -> str:
        """Return the place whose pictures of this rule are judged together: the device, its site, or ``all``."""
        if rule.group == "all":
            return "all"
        if rule.group == "site":
            return next((name for name, globs in self.sites.items() if watches(globs, device)), device)
        return device

    def clock_of(self, device: str) -> ClockRule | None:
        """Return the first correction that names the device."""
        return next((clock for clock in self.clocks if watches(clock.devices, device)), None)
