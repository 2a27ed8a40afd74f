"""Detections of one picture, as object-detect wrote them: checked once, then trusted.

The document keeps fields that are not known here, so that a newer detector's additions reach the threat's JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lookout.domain.errors import Corrupt
from lookout.domain.records import JsonObject

Sha256 = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Image(_Part):
    """The picture: its key in the input bucket, and its size in pixels when upright."""

    key: str
    sha256: Sha256
    width: Pixels
    height: Pixels


class Model(_Part):
    """The model that looked."""

    name: str
    sha256: Sha256


class Seen(_Part):
    """One object. ``box`` is left, top, right, bottom in pixels of the upright picture, and may reach beyond it."""

    class_id: int = Field(alias="class")
    label: str
    score: Share
    box: Annotated[list[Finite], Field(min_length=4, max_length=4)]

    @field_validator("box")
    @classmethod
    def _ordered(cls, box: list[float]) -> list[float]:
        if not (box[0] <= box[2] and box[1] <= box[3]):
            raise ValueError("expected left <= right and top <= bottom")
        return box

    def area(self, image: Image) -> float:
        """Return the share of the picture that the box covers, 0 to 1; what lies outside of the picture does not
        count."""
        left, top, right, bottom = self.box
        wide = max(0.0, min(right, image.width) - max(left, 0.0))
        high = max(0.0, min(bottom, image.height) - max(top, 0.0))
        return wide * high / (image.width * image.height)

    def plain(self) -> JsonObject:
        """Return the object as JSON has it."""
        return {"class": self.class_id, "label": self.label, "score": self.score, "box": list(self.box)}


class _Document(_Part):
    image: Image
    device: str
    captured_at_s: Finite
    model: Model
    threshold: Share
    objects: list[Seen]


@dataclass(frozen=True, kw_only=True, slots=True)
class Detections:
    """A checked document and the tree it was read from."""

    image: Image
    device: str
    captured_at_s: float
    model: Model
    threshold: float
    objects: tuple[Seen, ...]
    tree: JsonObject

    @property
    def objects_tree(self) -> Sequence[JsonObject]:
        """The objects as they were read, with fields that are not known here."""
        return cast("Sequence[JsonObject]", self.tree["objects"])


def read(data: bytes, where: str) -> Detections:
    """Return the detections in the bytes of ``where``. Raises Corrupt, as only object-detect writes them."""
    try:
        tree = json.loads(data)
        found = _Document.model_validate(tree)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(step) for step in error["loc"]) or "the document"
        raise Corrupt(where, "detections as object-detect writes them", f"{place}: {error['msg']}") from exc
    except (ValueError, RecursionError) as exc:  # not UTF-8, not JSON, numbers or nesting out of all measure
        raise Corrupt(where, "detections as JSON", f"{len(data)} bytes that are not JSON") from exc
    return Detections(
        image=found.image,
        device=found.device,
        captured_at_s=found.captured_at_s,
        model=found.model,
        threshold=found.threshold,
        objects=tuple(found.objects),
        tree=tree,
    )
