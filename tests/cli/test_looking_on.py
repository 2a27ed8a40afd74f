"""``status --follow``, ``wait``, ``logs`` and ``metrics`` on a state folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devkit.servers.ports import free_port
from tests.uploading.site import until

from .conftest import Finished
from .shell import CALM, CUT, DEADLINE_S, LOOKOUT, NEW, THREAT, World


def status(world: World, *arguments: object) -> Any:
    return world.lookout("status", "--state", "state", "--json", *arguments).json


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_tells_what_waits_by_device_and_since_when(world: World) -> None:
    assert status(world)["backlog"] == {"pictures": 0, "devices": {}, "oldest": None, "whole": True}
    world.lookout("datums", "invalidate", "object-detect", THREAT, "--state", "state")
    backlog = status(world)["backlog"]
    assert backlog["devices"] == {"porch": {"object-detect": 1}}
    assert (backlog["oldest"]["stage"], backlog["oldest"]["key"]) == ("object-detect", THREAT)
    text = world.lookout("status", "--state", "state").out
    assert re.search(rf"1 picture; the oldest for \d+ s: {re.escape(THREAT)}, in object-detect", text)


def test_a_status_that_follows_tells_each_change_and_ends_quietly(world: World) -> None:
    with world.start("status", "--state", "state", "--follow", "--every", "0.1", "--json") as watch:
        first = watch.expect()
        assert (first["pictures"], first["backlog"]["pictures"]) == (4, 0)
        world.lookout("datums", "invalidate", "object-detect", THREAT, "--state", "state")
        assert watch.expect()["backlog"]["devices"] == {"porch": {"object-detect": 1}}
        world.run()
        while watch.expect()["backlog"]["pictures"]:
            continue
        assert watch.stop(signal.SIGINT) == 130
    assert watch.err == ""
    assert len(set(watch.seen)) == len(watch.seen)


def test_a_terminal_is_redrawn(world: World) -> None:
    terminal, slave = os.openpty()
    command = [LOOKOUT, "status", "--state", "state", "--follow", "--every", "0.1"]
    process = subprocess.Popen(command, cwd=world.root, env=world.variables(), stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    while seen.count(b"\033[H\033[2J") < 3:
        seen += os.read(terminal, 65536)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 130
    os.close(terminal)
    assert b"4 pictures" in seen
    assert b"Traceback" not in seen


# --- wait ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "said"), [(THREAT, "threat: person"), (CALM, None), (CUT, "invalid: truncated")])
def test_what_is_through_ends_at_once_with_what_was_found(world: World, key: str, said: str | None) -> None:
    found = world.lookout("wait", f"images/{key}", "--state", "state", "--json").json
    assert (found["is"], found["failures"]) == ("success", {})
    assert said in (None, *found["labels"].values())
    text = world.lookout("wait", f"images/{key}", "--state", "state").out
    assert text.startswith(f"images/{key}: success")


def test_a_picture_that_just_landed_is_waited_for_until_it_is_through(world: World) -> None:
    world.put(NEW)
    with world.start("wait", f"images/{NEW}", "--state", "state", "--timeout", 60, "--json") as waiting:
        world.run()
        assert waiting.wait() == 0
    assert '"is": "success"' in "".join(waiting.seen)


def test_the_time_may_be_over_and_says_what_is_missing(world: World) -> None:
    world.put(NEW)
    said = world.refused("wait", f"images/{NEW}", "--state", "state", "--timeout", 0.2, code=75)
    assert "does not know this version of the picture" in said
    world.lookout("datums", "invalidate", "object-detect", THREAT, "--state", "state")
    said = world.refused("wait", f"images/{THREAT}", "--state", "state", "--timeout", 0, code=75)
    assert "object-detect is success" in said
    (world.photos / CALM).write_bytes(b"other bytes")
    world.refused("wait", f"images/{CALM}", "--state", "state", "--timeout", 0, code=75)


def test_a_failed_and_a_removed_picture_are_no_success(world: World) -> None:
    bad = "porch_1763798999.jpg"
    (world.photos / bad).symlink_to("nowhere")
    (world.photos / CALM).unlink()
    world.run(code=1)
    done = world.lookout("wait", f"images/{bad}", "--state", "state", code=1)
    assert "failed (validate: " in done.out
    assert world.lookout("wait", f"images/{CALM}", "--state", "state", "--json", code=1).json["is"] == "gone"


@pytest.mark.parametrize("name", ["nobody", "plot/index.html", "images/"])
def test_what_is_no_picture_is_not_waited_for(world: World, name: str) -> None:
    assert "OBJECT" in world.refused("wait", name, "--state", "state")


# --- logs ------------------------------------------------------------------------------------------------------------


def test_a_run_is_told_with_what_it_made_and_whom_it_told(world: World, finished: Finished) -> None:
    text = world.lookout("logs", finished.first["run"], "--state", "state").out
    assert f"made: threat-detect of {THREAT}: threat: person" in text
    assert "validate: 4 made" in text
    assert text.count("home@example.com") == 1
    lines = world.lookout("logs", finished.first["run"], "--state", "state", "--each", "--json").lines
    assert [line["at_s"] for line in lines] == sorted(line["at_s"] for line in lines)
    made = {(line["stage"], line["key"]) for line in lines if line["event"] == "datum"}
    assert made == {name for name, (state, _) in finished.datums.items() if state == "success"}


def test_a_run_of_batches_names_them_and_what_failed(world: World) -> None:
    (world.photos / "porch_1763798999.jpg").symlink_to("nowhere")
    world.lookout("upkeep", "reconcile", "--state", "state")
    made = world.lookout("batches", "cut", "--state", "state", "--json").json
    world.lookout("work", "--pull", made["run"], "--state", "state", "--workers", 1)
    text = world.lookout("logs", made["run"], "--state", "state").out
    assert f"batch {made['batches'][0]['id']} cut: 1 pictures" in text
    assert f"batch {made['batches'][0]['id']} done" in text
    assert "failed: validate of porch_1763798999.jpg" in text
    assert f"run {made['run']} ended: failed" in text


def test_an_unknown_run_is_refused(world: World) -> None:
    assert "no such run" in world.refused("logs", "never", "--state", "state")


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_once_are_those_of_the_status(world: World) -> None:
    said, found = status(world), parsed(world.lookout("metrics", "--once", "--state", "state").out)
    assert found[("lookout_pictures", frozenset())] == said["pictures"]
    for stage, row in said["stages"].items():
        assert found[("lookout_waiting_datums", frozenset({("stage", stage)}))] == row.pop("waiting")
        for state, number in row.items():
            assert found[("lookout_datums", frozenset({("stage", stage), ("state", state)}))] == number
    assert found[("lookout_alerts", frozenset({("state", "written")}))] == said["alerts"]["written"] == 2


def test_metrics_by_http_move_with_the_work_and_time_it(world: World) -> None:
    port = free_port()
    with world.start("metrics", "--port", port, "--every", "0.1", "--state", "state") as exporter:
        exporter.expect_talk(f"http://127.0.0.1:{port}/metrics")

        def scrape() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return parsed(answer.read().decode())

        name = ("lookout_pictures", frozenset[tuple[str, str]]())
        until(lambda: scrape().get(name) == 4)
        world.put(NEW)
        world.run()
        until(lambda: scrape()[name] == 5)
        taken = world.refused("metrics", "--port", port, "--state", "state")
        assert "choose another --port" in taken
        assert exporter.stop(signal.SIGTERM) == 130
