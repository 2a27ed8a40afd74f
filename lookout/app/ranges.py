"""Range of datums, chosen by prefix and by the time at which their pictures were taken; several commands take one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from lookout.app.deployment import Deployment
from lookout.app.installation import PictureName
from lookout.domain.records import Mark, Slot, State


@dataclass(frozen=True, kw_only=True)
class Range:
    """Keys that begin with ``prefix``, of pictures taken from ``since_s`` on and before ``until_s``."""

    prefix: str = ""
    since_s: float | None = None
    until_s: float | None = None

    @property
    def is_all(self) -> bool:
        return not self.prefix and not self.is_timed

    @property
    def is_timed(self) -> bool:
        return self.since_s is not None or self.until_s is not None

    def has(self, key: str, at_s: float | None, find_name: Callable[[str], PictureName | None]) -> bool:
        """Tell whether the time range includes the datum of this picture, which was taken ``at_s``, if a stage has said
        so, or when its name says. A picture whose time nothing says is in none."""
        if not self.is_timed:
            return True
        if at_s is None:
            name = find_name(key)
            at_s = None if name is None else name.captured_at_s
        return at_s is not None and self._has(at_s, at_s)

    def has_group(self, group: str) -> bool:
        """Tell whether the time range overlaps the day of ``<device>/<day>``."""
        if not self.is_timed:
            return True
        try:
            day = date.fromisoformat(group.rpartition("/")[2])
        except ValueError:
            return False
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return self._has(begin.timestamp(), (begin + timedelta(days=1)).timestamp() - 0.001)

    def _has(self, first_s: float, last_s: float) -> bool:
        after = self.since_s is None or last_s >= self.since_s
        return after and (self.until_s is None or first_s < self.until_s)


def invalidate_range(opened: Deployment, stage: str | None, chosen: Range, salt: str) -> int:
    """Mark the finished and failed datums of a range, of one stage or all, as other ones than they were; says how
    many. The same salt again makes none another one."""
    grouped = {one.name for one in opened.pipeline.stages if one.grouped}
    find_name = opened.installation.find_name
    slots = opened.ledger.slots(stage, prefix=chosen.prefix)
    found = (
        slot
        for slot in slots
        if (
            chosen.has_group(slot.key)
            if slot.stage in grouped
            else chosen.has(slot.key, slot.record.at_s if slot.record is not None else None, find_name)
        )
    )
    return opened.ledger.mark(list(marks(found)), revive=True, salt=salt)


def marks(slots: Iterable[Slot]) -> Iterator[Mark]:
    """Yield a mark for each of the slots that is not retracted."""
    return (Mark(stage=slot.stage, key=slot.key) for slot in slots if slot.state is not State.RETRACTED)
