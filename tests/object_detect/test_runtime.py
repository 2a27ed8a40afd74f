"""ONNX Runtime sends nothing to anybody: with its telemetry on, it keeps an id of the device in a temporary file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lookout.config.settings import PROVIDERS, Settings
from lookout.domain.errors import InputRejected
from stages.object_detect.runtime import find_provider, ort

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


@pytest.mark.parametrize("value", [None, "", "cpu"])
def test_the_cpu_is_the_default(value: str | None) -> None:
    environment = {} if value is None else {"LOOKOUT_PROVIDER": value}
    assert find_provider(environment) == "CPUExecutionProvider"


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(InputRejected, match="LOOKOUT_PROVIDER: expected cpu, cuda, openvino, got 'tpu'"):
        find_provider({"LOOKOUT_PROVIDER": "tpu"})


@pytest.mark.parametrize("name", ["cuda", "openvino"])
def test_a_provider_that_this_build_lacks_is_refused_and_not_replaced(name: str) -> None:
    if any(one.lower().startswith(name) for one in ort.get_available_providers()):
        pytest.skip("this build has it")
    with pytest.raises(InputRejected, match=r"has no .*ExecutionProvider, only .*CPUExecutionProvider"):
        find_provider({"LOOKOUT_PROVIDER": name})


def test_the_entry_points_know_the_same_providers() -> None:
    for name in PROVIDERS:
        assert Settings.from_environment({"LOOKOUT_PROVIDER": name}).provider == name
    with pytest.raises(InputRejected, match="LOOKOUT_PROVIDER: expected cpu, cuda, openvino, got 'tpu'"):
        Settings.from_environment({"LOOKOUT_PROVIDER": "tpu"})
