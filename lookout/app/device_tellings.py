"""Trouble with devices, kept in the ledger and told to the operator: each finding makes one alert.

A device's trouble and the alert about it are one transaction, so a process that is killed has told it, or the next one
does. Alerts leave by the outbox, as all others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from lookout.app.device_words import describe
from lookout.config.operator import Operator
from lookout.domain.device_health.codec import findings_from_json, findings_to_json
from lookout.domain.device_health.judge import follow
from lookout.domain.device_health.records import Finding, Limits, Observed
from lookout.domain.identity import alert_id
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import Alert, AlertDraft, AlertState, Member, ObjectRef
from lookout.ledger.port import Ledger
from lookout.ledger.rules.decisions import PolicyName, PolicyUnit
from lookout.reports.device_health import KEPT, HealthReader, group_of, kept_findings
from lookout.version import code_version

RULE: Final = "trouble with devices"
USER: Final = "operator"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tellings:
    """Result of one look: known devices, trouble that began and that ended, and alerts that were entered."""

    devices: int
    began: int
    ended: int
    told: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shown:
    """Newest picture of a device, which an alert about it shows."""

    key: str
    ref: ObjectRef


def tell_troubles(
    pipeline: Pipeline, ledger: Ledger, operator: Operator | None, now_s: float, limits: Limits | None = None
) -> Tellings:
    """Look at all devices, keep what is found, and enter an alert for each finding that was not told. Without an
    operator it is kept, and told when there is one, if it lasts until then."""
    limits = limits or Limits()
    reader = HealthReader(pipeline, limits, most=sys.maxsize)
    kept = kept_findings(ledger)
    devices = began = ended = told = 0
    for device, observed in reader.observe(ledger, now_s):
        devices += 1
        before = kept.get(device, [])
        found = follow(before, observed, now_s, limits)
        if found == before and (operator is None or not _untold(found)):
            continue
        shown = _find_shown(pipeline, ledger, device, observed) if operator is not None and _untold(found) else None
        changed = ledger.amend_policy(_Change(device, observed, now_s, limits, operator, shown))
        began, ended, told = began + changed[0], ended + changed[1], told + changed[2]
    return Tellings(devices=devices, began=began, ended=ended, told=told)


@dataclass(frozen=True, slots=True)
class _Change:
    """Change of one device's trouble in one transaction; returns what began, what ended, and the alerts entered, as
    numbers."""

    device: str
    observed: Observed
    now_s: float
    limits: Limits
    operator: Operator | None
    shown: _Shown | None

    def __call__(self, unit: PolicyUnit) -> tuple[int, int, int]:
        name: PolicyName = (KEPT, self.device, "")
        text = unit.policy_text(name)
        before = findings_from_json(self.device, text) if text else []
        found = follow(before, self.observed, self.now_s, self.limits)
        were, are = _kinds(before), _kinds(found)
        entered = 0
        if self.operator is not None and self.shown is not None:
            for place, one in enumerate(found):
                if one.end_s is None and one.told_at_s is None:
                    alert = _alert(self.device, one, self.operator, self.shown, self.now_s)
                    if unit.alert(alert.id) is None:
                        unit.put_alert(alert)
                        entered += 1
                    found[place] = replace(one, told_at_s=self.now_s)
        unit.put_policy_text(name, findings_to_json(found) if found else None)
        return len(are - were), len(were - are), entered


def _alert(device: str, found: Finding, operator: Operator, shown: _Shown, now_s: float) -> Alert:
    draft = AlertDraft(
        user=USER,
        rule=RULE,
        picture_key=shown.key,
        picture_sha256=shown.ref.sha256,
        sender=operator.sender,
        recipient=operator.recipient,
        evidence=shown.ref.key,
        detail={
            "device": device,
            "captured_at_s": found.begin_s,
            "timezone": "UTC",
            "seen": [{"label": f"{found.kind.value}: {describe(found)}"}],
            "objects": 1,
            "severity": "warning",
            "trouble": {"kind": found.kind.value, "begin_s": found.begin_s, "value": found.value},
        },
        subject=f"{device}|{found.kind.value}|{found.begin_s!r}",
        channel=operator.channel,
    )
    return Alert(
        id=alert_id(draft),
        draft=draft,
        evidence=shown.ref,
        datum_hash="",  # no datum made it: it follows from all pictures of the device
        run="",
        code=code_version(),
        created_at_s=now_s,
        state=AlertState.PENDING,
        place=device,
    )


def _find_shown(pipeline: Pipeline, ledger: Ledger, device: str, observed: Observed) -> _Shown | None:
    """Return the newest picture of the device that the ledger has; None if it has none."""
    for day in reversed(observed.days):
        for stage in pipeline.readers(pipeline.inputs):
            members = ledger.members(stage.name, group_of(device, day))
            if members:
                newest = max(members, key=_order)
                return _Shown(key=newest.key, ref=newest.outputs[0])
    return None


def _order(member: Member) -> tuple[float, str]:
    return member.at_s or 0.0, member.key


def _lasting(found: Sequence[Finding]) -> list[Finding]:
    return [one for one in found if one.end_s is None]


def _untold(found: Sequence[Finding]) -> bool:
    return any(one.told_at_s is None for one in _lasting(found))


def _kinds(found: Sequence[Finding]) -> set[str]:
    return {one.kind.value for one in _lasting(found)}
