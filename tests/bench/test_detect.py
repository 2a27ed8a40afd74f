"""The benchmark of detection: what counts as found, and pictures with COCO's JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.detect import Tally, bin_of, main, match
from bench.scenes import HEIGHTS_PX, Known, compose, read_coco
from lookout.domain.errors import InputRejected
from stages.object_detect.detector import Detection
from tests.object_detect.models import FIXTURES, manifest_bytes

ROOT = Path(__file__).parents[2]


def known(label: str, *box: float) -> Known:
    return Known(label=label, box_xyxy_px=(box[0], box[1], box[2], box[3]), height_px=box[3] - box[1])


def seen(label: str, *box: float, score: float = 0.9) -> Detection:
    return Detection(class_id=1, label=label, score=score, box_xyxy_px=(box[0], box[1], box[2], box[3]))


def test_an_object_is_found_once_by_its_label_in_its_place() -> None:
    there = [known("Person", 0, 0, 10, 100), known("person", 50, 0, 60, 100)]
    found = [
        seen("person", 0, 0, 10, 90),
        seen("person", 0, 0, 10, 100),
        seen("car", 50, 0, 60, 100),
        seen("person", 55, 0, 75, 100),
    ]
    assert match(there, found) == [0, None]
    assert match([], found) == []


@pytest.mark.parametrize(("height_px", "expected"), [(1, 60), (60, 60), (89.9, 60), (90, 90), (800, 800), (5000, 800)])
def test_heights_are_put_into_bins_from_below(height_px: float, expected: int) -> None:
    assert bin_of(height_px) == expected


def test_a_tally_counts_found_known_and_other_boxes() -> None:
    tally = Tally()
    tally.add(
        [known("person", 0, 0, 10, 100), known("horse", 0, 0, 9, 90)],
        [seen("person", 0, 0, 10, 100)] * 2,
        frozenset({"person"}),
    )
    tally.add([known("person", 0, 0, 10, 100)], [], frozenset({"person"}))
    assert (tally.recall(90), tally.recall(60), tally.other) == (50.0, 100.0, 1)
    tally.times_s += [0.001, 0.003]
    assert tally.cells("x") == ("x", "-", "50", *"-" * 6, "0.50", "2.0")


def test_composed_scenes_are_the_same_each_time_and_hold_what_they_say() -> None:
    scenes, again = list(compose(1)), list(compose(1))
    assert len(scenes) == 3 * len(HEIGHTS_PX)
    for one, other in zip(scenes, again, strict=True):
        assert (one.name, one.objects) == (other.name, other.objects)
        assert (one.pixels_bgr == other.pixels_bgr).all()
        assert one.pixels_bgr.shape == (1080, 1920, 3)
        ((left, top, right, bottom),) = (item.box_xyxy_px for item in one.objects)
        assert 0 <= left < right <= 1920
        assert 0 <= top < bottom <= 1080
        assert bottom - top == one.objects[0].height_px


def coco(folder: Path, **changes: object) -> Path:
    photo = "yard_1763798460.jpg"
    (folder / photo).write_bytes((ROOT / "examples" / "photos" / photo).read_bytes())
    tree = {
        "images": [{"id": 7, "file_name": photo}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [1, 2, 410, 296]},
            {"image_id": 7, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "cat"}],
        **changes,
    }
    path = folder / "boxes.json"
    path.write_text(json.dumps(tree))
    return path


def test_pictures_with_cocos_json_are_read(tmp_path: Path) -> None:
    (scene,) = read_coco(coco(tmp_path), tmp_path)
    assert scene.objects == (known("cat", 1, 2, 411, 298),)
    assert scene.pixels_bgr.shape == (300, 451, 3)


@pytest.mark.parametrize(
    "changes",
    [{"categories": []}, {"annotations": [{"image_id": 8, "category_id": 3, "bbox": [0, 0, 1, 1]}]}, {"images": 5}],
)
def test_a_json_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(InputRejected, match=r"boxes\.json: cannot be read as COCO's JSON"):
        list(read_coco(coco(tmp_path, **changes), tmp_path))


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    file = coco(tmp_path, images=[{"id": 7, "file_name": "nobody.jpg"}])
    with pytest.raises(InputRejected, match=r"nobody\.jpg: cannot be read"):
        list(read_coco(file, tmp_path))


def test_any_model_is_measured_on_any_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "m.json").write_bytes(manifest_bytes("yolov8"))
    (model / "m.onnx").write_bytes((FIXTURES / "yolov8.onnx").read_bytes())
    main(["--model", str(model), "--passes", "tiles:2", "--coco", str(coco(tmp_path))])
    assert "| whole picture alone" in capsys.readouterr().out
    main(["--coco", str(coco(tmp_path))])
    rows = capsys.readouterr().out.splitlines()
    (whole,) = (row for row in rows if row.startswith("| whole picture alone"))
    assert whole.split("|")[6].strip() == "100"  # the cat has 296 pixels


def test_what_cannot_be_measured_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--model", str(tmp_path)])
    assert ended.value.code == 1
    assert "no model in it" in capsys.readouterr().err
