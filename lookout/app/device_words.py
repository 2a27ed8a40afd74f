"""Trouble of devices in words, for people."""

from __future__ import annotations

from lookout.domain.device_health.records import Finding, Kind
from lookout.text import count, span


def describe(found: Finding) -> str:
    """Return what a finding says, as the end of a sentence about the device."""
    match found.kind:
        case Kind.SILENT:
            return f"no picture for longer than {span(found.value)}, which is unusual for it"
        case Kind.FLOOD:
            return f"{count(int(found.value), 'picture')} in a day, far more than usual"
        case Kind.INVALID:
            return f"{found.value:.0%} of a day's pictures are invalid"
        case Kind.IDENTICAL:
            return f"{count(int(found.value), 'picture')} in a row with the same bytes"
        case Kind.CLOCK:
            return f"its clock is {span(abs(found.value))} {'ahead' if found.value > 0 else 'behind'}"
