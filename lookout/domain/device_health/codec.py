"""Text form of a device's trouble, as the ledger keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from lookout.domain.device_health.records import Finding, Kind


def findings_to_json(findings: Iterable[Finding]) -> str:
    """Return the text of trouble."""
    return json.dumps([asdict(one) for one in findings], sort_keys=True, separators=(",", ":"))


def findings_from_json(text: str) -> list[Finding]:
    """Return the trouble that ``findings_to_json`` was given."""
    return [Finding(**{**value, "kind": Kind(value["kind"])}) for value in json.loads(text)]
