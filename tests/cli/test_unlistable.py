"""Subfolders of the source that cannot be listed: named, and in the way of nothing else."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .shell import CALM, NEW, PHOTOS, RULES, UNNAMED, World, modes_are_obeyed, nest, obey_modes


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.put(CALM)
    (world.photos / "yard").mkdir()
    (world.photos / "yard" / NEW).write_bytes((PHOTOS / NEW).read_bytes())
    return world


def test_a_folder_that_may_not_be_listed_ends_no_run_and_loses_nothing(world: World) -> None:
    if not modes_are_obeyed(world.root):
        pytest.skip("this user passes over the modes of files")
    world.run("--rules", RULES)
    before = world.results()
    (world.photos / CALM).unlink()
    world.put(UNNAMED)
    (world.photos / "yard").chmod(0)
    ran = world.run(code=75, before=obey_modes)
    assert list(ran["unlistable"]) == ["yard/"]
    assert "permission denied" in ran["unlistable"]["yard/"]
    assert (ran["pictures"], ran["retracted"], ran["stages"]["validate"]["success"]) == (2, 1, 1)
    yard = {path for path in before if f"yard/{NEW.removesuffix('.jpg')}" in path}
    assert yard
    assert yard <= world.results().keys()
    told = world.lookout("status", "--state", "state").out
    assert "NOT LISTED: 1 folder" in told
    assert "yard/: permission denied" in told
    assert world.lookout("status", "--state", "state", "--json").json["unlistable"] == ran["unlistable"]
    planned = world.lookout("plan", "photos", "--state", "state", "--json", before=obey_modes).json
    assert "yard/" in planned["warning"]
    (world.photos / "yard").chmod(0o755)
    (world.photos / "yard" / "kitchen_1763798521.jpg").write_bytes((PHOTOS / CALM).read_bytes())
    again = world.run()
    assert (again["unlistable"], again["retracted"], again["stages"]["validate"]["success"]) == ({}, 0, 1)
    assert world.lookout("status", "--state", "state", "--json").json["unlistable"] == {}


def test_reconcile_names_the_folder_and_takes_in_all_else(world: World) -> None:
    if not modes_are_obeyed(world.root):
        pytest.skip("this user passes over the modes of files")
    world.run("--rules", RULES)
    world.put(UNNAMED)
    (world.photos / "yard").chmod(0)
    reconcile = ("upkeep", "reconcile", "--state", "state")
    done = world.lookout(*reconcile, "--json", code=75, before=obey_modes).json
    assert (done["changed"], done["gone"], list(done["unlistable"])) == (1, 0, ["yard/"])
    assert "yard/" in world.lookout(*reconcile, code=75, before=obey_modes).out
    world.put("porch_1763798400.jpg")
    recent = world.lookout(*reconcile, "--recent", "--json", before=obey_modes, env={"LOOKOUT_LOG": "warning"})
    assert recent.json["changed"] == 1
    assert "yard" in recent.err
    (world.photos / "yard").chmod(0o755)
    assert world.lookout(*reconcile, "--json").json["unlistable"] == {}


def test_folders_nested_beyond_the_path_limit_end_no_run(world: World) -> None:
    nest(world.photos / "yard")
    ran = world.run("--rules", RULES, code=75)
    assert list(ran["unlistable"].values()) == ["file name too long"]
    assert ran["stages"]["validate"]["success"] == 2


def test_a_watch_takes_in_what_is_beside_a_folder_that_cannot_be_listed(world: World) -> None:
    nest(world.photos / "yard")
    with world.start("watch", "photos", "--state", "state", "--json", "--rules", RULES, "--workers", "1") as watch:
        watch.expect(stage="validate", key=CALM, state="success")
        watch.expect(stage="validate", key=f"yard/{NEW}", state="success")
        world.put(UNNAMED)
        watch.expect(stage="validate", key=UNNAMED, state="success")
        assert watch.stop(signal.SIGTERM) == 130
    assert list(world.lookout("status", "--state", "state", "--json").json["unlistable"].values())
