"""The commands beside ``run`` and ``watch``, on a finished state."""

from __future__ import annotations

import json
import subprocess

import pytest

from .conftest import Finished
from .shell import CALM, CUT, THREAT, UNNAMED, World, but_the_page

COMMANDS = [
    [],
    ["run"],
    ["watch"],
    ["status"],
    ["datums"],
    ["datums", "list"],
    ["datums", "show"],
    ["datums", "retry"],
    ["datums", "invalidate"],
    ["alerts"],
    ["alerts", "list"],
    ["alerts", "resend"],
    ["trace"],
    ["doctor"],
    ["completion"],
]
WITHOUT_JSON = ([], ["datums"], ["alerts"], ["completion"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: "-".join(words) or "lookout")
def test_every_command_has_help_on_each_option_and_json_where_it_has_a_result(
    empty_world: World, command: list[str]
) -> None:
    text = empty_world.call(*command, "--help").out
    assert text.startswith("Usage: lookout")
    assert ("--json" in text) == (command not in WITHOUT_JSON)
    for option, said in zip(text.splitlines(), [*text.splitlines()[1:], ""], strict=True):
        if option.startswith("  -"):
            assert "  " in option.strip() or said.startswith(" " * 20), f"no help: {option}"


def test_the_exit_codes_are_in_the_help(empty_world: World) -> None:
    text = empty_world.lookout("--help").out
    assert all(f" {code}  " in text for code in (0, 1, 2, 65, 75, 130))


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_says_what_is_done_in_force_and_alerted(world: World, finished: Finished) -> None:
    said = world.lookout("status", "--state", "state", "--json").json
    assert (said["pictures"], said["source"]) == (4, str(world.photos))
    assert said["stages"]["validate"]["success"] == 4
    assert not any(stage["running"] + stage["waiting"] for stage in said["stages"].values())
    assert said["alerts"] == {"written": 2}
    assert [(run["id"], run["state"]) for run in said["runs"]] == [(finished.first["run"], "success")]
    text = world.lookout("status", "--state", "state").out
    assert finished.first["run"] in text
    assert "4 pictures" in text


def test_the_state_may_come_from_the_environment(world: World) -> None:
    assert world.lookout("status", "--json", env={"LOOKOUT_STATE": "state"}).json["pictures"] == 4


# --- datums ----------------------------------------------------------------------------------------------------------


def test_datums_are_listed_by_stage_state_prefix_and_label_and_in_pages(world: World, finished: Finished) -> None:
    assert {key for stage, key in world.datums("--stage", "validate")} == {THREAT, CALM, UNNAMED, CUT}
    assert {key for _, key in world.datums("--labelled")} == {THREAT, UNNAMED, CUT}
    assert {key for _, key in world.datums("--prefix", "porch_")} == {THREAT}
    assert world.datums("--in", "failed") == {}
    first = world.datums("--limit", "5")
    last = list(first)[-1]
    rest = world.datums("--after", *last)
    assert len(first) == 5
    assert {**first, **rest} == finished.datums
    text = world.lookout("datums", "list", "--state", "state", "--labelled").out
    assert "threat: person" in text
    assert "invalid: truncated" in text


def test_one_datum_is_shown_with_what_it_read_and_made(world: World) -> None:
    shown = world.lookout("datums", "show", "threat-detect", THREAT, "--state", "state", "--json").json
    record = shown["record"]
    assert {item["role"] for item in record["inputs"]} >= {"picture", "detections", "rules:rules"}
    assert {ref["key"] for ref in record["outputs"]} == {"porch/1763798400.json", "porch/1763798400.jpg"}
    text = world.lookout("datums", "show", "plot", "", "--state", "state").out
    assert "plot/index.html" in text
    assert "no datum" in world.refused("datums", "show", "validate", "nobody.jpg", "--state", "state")


def test_an_invalidated_datum_is_done_again_and_mails_nobody_again(world: World, finished: Finished) -> None:
    said = world.lookout("datums", "invalidate", "threat-detect", THREAT, "--state", "state", "--json").json
    assert said == {"marked": 1}
    listed = world.lookout("datums", "list", "--stage", "threat-detect", "--state", "state", "--json").lines
    assert {item["key"] for item in listed if item["waiting"]} == {THREAT}
    again = world.run()
    assert again["stages"]["threat-detect"]["success"] == 1
    assert again["stages"]["object-detect"]["success"] == 0
    assert set(again["alerts"].values()) == {0}
    assert len(world.letters()) == 2
    assert but_the_page(world.results()) == but_the_page(finished.results)
    assert "expected one of" in world.refused("datums", "invalidate", "plot", "--state", "state")


def test_retry_touches_failed_datums_only(world: World) -> None:
    (world.photos / "porch_1763798999.jpg").symlink_to("nowhere")
    world.run(code=1)
    assert world.lookout("datums", "retry", "--state", "state", "--json").json == {"marked": 1}
    (world.photos / "porch_1763798999.jpg").unlink()
    world.run()
    assert "0 datums" in world.lookout("datums", "retry", "--state", "state").out


# --- alerts ----------------------------------------------------------------------------------------------------------


def test_alerts_are_listed_and_those_that_were_written_are_not_sent_again(world: World, finished: Finished) -> None:
    alerts = world.lookout("alerts", "list", "--state", "state", "--json").lines
    assert {alert["draft"]["recipient"] for alert in alerts} == {"home@example.com", "neighbour@example.com"}
    assert {alert["state"] for alert in alerts} == {"written"}
    assert {alert["run"] for alert in alerts} == {finished.first["run"]}
    assert world.lookout("alerts", "list", "--state", "state", "--in", "dead").out == ""
    done = world.lookout("alerts", "resend", alerts[0]["id"][:12], "--state", "state")
    assert done.out == "0 alerts will be sent by the next run\n"
    assert done.err == "left alone: 1 written\n"


@pytest.mark.parametrize("alert", ["zzz", ""])
def test_an_unknown_or_empty_alert_id_is_refused(world: World, alert: str) -> None:
    assert "lookout alerts list" in world.refused("alerts", "resend", alert, "--state", "state")


# --- trace -----------------------------------------------------------------------------------------------------------


def _names(node: dict[str, object]) -> set[str]:
    children = node["children"]
    assert isinstance(children, list)
    return {f"{node['kind']} {node['name']}"} | {name for child in children for name in _names(child)}


def test_a_mailed_picture_is_traced_back_to_the_photograph_model_and_rule(world: World) -> None:
    tree = world.lookout("trace", "threat-detect/porch/1763798400.jpg", "--state", "state", "--json").json
    names = _names(tree)
    assert f"object images/{THREAT}" in names
    assert "object model/ssdlite_mobilenet_v2_coco/weights" in names
    assert "object rules/home.json/rules" in names
    by_path = world.lookout(
        "trace", "state/objects/threat-detect/porch/1763798400.jpg", "--state", "state", "--json"
    ).json
    assert by_path == tree


def test_a_photograph_is_traced_forward_to_its_results_and_alerts(world: World) -> None:
    tree = world.lookout("trace", f"images/{THREAT}", "--forward", "--state", "state", "--json").json
    names = _names(tree)
    assert "object object-detect/porch/1763798400.json" in names
    assert "object threat-detect/porch/1763798400.jpg" in names
    assert sum(name.startswith("alert ") for name in names) == 2
    by_path = world.lookout("trace", f"photos/{THREAT}", "--forward", "--state", "state").out
    assert "threat-detect/porch/1763798400.jpg" in by_path
    assert "└─" in by_path


@pytest.mark.parametrize("name", ["nobody", "images/nobody.jpg", "plot/"])
def test_what_was_never_made_cannot_be_traced(world: World, name: str) -> None:
    world.refused("trace", name, "--state", "state")


# --- doctor and completion -------------------------------------------------------------------------------------------


def test_doctor_finds_a_sound_state_sound_and_names_what_is_not(world: World) -> None:
    sound = world.lookout("doctor", "--state", "state", "--objects", "--json").json
    assert sound["ok"] is True
    assert {"python", "cv2", "disk", "source", "model", "rules", "results"} <= {
        check["name"] for check in sound["checks"]
    }
    (world.state / "objects" / "validate" / "valid" / THREAT).write_bytes(b"changed by hand")
    world.photos.rename(world.root / "away")
    done = world.lookout("doctor", "--state", "state", "--objects", "--json", code=1).json
    assert {check["name"] for check in done["checks"] if not check["ok"]} == {"source", "results"}


def test_doctor_says_when_there_is_no_state_and_when_there_can_be_none(empty_world: World) -> None:
    assert "none yet" in empty_world.lookout("doctor").out
    (empty_world.root / "file").write_text("")
    assert "is not a folder" in empty_world.lookout("doctor", "--state", "file", code=1).out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_lookout(empty_world: World, shell: str) -> None:
    script = empty_world.lookout("completion", shell).out
    assert "_LOOKOUT_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script.encode(), check=True)


def test_completion_offers_commands_options_and_stages(empty_world: World) -> None:
    def offered(words: str, at: int) -> str:
        asked = {"_LOOKOUT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        return empty_world.lookout(env=asked).out

    assert "plain,watch" in offered("lookout wa", 1)
    assert "plain,--threshold" in offered("lookout run --thr", 2)
    assert "plain,threat-detect" in offered("lookout datums show thr", 3)


def test_json_lines_of_datums_are_one_object_each(world: World) -> None:
    out = world.lookout("datums", "list", "--state", "state", "--json").out
    for line in out.splitlines():
        item = json.loads(line)
        assert set(item) == {
            "stage", "key", "state", "hash", "waiting", "tries", "error", "label", "outputs", "run"
        }  # fmt: skip
