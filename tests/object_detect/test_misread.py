"""Models that another decoder would fit by chance, or that cannot be opened: refused with the cause and the remedy."""

from __future__ import annotations

import time

import numpy as np
import pytest

from lookout.domain.errors import InputRejected
from lookout.domain.identity import sha256
from lookout.domain.pipeline import Refused
from stages.object_detect.decoders import decode
from stages.object_detect.manifest import accept
from stages.object_detect.onnx_errors import cause_of
from stages.object_detect.onnx_model import open_network
from stages.object_detect.runtime import ort

from .models import manifest_bytes, manifest_of, weights

ROWS = {"outputs__predictions__arrangement": "channels-last"}
TWO = {"labels": ["person", "car"], "class_ids": [1, 3]}
ONE = {"labels": ["person"], "class_ids": [1]}


def refusal(fixture, manifest, **changes):
    data = weights(fixture)
    files = {"m.json": manifest_bytes(manifest, sha256=sha256(data), **changes), "w.onnx": data}
    (found,) = accept(files)
    assert isinstance(found, Refused)
    return found.reason


@pytest.mark.parametrize(
    ("fixture", "manifest", "changes"),
    [
        ("end_to_end", "yolov8", {**ROWS, **TWO}),  # fits: 4 and two labels; 0.05 of class 1 would become 1.0
        ("end_to_end", "yolov8", ROWS),
        ("end_to_end", "yolov8", {}),
        ("end_to_end", "yolov5", {**ONE}),  # fits: 5 and one label
        ("end_to_end", "yolov5", {}),
        ("end_to_end_said", "yolov8", {**ROWS, **TWO}),  # as many rows as an input of 64 x 64 has cells
    ],
)
def test_an_export_with_suppression_is_named(fixture, manifest, changes):
    said = refusal(fixture, manifest, **changes)
    assert "an export with the suppression in its graph: set decoder to 'end-to-end'" in said


def test_empty_rows_are_those_of_an_export_with_suppression():
    manifest = manifest_of("yolov8", **ROWS, **TWO)
    with pytest.raises(InputRejected, match="end-to-end"):
        decode(manifest, {"output0": np.zeros((1, 0, 6), np.float32)}, 0.5)


def test_two_labels_with_their_own_scores_are_read():
    manifest = manifest_of("yolov8", **ROWS, **TWO)
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = [32, 32, 8, 8, 0.7, 0.2]
    assert decode(manifest, {"output0": rows}, 0.5).labels.tolist() == [0]
    whole = np.zeros((1, 84, 6), np.float32)  # a detector that is sure of everything, with one row a cell
    assert len(decode(manifest, {"output0": whole}, 0.5).labels) == 0


@pytest.mark.parametrize("shape", [(1, 84, 8), (1, 8, 84)])
def test_a_column_of_objectness_is_named(shape):
    for arrangement in ("channels-first", "channels-last"):
        manifest = manifest_of("yolov8", outputs__predictions__arrangement=arrangement)
        with pytest.raises(InputRejected, match="one column more than the labels need, as exports with objectness"):
            decode(manifest, {"output0": np.zeros(shape, np.float32)}, 0.5)


def test_objectness_of_one_label_is_told_from_rows_of_objects_by_the_number_of_cells():
    manifest = manifest_of("yolov8", **ROWS, **ONE)
    for rows, said in ((84, "objectness"), (3 * 84, "objectness"), (300, "end-to-end")):
        with pytest.raises(InputRejected, match=said):
            decode(manifest, {"output0": np.zeros((1, rows, 6), np.float32)}, 0.5)


@pytest.mark.parametrize(
    ("manifest", "shape", "remedy"),
    [
        ("yolov8", (1, 9, 7), "set arrangement to 'channels-last'"),
        ("yolov8_rows", (1, 7, 9), "set arrangement to 'channels-first'"),
        ("yolov5", (1, 84, 7), "one column less than with objectness: set decoder to 'yolov8'"),
        ("yolov8", (1, 39, 84), "an export for segmentation"),
        ("yolov8", (1, 12, 84), "the number of labels may be another"),
    ],
)
def test_other_shapes_come_with_their_remedy(manifest, shape, remedy):
    with pytest.raises(InputRejected, match=remedy):
        decode(manifest_of(manifest), {"output0": np.zeros(shape, np.float32)}, 0.5)


@pytest.mark.parametrize(
    ("fixture", "sentence"),
    [
        ("ir_too_new", f"its IR version 99 is too new: onnxruntime {ort.__version__} reads those up to "),
        ("opset_too_new", f"its opset 99 of ai.onnx is too new: onnxruntime {ort.__version__} knows those up to "),
    ],
)
def test_a_version_that_is_too_new_is_named_with_the_newest_that_works(fixture, sentence):
    said = refusal(fixture, "yolov8")
    assert sentence in said
    assert "export it again with an older opset" in said


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("", "RuntimeError"),
        ("[ONNXRuntimeError] : 10 : INVALID_GRAPH : This is an invalid model.\n  Error in Node:x", "This is an invalid "
         "model. Error in Node:x"),
        ("[ONNXRuntimeError] : 1 : FAIL : /src/core/a.cc:25 void x::Y(const std::f<int(z)>&, int) Bad (very) thing",
         "Bad (very) thing"),
        ("/src/core/a.cc:25 no signature", "no signature"),
        ("/src/core/a.cc:25 f(int", "f(int"),
    ],
)  # fmt: skip
def test_a_cause_is_what_stands_behind_the_place_in_the_source(message, cause):
    assert cause_of(RuntimeError(message)) == (cause, "")


def test_a_long_message_keeps_its_end():
    cause, _ = cause_of(RuntimeError("beginning " * 100 + "and the cause"))
    assert cause.startswith("... beginning")
    assert cause.endswith("and the cause")
    assert len(cause) < 310


def test_a_model_that_never_ends_is_refused():
    data = weights("endless")
    began_s = time.monotonic()
    with pytest.raises(
        InputRejected, match=r"a dry run failed: the model took longer than 0\.2 s .*a loop that never ends"
    ):
        open_network("w.onnx", manifest_of("yolov8", sha256=sha256(data)), data, limit_s=0.2)
    assert time.monotonic() - began_s < 20
