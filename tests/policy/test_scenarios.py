"""Scenarios of alerts through the real command: each decision with its numbers, and what became of each alert."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lookout.cli import cli
from stages.installation import INSTALLATION
from tests.cli.shell import LOOKOUT

SCENARIOS = [
    json.loads(line)
    for name in ("scenarios.jsonl", "more_scenarios.jsonl")
    for line in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
]


def files_of(scenario: dict[str, Any], folder: Path) -> list[str]:
    rules, events = folder / "rules.json", folder / "events.jsonl"
    rules.write_text(json.dumps(scenario["rules"]))
    events.write_text("".join(json.dumps(event) + "\n" for event in scenario["events"]))
    return ["rules", "simulate", str(rules), str(events), "--json"]


def compare(scenario: dict[str, Any], out: str) -> None:
    lines = [json.loads(line) for line in out.splitlines()]
    decisions = [line for line in lines if "code" in line]
    alerts = [line for line in lines if "alert" in line]
    assert lines == decisions + alerts
    assert len(decisions) == len(scenario["expect"])
    for found, expected in zip(decisions, scenario["expect"], strict=True):
        assert {name: found.get(name) for name in expected} == expected
    if "alerts" in scenario:
        assert {line["alert"]: line["state"] for line in alerts} == scenario["alerts"]
    items = {line["alert"]: line["items"] for line in alerts if "items" in line}
    assert {name: items[name] for name in scenario.get("items", {})} == scenario.get("items", {})


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one["name"] for one in SCENARIOS])
def test_a_scenario_is_decided_as_expected(scenario: dict[str, Any], tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, files_of(scenario, tmp_path), obj=INSTALLATION)
    assert done.exit_code == 0, done.stderr
    compare(scenario, done.stdout)


def test_the_installed_command_decides_the_same(tmp_path: Path) -> None:
    scenario = next(one for one in SCENARIOS if one["name"] == "told-in-either-case")
    done = subprocess.run([LOOKOUT, *files_of(scenario, tmp_path)], capture_output=True, text=True, check=True)
    compare(scenario, done.stdout)
