"""``ls``, ``get`` and ``history`` on a state folder, and what ``init`` and ``upload`` say where no server is named."""

from __future__ import annotations

import json
import shutil

import pytest

from lookout.domain.identity import sha256
from lookout.object_store.port import STATUS_KEY

from .shell import CALM, CUT, PHOTOS, THREAT, UNNAMED, World

RESULT = f"threat-detect/{THREAT.replace('_', '/')}"


@pytest.mark.parametrize("command", ["init", "upload", "ls", "get", "history"])
def test_each_has_help_on_every_option(empty_world: World, command: str) -> None:
    text = empty_world.lookout(command, "--help").out
    assert text.startswith(f"Usage: lookout {command}")
    assert ("--json" in text) == (command != "get")


def test_without_a_store_there_is_nothing_to_upload_to_or_to_make(empty_world: World) -> None:
    empty_world.put(THREAT)
    said = empty_world.refused("upload", "photos")
    assert said.startswith("lookout: LOOKOUT_STORE: is not set")
    assert "lookout run FOLDER" in said
    assert empty_world.refused("init").startswith("lookout: LOOKOUT_STORE: is not set")
    assert not empty_world.state.exists()


def test_renewing_needs_a_folder_for_what_is_renewed(empty_world: World) -> None:
    store = {
        "LOOKOUT_STORE": "s3+http://127.0.0.1:1",
        "LOOKOUT_STORE_ACCESS_KEY": "a",
        "LOOKOUT_STORE_SECRET_KEY": "b",
    }
    assert "--renew: expected --users FOLDER" in empty_world.refused("init", "--renew", env=store)
    assert empty_world.lookout("init", "--keep-days", "6", env=store, code=2).out == ""
    assert empty_world.lookout("upload", env=store, code=2).out == ""


def test_buckets_and_objects_of_a_state_are_listed(world: World) -> None:
    places = world.lookout("ls", "--state", "state", "--json").json
    assert [place["bucket"] for place in places][:4] == ["images", "devices", "model", "rules"]
    assert places[0]["where"] == str(world.photos)
    found = world.lookout("ls", "images", "--state", "state", "--json").lines
    assert [item["key"] for item in found] == sorted([THREAT, CALM, UNNAMED, CUT])
    assert found[-1]["size"] == (PHOTOS / CUT).stat().st_size
    visible = [path.partition("/")[2] for path in world.results() if path.startswith("plot/")]
    listed = world.lookout("ls", "plot", "--state", "state", "--json").lines
    assert [item["key"] for item in listed if item["key"] != STATUS_KEY] == sorted(visible)
    assert [item["key"] for item in world.lookout("ls", "plot/data/", "--state", "state", "--json").lines] == [
        key for key in sorted(visible) if key.startswith("data/")
    ]
    assert world.lookout("ls", "plot/nothing", "--state", "state").out == ""


def test_an_object_of_a_state_is_read(world: World) -> None:
    world.lookout("get", RESULT, "-o", "out", "--state", "state")
    assert (world.root / "out").read_bytes() == world.results()[RESULT]
    world.lookout("get", f"images/{THREAT}", "-o", "out", "--state", "state")
    assert (world.root / "out").read_bytes() == (PHOTOS / THREAT).read_bytes()
    text = world.lookout("get", RESULT.replace(".jpg", ".json"), "--state", "state").out
    assert json.loads(text)["image"]["sha256"] == sha256((PHOTOS / THREAT).read_bytes())
    (rule,) = world.lookout("ls", "rules", "--state", "state", "--json").lines
    assert json.loads(world.lookout("get", f"rules/{rule['key']}", "--state", "state").out)


def test_the_history_in_a_state_is_what_the_ledger_remembers(world: World) -> None:
    (first,) = world.lookout("history", RESULT, "--state", "state", "--json").lines
    assert (first["named"], first["visible"], first["kept"], first["removed"]) == (True, True, True, False)
    shutil.copyfile(PHOTOS / CALM, world.photos / THREAT)
    world.run()
    (gone,) = world.lookout("history", RESULT, "--state", "state", "--json").lines
    assert (gone["named"], gone["visible"], gone["kept"]) == (False, False, True)
    assert (gone["version"], gone["datum"], gone["run"]) == (first["version"], first["datum"], first["run"])
    assert "the ledger names no version of it" in world.refused("get", RESULT, "--state", "state")
    world.lookout("get", RESULT, "--version", gone["version"], "-o", "old", "--state", "state")
    assert sha256((world.root / "old").read_bytes()) == first["sha256"]
    (picture,) = world.lookout("history", f"images/{THREAT}", "--state", "state", "--json").lines
    assert (picture["sha256"], picture["named"]) == (sha256((PHOTOS / CALM).read_bytes()), True)
    world.lookout("get", f"images/{THREAT}", "--version", picture["version"], "-o", "old", "--state", "state")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("ls", "nothing"), "no such bucket: 'nothing'; there are images"),
        (("get", "images"), "expected BUCKET/KEY"),
        (("get", "images/"), "expected BUCKET/KEY"),
        (("get", "images/nothing.jpg"), "the ledger names no version of it"),
        (("get", "validate/nothing"), "the ledger names no version of it"),
        (("get", f"images/{THREAT}", "--version", "0" * 64), "no version"),
        (("history", "nothing/a"), "no such bucket"),
        (("history", "validate/nothing"), "no such object"),
        (("get", f"images/{THREAT}", "-o", "no/folder"), "cannot be written"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(world: World, command: tuple[str, ...], said: str) -> None:
    assert said.replace("; there", " (there") in world.refused(*command, "--state", "state")
