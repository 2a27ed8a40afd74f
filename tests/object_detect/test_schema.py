from __future__ import annotations

import json

import pytest

from lookout.domain.errors import InputRejected
from stages.object_detect.manifest_schema import parse_manifest

from .models import ROOT, manifest_bytes, manifest_dict, manifest_of

LETTERBOX = {"mode": "letterbox", "pad_value": 114, "align": "center"}


def refusal(data):
    with pytest.raises(InputRejected) as caught:
        parse_manifest("m.json", data)
    return str(caught.value)


DECODERS = "expected 'ssd-decoded' or 'ssd-raw' or 'yolov8' or 'yolov5' or 'yolox' or 'end-to-end' or 'detr'"
FORMS = ("ssd_decoded", "ssd_raw", "yolov8", "yolov5", "yolox", "end_to_end", "detr")


@pytest.mark.parametrize("fixture", [*FORMS, "yolov8_rows"])
def test_each_decoder_has_its_form(fixture):
    assert manifest_of(fixture).name == fixture


def test_the_shipped_manifest_has_the_ids_that_rules_name():
    manifest = parse_manifest("m", (ROOT / "models/ssdlite_mobilenet_v2_coco.json").read_bytes())
    ids = dict(zip(manifest.class_ids, manifest.labels, strict=True))
    assert len(ids) == 80
    assert [ids[class_id] for class_id in (1, 3, 4, 8)] == ["person", "car", "motorcycle", "truck"]
    assert set(range(1, 91)) - ids.keys() == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert (ids[17], ids[47], ids[67], ids[90]) == ("cat", "cup", "dining table", "toothbrush")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "m.json, line 1, column 1: not valid JSON: Expecting value"),
        (b'{"a": 1,\n  oops}', "m.json, line 2, column 3: not valid JSON"),
        (b"\xff\xfe", "m.json, byte 0: expected text in UTF-8"),
        (b'{"name": "a", "name": "b"}', "m.json: not valid JSON: the field 'name' is there twice"),
        (b"[" * 100_000, "m.json: not valid JSON"),
        (b'{"schema": ' + b"1" * 5000 + b"}", "m.json: not valid JSON"),
        (b"[]", "m.json: expected an object with the fields of a manifest, got []"),
        (b"{}", f"m.json: field decoder: {DECODERS}, but it is missing"),
        (b'{"decoder": "yolo"}', f"{DECODERS}, got 'yolo'"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(data, sentence):
    assert sentence in refusal(data)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema": 2}, "m.json: field schema: input should be 1, got 2"),
        ({"name": "a/b"}, "field name:"),
        ({"sha256": "ABC"}, "field sha256:"),
        ({"license": " "}, "field license:"),
        ({"source": None}, "field source: missing"),
        ({"threshold": 1.5}, "field threshold: input should be less than or equal to 1, got 1.5"),
        ({"extra": 1}, "field extra: unknown"),
        ({"input__color": None}, "field input.color: missing"),
        ({"input__color": "rgb"}, "field input.color: input should be 'RGB' or 'BGR', got 'rgb'"),
        ({"input__scale": None}, "field input.scale: missing"),
        ({"input__mean": [0, 0]}, "field input.mean.2: missing"),
        ({"input__std": [1, 0, 1]}, "field input.std.1: input should be greater than 0, got 0"),
        ({"input__width": "64"}, "field input.width: input should be a valid integer, got '64'"),
        ({"input__width": 8}, "field input.width: input should be greater than or equal to 16, got 8"),
        ({"input__crop": True}, "field input.crop: unknown"),
        ({"input__resize": {"mode": "crop"}}, "field input.resize.mode: expected 'stretch' or 'letterbox', got 'crop'"),
        ({"input__resize": {}}, "field input.resize.mode: expected 'stretch' or 'letterbox', but it is missing"),
        ({"input__resize": {"mode": "letterbox"}}, "field input.resize.pad_value: missing"),
        ({"input__resize": {**LETTERBOX, "pad_value": 256}}, "field input.resize.pad_value:"),
        ({"input__resize": {"mode": "stretch", "pad_value": 0}}, "field input.resize.pad_value: unknown"),
        ({"outputs__predictions__arrangement": "rows"}, "field outputs.predictions.arrangement:"),
        ({"outputs__predictions__activation": "softmax"}, "field outputs.predictions.activation:"),
        ({"nms__class_wise": None}, "field nms.class_wise: missing"),
        ({"labels": []}, "field labels:"),
        ({"labels": ["a", "b"]}, "expected one of class_ids for each of the 2 labels, got 3"),
        ({"labels": ["a", "b", "a"]}, "expected each of labels once, got a again"),
        ({"class_ids": [1, 2, 1]}, "expected each of class_ids once, got 1 again"),
        ({"class_ids": [1, 2, -1]}, "field class_ids.2:"),
    ],
)
def test_a_refusal_names_file_and_field(changes, sentence):
    said = refusal(manifest_bytes("yolov8", **changes))
    assert said.startswith("m.json: ")
    assert sentence in said
    assert "docs/models.md" in said


def test_whole_number_inputs_take_pixels_as_they_are():
    assert "field input: dtype uint8 takes pixels as they are" in refusal(manifest_bytes("ssd_decoded", input__scale=2))


def test_numbers_must_be_numbers():
    data = manifest_bytes("yolov8").replace(b'"threshold": 0.5', b'"threshold": NaN')
    assert "field threshold: input should be a finite number, got nan" in refusal(data)


def test_many_findings_are_counted():
    bare = {"decoder": "yolov8", **{f"field{number}": 1 for number in range(30)}}
    said = refusal(json.dumps(bare).encode())
    assert said.count("field ") == 5
    assert "; and 36 more" in said


def test_nothing_that_changes_a_number_has_a_default():
    for fixture in FORMS:
        whole = manifest_dict(fixture)
        for path in leaves(whole):
            assert "missing" in refusal(manifest_bytes(fixture, **{"__".join(path): None})), path


def leaves(value, path=()):
    """The paths of all fields, those of objects too."""
    for name, item in value.items():
        yield (*path, name)
        if isinstance(item, dict):
            yield from leaves(item, (*path, name))


def test_a_byte_order_mark_is_no_matter():
    assert parse_manifest("m.json", b"\xef\xbb\xbf" + manifest_bytes("yolov8")) == manifest_of("yolov8")
