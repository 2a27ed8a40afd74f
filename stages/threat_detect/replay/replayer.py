"""Replays over one ledger and its store: by other rules in the order of time, or as a check of what is kept.

Reads the ledger, rule files and the JSON of object-detect. Writes nothing and sends nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from lookout.domain.errors import InputRejected, ObjectChanged, ObjectMissing
from lookout.domain.pipeline import device_of
from lookout.domain.policy.decide import SEEN_WITHOUT_MATCH
from lookout.domain.policy.verdicts import PictureDecision
from lookout.domain.records import AlertState, JsonObject, Slot, State
from lookout.ledger.port import Ledger
from lookout.ledger.silences import find_silences
from lookout.object_store.port import ObjectReader
from stages.pipeline import PIPELINE
from stages.threat_detect import detections
from stages.threat_detect.explain.gathering import OBJECT_DETECT, THREAT_DETECT, judged, kept_decisions
from stages.threat_detect.explain.rule_files import RuleFiles, files_of
from stages.threat_detect.replay.comparison import Comparison
from stages.threat_detect.replay.fold import SeenOnly
from stages.threat_detect.replay.groups import check_ledger
from stages.threat_detect.replay.in_time import TimeReplay, Was
from stages.threat_detect.replay.page import page
from stages.threat_detect.rules.version2.matching import Picture, judge
from stages.threat_detect.rules.version2.rule import Rule2
from stages.threat_detect.simulation.rulebook import Entry, open_rulebook

_AT_ONCE = 500
_DAY_S = 86_400.0
_THUMBNAIL_PX = 320
_THUMBNAIL_QUALITY = 75
_ALWAYS_S = (float("-inf"), float("inf"))


class Replayer:
    """Replayer of one ledger and its store."""

    def __init__(self, ledger: Ledger, store: ObjectReader) -> None:
        self._ledger, self._store, self._files = ledger, store, RuleFiles(ledger, store)

    # --- in the order of time ----------------------------------------------------------------------------------------

    def replay(
        self, rules: Path | None, since_s: float | None, until_s: float | None, device: str | None
    ) -> Iterator[JsonObject]:
        """Judge the kept detections by the rules at a path, or by those in force, and yield what ``Comparison`` says of
        each picture taken in this span by a device that the glob names; then one object a rule and day, and one for
        each reason why something could not be judged.

        Pictures before the span are judged too, as far back as an event, a cooldown or a parked car can reach. Raises
        InputRejected for rules that cannot be used, or if there are none.
        """
        entries = self._entries(rules)
        begin_s, end_s = (_ALWAYS_S[0] if since_s is None else since_s), (_ALWAYS_S[1] if until_s is None else until_s)
        replay = TimeReplay(entries, find_silences(self._ledger))
        try:
            missing = 0
            for picture in self._pictures(_reach(entries, begin_s), end_s, device, entries):
                if picture is None:
                    missing += 1
                else:
                    replay.judge(picture)
            replay.fold()
            self._note_what_was(replay)
            found = Comparison(replay=replay, entries={entry.name: entry for entry in entries})
            yield from found.pictures(begin_s, end_s, device)
            yield from found.table()
            if missing:
                yield {"note": f"{missing} pictures could not be judged: their detections are not kept any more."}
        finally:
            replay.close()

    def _entries(self, rules: Path | None) -> list[Entry]:
        if rules is not None:
            return list(open_rulebook(rules).entries.values())
        entries: dict[str, Entry] = {}
        for file in self._files.in_force():
            for entry in self._files.entries(file) or ():
                entries.setdefault(entry.name, entry)  # as in threat-detect: of two files with one rule the first holds
        if not entries:
            raise InputRejected("no rules are in force", "--rules", "name a rule file or a folder of them")
        return list(entries.values())

    def _pictures(
        self, since_s: float, until_s: float, device: str | None, entries: Sequence[Entry]
    ) -> Iterator[Picture | None]:
        """Yield the pictures with detections; None for one whose detections are not kept."""
        alone = all(entry.rule.group == "device" for entry in entries)
        slots = self._ledger.slots(OBJECT_DETECT, states=[State.SUCCESS])
        while piece := list(islice(slots, _AT_ONCE)):
            some = [one for one in piece if not alone or _is_of(device_of(one.group), device)]
            some = [one for one in some if one.record is not None and since_s <= (one.record.at_s or 0.0) < until_s]
            seen = self._ledger.find_inputs(PIPELINE.inputs, [one.key for one in some])
            for slot in some:
                found = self._detections(slot)
                yield None if found is None else judged(found, slot.key, seen.get(slot.key))

    def _detections(self, slot: Slot) -> detections.Detections | None:
        outputs = () if slot.record is None else slot.record.outputs
        ref = next((one for one in outputs if one.key.endswith(".json")), None)
        try:
            return None if ref is None else detections.read(self._store.get(ref), ref.path)
        except (ObjectMissing, ObjectChanged):
            return None

    def _note_what_was(self, replay: TimeReplay) -> None:
        """Note the decisions of the ledger, and the alerts of rules of version 1, which it does not decide on."""
        canceled = {alert.id for alert in self._ledger.alerts(states=[AlertState.CANCELED])}
        pictures = kept_decisions(self._ledger)
        while piece := list(islice(pictures, _AT_ONCE)):
            devices = self._devices_of([key for key, _ in piece])
            for key, some in piece:
                for made in some:
                    told = any(id_ not in canceled for id_ in made.alerts)
                    replay.note("|".join(made.rule), key, _was(made, devices[key], told=told))
        for alert in self._ledger.alerts():
            if alert.place is None and alert.state is not AlertState.CANCELED:
                detail = alert.draft.detail
                at_s, device = detail.get("captured_at_s"), str(detail.get("device"))
                was = Was(code="sent", told=True, at_s=at_s if isinstance(at_s, (int, float)) else 0.0, device=device)
                for key in alert.keys or (alert.draft.picture_key,):
                    replay.note(f"{alert.draft.user}|{alert.draft.rule}", key, was)

    def page(self, days: Sequence[JsonObject], differing: Sequence[JsonObject]) -> bytes:
        """Return a page of what ``replay`` gives: the days, and the pictures that differ, small and without EXIF data.
        It needs nothing from elsewhere."""
        return page(days, differing, self._thumbnail).encode()

    def _thumbnail(self, key: str) -> str | None:
        """Return the picture with its boxes, as object-detect has drawn it, as a data URI."""
        slot = self._ledger.find_slots(OBJECT_DETECT, [key]).get(key)
        outputs = () if slot is None or slot.record is None else slot.record.outputs
        ref = next((one for one in outputs if one.key.endswith(".jpg")), None)
        from stages.imaging.annotate import decode_bgr, encode_jpeg, fit  # OpenCV: only a page pays for it

        try:
            drawn = None if ref is None else decode_bgr(self._store.get(ref))
        except (ObjectMissing, ObjectChanged):
            return None
        if drawn is None:
            return None
        data = encode_jpeg(fit(drawn, _THUMBNAIL_PX), _THUMBNAIL_QUALITY)
        return f"data:image/jpeg;base64,{b64encode(data).decode()}"

    # --- check -------------------------------------------------------------------------------------------------------

    def check(self) -> JsonObject:
        """Fold the kept decisions of each group again, in the order in which they were made: ``groups``, ``same``,
        ``unknown``, ``reasons`` (each with ``rule``, ``place``, ``unknown``, ``reason``) and ``difference``, the first
        one (``rule``, ``place``, ``where``, ``kept``, ``made``, and of a decision ``key`` and ``n``), None if all is as
        it was."""
        found = check_ledger(self._ledger, self._rule_of, self._devices_of, self._seen_only())
        return {
            "groups": found.groups,
            "same": found.same,
            "unknown": found.unknown,
            "reasons": found.reasons,
            "difference": found.difference,
        }

    def _rule_of(self, made: PictureDecision) -> Rule2 | None:
        entries = self._files.find(made.rule_sha256) or ()
        return next((one.rule for one in entries if one.rule.identity == made.rule), None)

    def _devices_of(self, keys: Sequence[str]) -> Mapping[str, str]:
        slots = self._ledger.find_slots(THREAT_DETECT, keys)
        groups = {key: slots[key].group if key in slots else "" for key in keys}
        return {key: device_of(group or PIPELINE.group_of(key)) for key, group in groups.items()}

    def _seen_only(self) -> Iterator[SeenOnly]:
        """Yield what rules with ``static`` saw on pictures that they did not match, by the files that were read."""
        slots = self._ledger.slots(THREAT_DETECT, states=[State.SUCCESS])
        while piece := list(islice(slots, _AT_ONCE)):
            asked = [(slot, entries) for slot in piece if (entries := self._asked(slot))]
            keys = [slot.key for slot, _ in asked]
            seen, before = self._ledger.find_inputs(PIPELINE.inputs, keys), self._ledger.find_slots(OBJECT_DETECT, keys)
            for slot, entries in asked:
                found = self._detections(before[slot.key]) if slot.key in before else None
                if found is not None and slot.record is not None:
                    picture = judged(found, slot.key, seen.get(slot.key))
                    yield from _seen(entries, picture, slot.record.finished_at_s)

    def _asked(self, slot: Slot) -> list[Entry]:
        entries = [entry for file in files_of(slot.record) for entry in self._files.entries(file) or ()]
        return [entry for entry in entries if self._is_asked(entry)]

    @staticmethod
    def _is_asked(entry: Entry) -> bool:
        rule = entry.rule
        return not entry.each and rule.policy.static is not None and (rule.count > 1 or rule.schedule is not None)


def _was(made: PictureDecision, device: str, *, told: bool) -> Was:
    by = made.numbers.get("told_by")
    kept = made.kept
    return Was(code=kept.code, told=told, at_s=kept.at_s, device=device, told_by=by if isinstance(by, str) else None)


def _seen(entries: Iterable[Entry], picture: Picture, decided_s: float) -> Iterator[SeenOnly]:
    for entry in entries:
        match = judge(entry.file, entry.rule, picture)
        if match.code in SEEN_WITHOUT_MATCH:
            yield SeenOnly(match=match, decided_s=decided_s)


def _reach(entries: Sequence[Entry], since_s: float) -> float:
    """Return the time from which on pictures are judged: what was before cannot hold back a picture of the span, but
    through a chain of others."""
    lengths = [_DAY_S]
    for entry in entries:
        policy = entry.rule.policy
        static_s = 0.0 if policy.static is None else policy.static.forget_s
        lengths.append(max(policy.again_s or 0.0, policy.cooldown_s, policy.gap_s, static_s) + policy.reorder_s)
    return since_s - max(lengths)


def _is_of(device: str, glob: str | None) -> bool:
    return glob is None or fnmatchcase(device, glob)
