"""Rules of version 2 and pictures for the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.threat_detect.rules.version2.matching import Picture, Thing
from stages.threat_detect.rules.version2.reading import parse_tree
from stages.threat_detect.rules.version2.rule import RuleFile2

BASE_S = 1_763_798_400.0
"""2025-11-22 08:00 UTC, a Saturday."""

RULE: Mapping[str, Any] = {
    "name": "people",
    "user": "home",
    "classes": ["person"],
    "from": "lookout@example.com",
    "to": ["home@example.com"],
}


def rule(**fields: Any) -> dict[str, Any]:
    """A rule like ``RULE`` but for these fields; a field that is ``...`` is left out."""
    return {name: value for name, value in {**RULE, **fields}.items() if value is not ...}


def document(*rules: Mapping[str, Any], **top: Any) -> dict[str, Any]:
    return {"version": 2, "rules": list(rules) or [dict(RULE)], **top}


def read(*rules: Mapping[str, Any], **top: Any) -> RuleFile2:
    return parse_tree(document(*rules, **top))


def thing(label: str = "person", score: float = 0.9, box: tuple[float, ...] = (0.4, 0.2, 0.6, 0.8)) -> Thing:
    left, top, right, bottom = box
    return Thing(class_id=None, label=label, score=score, box=(left, top, right, bottom))


def picture(*things: Thing, device: str = "porch", at_s: float = BASE_S, **more: Any) -> Picture:
    return Picture(
        key="a",
        device=device,
        captured_at_s=at_s,
        received_at_s=more.pop("received_at_s", at_s),
        things=things,
        threshold=0.5,
        **more,
    )
