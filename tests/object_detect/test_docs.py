from __future__ import annotations

import json
import re

import pytest

from stages.object_detect.manifest_schema import parse_manifest

from .models import ROOT

TEXT = (ROOT / "docs/models.md").read_text("utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)


def test_there_is_an_example_for_each_decoder():
    decoders = []
    whole: dict[str, object] = {}
    for example in map(json.loads, EXAMPLES):
        if "decoder" not in example:
            continue
        whole = example if "schema" in example else {**whole, **example}
        decoders.append(parse_manifest("docs/models.md", json.dumps(whole).encode()).decoder)
    assert decoders == ["ssd-decoded", "ssd-raw", "yolov8", "yolov5", "yolox", "end-to-end", "detr"]


def test_the_example_of_passes_is_that_of_the_shipped_model():
    (passes,) = (example["passes"] for example in map(json.loads, EXAMPLES) if "decoder" not in example)
    assert passes == json.loads((ROOT / "models/ssdlite_mobilenet_v2_coco.json").read_text())["passes"]


@pytest.mark.parametrize("decoder", ["ssd-decoded", "ssd-raw", "yolov8", "yolov5", "yolox", "end-to-end", "detr"])
def test_each_decoder_is_in_the_table_of_exports(decoder):
    assert f"| [`{decoder}`](#{decoder})" in TEXT


@pytest.mark.parametrize("word", ["sha256", "`license`", "`input.color`", "`nms`", "`threshold`", "`class_ids`"])
def test_the_fields_are_explained(word):
    assert word in TEXT
