"""Selection of the rule files that apply to a picture, while planning: reads no rule file and imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from lookout.domain.records import Json, Reference
from stages.picture_names import find_name


def select(key: str, references: Sequence[Reference]) -> list[Reference]:
    """Return the rule files with at least one rule for the device that the picture's key names; none for a nameless
    key.

    Goes by what ``rules:accept`` extracted: ``meta["rules"][i]["devices"]``, a list of globs.
    """
    name = find_name(key)
    if name is None:
        return []
    return [reference for reference in references if _watches(reference.meta.get("rules"), name.device)]


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
