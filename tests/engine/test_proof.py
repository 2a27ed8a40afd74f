"""An alert is made again from its record: the same, or what differs, or what is not there any more."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from devkit.toy_pipeline import toy_pipeline
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import Alert, Mark, Output, Result, Work
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.routing import Routes
from lookout.reports.proof import Proof, Prover, Verdict
from lookout.reports.proof.findings import differences
from lookout.reports.proof.means import differs_in_runtime_only
from lookout.sources.folder import FolderSource

from .world import World, words


@pytest.fixture
def alarmed(world: World) -> World:
    world.put("a/1", "alarm")
    world.put("a/2", "calm")
    world.run(references=words(world, all="!"))
    return world


def alert_of(world: World, key: str = "a/1") -> Alert:
    with world.ledger() as ledger:
        (alert,) = (alert for alert in ledger.alerts() if alert.draft.picture_key == key)
    return alert


def prove(world: World, alert: Alert | None = None, *pipelines: Pipeline, code: str = "test") -> Proof:
    store = Routes({world.pipeline.inputs: FolderSource()}, FolderStore(world.objects, durable=False))
    with world.ledger() as ledger:
        return Prover(pipelines or (world.pipeline,), ledger, store, code).prove(alert or alert_of(world))


def everything(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
    return {str(path): path.read_bytes() for path in files}


def test_an_alert_that_comes_out_the_same_is_proved_step_by_step_and_nothing_is_written(alarmed: World) -> None:
    alert = alert_of(alarmed)
    before = everything(alarmed.root)
    proof = prove(alarmed, alert)
    assert proof.verdict is Verdict.SAME
    assert [(step.stage, step.key, step.same) for step in proof.steps] == [
        ("first", "a/1", True),
        ("second", "a/1", True),
        ("third", "a/1", True),
    ]
    assert (proof.alert, proof.differences, proof.expired, proof.obstacles, proof.remarks) == (alert.id, (), (), (), ())
    assert everything(alarmed.root) == before


def test_other_code_is_said_and_is_no_difference(alarmed: World) -> None:
    proof = prove(alarmed, code="newer")
    assert proof.verdict is Verdict.SAME
    assert proof.remarks == ("made by other code: test; this is newer",)


@pytest.mark.parametrize(
    ("kept", "made", "only"),
    [
        ({"a": 1, "runtime": "1"}, {"a": 1, "runtime": "2"}, True),
        ({"a": 1, "runtime": "1"}, {"a": 2, "runtime": "2"}, False),
        ({"a": 1, "runtime": "1"}, {"a": 1}, False),
        ({"a": 1}, {"a": 1}, False),
        ([], [], False),
    ],
)
def test_another_runtime_alone_is_told_from_another_result(kept: object, made: object, only: bool) -> None:
    assert differs_in_runtime_only(kept, made) is only


def with_runtime(version: int) -> object:
    def run(work: Work) -> Result:
        data = json.dumps({"text": work.inputs["text"].data.decode(), "passes": 1, "runtime": version}).encode()
        return Result(outputs=(Output(key=f"{work.key}.loud", data=data, content_type="application/json"),))

    return run


def older(_params: object, _references: object) -> object:
    return with_runtime(1)


def newer(_params: object, _references: object) -> object:
    return with_runtime(2)


def with_second(pipeline: Pipeline, prepare: str) -> Pipeline:
    """The pipeline in which another function prepares the second stage."""
    stages = [
        replace(stage, prepare=f"{__name__}:{prepare}") if stage.name == "second" else stage
        for stage in pipeline.stages
    ]
    return replace(pipeline, stages=tuple(stages))


def test_a_result_of_another_runtime_is_the_same_with_a_remark(world: World) -> None:
    world.pipeline = with_second(world.pipeline, "older")
    world.put("a/1", "alarm")
    world.run(references=words(world, all="!"))
    proof = prove(world, None, with_second(world.pipeline, "newer"))
    assert proof.verdict is Verdict.SAME
    assert proof.remarks == ("second of a/1: second/a/1.loud: made with 1, here with 2",)
    assert [step.made_with for step in proof.steps] == [{}, {"passes": 1, "runtime": 2}, {}]


def test_a_replaced_picture_and_word_are_still_proved_with_what_they_were(alarmed: World) -> None:
    alert = alert_of(alarmed)
    alarmed.put("a/1", "now calm")
    alarmed.run(references=words(alarmed, all="?"))
    assert prove(alarmed, alert).verdict is Verdict.SAME, "the same bytes are kept as a version of what was made"


def test_a_deleted_picture_is_proved_as_long_as_its_bytes_are_kept(alarmed: World) -> None:
    alert = alert_of(alarmed)
    (alarmed.source / "a/1").unlink()
    alarmed.run()
    assert prove(alarmed, alert).verdict is Verdict.SAME
    FolderStore(alarmed.objects, durable=False).collect(float("inf"))
    proof = prove(alarmed, alert)
    assert proof.verdict is Verdict.UNKNOWN
    assert proof.expired == (f"texts/a/1 with sha256 {alert.draft.picture_sha256}",)
    assert [step.same for step in proof.steps] == [None, None, None]


def test_lost_results_are_proved_by_making_them_again(alarmed: World) -> None:
    for path in [path for path in alarmed.objects.rglob("*") if path.is_file() and "words" not in str(path)]:
        path.unlink()
    assert prove(alarmed).verdict is Verdict.SAME


def test_a_lost_reference_is_named(alarmed: World) -> None:
    (alarmed.objects / "words" / "all.txt" / "word").unlink()
    proof = prove(alarmed)
    assert proof.verdict is Verdict.UNKNOWN
    assert [item.split(" ")[0] for item in proof.expired] == ["words/all.txt/word"]
    assert [step.same for step in proof.steps] == [True, None, True], "what does not need it is still proved"


def test_a_stage_that_gives_something_else_now_differs_in_what_it_says(alarmed: World) -> None:
    """As after a change of code without a new version."""
    stages = [
        replace(stage, prepare=f"{__name__}:louder") if stage.name == "second" else stage
        for stage in alarmed.pipeline.stages
    ]
    proof = prove(alarmed, None, replace(alarmed.pipeline, stages=tuple(stages)))
    assert proof.verdict is Verdict.DIFFERS
    assert [step.same for step in proof.steps] == [True, False, True], "the others ran on what was recorded"
    assert {item.where for item in proof.differences} == {
        "second of a/1: second/a/1.loud: sha256",
        "second of a/1: second/a/1.loud: bytes",
        "second of a/1: label",
    }


def louder(params: object, references: object) -> object:
    def run(work: Work) -> Result:
        data = work.inputs["text"].data.upper() + b"!!!!"
        return Result(outputs=(Output(key=f"{work.key}.loud", data=data, content_type="text/plain"),), label="louder")

    return run


def broken(params: object, references: object) -> object:
    raise RuntimeError("it cannot be made ready")


def test_a_stage_that_fails_now_differs(alarmed: World) -> None:
    stages = [
        replace(stage, prepare=f"{__name__}:broken") if stage.name == "third" else stage
        for stage in alarmed.pipeline.stages
    ]
    proof = prove(alarmed, None, replace(alarmed.pipeline, stages=tuple(stages)))
    (difference,) = proof.differences
    assert (difference.where, difference.kept) == ("third of a/1", "success")
    assert difference.made == "RuntimeError: it cannot be made ready"


def test_the_recipe_that_was_in_force_is_found_among_those_given(alarmed: World) -> None:
    newer = toy_pipeline(mark="?")
    assert prove(alarmed, None, newer, toy_pipeline()).verdict is Verdict.SAME
    proof = prove(alarmed, None, newer)
    assert proof.verdict is Verdict.UNKNOWN
    (obstacle,) = proof.obstacles
    assert obstacle.startswith("second of a/1 was made by a recipe")
    assert [step.same for step in proof.steps] == [True, None, True]


def test_an_alert_that_was_tampered_with_differs(alarmed: World) -> None:
    alert = alert_of(alarmed)
    other = replace(alert, draft=replace(alert.draft, recipient="other@example.com"))
    assert {item.where for item in prove(alarmed, other).differences} >= {"the alert's id"}
    told = replace(alert, draft=replace(alert.draft, detail={"told": "more"}))
    assert [item.where for item in prove(alarmed, told).differences] == ["the alert.detail.told"]
    moved = replace(alert, evidence=replace(alert.evidence, sha256="0" * 64))
    assert [item.where for item in prove(alarmed, moved).differences] == ["the alert's evidence"]
    nowhere = replace(alert, datum_hash="0" * 64)
    assert prove(alarmed, nowhere).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("what", ["picture", "word"])
def test_a_record_whose_inputs_were_exchanged_differs_in_its_hash(alarmed: World, what: str) -> None:
    alert = alert_of(alarmed)
    with sqlite3.connect(alarmed.root / "state" / "ledger.sqlite") as connection:
        rows = connection.execute("SELECT id, body FROM records WHERE stage = 'second' AND key = 'a/1'").fetchall()
        ((id_, body),) = rows
        parts = json.loads(body)
        other = connection.execute("SELECT body FROM records WHERE stage = 'second' AND key = 'a/2'").fetchone()
        if what == "picture":
            parts[2][0] = json.loads(other[0])[2][0]
        else:
            parts[2][1][3] = "0" * 64
        connection.execute("UPDATE records SET body = ? WHERE id = ?", (json.dumps(parts), id_))
    connection.close()
    proof = prove(alarmed, alert)
    assert proof.verdict is Verdict.DIFFERS
    assert "the hash of second of a/1" in {item.where for item in proof.differences}


def test_a_datum_done_anew_on_purpose_is_proved(alarmed: World) -> None:
    for salt in ("one", "two"):
        with alarmed.ledger() as ledger:
            ledger.mark([Mark(stage=stage, key="a/1") for stage in ("first", "second", "third")], salt=salt)
        alarmed.run()
    proof = prove(alarmed)
    assert proof.verdict is Verdict.SAME
    with alarmed.ledger() as ledger:
        ledger.mark([Mark(stage="second", key="a/1")], salt="three")
    assert prove(alarmed).verdict is Verdict.SAME


def test_differences_name_each_leaf() -> None:
    kept = {"a": [1, {"b": 2.0}], "c": "x", "gone": None}
    made = {"a": [1, {"b": 2}, 3], "c": "y"}
    found = [(item.where, item.kept, item.made) for item in differences("x", kept, made)]
    assert found == [("x.a[1].b", 2.0, 2), ("x.a[2]", None, 3), ("x.c", "x", "y")]
    assert list(differences("x", {}, {})) == []
