"""Text form of a device's trouble, as the ledger keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from lookout.domain.device_health.records import Finding, Kind
from lookout.domain.kept_text import read_kept


def findings_to_json(findings: Iterable[Finding]) -> str:
    """Return the text of trouble."""
    return json.dumps([asdict(one) for one in findings], sort_keys=True, separators=(",", ":"))


def findings_from_json(device: str, text: str) -> list[Finding]:
    """Return the trouble that ``findings_to_json`` was given. Raises Corrupt that names the device."""
    return read_kept(f"the trouble of the device {device}", text, lambda found: [_finding(one) for one in found])


def _finding(plain: Mapping[str, Any]) -> Finding:
    return Finding(**{**plain, "kind": Kind(plain["kind"])})
