"""Facts about rules and models as the ``meta`` of a reference keeps them, beside what other readers of it need.

A rule's ``wanted`` is a list of pairs, the least score and the classes, so that it is about as long as in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lookout.domain.records import Json, JsonObject, Reference
from lookout.domain.rule_fit.records import DeviceFacts, FileFacts, ModelFacts, RuleFacts, Wish

EVERY_DEVICE = ("*",)


def rule_to_meta(rule: RuleFacts) -> dict[str, Json]:
    """Return the fields of one rule that are for this comparison alone: ``wanted``, and ``zones`` if one names
    devices."""
    wanted: list[Json] = [[wish.min_score, list(wish.classes)] for wish in rule.wishes or ()]
    zones: dict[str, Json] = {name: list(globs) for name, globs in rule.zones.items()}
    return {"wanted": wanted, **({"zones": zones} if zones else {})}


def file_to_meta(file: FileFacts) -> dict[str, Json]:
    """Return the fields of a file, without its rules; those that are empty are left out."""
    fields: dict[str, Json] = {
        "sites": {name: list(globs) for name, globs in file.sites.items()},
        "clocks": [list(globs) for globs in file.clocks],
        "meanings": {str(number): name for number, name in file.meanings.items()},
    }
    return {name: value for name, value in fields.items() if value}


def file_from_meta(reference: Reference) -> FileFacts:
    """Return what the ``meta`` of a rule file says."""
    meta = reference.meta
    return FileFacts(
        file=reference.name,
        rules=tuple(_rule(rule) for rule in _items(meta.get("rules"))),
        sites=_globs_by_name(meta.get("sites")),
        clocks=tuple(_texts(globs) for globs in _list(meta.get("clocks"))),
        meanings={
            int(number): str(name) for number, name in _fields(meta.get("meanings")).items() if number.isdecimal()
        },
    )


def model_from_meta(reference: Reference) -> ModelFacts | None:
    """Return what the ``meta`` of a model says; None if it names no labels."""
    labels, ids = _list(reference.meta.get("labels")), _list(reference.meta.get("class_ids"))
    by_id = {int(number): str(label) for number, label in zip(ids, labels, strict=False) if isinstance(number, int)}
    return ModelFacts(name=reference.name, labels=by_id) if by_id else None


def devices_from_meta(references: Iterable[Reference]) -> Iterator[DeviceFacts]:
    """Give the devices that the parts of a devices file name."""
    for reference in references:
        part = _fields(reference.meta.get("part"))
        if "said" in part:
            said = str(part["said"])
            name = _fields(part.get("device")).get("name")
            yield DeviceFacts(
                file=reference.name.partition("/")[0], said=said, name=name if isinstance(name, str) else said
            )


def _rule(meta: JsonObject) -> RuleFacts:
    wanted = meta.get("wanted")
    return RuleFacts(
        name=str(meta.get("name")),
        devices=_texts(meta.get("devices")),
        wishes=None if wanted is None else tuple(_wishes(wanted)),
        zones=_globs_by_name(meta.get("zones")),
    )


def _wishes(wanted: Json) -> Iterator[Wish]:
    for least, classes in (pair for pair in map(_list, _list(wanted)) if len(pair) == 2):
        yield Wish(
            min_score=float(least) if isinstance(least, int | float) else None,
            classes=tuple(one for one in _list(classes) if isinstance(one, int | str)),
        )


def _globs_by_name(value: Json) -> dict[str, tuple[str, ...]]:
    return {name: _texts(globs) for name, globs in _fields(value).items()}


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(one for one in _list(value) if isinstance(one, str))


def _list(value: Json) -> Sequence[Json]:
    return value if isinstance(value, list | tuple) else ()


def _fields(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _items(value: Json) -> Iterator[JsonObject]:
    return (item for item in _list(value) if isinstance(item, Mapping))
