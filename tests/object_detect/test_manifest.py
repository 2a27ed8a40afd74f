from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout.domain.identity import sha256
from lookout.domain.pipeline import Accepted, Refused
from stages.object_detect.manifest import accept

from .models import ROOT, manifest_bytes, weights

FORMS = [
    "ssd_decoded", "ssd_raw", "yolov8", "yolov8_rows", "yolov5", "yolox", "end_to_end", "detr", "spot", "channels",
]  # fmt: skip


def folder(fixture="ssd_decoded", **changes):
    return {"m.json": manifest_bytes(fixture, **changes), "w.onnx": weights(fixture)}


def reasons(files):
    found = accept(files)
    assert all(isinstance(item, Refused) for item in found), found
    return {item.name: item.reason for item in found}


def test_an_empty_folder_has_no_model():
    assert list(accept({})) == []
    assert list(accept({"README.md": b"hello", "LICENSE": b""})) == []


@pytest.mark.parametrize("fixture", FORMS)
def test_a_model_is_a_manifest_with_its_weights(fixture):
    files = {**folder(fixture), "README.md": b"about"}
    (found,) = accept(files)
    assert isinstance(found, Accepted)
    assert found.name == fixture
    assert found.files == {"manifest": files["m.json"], "weights": files["w.onnx"]}
    assert found.meta["sha256"] == sha256(files["w.onnx"])
    assert found.meta["name"] == fixture


def test_the_shipped_folder_is_accepted():
    files = {path.name: path.read_bytes() for path in (ROOT / "models").iterdir()}
    (found,) = accept(files)
    assert isinstance(found, Accepted)
    assert (found.name, found.meta["decoder"]) == ("ssdlite_mobilenet_v2_coco", "ssd-decoded")


def test_weights_are_found_by_their_hash_whatever_their_name():
    assert isinstance(accept({"MODEL.JSON": manifest_bytes("yolov8"), "sub/x.ONNX": weights("yolov8")})[0], Accepted)


def test_a_manifest_waits_for_its_weights():
    said = reasons({"m.json": manifest_bytes("yolov8")})
    digest = sha256(weights("yolov8"))
    assert said == {
        "m.json": f"m.json: field sha256: waiting for the .onnx file with sha256 {digest}; there is no .onnx file yet"
    }


def test_other_weights_are_named():
    said = reasons({"m.json": manifest_bytes("yolov8"), "w.onnx": weights("ssd_raw")})
    assert f"w.onnx has {sha256(weights('ssd_raw'))[:12]}" in said["m.json"]
    assert "no manifest (.json) here names its sha256" in said["w.onnx"]


def test_weights_need_a_manifest():
    said = reasons({"w.onnx": weights("ssd_raw")})
    assert said["w.onnx"].startswith("w.onnx: no manifest (.json) here names its sha256 ")
    assert "docs/models.md" in said["w.onnx"]


def test_several_models_are_one_too_many():
    files = {"a.json": manifest_bytes("yolov8"), "b.json": manifest_bytes("ssd_raw"), "a.onnx": weights("yolov8")}
    said = reasons({**files, "b.onnx": weights("ssd_raw")})
    assert said.keys() == {"a.json", "b.json"}
    assert "one model can be in force, but there are 2 manifests: a.json, b.json; leave one" in said["a.json"]


def test_a_broken_manifest_is_refused_with_place_and_field():
    assert "m.json, line 1" in reasons({"m.json": b"{", "w.onnx": weights("yolov8")})["m.json"]
    assert reasons(folder(input__color="GBR")).keys() == {"m.json"}


def test_a_broken_file_beside_a_good_model_takes_nothing_away():
    found = {item.name: item for item in accept({**folder(), "a.json": b"{"})}
    assert isinstance(found["ssd_decoded"], Accepted)
    assert isinstance(found["a.json"], Refused)


def test_models_of_other_kinds_are_refused():
    said = reasons({"yolo.pt": b"PK", "w.onnx": weights("yolov8")})
    assert "only models in ONNX form" in said["yolo.pt"]
    assert "no manifest (.json)" in said["w.onnx"]


@pytest.mark.parametrize(
    "cut", [lambda data: data[:-5], lambda data: data[:60], lambda data: b"", lambda data: b"\x89PNG" * 50]
)
def test_a_damaged_file_is_refused_in_one_sentence(cut, capfd):
    data = cut(weights("ssd_decoded"))
    said = reasons({"m.json": manifest_bytes("ssd_decoded", sha256=sha256(data)), "w.onnx": data})
    assert said["m.json"].startswith("m.json: w.onnx: cannot be opened as an ONNX model: ")
    assert "\n" not in said["m.json"]
    assert capfd.readouterr() == ("", "")


def refusal_of(fixture, manifest_fixture=None, **changes):
    data = weights(fixture)
    manifest = manifest_bytes(manifest_fixture or fixture, sha256=sha256(data), **changes)
    return reasons({"m.json": manifest, "w.onnx": data})["m.json"]


@pytest.mark.parametrize(
    ("fixtures", "changes", "sentence"),
    [
        (("foreign", "ssd_decoded"), {}, "expected one input named 'image' as in the manifest, got ['x']"),
        (("yolov8", "ssd_decoded"), {}, "expected one input named 'image' as in the manifest, got ['images']"),
        (("foreign", "ssd_decoded"), {"input__name": "x"}, "expected tensor(uint8) as in the manifest, got tensor"),
        (("ssd_decoded",), {"input__width": 48}, "expected the shape [1, 32, 48, 3] (NHWC) as in the manifest, got"),
        (("ssd_decoded",), {"input__layout": "NCHW"}, "expected the shape [1, 3, 32, 32] (NCHW)"),
        (("channels",), {"input__dtype": "uint8", "input__scale": 1}, "expected tensor(uint8) as in the manifest"),
        (("ssd_decoded",), {"outputs__scores__name": "s"}, "expected an output named 's' as in the manifest, got ['b"),
        (("ssd_decoded",), {"labels": ["a"], "class_ids": [1]}, "'scores': expected the shape [1, N, 1] (a column for"),
        (("ssd_decoded",), {"outputs__scores__background": "first"}, "of the 2 labels and the background first"),
        (("ssd_decoded",), {"outputs__boxes__name": "scores"}, "output 'scores': expected the shape [1, 5, 4]"),
        (("yolov8",), {"outputs__predictions__arrangement": "channels-last"}, "expected the shape [1, N, 7]"),
        (("yolov8",), {"labels": ["a", "b"], "class_ids": [1, 2]}, "4 for the box and 2 labels, channels-first"),
        (("ssd_raw",), {"class_ids": [1, 3, 4]}, "the manifest has no label for the class 8"),
        (("channels",), {"input__mean": [0.1, 0, 0]}, "expected scores from 0 to 1, got -0.1 to 0"),
    ],
)
def test_weights_that_disagree_with_the_manifest_are_refused(fixtures, changes, sentence):
    said = refusal_of(*fixtures, **changes)
    assert said.startswith("m.json: w.onnx: ")
    assert sentence in said


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a.json", "b.json", "w.onnx", "x.pt", "README"]),
        st.one_of(st.binary(max_size=200), st.sampled_from([manifest_bytes("yolov8"), weights("yolov8")])),
    )
)
def test_no_folder_raises(files):
    found = accept(files)
    assert sum(isinstance(item, Accepted) for item in found) <= 1
