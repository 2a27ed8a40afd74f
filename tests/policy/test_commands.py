"""``lookout rules`` by the real command: checks, simulations, and the schema."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lookout.cli import cli
from stages.installation import INSTALLATION
from stages.threat_detect.rules.version2.reading import schema_text
from tests.cli.shell import LOOKOUT, RULES

from .histories import BASE, picture, rule_document


def lookout(*arguments: object, given: str = "") -> Result:
    return CliRunner().invoke(cli, ["rules", *map(str, arguments)], obj=INSTALLATION, input=given)


def write(path: Path, *documents: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


# --- check -----------------------------------------------------------------------------------------------------------


def test_files_of_all_versions_are_checked(tmp_path: Path) -> None:
    write(tmp_path / "a.json", rule_document(static={"classes": ["dog"]}))
    write(tmp_path / "b.json", {"rules": [{**rule_document()["rules"][0], "name": "other"}]})
    write(tmp_path / "c.json", {"from_email": "a@example.com", "to_email": "b@example.com", "threat_classes": [1]})
    (tmp_path / "notes.md").write_text("not a rule")
    done = lookout("check", tmp_path, "--json")
    assert done.exit_code == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["file"], one["version"]) for one in found] == [("a.json", 2), ("b.json", 1), ("c.json", None)]
    assert found[0]["rules"] == [{"user": "home", "name": "people", "devices": ["*"], "channels": []}]
    assert found[0]["notes"] == ['rules[0].static.classes[0]: the rule does not want the class "dog"']
    assert lookout("check", tmp_path).stdout.splitlines() == [
        "a.json: version 2, 1 rule",
        'a.json: note: rules[0].static.classes[0]: the rule does not want the class "dog"',
        "b.json: version 1, 1 rule",
        "c.json: original form, 1 rule",
    ]


def test_the_sample_rules_are_fine() -> None:
    assert lookout("check", RULES).exit_code == 0


def test_a_bad_file_is_refused_with_its_place_and_the_others_are_checked(tmp_path: Path) -> None:
    write(tmp_path / "a.json", rule_document(cooldown="2 minutes"))
    write(tmp_path / "b.json", rule_document())
    write(tmp_path / "c.json", rule_document())
    (tmp_path / "d.json").write_text("{")
    (tmp_path / "e.yaml").write_text("rules:")
    done = lookout("check", tmp_path)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        'a.json: rules[0].cooldown: expected a duration such as 90 or "10m" (units s, m, h, d), got "2 minutes"',
        "b.json: version 2, 1 rule",
        "c.json: rules[0].name: user 'home' has a rule 'people' in b.json too",
        "d.json: line 1, column 2: not JSON: expecting property name enclosed in double quotes",
        "e.yaml: a rule file is JSON and its name ends with .json",
    ]


def test_too_many_rules_of_one_device_in_several_files_are_refused(tmp_path: Path) -> None:
    for number in range(41):
        write(tmp_path / f"{number:02}.json", rule_document(name=f"r{number}", devices=["gate"]))
    done = lookout("check", tmp_path)
    assert done.exit_code == 1
    assert '41 rules of version 2 watch the device "gate"; at most 40 may' in done.stdout.splitlines()[-1]


def test_a_path_without_rules_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.json"):
        done = subprocess.run([LOOKOUT, "rules", "check", path], capture_output=True, text=True)
        assert done.returncode in (2, 75)
        assert done.stderr.startswith("lookout: ")
        assert done.stdout == ""


# --- simulate --------------------------------------------------------------------------------------------------------


def test_a_simulation_is_shown_for_people_and_takes_stdin(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.json", rule_document())
    lines = [picture("a", BASE, BASE), picture("b", BASE + 10, BASE + 10), {"op": "tick", "at_s": BASE + 20}]
    done = lookout("simulate", rules, "-", given="".join(json.dumps(line) + "\n\n" for line in lines))
    assert done.stdout.splitlines() == [
        "a: home|people: sent (event a)",
        "b: home|people: merged_event (told by a, event a)",
        "event:home|people|a: sent",
    ]


def test_a_decision_has_its_numbers(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.json", rule_document())
    events = write(tmp_path / "events.jsonl", picture("a", BASE, BASE + 2))
    decision, alert = (json.loads(line) for line in lookout("simulate", rules, events, "--json").stdout.splitlines())
    assert decision == {
        "key": "a",
        "rule": "home|people",
        "code": "sent",
        "place": "porch",
        "n": 1,
        "t": BASE,
        "d": BASE + 2,
        "event": "a",
        "clock": None,
        "seen": [["person", 0.9, [0.4, 0.2, 0.6, 0.8]]],
    }
    assert alert == {
        "alert": "event:home|people|a",
        "kind": "event",
        "rule": "home|people",
        "state": "sent",
        "due_s": BASE + 2,
    }


def test_what_a_simulation_can_do_without_is_said(tmp_path: Path) -> None:
    document = rule_document(reorder="3m")
    del document["rules"][0]["from"]
    done = lookout("simulate", write(tmp_path / "rules.json", document), write(tmp_path / "e.jsonl"), "--json")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "lookout: rules.json: rules[0].from: this field is missing; no mail could leave",
        "lookout: rules.json: rules[0].reorder: expected at most gap (120 s), got 180 s"
        " (the order of pictures would matter)",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "not a JSON object"),
        ("{", "not a JSON object"),
        ('{"op": "fly", "at_s": 1}', "unknown op; expected one of redetect, tick"),
        ('{"key": "a", "device": "porch", "objects": []}', "captured_at_s: field required"),
        ('{"op": "tick", "at_s": -1}', "at_s: input should be greater than or equal to 0"),
        ('{"op": "tick", "at_s": NaN}', "at_s: input should be"),
        ('{"op": "unsilence", "id": "s", "at_s": 1}', "there is no silence 's'"),
        ('{"op": "ack", "rule": "home|people", "key": "z", "at_s": 1}', "has no decision on 'z'"),
        ('{"op": "rules", "at_s": 1, "doc": {"version": 2, "rules": []}}', "rules: expected at least one entry"),
        (
            '{"key": "a", "device": "porch", "captured_at_s": 1, "objects": [{"class": true, "score": 1, "box": [0]}]}',
            "objects[0].class",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: str, said: str) -> None:
    rules, events = write(tmp_path / "rules.json", rule_document()), tmp_path / "events.jsonl"
    events.write_text(f"\n{line}\n")
    done = lookout("simulate", rules, events)
    assert done.exception is not None
    assert f"{events}: line 2: " in str(done.exception)
    assert said in str(done.exception)


def lines(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        at = BASE + 20 * number
        yield picture(f"porch_{at}.jpg", at, at, ("person", (0.4, 0.2, 0.6, 0.8)), device=f"cam-{number % 10}")


def peak_kb(tmp_path: Path, count: int) -> int:
    """The largest memory of a simulation of so many pictures, in KiB."""
    rules = write(tmp_path / "rules.json", rule_document())
    events = tmp_path / "events.jsonl"
    with events.open("w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines(count))
    code = "import resource, subprocess, sys\n"
    code += "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)\n"
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [LOOKOUT, "rules", "simulate", rules, events, "--json"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    assert peak_kb(tmp_path, 40_000) < peak_kb(tmp_path, 4_000) + 6_000


# --- schema ----------------------------------------------------------------------------------------------------------


def test_the_schema_is_printed_as_it_is_installed() -> None:
    assert lookout("schema").stdout == schema_text()
    assert json.loads(schema_text())["properties"]["version"] == {"const": 2}
