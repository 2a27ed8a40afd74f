"""Verdicts that time changes, or a newer version of the checks: who looks for them has neither OpenCV nor pictures.

The host's clock may have been behind when a picture was first seen, so a time that seemed to be in the future may come.
"""

from __future__ import annotations

from typing import Final

from lookout.domain.records import JsonObject
from stages.picture_names import find_name
from stages.validate.limits import Limits
from stages.validate.reasons import EDITION, Reason

RECONSIDERED: Final = frozenset(
    (
        Reason.NAME,
        Reason.NOT_JPEG,
        Reason.UNSUPPORTED_CODING,
        Reason.TOO_MANY_PIXELS,
        Reason.GRAY,
        Reason.TRUNCATED,
        Reason.DAMAGED,
    )
)
"""Reasons for which files may be judged otherwise by the present edition of the checks."""


def is_outdated(key: str, facts: JsonObject, params: JsonObject, now_s: float, /) -> bool:
    """See ``lookout.domain.pipeline.Outdated``: whether the picture was refused for its time and would not be now, or
    was refused by an earlier edition of the checks."""
    reason = facts.get("reason")
    if reason == Reason.TIME_IN_FUTURE:
        at_s = facts.get("captured_at_s")
        if not isinstance(at_s, float | int):
            name = find_name(key)
            at_s = None if name is None else name.captured_at_s
        return at_s is not None and at_s <= now_s + Limits.from_params(params).future_tolerance_s
    return reason in RECONSIDERED and facts.get("edition", 1) != EDITION
