"""The lines of a simulation: pictures with what was detected, and what happens between them, as JSON objects.

A line without ``op`` is a picture that arrives. Fields that are not known here are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from lookout.domain.errors import InputRejected
from stages import coco_labels as coco
from stages.strict_json import path, printable
from stages.threat_detect.rules.version2.matching import Picture, Thing

LATEST_S: Final = 32_503_680_000.0
"""Times are before the year 3000."""

Moment = Annotated[float, Field(ge=0, lt=LATEST_S, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Edge = Annotated[float, Field(allow_inf_nan=False)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ThingLine(_Line):
    """One object: ``class`` is an id or a name, ``box`` is left, top, right, bottom in shares of the picture."""

    of_class: StrictInt | StrictStr = Field(alias="class")
    label: str | None = None
    score: Share
    box: tuple[Edge, Edge, Edge, Edge]


class PictureLine(_Line):
    """A picture that arrives, or with ``redetect`` is processed again."""

    op: Literal["redetect"] | None = None
    key: str
    device: str
    captured_at_s: Moment
    received_at_s: Moment | None = None
    decided_at_s: Moment | None = None
    objects: list[ThingLine]

    @property
    def at_s(self) -> float:
        """The time of the decision: by default that of receipt."""
        return self.decided_at_s if self.decided_at_s is not None else self.received_s

    @property
    def received_s(self) -> float:
        """The time of receipt: by default that of the device's clock."""
        return self.received_at_s if self.received_at_s is not None else self.captured_at_s

    def picture(self, threshold: float) -> Picture:
        """Return the picture that the line describes."""
        return Picture(
            key=self.key,
            device=self.device,
            captured_at_s=self.captured_at_s,
            received_at_s=self.received_s,
            things=tuple(_thing(one) for one in self.objects),
            threshold=threshold,
            repeated=self.op is not None,
        )


class TickLine(_Line):
    """Time passes; from now on mail can leave (``up``) or not."""

    op: Literal["tick"]
    at_s: Moment
    up: bool | None = None


class RulesLine(_Line):
    """Other rules come into force, as a document."""

    op: Literal["rules"]
    at_s: Moment
    doc: dict[str, Any]


class SilenceLine(_Line):
    """A silence is made."""

    op: Literal["silence"]
    id: str
    at_s: Moment
    from_s: Moment
    until_s: Moment
    rule: str = "*"
    devices: list[str] = ["*"]
    by: str | None = None


class UnsilenceLine(_Line):
    """A silence is ended."""

    op: Literal["unsilence"]
    id: str
    at_s: Moment


class AckLine(_Line):
    """The alert of a rule and a picture is acknowledged, or refused for good (``dead``)."""

    op: Literal["ack", "dead"]
    at_s: Moment
    rule: str
    key: str
    by: str = ""


class DeleteLine(_Line):
    """A picture is deleted."""

    op: Literal["delete"]
    at_s: Moment
    key: str


Line = PictureLine | TickLine | RulesLine | SilenceLine | UnsilenceLine | AckLine | DeleteLine
_FORMS: Final[Mapping[object, type[Line]]] = {
    None: PictureLine,
    "redetect": PictureLine,
    "tick": TickLine,
    "rules": RulesLine,
    "silence": SilenceLine,
    "unsilence": UnsilenceLine,
    "ack": AckLine,
    "dead": AckLine,
    "delete": DeleteLine,
}


def read_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, Line]]:
    """Give each line with its place; empty ones are left out. Raises InputRejected for one that cannot be used."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{printable(name)}: line {number}"
            yield where, _read(line, where)


def _read(line: bytes, where: str) -> Line:
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise InputRejected("not a JSON object", where) from exc
    if not isinstance(tree, dict):
        raise InputRejected("not a JSON object", where)
    op = tree.get("op")
    form = _FORMS.get(op) if op is None or isinstance(op, str) else None
    if form is None:
        known = ", ".join(str(name) for name in _FORMS if name is not None)
        raise InputRejected(f"unknown op; expected one of {known}", where)
    try:
        return form.model_validate(tree)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False)[0]
        sentence = error["msg"][:1].lower() + error["msg"][1:]
        raise InputRejected(f"{path(error['loc']) or 'the line'}: {sentence}", where) from exc


def _thing(line: ThingLine) -> Thing:
    named = line.label if line.label is not None else line.of_class if isinstance(line.of_class, str) else None
    class_id = line.of_class if isinstance(line.of_class, int) else coco.IDS.get(named or "")
    label = named if named is not None else coco.NAMES.get(class_id or 0, str(class_id))
    return Thing(class_id=class_id, label=label.casefold(), score=line.score, box=line.box)
