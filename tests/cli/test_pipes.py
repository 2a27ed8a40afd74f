"""A pipe without a writer, or a sparse file of 30 GB, where a command expects a file: refused by name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from .shell import MODELS, RULES, THREAT, World

HUGE = 30 * 1000**3


def _huge(path: Path) -> Path:
    path.touch()
    os.truncate(path, HUGE)
    return path


@pytest.fixture
def pipe(empty_world: World) -> Path:
    path = empty_world.root / "pipe.json"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("rules", "check", "pipe.json"), 1),
        (("rules", "simulate", "pipe.json", "-"), 2),
        (("rules", "simulate", RULES, "pipe.json"), 2),
        (("rules", "test", RULES, "pipe.json"), 2),
        (("model", "check", "pipe.json"), 2),
        (("model", "check", MODELS, "pipe.json"), 2),
        (("model", "init", "pipe.json"), 2),
        (("names", "try", "photos", "--devices", "pipe.json"), 2),
        (("run", "photos", "--state", "state", "--rules", "pipe.json"), 2),
        (("run", "photos", "--state", "state", "--model", "pipe.json"), 2),
        (("run", "photos", "--state", "state", "--devices", "pipe.json"), 2),
    ],
)
def test_a_pipe_where_a_file_is_expected_is_refused(
    empty_world: World, pipe: Path, command: tuple[str, ...], code: int
) -> None:
    done = empty_world.lookout(*command, code=code)
    assert "pipe" in (done.out + done.err).replace("pipe.json", "")


def test_a_huge_file_is_refused_by_its_size(empty_world: World) -> None:
    huge = _huge(empty_world.root / "huge.json")
    assert str(HUGE) in empty_world.lookout("rules", "check", huge, code=1).out
    assert str(HUGE) in empty_world.refused("model", "check", MODELS, huge)
    assert str(HUGE) in empty_world.refused("model", "check", huge)
    assert str(HUGE) in empty_world.refused("names", "try", "photos", "--devices", huge)


def test_a_pipe_and_a_huge_file_among_rules_harm_no_other(empty_world: World) -> None:
    empty_world.put(THREAT)
    rules = empty_world.root / "rules"
    shutil.copytree(RULES, rules)
    _huge(rules / "huge.json")
    os.mkfifo(rules / "pipe.json")
    said = empty_world.run("--rules", "rules")
    reasons = {one["name"]: one["reason"] for one in said["refused"]}
    assert str(HUGE) in reasons["huge.json"]
    assert "not a regular file" in reasons["pipe.json"]
    assert said["threats"] == {"porch": 1}

    checked = {
        one["file"]: one.get("reason", "")
        for one in empty_world.lookout("rules", "check", rules, "--json", code=1).lines
    }
    assert str(HUGE) in checked["huge.json"]
    assert "pipe" in checked["pipe.json"].replace("pipe.json", "")
    assert not checked["home.json"]


@pytest.mark.parametrize("name", ["state.id", "state.id.part", "ledger.sqlite"])
def test_a_pipe_in_a_state_is_never_waited_for(world: World, name: str) -> None:
    path = world.state / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    if name == "state.id.part":
        (world.state / "state.id").unlink()
        world.run()
        assert (world.state / "state.id").is_file()
    else:
        assert name in world.lookout("status", "--state", "state", code=65).err
        assert name in world.lookout("run", "photos", "--state", "state", code=65).err


def test_a_photo_that_is_a_pipe_has_no_tags(empty_world: World) -> None:
    os.mkfifo(empty_world.root / "porch_1763798400.jpg")
    empty_world.lookout("names", "read", "porch_1763798400.jpg")
