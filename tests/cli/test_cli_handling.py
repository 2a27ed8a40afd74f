"""``lookout alerts show``, ``ack``, ``snooze``, ``silence``, ``silences`` and ``unsilence`` on a state with rules of
version 2."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from .shell import PHOTOS, THREAT, Done, World

RULE: dict[str, Any] = {
    "name": "people",
    "user": "home",
    "classes": ["person"],
    "from": "lookout@example.com",
    "to": ["home@example.com"],
}
ESCALATED = {**RULE, "event": {"again": "10m"}, "escalate": {"after": "15m", "to": ["boss@example.com"]}}
RULES = {"version": 2, "rules": [ESCALATED]}


class Shell:
    """A world with rules of version 2, and the commands on it."""

    def __init__(self, root: Path) -> None:
        self.world = World(root=root)
        self.world.photos.mkdir()
        self.rules(RULES)

    def rules(self, document: object) -> None:
        (self.world.root / "rules.json").write_text(json.dumps(document))

    def put(self, ago_s: int) -> str:
        """Put a picture that was taken so long ago; its key."""
        name = f"porch_{int(time.time()) - ago_s}.jpg"
        (self.world.photos / name).write_bytes((PHOTOS / THREAT).read_bytes() + name.encode())
        return name

    def __call__(self, *words: str, code: int = 0) -> Done:
        return self.world.lookout(*words, "--state", "state", code=code)

    def run(self) -> Done:
        return self("run", "photos", "--rules", "rules.json")

    def alerts(self) -> dict[str, Any]:
        """All alerts by picture and recipient."""
        lines = self("alerts", "list", "--json").lines
        return {f"{one['draft']['picture_key']} {one['draft']['recipient']}": one for one in lines}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_an_event_that_is_acknowledged_is_told_to_nobody_else(shell: Shell) -> None:
    second = shell.put(20)
    shell.run()
    told, later = (shell.alerts()[f"{second} {who}@example.com"] for who in ("home", "boss"))
    assert (told["state"], later["state"]) == ("written", "pending")
    shown = shell("alerts", "show", told["id"][:16]).out
    assert "rule      people of home" in shown
    assert second in shown
    assert shell("alerts", "ack", told["id"][:16], "--by", "me", "--json").json["acknowledged"] is True
    assert shell.alerts()[f"{second} boss@example.com"]["state"] == "canceled"
    assert "acknowledged before" in shell("alerts", "ack", told["id"]).out


def test_an_alert_of_version_1_has_no_event_to_acknowledge(shell: Shell) -> None:
    shell.rules({"rules": [RULE]})
    shell.put(20)
    shell.run()
    (alert,) = shell.alerts().values()
    assert "a rule of version 1 has no events" in shell("alerts", "ack", alert["id"], code=2).err


def test_a_rule_that_is_snoozed_tells_nothing_until_the_silence_is_ended(shell: Shell) -> None:
    shell.put(3000)
    shell.rules({"version": 2, "rules": [{**RULE, "name": "other", "classes": ["cat"]}]})
    shell.run()
    shell.rules({"version": 2, "rules": [RULE]})
    made = shell("alerts", "snooze", "people", "--for", "2h", "--device", "por*", "--by", "me", "--why", "garden party")
    assert made.out.startswith("s1 ")
    assert "by me  (garden party)" in made.out
    shell.put(-1)  # a moment from now, as the silence begins now
    shell.run()
    assert [one["draft"]["rule"] for one in shell.alerts().values() if one["state"] != "written"] == []
    assert len(shell("alerts", "silences").out.splitlines()) == 1
    shell("alerts", "unsilence", "s1")
    assert shell("alerts", "silences").out == ""
    assert "ended" in shell("alerts", "silences", "--all").out
    name = shell.put(-2)
    shell.run()
    assert [key for key, one in shell.alerts().items() if one["state"] == "written"][-1] == f"{name} home@example.com"


def test_silences_that_make_no_sense_are_refused(shell: Shell) -> None:
    shell.put(20)
    shell.run()
    words = ("alerts", "silence", "--from", "2026-01-02", "--until", "2026-01-01")
    assert "ends before it begins" in shell(*words, code=2).err
    assert "no silence has this id" in shell("alerts", "unsilence", "s9", code=2).err
    assert "no alert has this id" in shell("alerts", "show", "zz", code=2).err
    assert "not a valid time" in shell("alerts", "snooze", "people", "--for", "soon", code=2).err


def test_what_a_rule_holds_back_is_said_and_is_no_trouble(shell: Shell) -> None:
    digest = [time.strftime("%H:%M", time.gmtime(time.time() + 3 * 3600))]
    shell.rules({"version": 2, "rules": [{**RULE, "digest": digest}]})
    shell.put(20)
    out = shell.run().out
    assert "1 alert held back by their rules, the next until" in out
    assert "NOT SENT" not in out
    said = shell("status", "--json").json["unsent"]
    assert (said["pending"], said["planned"]) == (0, 1)
