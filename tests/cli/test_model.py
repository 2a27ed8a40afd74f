"""``lookout model``: an export is in force after two commands, and what nobody can know is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.imaging.opencv import cv2
from tests.object_detect.models import FIXTURES, ROOT, weights

from .shell import THREAT, World

PHOTO = ROOT / "examples" / "photos" / THREAT


def given(world: World, fixture: str) -> Path:
    path = world.root / "model" / f"{fixture}.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(weights(fixture))
    return path


def init(world: World, fixture: str, *options: str) -> Any:
    return world.lookout("model", "init", given(world, fixture), "--json", *options).json


def as_input(said: Any) -> tuple[Any, ...]:
    spec = said["manifest"]["input"]
    resize = spec["resize"]
    return spec["color"], round(spec["scale"], 4), resize["mode"], resize.get("align"), spec["width"], spec["height"]


@pytest.mark.parametrize(
    ("fixture", "decoder", "labels", "expected"),
    [
        ("export_yolov8", "yolov8", ["person", "forklift"], ("RGB", 0.0039, "letterbox", "center", 32, 32)),
        ("export_end_to_end", "end-to-end", ["person", "forklift"], ("RGB", 0.0039, "letterbox", "center", 32, 32)),
        ("export_yolov5", "yolov5", ["animal", "person", "vehicle"], ("RGB", 0.0039, "letterbox", "center", 32, 32)),
        ("export_yolox", "yolox", None, ("BGR", 1, "letterbox", "top-left", 32, 32)),
        ("export_yolox_decoded", "yolov5", None, ("BGR", 1, "letterbox", "top-left", 32, 32)),
    ],
)
def test_an_export_of_known_makers_is_in_force_after_two_commands(
    empty_world: World, fixture: str, decoder: str, labels: list[str] | None, expected: tuple[Any, ...]
) -> None:
    said = init(empty_world, fixture)
    assert said["manifest"]["decoder"] == decoder
    assert as_input(said) == expected
    assert said["missing"] == []
    assert said["manifest"]["labels"] == labels if labels else len(said["manifest"]["labels"]) == 80
    assert any(sentence.startswith("color: ") for sentence in said["assumed"])
    empty_world.put(THREAT)
    empty_world.run("--model", "model")
    report = json.loads(empty_world.results()["object-detect/porch/1763798400.json"])
    assert report["model"]["name"] == fixture
    assert len(report["objects"]) == 1


def test_ids_are_cocos_where_it_has_the_label_and_others_that_no_rule_can_mean(empty_world: World) -> None:
    said = init(empty_world, "export_yolov8")
    assert said["manifest"]["class_ids"] == [1, 1001]
    assert said["manifest"]["license"] == "AGPL-3.0"
    assert "class_ids: COCO's where it has the label, from 1001 on for others" in said["assumed"]


def test_what_the_export_does_not_say_must_be_given(empty_world: World) -> None:
    path = given(empty_world, "export_silent")
    assert "name its labels with --labels" in empty_world.refused("model", "init", path)
    labels = empty_world.root / "labels.txt"
    labels.write_text("person\nforklift\n")
    said = empty_world.refused("model", "init", path, "--labels", labels)
    assert "give --color RGB|BGR, --pixels 0-255|0-1|imagenet, --resize stretch|letterbox|letterbox-top-left" in said
    assert not path.with_suffix(".json").exists()
    options = ("--labels", str(labels), "--color", "BGR", "--pixels", "imagenet", "--resize", "stretch")
    made = init(empty_world, "export_silent", *options, "--name", "mine", "--license", "MIT", "--source", "us")
    manifest = made["manifest"]
    assert (manifest["name"], manifest["license"], manifest["source"]) == ("mine", "MIT", "us")
    assert manifest["input"]["std"] == [0.229, 0.224, 0.225]
    assert json.loads(Path(made["written"]).read_text() if Path(made["written"]).is_absolute()
                      else (empty_world.root / made["written"]).read_text()) == manifest  # fmt: skip


def test_what_is_given_goes_before_what_is_assumed(empty_world: World) -> None:
    said = init(empty_world, "export_yolov8", "--color", "BGR")
    assert said["manifest"]["input"]["color"] == "BGR"
    assert not any(sentence.startswith("color: ") for sentence in said["assumed"])


def test_a_manifest_is_replaced_only_if_asked(empty_world: World) -> None:
    init(empty_world, "export_yolov8")
    before = (empty_world.root / "model" / "export_yolov8.json").read_bytes()
    path = given(empty_world, "export_yolov8")
    assert "is there already" in empty_world.refused("model", "init", path, "--name", "other")
    assert (empty_world.root / "model" / "export_yolov8.json").read_bytes() == before
    init(empty_world, "export_yolov8", "--name", "other", "--force")
    assert sorted(one.name for one in path.parent.iterdir()) == ["export_yolov8.json", "export_yolov8.onnx"]


@pytest.mark.parametrize(
    ("fixture", "sentence"),
    [
        ("export_segment", "its metadata names the task 'segment'"),
        ("foreign", "expected one input for a picture"),
        ("opset_too_new", "its opset 99 of ai.onnx is too new"),
    ],
)
def test_what_is_no_detector_is_refused(empty_world: World, fixture: str, sentence: str) -> None:
    assert sentence in empty_world.refused("model", "init", given(empty_world, fixture))


def test_files_that_are_not_there_are_refused(empty_world: World) -> None:
    assert "nobody.onnx" in empty_world.refused("model", "init", "nobody.onnx")
    assert "nobody" in empty_world.refused("model", "check", "nobody")
    said = empty_world.refused("model", "init", given(empty_world, "export_silent"), "--labels", "nobody.txt")
    assert "nobody.txt" in said
    assert "expected 640x640" in empty_world.call("model", "init", "x.onnx", "--size", "640", code=2).err


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_detects_and_draws(empty_world: World) -> None:
    done = empty_world.lookout("model", "check", ROOT / "models", PHOTO, "--to", "drawn.jpg", "--json").json
    assert [one["label"] for one in done["objects"]] == ["person"]
    assert (done["width"], done["height"], done["passes"]) == (512, 512, [[300, 300]])
    assert done["runtime"]["provider"] == "CPUExecutionProvider"
    assert (empty_world.root / "drawn.jpg").read_bytes().startswith(b"\xff\xd8")
    text = empty_world.lookout("model", "check", ROOT / "models", PHOTO).out
    assert "object   person 0." in text
    assert (empty_world.root / "porch_1763798400-ssdlite_mobilenet_v2_coco.jpg").exists()


def test_check_without_a_photograph_tries_the_model_alone(empty_world: World) -> None:
    done = empty_world.lookout("model", "check", ROOT / "models", "--json").json
    assert (done["name"], len(done["labels"])) == ("ssdlite_mobilenet_v2_coco", 80)
    assert "photo" not in done


def test_check_refuses_what_a_run_would_refuse(empty_world: World) -> None:
    path = given(empty_world, "export_silent")
    assert "lookout model init writes a manifest" in empty_world.refused("model", "check", path.parent)
    said = empty_world.refused("model", "check", ROOT / "models", FIXTURES / "spot.onnx")
    assert "spot.onnx: cannot be decoded as a picture" in said
    init(empty_world, "export_yolov8")
    assert "use tiles" in empty_world.refused("model", "check", "model/export_yolov8.json", "--passes", "64x64")


@pytest.mark.parametrize(
    ("fixture", "decoder", "outputs", "resize", "box"),
    [
        ("export_rtdetr", "end-to-end", {"format": "cxcywh", "normalized": True}, "stretch", [16, 4, 32, 12]),
        ("export_rtdetr_scores", "yolov8", {"format": "cxcywh", "normalized": True}, "stretch", [16, 4, 32, 12]),
        ("export_nms_one_label", "end-to-end", {"format": "xyxy", "normalized": False}, "letterbox", [12, 12, 20, 20]),
    ],
)
def test_rows_of_an_export_are_read_as_its_makers_write_them(
    empty_world: World, fixture: str, decoder: str, outputs: dict[str, Any], resize: str, box: list[float]
) -> None:
    said = init(empty_world, fixture)
    manifest = said["manifest"]
    assert (manifest["decoder"], manifest["input"]["resize"]["mode"]) == (decoder, resize)
    assert outputs.items() <= manifest["outputs"]["predictions"].items()
    (found,) = check(empty_world, fixture)
    assert found["box"] == [side * 512 / 32 for side in box], "the photograph has 512 pixels on each side"


def check(world: World, fixture: str) -> list[dict[str, Any]]:
    """The objects that are found on a photograph of 512 x 512."""
    said = world.lookout("model", "check", f"model/{fixture}.json", PHOTO, "--to", "o.jpg", "--json").json
    objects: list[dict[str, Any]] = said["objects"]
    return objects


def test_an_export_of_rf_detr_has_cocos_labels_at_the_places_of_their_ids(empty_world: World) -> None:
    said = init(empty_world, "export_rfdetr")
    manifest = said["manifest"]
    assert as_input(said)[:3] == ("RGB", 0.0039, "stretch")
    assert manifest["input"]["std"] == [0.229, 0.224, 0.225]
    assert "labels: COCO's at the places of their ids, as there are 91 score columns" in said["assumed"]
    assert (len(manifest["labels"]), manifest["labels"][:3]) == (91, ["unused 0", "person", "bicycle"])
    assert (manifest["labels"][90], manifest["class_ids"][90]) == ("toothbrush", 90)
    (found,) = check(empty_world, "export_rfdetr")
    assert (found["label"], found["class"]) == ("person", 1)


def test_labels_that_are_one_less_than_the_columns_leave_the_last_one_to_no_object(empty_world: World) -> None:
    labels = empty_world.root / "labels.txt"
    labels.write_text("fox\nhare\n")
    options = ("--labels", str(labels), "--color", "RGB", "--pixels", "imagenet", "--resize", "stretch")
    logits = init(empty_world, "export_detr", *options)["manifest"]["outputs"]["logits"]
    assert (logits["activation"], logits["background"]) == ("softmax", "last")
    (found,) = check(empty_world, "export_detr")
    assert (found["label"], found["score"]) == ("fox", 0.9951)


def test_a_fixed_batch_is_refused_with_what_to_do(empty_world: World) -> None:
    said = empty_world.refused("model", "init", given(empty_world, "export_batch"))
    assert "its input takes 4 pictures at once, expected 1 (export it with batch 1, or with a dynamic batch)" in said


@pytest.mark.parametrize(
    ("fixture", "decoder", "resize"),
    [
        ("megadetector_v5", "yolov5", "letterbox"),
        ("megadetector_v6_yolov9", "yolov8", "letterbox"),
        ("megadetector_v6_yolov10", "end-to-end", "letterbox"),
        ("megadetector_v6_rtdetr", "yolov8", "stretch"),
    ],
)
def test_megadetector_finds_animals_in_an_infrared_picture_of_one_channel(
    empty_world: World, fixture: str, decoder: str, resize: str
) -> None:
    world = empty_world
    manifest = init(world, fixture)["manifest"]
    assert (manifest["decoder"], manifest["input"]["resize"]["mode"]) == (decoder, resize)
    assert manifest["labels"] == ["animal", "person", "vehicle"]
    assert manifest["class_ids"] == [1001, 1, 1002], "no id of COCO means an animal or a vehicle"
    put_infrared(world)
    rule = {"name": "game", "user": "wood", "classes": ["animal"], "from": "a@example.com", "to": ["b@example.com"]}
    (world.root / "rules.json").write_text(json.dumps({"labels": "custom", "rules": [rule]}))
    done = world.run("--model", "model", "--rules", "rules.json")
    assert (done["invalid"], done["rule_notes"], done["threats"]) == ([], [], {"porch": 1})


def test_the_shipped_model_finds_a_person_in_an_infrared_picture_of_one_channel(empty_world: World) -> None:
    put_infrared(empty_world)
    assert empty_world.run()["invalid"] == []
    report = json.loads(empty_world.results()["object-detect/porch/1763798400.json"])
    assert "person" in {found["label"] for found in report["objects"]}


def put_infrared(world: World) -> None:
    """A photograph of one channel, as cameras write them at night."""
    gray = cv2.imread(str(PHOTO), cv2.IMREAD_GRAYSCALE)
    assert gray is not None
    assert gray.ndim == 2
    cv2.imwrite(str(world.photos / THREAT), gray)
