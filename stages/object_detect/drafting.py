"""Drafts of manifests: what an export says of itself, what is assumed of its kind, and what a person must say.

Nothing is guessed in silence: each field that the file does not prove is named as an assumption, and what cannot be
assumed is asked for. Knows no files; a draft is checked like any manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.records import JsonObject
from stages.coco_labels import IDS, NAMES
from stages.object_detect.export_forms import Export, Form, recognise
from stages.object_detect.manifest_schema import HINT

OWN_IDS_FROM: Final = 1001
"""Ids of labels that COCO does not have: above all of COCO's, so that no rule that names an id of COCO means them."""
_IOU: Final = {"yolov8": 0.7, "end-to-end": 0.7, "detr": 0.7, "yolov5": 0.45, "yolox": 0.45}
_PAD: Final = 114


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Fields that a person has given; None where the export or an assumption is to say it. ``labels`` are in the order
    of the score columns, ``pixels`` is ``0-255``, ``0-1`` or ``imagenet``, ``resize`` is ``stretch``, ``letterbox``
    or ``letterbox-top-left``."""

    labels: tuple[str, ...] | None = None
    color: str | None = None
    pixels: str | None = None
    resize: str | None = None
    name: str | None = None
    license: str | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """Draft of a manifest with the assumptions in it; ``missing`` names the fields of ``Given`` that it still needs."""

    document: JsonObject
    assumed: tuple[str, ...]
    missing: tuple[str, ...]


def draft(file: str, sha256: str, export: Export, given: Given) -> Draft:
    """Return the draft for an export. Raises InputRejected if no decoder reads its outputs."""
    assumed: list[str] = []
    labels = given.labels or export.find_names()
    form = recognise(export, None if labels is None else len(labels))
    if form is None:
        got = ", ".join(f"{name} {list(array.shape)}" for name, array in export.outputs.items())
        hint = "name its labels with --labels" if labels is None else HINT
        raise InputRejected(f"no decoder reads the outputs {got}", file, hint)
    found = _coco_labels(form) if labels is None or labels == tuple(NAMES.values()) else None
    if found is not None and found != labels:
        labels = found
        by = "the 80 of COCO" if len(found) == len(NAMES) else "COCO's at the places of their ids"
        assumed.append(f"labels: {by}, as there are {len(found)} score columns")
    kind = _kind(export, form)
    usual = {} if kind is None else _USUAL[kind]
    chosen = {name: getattr(given, name) or usual.get(name) for name in ("color", "pixels", "resize")}
    if export.dtype == "uint8":
        chosen["pixels"] = "0-255"
    assumed += [
        f"{name}: {chosen[name]}, as exports of {kind} take it"
        for name in ("color", "pixels", "resize")
        if getattr(given, name) is None and name in usual and not (name == "pixels" and export.dtype == "uint8")
    ]
    missing = [*(["labels"] if labels is None else []), *(name for name, value in chosen.items() if value is None)]
    document: JsonObject = {
        "schema": 1,
        "name": given.name or _name_of(file),
        "sha256": sha256,
        "license": given.license or export.metadata.get("license") or "unknown",
        "source": given.source or export.metadata.get("description") or f"exported as {file}",
        "decoder": form.decoder,
        "input": _input(export, chosen),
        "outputs": form.outputs,
        "nms": {"needed": form.needs_nms, "iou": _IOU.get(form.decoder, 0.5), "class_wise": True},
        "threshold": 0.5,
        "labels": list(labels or ()),
        "class_ids": list(_ids(labels or ())),
    }
    assumed += _remarks(form, given, export, labels or ())
    return Draft(document=document, assumed=tuple(assumed), missing=tuple(missing))


_USUAL: Final = {
    "Ultralytics": {"color": "RGB", "pixels": "0-1", "resize": "letterbox"},
    "YOLOX": {"color": "BGR", "pixels": "0-255", "resize": "letterbox-top-left"},
    "RT-DETR by Ultralytics": {"color": "RGB", "pixels": "0-1", "resize": "stretch"},
    "RF-DETR": {"color": "RGB", "pixels": "imagenet", "resize": "stretch"},
}


def _coco_labels(form: Form) -> tuple[str, ...] | None:
    """Return the labels of COCO for so many score columns: its 80, or one for each number up to its greatest id, as
    DETR and RF-DETR have them; None for another number of columns."""
    if form.labels == len(NAMES):
        return tuple(NAMES.values())
    if form.decoder == "detr" and form.labels == max(NAMES) + 1:
        return tuple(NAMES.get(number, f"unused {number}") for number in range(max(NAMES) + 1))
    return None


def _kind(export: Export, form: Form) -> str | None:
    if export.is_ultralytics:
        return "RT-DETR by Ultralytics" if form.family == "rtdetr" else "Ultralytics"
    return {"yolox": "YOLOX", "rfdetr": "RF-DETR"}.get(form.family)


def _remarks(form: Form, given: Given, export: Export, labels: tuple[str, ...]) -> Iterator[str]:
    """Yield what else is assumed."""
    yield f"decoder: {form.decoder}, by the shapes of the outputs and their values for a grey picture"
    if given.license is None and "license" not in export.metadata:
        yield "license: unknown; name it with --license"
    if any(number >= OWN_IDS_FROM for number in _ids(labels)):
        yield f"class_ids: COCO's where it has the label, from {OWN_IDS_FROM} on for others"
    if export.any_size:
        yield f"input: {export.input_px[0]} x {export.input_px[1]} for the whole picture; it takes any size"


def _input(export: Export, chosen: dict[str, str | None]) -> JsonObject:
    resize: JsonObject = {"mode": "stretch"}
    if chosen["resize"] != "stretch":
        align = "top-left" if chosen["resize"] == "letterbox-top-left" else "center"
        resize = {"mode": "letterbox", "pad_value": _PAD, "align": align}
    raw, imagenet = chosen["pixels"] == "0-255", chosen["pixels"] == "imagenet"
    return {
        "name": export.input_name,
        "layout": export.layout,
        "dtype": export.dtype,
        "width": export.input_px[0],
        "height": export.input_px[1],
        "color": chosen["color"],
        "resize": resize,
        "scale": 1 if raw else 1 / 255,
        "mean": [0.485, 0.456, 0.406] if imagenet else [0, 0, 0],
        "std": [0.229, 0.224, 0.225] if imagenet else [1, 1, 1],
    }


def _ids(labels: tuple[str, ...]) -> Iterator[int]:
    """Yield COCO's ids for its labels, and for each other label one that COCO does not have."""
    own = OWN_IDS_FROM
    for label in labels:
        known = IDS.get(label)
        yield own if known is None else known
        own += known is None


def _name_of(file: str) -> str:
    stem = file.rpartition("/")[2].rpartition(".")[0] or file
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in stem)
    return name.lstrip("._-")[:100] or "model"
