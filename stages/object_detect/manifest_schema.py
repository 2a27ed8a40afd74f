"""The model's manifest: all that must be known to feed a network and to read what it gives.

A wrong guess here (colour order, normalisation, which way an array lies) does not fail: it gives plausible, bad boxes.
So nothing that changes a number has a default, unknown fields are refused, and a refusal names file, field and value.
This module reads manifests only; whether the network agrees with one is checked where it is opened.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from lookout.domain.errors import InputRejected
from stages.object_detect.manifest_outputs import (
    DetrOutputs,
    EndToEndOutputs,
    PredictionsOutputs,
    SsdDecodedOutputs,
    SsdRawOutputs,
    YoloxOutputs,
)
from stages.object_detect.manifest_parts import Finite, Fraction, Label, ManifestPart, Positive, Side, TensorName, Text
from stages.object_detect.manifest_passes import PassSpec

HINT: Final = "see docs/models.md"
_MAX_REASONS: Final = 5
_FORMS: Final = {
    "decoder": ("ssd-decoded", "ssd-raw", "yolov8", "yolov5", "yolox", "end-to-end", "detr"),
    "mode": ("stretch", "letterbox"),
    "kind": ("area", "tiles"),
}
"""What may stand in a field that decides which other fields there are."""

# --- what goes in ----------------------------------------------------------------------------------------------------


class Stretch(ManifestPart):
    """The whole picture is scaled to the input, each side by itself."""

    mode: Literal["stretch"]


class Letterbox(ManifestPart):
    """The picture keeps its proportions; what is left of the input is filled with ``pad_value`` (0 to 255, a pixel
    before scaling), on both sides alike or at the right and the bottom only."""

    mode: Literal["letterbox"]
    pad_value: Annotated[int, Field(ge=0, le=255)]
    align: Literal["center", "top-left"]


class InputSpec(ManifestPart):
    """The input tensor. A value is ``(pixel * scale - mean) / std``, with mean and std in the order of ``color``."""

    name: TensorName
    layout: Literal["NHWC", "NCHW"]
    dtype: Literal["uint8", "float32", "float16"]
    width: Side
    height: Side
    color: Literal["RGB", "BGR"]
    resize: Annotated[Stretch | Letterbox, Field(discriminator="mode")]
    scale: Positive
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the input for the whole picture."""
        return self.width, self.height

    @property
    def is_raw(self) -> bool:
        """Tell whether pixels go in as they are."""
        return self.scale == 1 and self.mean == (0, 0, 0) and self.std == (1, 1, 1)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the tensor for one picture."""
        if self.layout == "NHWC":
            return 1, self.height, self.width, 3
        return 1, 3, self.height, self.width

    @model_validator(mode="after")
    def _whole_numbers_stay_whole(self) -> Self:
        if self.dtype == "uint8" and not self.is_raw:
            raise ValueError("dtype uint8 takes pixels as they are: expected scale 1, mean 0 0 0 and std 1 1 1")
        return self


# --- the manifest ----------------------------------------------------------------------------------------------------


class Nms(ManifestPart):
    """Non-maximum suppression that the network leaves to us: boxes that overlap a better one by more than ``iou`` are
    dropped, among boxes of one class or among all."""

    needed: bool
    iou: Fraction
    class_wise: bool


class _Common(ManifestPart):
    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    license: Text
    source: Text
    note: Text | None = None
    input: InputSpec
    passes: Annotated[tuple[PassSpec, ...], Field(max_length=4)] = ()
    """Passes beside that over the whole picture."""
    nms: Nms
    threshold: Fraction
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=10_000)]
    class_ids: tuple[Annotated[int, Field(ge=0, le=1_000_000)], ...]

    @model_validator(mode="after")
    def _one_id_for_each_label(self) -> Self:
        if len(self.labels) != len(self.class_ids):
            raise ValueError(f"expected one of class_ids for each of the {len(self.labels)} labels, got "
                             f"{len(self.class_ids)}")  # fmt: skip
        for field, values in (("labels", self.labels), ("class_ids", self.class_ids)):
            twice = sorted({str(value) for value in values if values.count(value) > 1}) if _repeats(values) else []
            if twice:
                raise ValueError(f"expected each of {field} once, got {', '.join(twice[:5])} again")
        return self


class SsdDecodedManifest(_Common):
    """SSD-like, boxes and scores already decoded by the graph."""

    decoder: Literal["ssd-decoded"]
    outputs: SsdDecodedOutputs


class SsdRawManifest(_Common):
    """As the TensorFlow Object Detection API exports it: boxes, classes, scores and their number."""

    decoder: Literal["ssd-raw"]
    outputs: SsdRawOutputs


class Yolov8Manifest(_Common):
    """YOLOv8-like: one array of boxes and class scores, no objectness."""

    decoder: Literal["yolov8"]
    outputs: PredictionsOutputs


class Yolov5Manifest(_Common):
    """YOLOv5-like: one array of boxes, objectness and class scores; a score is the product of both."""

    decoder: Literal["yolov5"]
    outputs: PredictionsOutputs


class YoloxManifest(_Common):
    """YOLOX as its own tools export it: boxes are raw, in cells of the grids."""

    decoder: Literal["yolox"]
    outputs: YoloxOutputs


class EndToEndManifest(_Common):
    """Exports with suppression in the graph, or without need of it: YOLO26, YOLOv10, ``nms=True``."""

    decoder: Literal["end-to-end"]
    outputs: EndToEndOutputs


class DetrManifest(_Common):
    """The DETR family: a box and class values for each query."""

    decoder: Literal["detr"]
    outputs: DetrOutputs


Manifest: TypeAlias = (
    SsdDecodedManifest
    | SsdRawManifest
    | Yolov8Manifest
    | Yolov5Manifest
    | YoloxManifest
    | EndToEndManifest
    | DetrManifest
)
_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Annotated[Manifest, Field(discriminator="decoder")])


def parse_manifest(file: str, data: bytes) -> Manifest:
    """Return the manifest in the bytes. Raises InputRejected with a sentence that names file, place and field."""
    try:
        json.loads(data.decode("utf-8-sig"), object_pairs_hook=_refuse_twice)
    except json.JSONDecodeError as exc:
        where = f"{file}, line {exc.lineno}, column {exc.colno}"
        raise InputRejected(f"not valid JSON: {exc.msg}", where) from exc
    except UnicodeDecodeError as exc:
        raise InputRejected("expected text in UTF-8", f"{file}, byte {exc.start}") from exc
    except (ValueError, RecursionError) as exc:
        raise InputRejected(f"not valid JSON: {exc}", file) from exc
    try:
        return _ADAPTER.validate_json(data.removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as exc:
        found = [_sentence(error) for error in exc.errors(include_url=False)]
        more = f"; and {len(found) - _MAX_REASONS} more" if len(found) > _MAX_REASONS else ""
        raise InputRejected("; ".join(found[:_MAX_REASONS]) + more, file, HINT) from exc


def _sentence(error: Any) -> str:
    """One finding of pydantic as a person would say it."""
    kind, facts, place = error["type"], error.get("ctx", {}), error["loc"]
    if place and place[0] in _FORMS["decoder"]:  # the chosen form is no part of the file's structure
        place = place[1:]
    if len(place) > 2 and (place[:2] == ("input", "resize") or place[0] == "passes"):
        place = place[:2] + place[3:]
    field = ".".join(str(part) for part in place)
    if kind == "missing":
        return f"field {field}: missing"
    if kind == "extra_forbidden":
        return f"field {field}: unknown"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        decider = str(facts["discriminator"]).strip("'")
        got = f"got {facts['tag']!r}" if "tag" in facts else "but it is missing"
        expected = " or ".join(repr(form) for form in _FORMS[decider])
        return f"field {'.'.join([*filter(None, [field]), decider])}: expected {expected}, {got}"
    if not place and kind != "value_error":
        return f"expected an object with the fields of a manifest, got {_short(error['input'])}"
    message = error["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return f"field {field}: {message}" if field else message
    return f"field {field}: {message[:1].lower()}{message[1:]}, got {_short(error['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _repeats(values: tuple[Any, ...]) -> bool:
    return len(set(values)) < len(values)


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return fields
