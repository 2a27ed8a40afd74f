"""ONNX Runtime sends nothing to anybody: with its telemetry on, it keeps an id of the device in a temporary file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OPENS_A_MODEL = """
from stages.object_detect.runtime import ort
ort.InferenceSession("models/ssdlite_mobilenet_v2_coco.onnx")
"""


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", OPENS_A_MODEL],
        [str(Path(sys.executable).with_name("lookout")), "doctor"],
    ],
    ids=["a model", "doctor"],
)
def test_its_telemetry_is_off(tmp_path: Path, command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"TMPDIR": str(tmp_path), "LOOKOUT_STATE": str(tmp_path / "none")}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert list(tmp_path.glob(".*")) == []
