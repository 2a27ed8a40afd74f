"""The shipped model on the shipped photographs. Boxes were pinned after looking at them; scores are never pinned, as
the way of resizing alone moves them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stages.object_detect.boxes import iou_xyxy
from stages.object_detect.core import prepare

from .models import ROOT, loaded, work_of

PERSON, CAT, CUP, TABLE = (1, "person"), (17, "cat"), (47, "cup"), (67, "dining table")

EXPECTED = {
    "porch_1763798400.jpg": {PERSON: (20, 10, 370, 488)},
    "porch_1763802000.jpg": {PERSON: (154, 20, 467, 495)},
    "porch_1763884800.jpg": {PERSON: (20, 15, 394, 508)},
    "gate_1763798760.jpg": {PERSON: (2, 65, 315, 510)},
    "gate_1763809200.jpg": {PERSON: (78, 132, 358, 539), CAT: (535, 276, 920, 531)},
    "yard_1763798460.jpg": {CAT: (1, 2, 411, 298)},
    "kitchen_1763798520.jpg": {CUP: (173, 22, 415, 248), TABLE: (0, 3, 600, 396)},
    "field_1763798580.jpg": {},
}
ALSO_SEEN = {"porch_1763802000.jpg": {(11, "fire hydrant")}}
"""What the model takes the orange suit for, with any way of resizing."""


@pytest.fixture(scope="module")
def run():
    files = {path.name: path.read_bytes() for path in (ROOT / "models").iterdir()}
    return prepare({"threshold": 0.5}, [loaded(files)])


@pytest.mark.parametrize("name", EXPECTED)
def test_the_sample_photographs_show_what_they_show(run, name):
    result = run(work_of(name, (ROOT / "examples/photos" / name).read_bytes()))
    found = {(item["class"], item["label"]): item for item in json.loads(result.outputs[0].data)["objects"]}
    assert found.keys() - ALSO_SEEN.get(name, set()) == EXPECTED[name].keys()
    for which, box in EXPECTED[name].items():
        assert found[which]["score"] >= 0.5
        overlap = iou_xyxy(np.array([found[which]["box"]], float), np.array([box], float))[0, 0]
        assert overlap >= 0.7, which
