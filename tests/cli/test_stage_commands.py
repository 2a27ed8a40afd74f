"""The commands of the stages' containers on a state folder: what they take, what they load, how they end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from .shell import CALM, NEW, REPOSITORY, THREAT, World, but_the_page
from .stages_kit import STAGES, loaded, of_stage, run_stage

LOADS = {
    "validate": {"numpy", "simplejpeg", "sqlite3"},
    "object-detect": {"cv2", "numpy", "onnxruntime", "pydantic", "sqlite3"},
    "threat-detect": {"cv2", "numpy", "pydantic", "sqlite3"},
    "plot": {"PIL", "matplotlib", "numpy", "sqlite3"},
}
"""Of what is heavy, by a picture with a threat: without one, threat-detect loads no OpenCV; what mail takes, it loads
with the first letter."""


def test_a_picture_goes_through_the_stages_each_with_the_packages_of_its_image(world: World) -> None:
    world.put(NEW)
    for stage in STAGES:
        done = run_stage(world, stage, "--run=wf-1", "--batch=", f"--object=images/{NEW}", "--pull=", "--json")
        said = json.loads(done.out)
        assert said["run"] == "wf-1"
        assert said["stages"][stage]["success"] >= 1, (said, done.err)
        assert not any(sum(counts.values()) for other, counts in said["stages"].items() if other != stage)
        assert loaded(world, stage) == LOADS[stage]
    shown = world.lookout("datums", "show", "threat-detect", NEW, "--state", "state", "--json").json
    assert shown["record"]["run"] == "wf-1"
    assert shown["record"]["label"] == "threat: person"
    made = world.results()
    waiting = world.lookout("alerts", "list", "--in", "pending", "--state", "state", "--json").lines
    assert {alert["run"] for alert in waiting} == {"wf-1"}, (
        "without a key for mail they wait, as a container's files go"
    )
    again = run_stage(world, "object-detect", "--run=wf-2", f"--object=images/{NEW}")
    assert again.out.startswith("object-detect: nothing to do")
    world.run()
    assert but_the_page(world.results()) == but_the_page(made)


@pytest.mark.parametrize(
    "mail",
    [
        {"SENDGRID_API_KEY": "SG.none"},
        {"SENDGRID_API_KEY": "SG.none", "LOOKOUT_SENDGRID_HOST": "http://127.0.0.1:1"},
        {"LOOKOUT_SMTP_URL": "smtp://127.0.0.1:1"},
        {"LOOKOUT_CHANNEL_HOME_URL": "ntfy://127.0.0.1:1/home"},
    ],
)
def test_no_package_for_mail_is_loaded_where_no_letter_leaves(world: World, mail: dict[str, str]) -> None:
    world.lookout("datums", "invalidate", "--prefix", CALM, "--state", "state")
    for stage in STAGES[:3]:
        more = mail if stage == "threat-detect" else {}
        done = run_stage(world, stage, "--run=wf", f"--object=images/{CALM}", "--json", env=more)
        assert json.loads(done.out)["stages"][stage]["success"] == 1
    assert loaded(world, "threat-detect") == LOADS["threat-detect"] - {"cv2", "numpy"}


def test_a_batch_ends_when_the_last_stage_has_done_it_and_names_the_run_that_is_given(world: World) -> None:
    world.lookout("datums", "invalidate", "--prefix", CALM, "--state", "state")
    cut = world.lookout("batches", "cut", "--kind", "live", "--state", "state", "--json").json
    (batch,) = [one["id"] for one in cut["batches"]]
    ends = []
    for stage in STAGES[:3]:
        done = run_stage(world, stage, "--run=wf", f"--batch={batch}", "--json")
        ends += json.loads(done.out)["batches"].values()
    assert ends == ["open", "open", "done"]
    shown = world.lookout("datums", "show", "validate", CALM, "--state", "state", "--json").json
    assert shown["record"]["run"] == "wf"
    run_stage(world, "plot", "--run=wf", f"--batch={batch}")
    text = world.lookout("verdict", "--run=wf", f"--batch={batch}", "--object=", "--state", "state").out
    assert text == "1 picture of kitchen: nothing\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected one of --batch, --object and --pull"),
        (("--batch=", "--object=", "--pull="), "expected one of --batch, --object and --pull"),
        (("--batch=b", "--pull=r"), "expected one of --batch, --object and --pull"),
        (("--object=rules/home.json",), "expected images/<key>, got 'rules/home.json'"),
        (("--object=images/",), "expected images/<key>"),
        (("--batch=never",), "no such batch"),
        (("--workers=0", "--pull=r"), "--workers"),
        (("--stage=plot",), "No such option"),
    ],
)
def test_what_cannot_be_is_refused_with_a_code_that_nobody_tries_again(
    world: World, arguments: tuple[str, ...], said: str
) -> None:
    done = run_stage(world, "validate", *arguments, code=2)
    assert said in done.err
    assert done.out == ""


def test_a_server_that_does_not_answer_is_worth_another_try(world: World) -> None:
    keys = {"LOOKOUT_STORE_ACCESS_KEY": "user", "LOOKOUT_STORE_SECRET_KEY": "secret"}
    servers = {"LOOKOUT_STORE": "s3+http://127.0.0.1:1", "LOOKOUT_LEDGER": "etcd://127.0.0.1:1"}
    done = run_stage(world, "validate", f"--object=images/{THREAT}", env=keys | servers, code=75)
    assert "127.0.0.1:1" in done.err


def test_a_signal_before_there_is_anything_to_hand_back_ends_it(world: World) -> None:
    """The first thing that it does is to heed signals: the first process of a container gets no other."""
    script = world.root / "script"
    code = (
        "import os, signal, sys, stages.command\n"
        "sys.meta_path.insert(0, type('Slow', (), {'find_spec': lambda self, name, path=None, target=None:"
        " os.kill(os.getpid(), signal.SIGTERM) if name == 'lookout.cli' else None})())\n"
        "stages.command.main('validate')\n"
    )
    script.write_text(code)
    ended = subprocess.run([sys.executable, script], env=world.variables({"PYTHONPATH": str(REPOSITORY)}), check=False)
    assert ended.returncode == 128 + signal.SIGTERM


def test_each_stage_has_a_locked_list_with_hashes_at_the_versions_of_the_whole(world: World) -> None:
    del world
    lists = {path.stem: path.read_text(encoding="utf-8") for path in (REPOSITORY / "requirements").glob("*.txt")}
    whole = {line for line in lists["run"].splitlines() if "==" in line}
    for stage in STAGES:
        locked = {line for line in lists[stage].splitlines() if "==" in line}
        assert locked < whole
        assert lists[stage].count("--hash=sha256:") >= len(locked)
        dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
        assert f"install.sh {stage}\n" in dockerfile
        assert json.dumps(["python", *of_stage(stage)[1:]]) in dockerfile
