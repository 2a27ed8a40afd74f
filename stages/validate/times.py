"""Verdicts that time changes: a picture that was refused as one of the future, and whose time has come.

The host's clock may have been behind when the picture was first seen. Light to import, as whoever looks for such
verdicts has neither OpenCV nor pictures.
"""

from __future__ import annotations

from lookout.domain.records import JsonObject
from stages.picture_names import find_name
from stages.validate.limits import Limits
from stages.validate.reasons import Reason


def is_outdated(key: str, facts: JsonObject, params: JsonObject, now_s: float, /) -> bool:
    """See ``lookout.domain.pipeline.Outdated``: whether the picture was refused for its time, and would not be now."""
    if facts.get("reason") != Reason.TIME_IN_FUTURE:
        return False
    name = find_name(key)
    return name is not None and name.captured_at_s <= now_s + Limits.from_params(params).future_tolerance_s
