"""Selection of the rule files that apply to a picture, while planning: reads no rule file and imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from lookout.domain.pipeline import Selection, device_of
from lookout.domain.records import Json, Reference


def select(references: Sequence[Reference]) -> Selection:
    """Prepare a selection of the rule files with at least one rule for the device of a picture's group.

    Goes by what ``rules:accept`` extracted: ``meta["rules"][i]["devices"]``, a list of globs.
    """
    by_device: dict[str, list[Reference]] = {}

    def choose(_key: str, group: str, /) -> Sequence[Reference]:
        device = device_of(group)
        found = by_device.get(device)
        if found is None:
            found = [reference for reference in references if _watches(reference.meta.get("rules"), device)]
            by_device[device] = found
        return found

    return choose


def watches(globs: Sequence[str], device: str) -> bool:
    """Tell whether one of the globs matches the device; case matters, as in keys."""
    return any(fnmatchcase(device, glob) for glob in globs)


def _watches(rules: Json, device: str) -> bool:
    if not isinstance(rules, (list, tuple)):
        return False
    for rule in rules:
        globs = rule.get("devices") if isinstance(rule, dict) else None
        if isinstance(globs, (list, tuple)) and watches([glob for glob in globs if isinstance(glob, str)], device):
            return True
    return False
