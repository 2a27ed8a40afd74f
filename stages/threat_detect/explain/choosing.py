"""Choice of a device's pictures in a span of time, by the ledger alone."""

from __future__ import annotations

from dataclasses import dataclass

from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import device_of
from lookout.domain.records import Slot
from lookout.ledger.port import Ledger
from stages.picture_names import find_name
from stages.threat_detect.explain.gathering import VALIDATE


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Pictures of one device, taken from ``since_s`` on and before ``until_s``."""

    device: str
    since_s: float | None = None
    until_s: float | None = None

    def has(self, at_s: float | None) -> bool:
        """Tell whether a picture of this time is chosen; one without a time only if no time is asked for."""
        if at_s is None:
            return self.since_s is None and self.until_s is None
        return (self.since_s is None or at_s >= self.since_s) and (self.until_s is None or at_s < self.until_s)


def keys_of_device(ledger: Ledger, chosen: Chosen) -> list[str]:
    """Return the keys of the pictures that are chosen, in the order of (time, key). Raises InputRejected for a device
    of which the ledger knows no picture."""
    found: list[tuple[float, str]] = []
    known: set[str] = set()
    for slot in ledger.slots(VALIDATE):
        device = device_of(slot.group)
        known.add(device)
        at_s = _at_s(slot)
        if device == chosen.device and chosen.has(at_s):
            found.append((at_s or 0.0, slot.key))
    if chosen.device not in known:
        some = ", ".join(sorted(known - {""})[:10]) or "none yet"
        raise InputRejected("the ledger knows no picture of this device", chosen.device, f"devices: {some}")
    return [key for _, key in sorted(found)]


def _at_s(slot: Slot) -> float | None:
    if slot.record is not None and slot.record.at_s is not None:
        return slot.record.at_s
    name = find_name(slot.key)
    return None if name is None else name.captured_at_s
