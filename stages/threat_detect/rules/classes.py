"""Classes as a rule file names them, by id or by name: checked against COCO, or taken as written for other labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lookout.domain.errors import InputRejected
from stages import coco_labels as coco
from stages.strict_json import path, show

Place: TypeAlias = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class ClassRef:
    """A class of objects: exactly one of ``class_id`` and ``label`` (in small letters) is set."""

    class_id: int | None
    label: str | None

    def names(self, class_id: int | None, label: str) -> bool:
        """Tell whether an object with this id and this label, in small letters, is of the class."""
        return self.class_id == class_id if self.class_id is not None else self.label == label

    def meaning(self, *, custom: bool) -> str | int:
        """Return the class that is meant; no two entries may mean one. Only with COCO is it known that ``1`` is
        ``"person"``."""
        if self.class_id is None:
            return str(self.label)
        return self.class_id if custom else coco.NAMES[self.class_id]


def resolve(value: int | str, place: Place, *, custom: bool) -> ClassRef:
    """Return the class of an id or a name. Raises InputRejected for one that COCO has not, unless ``custom``."""
    if isinstance(value, int):
        if not custom:
            check_coco_id(value, place)
        return ClassRef(class_id=value, label=None)
    label = value.casefold()
    return ClassRef(class_id=None, label=label if custom else _coco_label(label, place))


def check_coco_id(class_id: int, place: Place) -> None:
    """Raise InputRejected for an id that COCO has not."""
    if class_id not in coco.NAMES:
        hint = 'ids run from 1 to 90 with gaps; for another model say "labels": "custom"'
        raise InputRejected(f"COCO has no class {class_id}", path(place), hint)


def check_once(values: Sequence[str | int], place: Place) -> None:
    """Raise InputRejected if a value stands twice in the list at ``place``."""
    seen: dict[str | int, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            raise InputRejected(f"{show(value)} is in {path((*place, seen[value]))} too", path((*place, index)))
        seen[value] = index


def _coco_label(name: str, place: Place) -> str:
    label = coco.find_name(name)
    if label is None:
        close = coco.suggest(name)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        hint = f'{meant}for a model with other labels say "labels": "custom"'
        raise InputRejected(f"COCO has no class {show(name)}", path(place), hint)
    return label
