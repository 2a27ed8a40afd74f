"""The stage: what is a threat, to whom, and what is written then."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lookout.domain.errors import Corrupt, InputRejected, ObjectChanged
from lookout.domain.pipeline import Accepted
from lookout.domain.records import ObjectRef, Reference, Result, Work
from stages.imaging.annotate import decode_bgr
from stages.threat_detect.core import prepare
from stages.threat_detect.rules.rules import accept
from stages.threat_detect.rules.select import select

from .made import CAT, PERSON, RULE, document, jpeg, loaded, rule_file, work


def run(files: dict[str, bytes], item: Work) -> Result:
    return prepare({}, loaded(files))(item)


def threats(result: Result) -> list[Any]:
    return json.loads(result.outputs[0].data)["threats"]


def said(rule: dict[str, Any], **seen: Any) -> bool:
    """Tell whether the rule finds a threat in one object like ``PERSON`` but for ``seen``."""
    top = {"labels": rule.pop("labels")} if "labels" in rule else {}
    return bool(run({"r.json": rule_file(rule, **top)}, work([{**PERSON, **seen}])).outputs)


# --- no threat -------------------------------------------------------------------------------------------------------


def test_without_rules_nothing_is_a_threat() -> None:
    assert prepare({}, [])(work()) == Result(at_s=1763798400.0)


@pytest.mark.parametrize("objects", [[], [CAT]])
def test_without_a_threat_nothing_is_written_counted_or_told(objects: list[Any]) -> None:
    assert run({"r.json": rule_file()}, work(objects)) == Result(at_s=1763798400.0)


def test_without_a_threat_the_picture_is_not_decoded() -> None:
    assert run({"r.json": rule_file()}, work([CAT], data=b"no picture at all")).outputs == ()


# --- what matches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "seen", "expected"),
    [
        ({}, {"score": 0.5}, True),
        ({}, {"score": 0.4999}, False),  # below the detection threshold, should a detector ever say so
        ({"min_score": 0.7}, {"score": 0.7}, True),
        ({"min_score": 0.7}, {"score": 0.6999999}, False),
        ({"min_score": 0.7, "classes": [{"class": 1, "min_score": 0.6}]}, {"score": 0.6}, True),
        ({"min_score": 0, "classes": ["person"]}, {"score": 0.0}, True),
        ({"min_score": 1}, {"score": 1.0}, True),
        ({"classes": [1]}, {}, True),
        ({"classes": [3, "dog"]}, {}, False),
        ({"classes": ["PERSON"]}, {"label": "Person"}, True),
        ({"classes": [1]}, {"label": "visitor"}, True),
        ({"classes": ["person"]}, {"class": 0}, True),
        ({"labels": "custom", "classes": ["forklift"]}, {"class": 7, "label": "Forklift"}, True),
        ({"labels": "custom", "classes": [7]}, {"class": 7, "label": "Forklift"}, True),
        ({"devices": ["porch"]}, {}, True),
        ({"devices": ["Porch"]}, {}, False),
        ({"devices": ["gate-*", "p?rch"]}, {}, True),
        ({"devices": ["gate-*"]}, {}, False),
        ({"devices": ["[a-p]orch"]}, {}, True),
    ],
)
def test_scores_classes_and_devices(rule: dict[str, Any], seen: dict[str, Any], expected: bool) -> None:
    assert said(dict(rule), **seen) is expected


@pytest.mark.parametrize(
    ("box", "min_area", "expected"),
    [
        ([0, 0, 80, 50], 0.25, True),
        ([0, 0, 80, 49.9], 0.25, False),
        ([0, 0, 160, 100], 1, True),
        ([-80, -50, 80, 50], 0.25, True),  # what lies outside does not count, and does not harm
        ([-80, -50, 80, 50], 0.26, False),
        ([10, 10, 10, 10], 0, True),
        ([200, 10, 300, 50], 0.001, False),
    ],
)
def test_area_is_the_share_of_the_picture(box: list[float], min_area: float, expected: bool) -> None:
    assert said({"min_area": min_area}, box=box) is expected


# --- what is written -------------------------------------------------------------------------------------------------


def test_a_threat_writes_one_json_and_one_picture_in_the_folder_of_the_device() -> None:
    result = run({"r.json": rule_file()}, work([PERSON, CAT], key="a/b/porch_1763798400.jpg"))
    assert [(item.key, item.content_type) for item in result.outputs] == [
        ("a/b/porch/1763798400.json", "application/json"),
        ("a/b/porch/1763798400.jpg", "image/jpeg"),
    ]
    written = json.loads(result.outputs[0].data)
    given = document("a/b/porch_1763798400.jpg", jpeg(), [PERSON, CAT])
    assert {name: written[name] for name in given} == given
    assert written["threats"] == [{**PERSON, "rules": ["people"]}]
    (rule,) = written["rules"]
    (reference,) = loaded({"r.json": rule_file()})
    assert rule == {
        "name": "people",
        "user": "home@example.com",
        "file": "r.json",
        "key": "r.json/rules",
        "sha256": reference.reference.files["rules"].sha256,
    }


def test_facts_counts_and_label_tell_the_threats() -> None:
    other = {**PERSON, "score": 0.7}
    result = run({"r.json": rule_file({"classes": ["person", "cat"]})}, work([PERSON, other, CAT]))
    assert result.counts == {"threats": 1, "threat:person": 2, "threat:cat": 1}
    assert result.label == "threat: person, cat"
    assert result.at_s == 1763798400.0
    assert set(result.facts) == {"device", "captured_at_s", "picture", "model", "rules", "threats", "objects"}
    assert result.facts["picture"] == {
        "key": "porch_1763798400.jpg",
        "sha256": work().inputs["picture"].ref.sha256,
        "width": 160,
        "height": 100,
    }
    assert result.facts["objects"] == 3
    assert result.facts["threats"] == [PERSON, other, CAT]


def test_the_picture_is_made_anew_without_exif_and_with_red_boxes() -> None:
    exif = b"Exif\x00\x00GPS-of-my-house"
    plain = jpeg()
    data = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    result = run({"r.json": rule_file()}, work(data=data))
    drawn = result.outputs[1].data
    assert b"GPS-of-my-house" not in drawn
    assert b"Exif" not in drawn
    picture = decode_bgr(drawn).astype(np.int32)
    assert picture.shape[1] == 160
    assert picture.shape[0] > 100  # the footer
    edge = picture[30:80, 9:12].reshape(-1, 3).mean(axis=0)  # the left edge of the person's box
    assert edge[2] > edge[0] + 60
    assert edge[2] > edge[1] + 40


def test_fields_of_a_newer_detector_are_kept() -> None:
    result = run({"r.json": rule_file()}, work([{**PERSON, "track": 7}], tiles=4))
    assert json.loads(result.outputs[0].data)["tiles"] == 4
    assert threats(result)[0]["track"] == 7


def test_the_same_work_gives_the_same_result() -> None:
    files = {"r.json": rule_file({}, {"name": "b"})}
    assert run(files, work()) == run(files, work())


# --- several rules ---------------------------------------------------------------------------------------------------


def test_several_rules_give_one_picture_and_an_alert_for_each_rule_and_recipient() -> None:
    files = {
        "a.json": rule_file({"to": ["x@example.com", "y@example.com"]}),
        "b.json": rule_file({"name": "animals", "classes": ["cat"]}, {"name": "cars", "classes": ["car"]}),
        "c.json": rule_file({"name": "elsewhere", "devices": ["gate"]}),
    }
    result = run(files, work([PERSON, CAT]))
    assert len(result.outputs) == 2
    assert [(item["label"], item["rules"]) for item in threats(result)] == [
        ("person", ["people"]),
        ("cat", ["animals"]),
    ]
    assert [(draft.rule, draft.recipient) for draft in result.alerts] == [
        ("people", "x@example.com"),
        ("people", "y@example.com"),
        ("animals", "home@example.com"),
    ]


def test_one_object_may_matter_to_several_rules() -> None:
    result = run({"a.json": rule_file({}, {"name": "all", "classes": [1, "cat"]})}, work([PERSON]))
    assert threats(result)[0]["rules"] == ["people", "all"]
    assert result.counts["threat:person"] == 1


def test_an_alert_carries_all_that_a_channel_needs() -> None:
    result = run({"r.json": rule_file({"timezone": "Asia/Kathmandu"})}, work([PERSON, CAT]))
    (draft,) = result.alerts
    assert (draft.user, draft.sender, draft.recipient) == (RULE["user"], RULE["from"], RULE["to"][0])
    assert draft.picture_key == "porch_1763798400.jpg"
    assert draft.picture_sha256 == work().inputs["picture"].ref.sha256
    assert draft.evidence == "porch/1763798400.jpg"
    assert draft.detail["seen"] == [PERSON]
    assert draft.detail["timezone"] == "Asia/Kathmandu"
    assert draft.detail["threshold"] == 0.5
    assert draft.detail["model"] == {"name": "ssdlite", "sha256": "5b" * 32}
    assert draft.detail["rule"] == result.facts["rules"][0]  # type: ignore[index]


def test_a_rule_that_two_files_share_alerts_once() -> None:
    one, other = loaded({"a.json": rule_file()})[0], loaded({"b.json": rule_file()})[0]
    result = prepare({}, [other, one])(work())
    assert len(result.alerts) == 1
    assert result.facts["rules"][0]["file"] == "a.json"  # type: ignore[index]


# --- what is wrong ---------------------------------------------------------------------------------------------------


def spoiled(**more: Any) -> bytes:
    return json.dumps({**document("porch_1763798400.jpg", jpeg(), [PERSON]), **more}).encode()


@pytest.mark.parametrize(
    ("detections", "part"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "the document"),
        (b"{}", "image"),
        (spoiled(objects=[{**PERSON, "score": 1.5}]), "objects.0.score"),
        (spoiled(objects=[{**PERSON, "score": True}]), "objects.0.score"),
        (spoiled(objects=[{**PERSON, "box": [5, 5, 1, 9]}]), "left <= right"),
        (spoiled(objects=[{**PERSON, "box": [5, 5, float("nan"), 9]}]), "objects.0.box"),
        (spoiled(objects=[{**PERSON, "box": [5, 5, 9]}]), "objects.0.box"),
        (spoiled(objects=[{**PERSON, "class": "1"}]), "objects.0.class"),
        (spoiled(model={"name": "x"}), "model.sha256"),
        (spoiled(threshold=None), "threshold"),
    ],
)
def test_detections_that_cannot_be_read_are_corrupt_and_say_where(detections: bytes, part: str) -> None:
    with pytest.raises(Corrupt) as caught:
        run({"r.json": rule_file()}, work(detections=detections))
    assert part in str(caught.value)
    assert str(caught.value).startswith("object-detect/porch/1763798400.json: ")


def test_detections_of_other_bytes_are_refused_until_they_are_made_anew() -> None:
    stale = json.dumps(document("porch_1763798400.jpg", b"other", [PERSON])).encode()
    with pytest.raises(ObjectChanged):
        run({"r.json": rule_file()}, work(detections=stale))


def test_detections_of_another_size_are_corrupt() -> None:
    tree = document("porch_1763798400.jpg", jpeg(), [PERSON])
    tree["image"].update(width=90, height=90)
    with pytest.raises(Corrupt, match=r"expected 160x100 pixels, got 90x90 pixels"):
        run({"r.json": rule_file()}, work(detections=json.dumps(tree).encode()))


def test_a_picture_that_cannot_be_decoded_is_named() -> None:
    with pytest.raises(InputRejected, match=r"validate/valid/porch_1763798400\.jpg: cannot be decoded"):
        run({"r.json": rule_file()}, work(data=b"\xff\xd8 no picture"))


def test_a_picture_without_a_name_is_refused() -> None:
    item = work(detections=b"{}", key="IMG_0001.jpg")
    with pytest.raises(InputRejected, match="IMG_0001"):
        run({}, item)


def test_a_parameter_is_refused() -> None:
    with pytest.raises(InputRejected, match="threshold: threat-detect has no such parameter"):
        prepare({"threshold": 1}, [])


# --- select ----------------------------------------------------------------------------------------------------------


def referenced(files: dict[str, bytes]) -> list[Reference]:
    ref = ObjectRef(bucket="rules", key="x", sha256="0" * 64, size=0)
    return [
        Reference(bucket="rules", name=item.name, files={"rules": ref}, meta=item.meta)
        for item in accept(files)
        if isinstance(item, Accepted)
    ]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("porch/2025-11-22", ["all.json", "porch.json"]),
        ("gate-2/2025-11-22", ["all.json", "gates.json"]),
        ("yard/2025-11-22", ["all.json"]),
    ],
)
def test_select_gives_the_files_with_a_rule_for_the_device(group: str, expected: list[str]) -> None:
    references = referenced(
        {
            "all.json": rule_file({"user": "u1"}),
            "gates.json": rule_file({"user": "u2", "devices": ["x"]}, {"user": "u3", "devices": ["gate-*"]}),
            "porch.json": rule_file({"user": "u4", "devices": ["por*"]}),
        }
    )
    assert [reference.name for reference in select(references)("any.jpg", group)] == expected


def test_select_leaves_out_references_whose_meta_says_nothing() -> None:
    reference = Reference(bucket="rules", name="x", files={}, meta={"rules": [{"devices": "porch"}, 5]})
    references = [reference, Reference(bucket="rules", name="y", files={})]
    assert select(references)("any.jpg", "porch/2025-11-22") == []
