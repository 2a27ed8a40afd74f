from __future__ import annotations

import re

import pytest

from stages.object_detect.manifest_schema import parse_manifest

from .models import ROOT

TEXT = (ROOT / "docs/models.md").read_text("utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)


def test_there_is_an_example_for_each_decoder():
    decoders = [parse_manifest("docs/models.md", example.encode()).decoder for example in EXAMPLES]
    assert decoders == ["ssd-decoded", "ssd-raw", "yolov8"]


@pytest.mark.parametrize("word", ["sha256", "`license`", "`input.color`", "`nms`", "`threshold`", "`class_ids`"])
def test_the_fields_are_explained(word):
    assert word in TEXT
