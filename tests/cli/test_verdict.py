"""``verdict``, ``look`` and what workflows ask of ``batches cut``, on a finished state of four pictures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lookout.batches.closing import Found
from lookout.cli.verdict import Verdict
from lookout.domain.records import Slot, State

from .shell import CALM, CUT, NEW, THREAT, World
from .stages_kit import run_stage

FAILING = "porch_1763798999.jpg"


def cut(world: World, *arguments: object, code: int = 0) -> Any:
    return world.lookout("batches", "cut", "--state", "state", "--json", *arguments, code=code).json


def verdict(world: World, *arguments: object, code: int = 0) -> Any:
    return world.lookout("verdict", "--state", "state", "--json", *arguments, code=code).json


def work(world: World, *arguments: object) -> Any:
    return world.lookout("work", "--state", "state", "--workers", "1", "--json", *arguments).json


def runs(world: World) -> dict[str, tuple[str, str]]:
    listed = world.lookout("status", "--state", "state", "--json").json["runs"]
    return {run["id"]: (run["kind"], run["state"]) for run in listed}


# --- verdict ---------------------------------------------------------------------------------------------------------


def test_a_run_that_went_well_says_what_was_found_and_leaves_small_files(world: World) -> None:
    made = cut(world, "--run=wf", "--force=true", "--prefix=porch")
    work(world, "--pull", "wf")
    message = world.root / "message"
    message.touch()
    said = verdict(world, "--run=wf", "--to=out", f"--message={message}")
    assert (said["device"], said["pictures"], said["found"]) == ("porch", made["keys"], {"threat: person": 1})
    assert (said["made"] > 0, said["failures"], said["waiting"]) == (True, [], 0)
    files = {file.name: file.read_text() for file in (world.root / "out").iterdir()}
    assert files == {"device": "porch", "count": str(made["keys"]), "found": "1 threat: person", "failed": ""}
    assert message.read_text() == f"{made['keys']} picture of porch: 1 threat: person"
    assert runs(world)["wf"] == ("backfill", "success")
    assert verdict(world, "--run=wf")["found"] == said["found"], "it says the same again"


def test_a_failed_datum_is_named_where_people_look_and_is_an_exit_code(world: World) -> None:
    (world.photos / FAILING).symlink_to("nowhere")
    run_stage(world, "validate", "--run=wf", f"--object=images/{FAILING}")
    message = world.root / "message"
    message.touch()
    arguments = ("--run=wf", f"--object=images/{FAILING}", "--to=out", f"--message={message}", "--state=state")
    done = world.lookout("verdict", *arguments, code=1)
    assert done.out == ""
    assert f"failed: 1: validate of {FAILING}:" in done.err
    assert message.read_text() in done.err
    assert (world.root / "out" / "failed").read_text().startswith(f"validate of {FAILING}:")
    assert runs(world)["wf"] == ("live", "failed")


def test_a_run_of_which_nothing_was_begun_is_no_failure_of_its_own(world: World) -> None:
    """The container before it failed and has said why."""
    done = world.lookout("verdict", "--run=never", "--object=", "--batch=", "--state=state")
    assert done.out == "run never: nothing of it was begun\n"


def test_what_nobody_works_on_any_more_is_left_to_the_next_cut(world: World) -> None:
    cut(world, "--run=stopped", "--force=true")
    said = verdict(world, "--run=stopped")
    assert said["waiting"] > 0
    assert runs(world)["stopped"] == ("backfill", "stopped")
    again = cut(world, "--run=again", "--take-over=3600")
    assert again["keys"] == 4
    work(world, "--pull", "again")
    assert verdict(world, "--run=again")["waiting"] == 0


def test_a_sentence_stays_short_and_in_one_line_whatever_failed() -> None:
    slots = [Slot(stage="s", key=f"k\n{n}", state=State.FAILED, error="x" * 50) for n in range(1000)]
    found = Found(pictures=1000, failures=slots)
    found.labels.update({f"label {n}": 1 for n in range(100)})
    said = Verdict(run="r", found=found, alerts={}, refused=[])
    assert len(said.as_text()) < 1000
    assert said.as_text().isprintable()
    assert "and 995 more" in said.failed
    assert "95 other kinds" in said.remarkable
    assert said.exit_code == 1
    assert Verdict(run="r", found=Found(), alerts={}, refused=["rules/bad.json: why"]).exit_code == 1


@pytest.mark.parametrize(
    "arguments", [["--run="], [], ["--run=r", "--object=nowhere/k"], ["--run=r", "--object=images"]]
)
def test_what_a_verdict_cannot_be_of_is_refused(world: World, arguments: list[str]) -> None:
    world.lookout("verdict", *arguments, "--state=state", code=2)


# --- look ------------------------------------------------------------------------------------------------------------


def test_a_look_enters_what_an_object_is_now_and_says_so(world: World) -> None:
    def look(*names: str) -> list[str]:
        return [one["is"] for one in world.lookout("look", *names, "--state", "state", "--json").lines]

    world.put(NEW)
    assert look(f"images/{NEW}", f"images/{CALM}", "images/never_1763798400.jpg") == ["new", "known", "known"]
    (world.photos / CALM).write_bytes((world.photos / THREAT).read_bytes())
    (world.photos / CUT).unlink()
    assert look(f"images/{CALM}", f"images/{CUT}") == ["changed", "gone"]
    assert look(f"images/{NEW}", f"images/{CALM}", f"images/{CUT}") == ["known"] * 3
    waiting = cut(world)
    assert waiting["keys"] == 3
    assert "expected images/<key>" in world.refused("look", "nowhere/x", "--state", "state")


# --- cut -------------------------------------------------------------------------------------------------------------


def test_workers_are_numbered_as_many_as_there_are_batches_for(world: World) -> None:
    def numbers(*arguments: object) -> Any:
        said = cut(world, "--workers-to=numbers", *arguments)
        assert json.loads((world.root / "numbers").read_text()) == said["workers"]
        return said["workers"]

    assert numbers("--run=none", "--workers=3") == []
    assert runs(world)["none"] == ("backfill", "success")
    assert numbers("--run=two", "--workers=3", "--size=2", "--force=true") == [1, 2]
    assert numbers("--run=two", "--workers=3", "--size=2") == [1, 2], "a cut that is tried again counts what it made"
    assert numbers("--run=one", "--workers=1") == [1]
    work(world, "--pull", "one")


def test_empty_values_of_a_template_are_as_if_not_given(world: World) -> None:
    empty = ("--prefix=", "--since=", "--until=", "--stage=", "--force=false", "--take-over=")
    assert (
        cut(world, "--run=wf", *empty, "--size=200", "--workers=2", "--kind=backfill", "--reconcile=none")["keys"] == 0
    )
    for wrong in ("--size=x", "--force=perhaps", "--kind=other", "--since=soon", "--workers=0", "--reconcile=some"):
        assert world.lookout("batches", "cut", wrong, "--state=state", code=2).out == ""


def test_force_has_one_stage_done_again_and_what_is_cut_twice_with_one_run_only_once(world: World) -> None:
    arguments = ("--run=wf", "--force=true", "--stage=object-detect", f"--prefix={THREAT}")
    assert cut(world, *arguments)["keys"] == 1
    first = work(world, "--pull", "wf")
    assert first["stages"]["validate"]["success"] == 0
    assert first["stages"]["object-detect"]["success"] == 1


def test_charts_alone_can_be_forced_and_need_one_worker(world: World) -> None:
    said = cut(world, "--run=wf", "--force=true", "--stage=plot", "--workers=4")
    assert (said["keys"], said["workers"]) == (0, [1])
    assert json.loads(run_stage(world, "plot", "--pull=wf", "--json").out)["stages"]["plot"]["success"] > 0
    assert verdict(world, "--run=wf")["failures"] == []


def test_a_cut_takes_over_what_others_left_and_not_what_they_have_in_hand(world: World) -> None:
    cut(world, "--run=first", "--force=true")
    assert cut(world, "--run=live", "--kind=live")["keys"] == 0
    second = cut(world, "--run=second", "--prefix=porch")
    assert second["keys"] == 1, "of the range; the rest waits in no batch then"
    assert cut(world, "--run=third", "--take-over=60")["keys"] == 3
    states = {one["run"]: one["state"] for one in world.lookout("batches", "list", "--state=state", "--json").lines}
    assert states == {"first": "done", "second": "open", "third": "open"}


def test_reconciling_takes_in_what_no_event_told_of(world: World) -> None:
    world.put(NEW)
    (world.photos / CUT).unlink()
    recent = cut(world, "--run=a", "--kind=live", "--reconcile=recent")
    assert (recent["reconciled"]["changed"], recent["reconciled"]["gone"]) == (1, 0)
    full = cut(world, "--run=b", "--kind=live", "--reconcile=full")
    assert (full["reconciled"]["changed"], full["reconciled"]["gone"]) == (0, 1)
    assert (recent["keys"], full["keys"]) == (1, 1)
    assert runs(world)["a"] == ("live", "running")
