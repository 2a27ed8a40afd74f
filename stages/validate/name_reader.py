"""Device, time and number of a picture, and whether they can be true: by the built-in form, or by a devices file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from lookout.domain.records import Input, JsonObject
from stages.camera_names.names import Ignored, Reading, Unread
from stages.imaging.exif import find_texts
from stages.picture_names import PictureName, as_document, find_name, short_digest, subject_of
from stages.validate import output_keys as keys
from stages.validate.devices_file import Settings
from stages.validate.limits import Limits
from stages.validate.reasons import Reason, Refused


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """Name of a picture, the limits for pictures of its device, and, where a devices file says the name, the document
    for later stages. ``facts`` are those of the name, and what differs in the limits."""

    name: PictureName
    limits: Limits
    document: bytes | None = None
    facts: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NameReader:
    """Reader of names by the parts of a devices file that hold for them, if there are any."""

    limits: Limits
    settings: Settings | None

    def read(self, key: str, picture: Input) -> Named | Ignored:
        """Read the name of a picture. Raises Refused with a reason that concerns the name, and, where it can be told,
        with the time that it says."""
        fault = keys.find_fault(key)
        if self.settings is None:
            return Named(name=self._built_in(key, fault, picture), limits=self.limits)
        found = self._listed(key, self.settings, picture)
        if isinstance(found, Ignored):
            return found
        if isinstance(found, Unread):
            at = found.captured_at
            when = {} if at is None else {"captured_at_s": at.timestamp()}
            raise Refused(Reason(found.reason.value), text=found.sentence, **when)
        fault = fault or keys.find_fault(found.device)
        if fault:
            raise Refused(Reason.NAME, detail=f"its folder cannot be kept, as {fault}")
        name = _name(key, found)
        device = self.settings.names.devices.get(found.said)
        more: JsonObject = {
            "said": found.said,
            "written": found.written.isoformat(),
            "seq": found.seq,
            "event": found.event,
            "flags": list(found.flags),
            "pattern": found.entry,
            "groups": [] if device is None else list(device.groups),
        }
        limits = self.settings.limits(found.said, self.limits)
        changed = limits.changes_of(self.limits)
        facts: JsonObject = {"name": more, **({"limits": changed} if changed else {})}
        return Named(name=name, limits=limits, document=as_document(name, {"key": key, **more}), facts=facts)

    def _listed(self, key: str, settings: Settings, picture: Input) -> Reading | Unread | Ignored:
        return settings.names.read(
            key,
            first_seen=_instant(picture.observed_at_s),
            latest=_instant(picture.planned_at_s),
            exif=find_texts(picture.data),
        )

    def _built_in(self, key: str, fault: str | None, picture: Input) -> PictureName:
        name = find_name(key)
        if name is None:
            raise Refused(Reason.NAME, detail=_lack(key))
        if fault:
            raise Refused(Reason.NAME, detail=f"its folder cannot be kept, as {fault}")
        at_s, limits = name.captured_at_s, self.limits
        if at_s < limits.earliest_s:
            raise Refused(Reason.TIME_TOO_EARLY, time=_utc(at_s), earliest=_utc(limits.earliest_s))
        seen_at_s = picture.planned_at_s
        if seen_at_s is not None and at_s > seen_at_s + limits.future_tolerance_s:
            tolerance_s = limits.future_tolerance_s
            raise Refused(Reason.TIME_IN_FUTURE, time=_utc(at_s), tolerance_s=tolerance_s, captured_at_s=at_s)
        return name


def _name(key: str, found: Reading) -> PictureName:
    """Return the name of a listed picture. What the built-in form would say of it too keeps the key that this form
    gives."""
    at_s = found.captured_at.timestamp()
    plain = find_name(key)
    if plain is not None and (plain.device, plain.captured_at_s) == (found.device, at_s):
        stem = plain.stem
    else:
        at = found.captured_at.strftime("%Y%m%dT%H%M%S.") + f"{found.captured_at.microsecond // 1000:03}Z"
        stem = f"{found.device}/{at}-{found.seq or 0}-{short_digest(key)}"
    subject = subject_of(found.said, found.written, found.seq)
    return PictureName(device=found.device, captured_at_s=at_s, stem=stem, subject=subject)


def _lack(key: str) -> str:
    """Return the part of a name that the built-in form lacks, as the end of a sentence."""
    last = key.rpartition("/")[2]
    shown = keys.shown(last)
    stem, dot, ending = last.rpartition(".")
    if not dot or ending.lower() not in ("jpg", "jpeg"):
        return f"expected an ending .jpg or .jpeg, got {shown}"
    device, mark, stamp = stem.rpartition("_")
    if not mark:
        return f"expected <device>_<unix seconds>.jpg, got {shown}, which has no _"
    digits = keys.shown(stamp)
    if not (stamp.isascii() and stamp.isdigit()):
        return f"expected Unix seconds after the last _ of {shown}, got {digits}"
    if len(stamp) not in (10, 13):
        hint = "a device whose clock was reset writes fewer" if len(stamp) < 10 else "or 13 of milliseconds"
        return f"{shown} ends in {digits}: Unix seconds have 10 digits; {hint}"
    return f"expected a device of 1 to 63 characters before the last _ of {shown}, got {keys.shown(device)}"


def _instant(at_s: float | None) -> datetime | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC)


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
