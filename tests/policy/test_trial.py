"""``lookout rules test``: rules tried on photographs with the shipped model, and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.imaging.annotate import decode_bgr
from stages.threat_detect import detections
from stages.threat_detect.rules.version2.matching import picture_of
from tests.cli.shell import CALM, PHOTOS, THREAT
from tests.threat_detect.made import CAT, PERSON, document, jpeg

from .histories import rule_document
from .test_commands import lookout, write

EVERYWHERE = [[0, 0], [1, 0], [1, 1], [0, 1]]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    zones = [
        {"name": "all", "polygon": EVERYWHERE},
        {"name": "sky", "mode": "exclude", "polygon": [[0.2, 0], [0.6, 0], [0.4, 0.1]]},
    ]
    return write(tmp_path / "rules.json", rule_document(zones=zones, min_score=0.5))


def test_photographs_are_judged_and_drawn_with_zones(rules: Path, tmp_path: Path) -> None:
    done = lookout("test", rules, PHOTOS / THREAT, PHOTOS / CALM, "--to", tmp_path / "drawn", "--json")
    assert done.exit_code == 0
    threat, calm = (json.loads(line) for line in done.stdout.splitlines())
    assert (threat["device"], threat["t"], threat["code"], calm["code"]) == (
        "porch",
        1763798400.0,
        None,
        "no_wanted_class",
    )
    assert [(one["class"], one["code"]) for one in threat["objects"]] == [("person", None)]
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in drawn] == [f"001-{Path(THREAT).stem}.jpg", f"002-{Path(CALM).stem}.jpg"]
    before, after = decode_bgr((PHOTOS / THREAT).read_bytes()), decode_bgr(drawn[0].read_bytes())
    assert after.shape[1] == before.shape[1]
    assert after.shape[0] > before.shape[0]
    edge = after[: before.shape[0], 0].astype(int)  # the left edge of the zone, which is green
    assert np.median(edge[:, 1] - np.maximum(edge[:, 0], edge[:, 2])) > 40


def test_a_trial_is_shown_for_people_with_the_reason_of_each_object(rules: Path) -> None:
    done = lookout(
        "test", rules, PHOTOS / THREAT, "--device", "gate", "--at", "2025-11-22T09:00:00", "--threshold", "0.9"
    )
    assert done.stdout.splitlines() == [f"{PHOTOS / THREAT}: home|people: no_objects"]
    first, *others = lookout("test", rules, PHOTOS / CALM).stdout.splitlines()
    assert first == f"{PHOTOS / CALM}: home|people: no_wanted_class"
    assert any(line.startswith("  cup 0.") and "no_wanted_class" in line for line in others)


def test_a_photograph_that_names_no_device_needs_one(rules: Path, tmp_path: Path) -> None:
    (tmp_path / "IMG_1.jpg").write_bytes((PHOTOS / THREAT).read_bytes())
    (tmp_path / "text_1763798400.jpg").write_bytes(b"no picture")
    for name, said in (
        ("IMG_1.jpg", "its name says no device and time"),
        ("text_1763798400.jpg", "text_1763798400.jpg"),
    ):
        done = lookout("test", rules, tmp_path / name)
        assert done.exception is not None
        assert said in str(done.exception)
    done = lookout("test", rules, tmp_path / "IMG_1.jpg", "--device", "porch", "--at", "2025-11-22", "--json")
    assert json.loads(done.stdout)["device"] == "porch"


@pytest.mark.parametrize("objects", [[], [PERSON, CAT]])
def test_detections_in_pixels_become_shares_of_the_picture(objects: list[dict[str, Any]]) -> None:
    data = jpeg()
    found = detections.read(json.dumps(document("porch_1763798400.jpg", data, objects)).encode(), "x")
    picture = picture_of(found, "porch_1763798400.jpg", 1763798405.0, repeated=True)
    assert (picture.device, picture.captured_at_s, picture.received_at_s) == ("porch", 1763798400.0, 1763798405.0)
    assert (picture.threshold, picture.repeated) == (0.5, True)
    assert [(one.class_id, one.label, one.score) for one in picture.things] == [
        (one["class"], one["label"], one["score"]) for one in objects
    ]
    assert [one.box for one in picture.things] == [
        (left / 160, top / 100, right / 160, bottom / 100)
        for left, top, right, bottom in (one["box"] for one in objects)
    ]
