from __future__ import annotations

import json

import numpy as np
import pytest

from lookout.domain.errors import InputRejected
from lookout.domain.identity import sha256
from lookout.domain.records import LoadedReference
from stages.imaging.annotate import decode_bgr
from stages.imaging.opencv import cv2
from stages.object_detect.core import prepare
from stages.object_detect.runtime import ort

from .exif import with_orientation
from .models import jpeg, loaded_fixture, manifest_bytes, plain, weights, work_of

KEY = "site/a/porch_1763798400.jpg"


def run_on(fixture, data, key=KEY, params=None, **changes):
    return prepare({} if params is None else params, [loaded_fixture(fixture, **changes)])(work_of(key, data))


def report_of(result):
    return json.loads(result.outputs[0].data)


def test_outputs_are_the_report_and_the_picture_with_boxes_in_a_folder_per_device():
    data = jpeg(plain(200, 100, (90, 120, 60)))
    result = run_on("ssd_decoded", data)
    assert [(item.key, item.content_type) for item in result.outputs] == [
        ("site/a/porch/1763798400.json", "application/json"),
        ("site/a/porch/1763798400.jpg", "image/jpeg"),
    ]
    assert report_of(result) == {
        "image": {"key": KEY, "sha256": sha256(data), "width": 200, "height": 100, "orientation": 1},
        "device": "porch",
        "captured_at_s": 1763798400.0,
        "model": {"name": "ssd_decoded", "sha256": sha256(weights("ssd_decoded"))},
        "threshold": 0.5,
        "passes": {"chosen": "model", "done": [{"kind": "whole", "views": 1, "input": [32, 32]}]},
        "runtime": {"name": "onnxruntime", "version": ort.__version__, "provider": "CPUExecutionProvider"},
        "objects": [
            {"class": 1, "label": "person", "score": 0.9, "box": [20.0, 20.0, 100.0, 60.0]},
            {"class": 3, "label": "car", "score": 0.7, "box": [20.0, 20.0, 100.0, 60.0]},
            {"class": 1, "label": "person", "score": 0.5, "box": [100.0, 50.0, 200.0, 90.0]},
        ],
    }
    assert result.facts == {"objects": 3, "labels": {"person": 2, "car": 1}}
    assert result.counts == {"objects": 3, "seen:person": 2, "seen:car": 1}
    assert (result.at_s, result.label) == (1763798400.0, None)
    drawn = decode_bgr(result.outputs[1].data)
    assert drawn.shape[1] == 200
    assert drawn.shape[0] > 100


def test_no_objects_still_give_both_outputs():
    result = run_on("ssd_decoded", jpeg(plain(64, 64)), params={"threshold": 1.0})
    assert report_of(result)["objects"] == []
    assert [item.key.rpartition(".")[2] for item in result.outputs] == ["json", "jpg"]
    assert (result.facts, result.counts) == ({"objects": 0, "labels": {}}, {})


def test_the_same_work_gives_the_same_bytes():
    data = jpeg(plain(200, 100, (10, 20, 200)))
    assert run_on("yolov8", data) == run_on("yolov8", data)


def test_the_report_is_canonical():
    text = run_on("ssd_decoded", jpeg(plain(64, 64))).outputs[0].data.decode()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2) + "\n"


def test_boxes_are_those_of_the_upright_picture():
    picture = plain(120, 60)
    picture[20:30, 80:110] = 255  # stored lying; orientation 6 turns it a quarter clockwise
    result = run_on("spot", with_orientation(jpeg(picture), 6, "<"))
    report = report_of(result)
    assert {**report["image"], "key": "", "sha256": ""} == {
        "key": "", "sha256": "", "width": 60, "height": 120, "orientation": 6,
    }  # fmt: skip
    assert report["objects"][0]["box"] == pytest.approx([30, 80, 40, 110], abs=2)
    assert decode_bgr(result.outputs[1].data).shape[1] == 60


def test_a_picture_of_one_channel_is_read_as_three_equal_ones():
    gray = np.random.default_rng(1).integers(0, 256, (100, 200), dtype=np.uint8)
    data = jpeg(gray)
    picture = decode_bgr(data)
    assert picture.shape == (100, 200, 3)
    assert (picture == picture[:, :, :1]).all()
    assert np.array_equal(picture[:, :, 0], cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    one, three = report_of(run_on("spot", data)), report_of(run_on("spot", jpeg(picture)))
    assert one["image"] | {"sha256": ""} == three["image"] | {"sha256": ""}


def test_a_spot_is_found_in_a_picture_of_one_channel():
    gray = np.zeros((60, 120), np.uint8)
    gray[20:30, 80:110] = 255
    (found,) = report_of(run_on("spot", with_orientation(jpeg(gray), 6, ">")))["objects"]
    assert found["box"] == pytest.approx([30, 80, 40, 110], abs=2)


# --- the threshold ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, 0.75), ({"threshold": None}, 0.75), ({"threshold": 0.5}, 0.5), ({"threshold": 0}, 0.0)],
)
def test_the_parameter_goes_before_the_manifests_threshold(params, expected):
    result = run_on("ssd_decoded", jpeg(plain(64, 64)), params=params, threshold=0.75)
    report = report_of(result)
    assert report["threshold"] == expected
    assert all(found["score"] >= expected for found in report["objects"])


@pytest.mark.parametrize("threshold", [-0.1, 1.1, "0.5", True, float("nan"), [0.5]])
def test_an_impossible_threshold_is_refused(threshold):
    with pytest.raises(InputRejected, match="expected a threshold from 0 to 1, got"):
        prepare({"threshold": threshold}, [loaded_fixture("ssd_decoded")])


def test_an_unknown_parameter_is_refused():
    with pytest.raises(InputRejected, match="unknown parameter 'treshold'"):
        prepare({"treshold": 0.5}, [loaded_fixture("ssd_decoded")])


# --- the model -------------------------------------------------------------------------------------------------------


def test_exactly_one_model_is_in_force():
    model = loaded_fixture("ssd_decoded")
    for models in ([], [model, model]):
        with pytest.raises(InputRejected, match=f"expected exactly one model in force, got {len(models)}"):
            prepare({}, models)


def test_what_was_accepted_is_checked_again():
    model = loaded_fixture("ssd_decoded")
    swapped = LoadedReference(reference=model.reference, data={**model.data, "weights": weights("ssd_raw")})
    with pytest.raises(InputRejected, match=r"expected sha256 .* as in the manifest, got"):
        prepare({}, [swapped])
    edited = LoadedReference(
        reference=model.reference, data={**model.data, "manifest": manifest_bytes("ssd_decoded", input__name="x")}
    )
    with pytest.raises(InputRejected, match="expected one input named 'x'"):
        prepare({}, [edited])
    partial = LoadedReference(reference=model.reference, data={"manifest": model.data["manifest"]})
    with pytest.raises(InputRejected, match="expected the files manifest and weights, got no weights"):
        prepare({}, [partial])


# --- bad pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_an_error_that_names_it(data):
    with pytest.raises(InputRejected, match=f"{KEY}: cannot be decoded as a picture"):
        run_on("ssd_decoded", data)


def test_what_has_no_name_is_an_error():
    with pytest.raises(InputRejected, match=r"porch\.jpg: not a picture's name"):
        run_on("ssd_decoded", jpeg(plain(64, 64)), key="porch.jpg")


def test_nonsense_from_the_model_names_picture_and_output():
    with pytest.raises(InputRejected, match=f"{KEY}, scores: the model gave values that are no numbers"):
        run_on("nan", jpeg(plain(64, 64, (255, 255, 255))))
