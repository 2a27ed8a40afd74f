"""Models and rules that cannot be used: refused with the reason, and the last good ones stay in force."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from lookout.domain.errors import InputRejected
from lookout.execution.executor import InlineWorkers
from lookout.ledger.sqlite import SqliteLedger
from lookout.object_store.folder.store import FolderStore
from lookout.references.activation import propose
from stages.installation import INSTALLATION

from .shell import MODELS, RULES, World

ONNX = Path(__file__).parents[1] / "object_detect" / "fixtures"


# --- models ----------------------------------------------------------------------------------------------------------


def _manifest(world: World, **fields: object) -> Path:
    folder = world.root / "model"
    folder.mkdir()
    source = next(MODELS.glob("*.json"))
    (folder / source.name).write_text(json.dumps({**json.loads(source.read_text()), **fields}))
    return folder


def _foreign_inputs(world: World) -> None:
    data = (ONNX / "foreign.onnx").read_bytes()
    _manifest(world, sha256=hashlib.sha256(data).hexdigest())
    (world.root / "model" / "foreign.onnx").write_bytes(data)


def _no_onnx(world: World) -> None:
    _manifest(world, sha256=hashlib.sha256(b"no network").hexdigest())
    (world.root / "model" / "weights.onnx").write_bytes(b"no network")


def _other_hash(world: World) -> None:
    _manifest(world)
    (world.root / "model" / "weights.onnx").write_bytes((ONNX / "spot.onnx").read_bytes())


def _weights_alone(world: World) -> None:
    (world.root / "model").mkdir()
    (world.root / "model" / "weights.onnx").write_bytes((ONNX / "spot.onnx").read_bytes())


def _keras(world: World) -> None:
    (world.root / "model").mkdir()
    (world.root / "model" / "weights.h5").write_bytes(b"\x89HDF")


def _refusal(world: World, bucket: str) -> str:
    """The sentence with which the files of this name in the world's folder are refused, as a run begins with it."""
    (uses,) = (
        stage.references
        for stage in INSTALLATION.pipeline.stages
        if stage.references is not None and stage.references.bucket == bucket
    )
    store = FolderStore(world.root / "objects", durable=False)
    with closing(SqliteLedger(world.root / "ledger.sqlite")) as ledger:
        with pytest.raises(InputRejected) as caught:
            propose(ledger, store, InlineWorkers(store), uses, world.root / bucket).activate()
        assert ledger.references(bucket) == ()
    return str(caught.value)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda world: None, "no such file or folder"),
        (lambda world: (world.root / "model").mkdir(), "no usable file"),
        (_weights_alone, "no manifest"),
        (_other_hash, "sha256"),
        (_no_onnx, "weights.onnx"),
        (_foreign_inputs, "foreign.onnx"),
        (_keras, "ONNX"),
    ],
    ids=["missing", "empty", "no-manifest", "wrong-hash", "not-onnx", "other-inputs", "other-form"],
)
def test_a_model_that_cannot_be_used_is_refused_when_there_is_none_yet(
    empty_world: World, make: object, why: str
) -> None:
    assert callable(make)
    make(empty_world)
    assert why in _refusal(empty_world, "model")


def test_a_run_with_a_first_model_that_cannot_be_used_is_refused_with_the_reason(empty_world: World) -> None:
    _foreign_inputs(empty_world)
    assert "foreign.onnx" in empty_world.refused("run", "photos", "--state", "state", "--model", "model")
    assert empty_world.lookout("status", "--state", "state", "--json").json["in_force"]["model"] == []


def test_a_model_that_cannot_be_used_leaves_the_last_good_one_in_force(world: World) -> None:
    _foreign_inputs(world)
    said = world.run("--model", "model")
    assert "foreign.onnx" in said["refused"][0]["reason"]
    assert said["stages"]["object-detect"] == {"success": 0, "skipped": 2, "failed": 0, "unrunnable": 0}


# --- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (None, "no such file or folder"),
        ({}, "no usable file"),
        ({"notes.md": "hello"}, "no usable file"),
        ({"home.json": "{"}, "home.json: line 1"),
        ({"home.yaml": "rules: []"}, "home.yaml"),
        ({"home.json": '{"version": 1, "rules": [{"name": "x"}]}'}, "rules[0]"),
    ],
)
def test_rules_that_cannot_be_used_are_refused_when_there_are_none_yet(
    empty_world: World, files: dict[str, str] | None, why: str
) -> None:
    if files is not None:
        (empty_world.root / "rules").mkdir()
        for name, text in files.items():
            (empty_world.root / "rules" / name).write_text(text)
    assert why in _refusal(empty_world, "rules")


def test_a_run_with_first_rules_that_cannot_be_used_is_refused_with_the_reason(empty_world: World) -> None:
    (empty_world.root / "rules").mkdir()
    (empty_world.root / "rules" / "home.json").write_text("{")
    assert "home.json: line 1" in empty_world.refused("run", "photos", "--state", "state", "--rules", "rules")


def test_one_badly_named_rule_file_harms_no_other(world: World) -> None:
    shutil.copyfile(RULES / "home.json", os.fsencode(world.root / "rules") + b"/\xff.json")
    said = world.run("--rules", "rules")
    assert "not valid UTF-8" in said["refused"][0]["reason"]
    assert said["threats"] == {"porch": 1}
    assert "not valid UTF-8" in world.refused("run", "photos", "--state", "state", "--rules", b"rules\xff")
