"""The containers' commands on real servers, each as its own user with the packages of its own image."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devkit.fakes.sendgrid_api import SendGridApi
from lookout.app.deployment import Program
from lookout.config.settings import Settings
from stages.installation import INSTALLATION
from tests.cli.shell import CALM, NEW, PHOTOS, RULES, THREAT, World
from tests.cli.stages_kit import STAGES, loaded, run_stage, start_stage
from tests.services.cli_kit import Site
from tests.services.stage_commands.kit import DEADLINE_S, cut, full, give, mail, run, sent, upload, verdict

LOADS = {
    "validate": {"etcd3", "minio", "numpy", "simplejpeg"},
    "object-detect": {"cv2", "etcd3", "minio", "numpy", "onnxruntime", "pydantic"},
    "threat-detect": {"cv2", "etcd3", "jinja2", "minio", "numpy", "pydantic", "sendgrid", "simplejpeg"},
    "plot": {"PIL", "etcd3", "matplotlib", "minio", "numpy"},
}
"""What is heavy, by all sample photographs: with threats, and mails that are sent."""


def wait_until(ready: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not ready():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def datums(site: Site) -> dict[tuple[str, str], str]:
    done = site.lookout("datums", "list", "--json", env=site.be("engine"))
    return {(one["stage"], one["key"]): one["state"] for one in done.lines}


def embedded(tmp_path: Path, *names: str) -> World:
    """The same photographs, rules and model, worked through without any server."""
    world = World(root=tmp_path / "embedded")
    world.root.mkdir()
    world.put(*names)
    world.run("--rules", str(RULES))
    return world


# --- one after the other ---------------------------------------------------------------------------------------------


def test_the_samples_go_through_four_processes_of_four_users_and_come_out_as_embedded(
    site: Site, api: SendGridApi, tmp_path: Path
) -> None:
    names = sorted(photo.name for photo in PHOTOS.iterdir())
    upload(site, *names)
    said = cut(site, "--run=wf", "--kind=live", "--reconcile=recent", "--workers=2")
    assert (said["keys"], said["workers"], said["refused"]) == (len(names), [1], [])
    for stage in STAGES:
        counts = run(site, stage, "--run=wf", "--pull=wf", api=api)["stages"][stage]
        assert counts["success"] > 0
        assert loaded(site, stage) == LOADS[stage]
    judged = verdict(site, "--run=wf")
    world = embedded(tmp_path, *names)
    expected = {path: data for path, data in world.results().items() if path.split("/")[0] in STAGES}
    made = site.objects()
    assert sorted(made) == sorted(expected)
    assert [path for path in made if made[path] != expected[path]] == []
    assert judged["alerts"] == {"sent": len(sent(api))}
    assert len(sent(api)) == len(world.letters())
    assert (judged["waiting"], judged["failures"], judged["pictures"]) == (0, [], len(names))
    assert cut(site, "--run=again", "--reconcile=full")["workers"] == []


def test_one_object_after_the_other_by_its_event(site: Site, api: SendGridApi) -> None:
    """A picture that lands, changes and goes; and one whose event comes twice."""
    cut(site, "--run=init", "--reconcile=recent")
    upload(site, THREAT)

    def through(run_: str) -> Any:
        for stage in STAGES:
            run(site, stage, f"--run={run_}", "--batch=", f"--object={full(site, f'images/{THREAT}')}", api=api)
        return verdict(site, f"--run={run_}", f"--object={full(site, f'images/{THREAT}')}")

    assert through("lands")["found"] == {"threat: person": 1}
    assert through("twice")["made"] == 0
    give(site, "images", THREAT, (PHOTOS / CALM).read_bytes())
    assert through("changed")["found"] == {}
    site.store.connection.delete(site.store.full("images"), THREAT)
    through("gone")
    assert {state for (stage, _), state in datums(site).items() if stage != "plot"} == {"retracted"}
    assert [path for path in site.objects() if not path.startswith("plot/")] == []
    posted = len(sent(api))
    assert posted == len({one.message["personalizations"][0]["to"][0]["email"] for one in sent(api)})
    listed = site.lookout("status", "--json", "--runs", "10", env=site.be("engine")).json["runs"]
    assert {one["id"]: one["state"] for one in listed} == {
        **dict.fromkeys(("lands", "twice", "changed", "gone"), "success"),
        "init": "success",
    }


def test_a_stage_publishes_its_own_and_leaves_what_is_of_others_to_them(site: Site, api: SendGridApi) -> None:
    """Results that a process committed and did not publish before it died are published by the next of its stage."""
    cut(site, "--run=init", "--reconcile=recent")
    upload(site, THREAT, CALM)
    one = f"--object={full(site, f'images/{THREAT}')}"
    for stage in STAGES[:2]:
        run(site, stage, "--run=wf", one)
    hidden = f"valid/{THREAT}"
    settings = Settings.from_environment(site.environment)
    site.store.connection.delete(site.store.full("validate"), hidden)
    with Program(settings=settings, installation=INSTALLATION).open() as opened:
        opened.ledger.restate("validate", [hidden])  # type: ignore[attr-defined]
    for stage in STAGES[1:]:
        run(site, stage, "--run=wf", one, api=api)
        assert f"validate/{hidden}" not in site.objects()
    run(site, "validate", "--run=other", f"--object={full(site, f'images/{CALM}')}")
    assert f"validate/{hidden}" in site.objects()


def test_each_stage_is_refused_where_it_has_nothing_to_do(site: Site) -> None:
    """A process of validate with the user of plot cannot write; that is said in one line and nothing is lost."""
    cut(site, "--run=init", "--reconcile=recent")
    upload(site, CALM)
    done = run_stage(
        site, "validate", "--run=wf", f"--object={full(site, f'images/{CALM}')}", env=site.be("plot"), code=75
    )
    assert "denied" in done.err.lower() or "may not" in done.err.lower()
    assert run(site, "validate", "--run=wf", f"--object={full(site, f'images/{CALM}')}")["stages"]["validate"][
        "success"
    ]


# --- several workers -------------------------------------------------------------------------------------------------


def test_workers_that_pull_stage_by_stage_at_different_moments_leave_nothing(
    site: Site, api: SendGridApi, tmp_path: Path
) -> None:
    names = sorted(photo.name for photo in PHOTOS.iterdir())
    upload(site, *names)
    assert cut(site, "--run=wf", "--reconcile=recent", "--size=2", "--workers=3")["workers"] == [1, 2, 3]
    chance = random.Random(5)
    running: dict[int, Any] = {}
    todo = {worker: list(STAGES[:3]) for worker in range(3)}
    starts = {worker: time.monotonic() + chance.uniform(0, 2) for worker in todo}
    try:
        while todo or running:
            for worker, process in list(running.items()):
                if process.poll() is not None:
                    out, err = process.communicate()
                    assert process.returncode == 0, (out, err)
                    del running[worker]
                    starts[worker] = time.monotonic() + chance.uniform(0, 1)
            for worker in [one for one in todo if one not in running]:
                if not todo[worker]:
                    del todo[worker]
                elif time.monotonic() >= starts[worker]:
                    stage = todo[worker].pop(0)
                    env = site.be(stage) | (mail(api) if stage == "threat-detect" else {})
                    running[worker] = start_stage(site, stage, "--run=wf", "--pull=wf", "--workers=1", env=env)
            time.sleep(0.05)
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    run(site, "plot", "--run=wf", "--pull=wf")
    judged = verdict(site, "--run=wf")
    assert (judged["pictures"], judged["waiting"], judged["failures"]) == (len(names), 0, [])
    listed = site.lookout("batches", "list", "--run", "wf", "--json", env=site.be("engine")).lines
    assert {one["state"] for one in listed} == {"done"}
    (ended,) = [one for one in site.lookout("status", "--json").json["runs"] if one["id"] == "wf"]
    assert ended["state"] == "success"
    world = embedded(tmp_path, *names)
    expected = {path: data for path, data in world.results().items() if path.split("/")[0] in STAGES}
    assert site.objects() == expected
    assert len(sent(api)) == len(world.letters())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_stopped_in_mid_batch_hands_it_back_and_loses_nothing(
    site: Site, tmp_path: Path, number: signal.Signals
) -> None:
    """By SIGTERM within 10 s, and its datums are free at once; killed, its session ends first."""
    copies = [f"cam{n:02}_1763798400.jpg" for n in range(40)]
    site.photos.mkdir()
    for name in copies:
        (site.photos / name).write_bytes((PHOTOS / CALM).read_bytes() + name.encode())
    site.lookout("upload", "photos", env=site.be("uploader"))
    cut(site, "--run=wf", "--reconcile=recent", "--size=40")
    run(site, "validate", "--run=wf", "--pull=wf")
    process = start_stage(site, "object-detect", "--run=wf", "--pull=wf", "--workers=1", env=site.be("object-detect"))

    def done() -> int:
        found = site.lookout("datums", "list", "--stage", "object-detect", "--in", "success", "--json").lines
        return len(found)

    wait_until(lambda: process.poll() is not None or done() > 0)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    sent_s = time.monotonic()
    out, err = process.communicate(timeout=DEADLINE_S)
    took_s = time.monotonic() - sent_s
    settled = done()
    assert 0 < settled < len(copies)
    if number is signal.SIGTERM:
        assert process.returncode == 143, (out, err)
        assert took_s < 10
        assert "stopped after" in out
        (batch,) = site.lookout("batches", "list", "--run", "wf", "--json").lines
        assert (batch["state"], batch["owner"], batch["losses"]) == ("open", None, 0)
    again = None
    end_s = time.monotonic() + DEADLINE_S
    while again is None or sum(again.values()) == 0:
        again = run(site, "object-detect", "--run=wf", "--pull=wf")["stages"]["object-detect"]
        assert number is signal.SIGKILL or sum(again.values()) > 0
        assert time.monotonic() < end_s
    assert again["failed"] == 0
    assert done() == len(copies)
    assert {slot["tries"] for slot in site.lookout("datums", "list", "--stage", "object-detect", "--json").lines} == {0}


# --- models and rules from their buckets -----------------------------------------------------------------------------


def test_what_is_put_into_the_buckets_of_models_and_rules_comes_into_force(site: Site, api: SendGridApi) -> None:
    upload(site, THREAT)
    first = cut(site, "--run=first", "--reconcile=recent")
    in_force = site.lookout("status", "--json", env=site.be("engine")).json["in_force"]
    assert in_force["rules"] == [file.name for file in RULES.iterdir()]
    assert len(in_force["model"]) == 1
    assert first["refused"] == []
    for stage in STAGES:
        run(site, stage, "--run=first", "--pull=first", api=api)
    assert verdict(site, "--run=first")["found"] == {"threat: person": 1}
    assert cut(site, "--run=idle", "--reconcile=recent")["workers"] == []

    give(site, "rules", "bad.json", b"{")
    refused = cut(site, "--run=bad", "--reconcile=recent", code=1)
    assert refused["refused"][0].startswith("rules/bad.json")
    assert cut(site, "--run=known", "--reconcile=recent")["refused"] == [], "it is told of once"
    look = site.lookout("look", full(site, "rules/bad.json"), "--json", env=site.be("engine")).lines
    assert [one["is"] for one in look] == ["known"]

    upload(site, NEW)
    give(site, "rules", "worse.json", b"[")
    both = cut(site, "--run=both", "--reconcile=recent")
    assert both["workers"] == [1], "a bad rule keeps no picture waiting"
    for stage in STAGES:
        run(site, stage, "--run=both", "--pull=both", api=api)
    judged = verdict(site, "--run=both", code=1)
    assert judged["refused"] == both["refused"]
    assert judged["found"] == {"threat: person": 1}

    for key in ("bad.json", "worse.json", *(file.name for file in RULES.iterdir())):
        site.store.connection.delete(site.store.full("rules"), key)
    dropped = cut(site, "--run=dropped", "--reconcile=recent")
    assert site.lookout("status", "--json", env=site.be("engine")).json["in_force"]["rules"] == []
    assert dropped["keys"] == 2, "what the rules have touched is done again"
