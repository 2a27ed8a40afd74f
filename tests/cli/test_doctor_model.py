"""A model in force that this version cannot use, or no longer dares to, is named by ``lookout doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lookout.app.deployment import Program
from lookout.config.settings import Settings
from lookout.domain.identity import sha256
from lookout.domain.records import Reference
from stages.installation import INSTALLATION
from tests.object_detect.models import manifest_bytes, weights
from tests.object_detect.test_external import PLACES, external

from .shell import World


def enforce(state: Path, data: bytes) -> None:
    """Have a model in force that no examination has seen, as one that an older version accepted."""
    manifest = manifest_bytes("yolov8", sha256=sha256(data))
    settings = Settings.from_environment({"LOOKOUT_STATE": str(state), "LOOKOUT_DURABLE": "0"})
    with Program(settings=settings, installation=INSTALLATION).open(create=True) as opened:
        files = {
            role: opened.store.put("model", f"m/{role}", one, "application/octet-stream")
            for role, one in (("manifest", manifest), ("weights", data))
        }
        opened.ledger.enforce("model", [Reference(bucket="model", name="m", files=files)])


def model_check(world: World, code: int) -> dict[str, object]:
    checks = json.loads(world.lookout("doctor", "--state", "state", "--json", code=code).out)["checks"]
    (found,) = (check for check in checks if check["name"] == "model")
    return dict(found)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (PLACES["an initializer"](external("canary")), "the model has weights outside of its file"),
        (weights("opset_too_new"), "its opset 99 of ai.onnx is too new"),
        (weights("end_to_end"), "set decoder to 'end-to-end'"),
    ],
    ids=["weights outside", "opset", "end-to-end"],
)
def test_a_model_that_cannot_be_used_is_bad(empty_world: World, data: bytes, sentence: str) -> None:
    enforce(empty_world.state, data)
    found = model_check(empty_world, 1)
    assert found["ok"] is False
    assert sentence in str(found["found"])
    assert "--model" in str(found["hint"])


def test_a_model_that_can_be_used_is_all_right(empty_world: World) -> None:
    enforce(empty_world.state, weights("yolov8"))
    found = model_check(empty_world, 0)
    assert (found["ok"], found["found"]) == (True, "m")
