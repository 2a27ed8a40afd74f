"""Names of pictures by the real command: as JSON, for people, and lists that cannot be used."""

from __future__ import annotations

import json

from .shell import THREAT, World


def test_names_are_read_by_a_list_as_json_and_for_people(empty_world: World) -> None:
    document = {
        "names": [
            {"pattern": "**/thumbnails/**", "ignore": True},
            {"preset": "reolink"},
            {"pattern": "{device}/snapshot.jpg", "time": "arrival"},
        ],
        "zone": "Europe/Vienna",
    }
    (empty_world.root / "devices.json").write_text(json.dumps(document))
    paths = ("a/cam_01_20221115233531.jpg", "a/thumbnails/x.jpg", "front/snapshot.jpg", "IMG_0001.jpg", THREAT)
    options = ("--devices", "devices.json", "--first-seen", "2026-11-30T09:00:00")
    done = empty_world.lookout("names", "read", *paths, *options, "--json", code=1)
    entry = "devices.json: names"
    read, ignored, arrived, unread, usual = done.lines
    assert read == {
        "path": paths[0],
        "device": "cam_01",
        "captured_at": "2022-11-15T22:35:31Z",
        "seq": None,
        "event": None,
        "flags": [],
        "entry": f"{entry}[1] (reolink)",
    }
    assert ignored == {"path": paths[1], "ignored": True, "entry": f"{entry}[0]"}
    assert (arrived["device"], arrived["captured_at"], arrived["flags"]) == (
        "front",
        "2026-11-30T09:00:00Z",
        ["time-of-arrival"],
    )
    assert (unread["path"], unread["reason"], unread["entry"]) == (paths[3], "name", None)
    assert (usual["device"], usual["entry"]) == ("porch", "built in")
    said = empty_world.lookout("names", "read", *paths, *options, code=1).out.splitlines()
    assert said[0] == f"{paths[0]}: cam_01, 2022-11-15T22:35:31Z ({entry}[1] (reolink))"
    assert said[1] == f"{paths[1]}: ignored ({entry}[0])"
    assert said[3].startswith(f"{paths[3]}: name: No entry reads the name.")


def test_a_list_that_cannot_be_used_is_refused_with_its_place(empty_world: World) -> None:
    for text, why in (
        ("{", "not JSON"),
        ('{"names": [{"preset": "nikon"}]}', "devices.json: names[0]: unknown preset 'nikon'"),
        ('{"zone": "Mars"}', "'Mars' is not a time zone"),
    ):
        (empty_world.root / "devices.json").write_text(text)
        assert why in empty_world.refused("names", "read", "x.jpg", "--devices", "devices.json")
    assert "cannot be read" in empty_world.refused("names", "read", "x.jpg", "--devices", "nowhere.json")


def test_a_folder_of_cameras_is_read_after_two_commands(empty_world: World) -> None:
    folder = empty_world.root / "cameras"
    paths = (
        "porch/01-20261130120001-00.jpg",
        "porch/84-20261130120002-snapshot.jpg",
        "b1/AMC/2026-02-25/001/jpg/18/09/42[M][0@0][0].jpg",
        "192.168.1.64_01_20260306121007711_MOTION_DETECTION.jpg",
    )
    for path in (*paths, "porch/lastsnap.jpg", "porch/notes.txt", THREAT):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")
    before = empty_world.lookout("names", "try", "cameras", "--json").json
    assert before["read"] == 1
    assert before["unread"][0]["count"] == 6
    assert {line["preset"] for line in before["proposal"]["names"]} == {"motion", "dahua", "hikvision"}
    empty_world.lookout("names", "init", "cameras", "--zone", "Europe/Vienna")
    after = empty_world.lookout("names", "try", "cameras", "--devices", "devices.json", "--json").json
    assert (after["read"], sum(after["ignored"].values())) == (5, 1)
    assert [one["examples"][0]["path"] for one in after["unread"]] == ["porch/notes.txt"]
    assert after["devices"] == {"192.168.1.64_01": 1, "AMC": 1, "porch": 3}
    assert "porch/notes.txt" in empty_world.lookout("names", "try", "cameras", "--devices", "devices.json").out
    assert "is there already" in empty_world.refused("names", "init", "cameras")


def test_a_folder_that_is_not_there_is_refused(empty_world: World) -> None:
    assert "nowhere" in empty_world.refused("names", "try", "nowhere", code=75)
