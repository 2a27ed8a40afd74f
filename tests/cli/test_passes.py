"""Passes and the shipped model by the command line: what stays in force, what is done again, and that nobody is mailed
twice."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lookout.cli import cli
from lookout.domain.identity import sha256
from stages.installation import INSTALLATION
from tests.object_detect.models import ROOT, manifest_bytes, weights

from .shell import World


def counts(said: Any) -> tuple[int, int]:
    """Datums of object-detect that were done, and skipped."""
    return said["stages"]["object-detect"]["success"], said["stages"]["object-detect"]["skipped"]


def report(world: World, name: str = "porch/1763798400") -> Any:
    return json.loads(world.results()[f"object-detect/{name}.json"])


def alert_ids(world: World) -> list[str]:
    return [item["id"] for item in world.lookout("alerts", "list", "--state", "state", "--json").lines]


def test_passes_stay_in_force_until_others_are_given(world: World) -> None:
    assert report(world)["passes"]["chosen"] == "model"
    assert counts(world.run("--passes", "320x320")) == (2, 0)
    assert report(world)["passes"]["chosen"] == "320x320"
    assert counts(world.run()) == (0, 2)
    plan = world.lookout("plan", "--passes", "whole", "--state", "state", "--json").json
    assert plan["stages"]["object-detect"] == {"process": {"recipe": 2}}
    back = world.run("--passes", "model")
    assert counts(back) == (2, 0)
    assert set(back["alerts"].values()) == {0}
    assert len(world.letters()) == 2


def test_an_alert_is_proved_with_the_passes_that_were_chosen_then(empty_world: World) -> None:
    empty_world.put("gate_1763809200.jpg")
    rules = Path(ROOT / "examples" / "rules")
    assert sum(empty_world.run("--rules", rules, "--passes", "640x384")["threats"].values()) == 1
    empty_world.run("--passes", "whole")
    alert = alert_ids(empty_world)[0]
    said = empty_world.lookout("verify", alert, "--state", "state", "--json").json
    assert (said["verdict"], said["obstacles"]) == ("same", [])
    (made_with,) = (step["made_with"] for step in said["steps"] if step["stage"] == "object-detect")
    assert [one["input"] for one in made_with["passes"]["done"]] == [[300, 300], [672, 384]]
    assert made_with["runtime"]["provider"] == "CPUExecutionProvider"
    assert '"provider": "CPUExecutionProvider"' in empty_world.lookout("verify", alert, "--state", "state").out


@pytest.mark.parametrize("text", ["", "1", "768", "tiles:1", "768x448,", "whole,model"])
def test_other_passes_are_refused(empty_world: World, text: str) -> None:
    said = empty_world.call("run", "photos", "--passes", text, code=2).err
    assert "expected model, whole, 768x448,1280x736 or tiles:3" in said


def test_a_provider_that_is_unknown_or_not_there_is_refused(empty_world: World) -> None:
    said = empty_world.refused("run", "photos", env={"LOOKOUT_PROVIDER": "gpu"})
    assert "LOOKOUT_PROVIDER: expected cpu, cuda, openvino, got 'gpu'" in said
    said = empty_world.refused("run", "photos", env={"LOOKOUT_PROVIDER": "cuda"})
    assert "has no CUDAExecutionProvider" in said


# --- the shipped model -----------------------------------------------------------------------------------------------


def older_model(folder: Path) -> Path:
    """The shipped model as an earlier version shipped it: one pass only."""
    folder.mkdir()
    tree = json.loads((ROOT / "models" / "ssdlite_mobilenet_v2_coco.json").read_text())
    del tree["passes"]
    (folder / "m.json").write_text(json.dumps(tree))
    (folder / "m.onnx").write_bytes((ROOT / "models" / "ssdlite_mobilenet_v2_coco.onnx").read_bytes())
    return folder


def run_installed(world: World, *shipped_before: str) -> Any:
    """``lookout run`` of a version that knows these files as shipped by earlier ones."""
    variables = {name: None for name in os.environ if name.startswith("LOOKOUT_")} | world.variables()
    with contextlib.chdir(world.root):
        ended = CliRunner().invoke(
            cli,
            ["run", "photos", "--state", "state", "--json", "--workers", "1"],
            obj=replace(INSTALLATION, shipped_before=frozenset(shipped_before)),
            env=variables,
        )
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def test_a_model_that_was_shipped_before_gives_way_once_and_nobody_is_mailed_again(empty_world: World) -> None:
    world = empty_world
    world.put("gate_1763809200.jpg", "kitchen_1763798520.jpg")
    model = older_model(world.root / "older")
    first = world.run("--model", model, "--rules", ROOT / "examples" / "rules")
    letters, alerts = world.letters(), alert_ids(world)
    assert (counts(first), bool(letters)) == ((2, 0), True)
    gate = "object-detect/gate/1763809200.json"
    assert len(json.loads(world.results()[gate])["passes"]["done"]) == 1

    assert counts(run_installed(world, "0" * 64)) == (0, 2)  # somebody chose it: it stays
    switched = run_installed(world, sha256((model / "m.json").read_bytes()))
    assert counts(switched) == (2, 0)
    assert switched["stages"]["validate"]["success"] == 0
    assert set(switched["alerts"].values()) == {0}
    assert len(json.loads(world.results()[gate])["passes"]["done"]) == 2
    assert (world.letters(), alert_ids(world)) == (letters, alerts)
    assert counts(world.run()) == (0, 2)


def put_fixed_model(world: World) -> None:
    """A model whose input has one size."""
    (world.root / "fixed").mkdir()
    (world.root / "fixed" / "m.onnx").write_bytes(weights("yolov8"))
    (world.root / "fixed" / "m.json").write_bytes(manifest_bytes("yolov8"))


def test_passes_that_the_model_cannot_do_are_refused_before_any_work_and_do_not_stay(empty_world: World) -> None:
    world = empty_world
    world.put("gate_1763809200.jpg")
    put_fixed_model(world)
    given = ("run", "photos", "--state", "state", "--model", "fixed")
    said = world.refused(*given, "--passes", "640x384")
    assert "the model in force cannot do 640x384: " in said
    assert "passes of another size need an input of any size" in said
    with world.ledger() as ledger:
        assert ledger.count_inputs("images") == 0
    assert counts(world.run()) == (1, 0)
    assert report(world, "gate/1763809200")["passes"]["chosen"] == "model"
    assert counts(world.run("--passes", "tiles:2")) == (1, 0)


def test_a_model_that_cannot_do_the_passes_in_force_is_told_before_any_work(empty_world: World) -> None:
    world = empty_world
    world.put("gate_1763809200.jpg")
    put_fixed_model(world)
    world.run("--passes", "640x384")
    assert "cannot do 640x384" in world.refused("run", "photos", "--state", "state", "--model", "fixed")
    assert "cannot do 640x384" in world.refused("run", "photos", "--state", "state")
    assert counts(world.run("--passes", "model")) == (1, 0)
