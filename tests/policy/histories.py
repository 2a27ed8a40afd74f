"""Histories of one rule: drawn, run through the simulation and through the oracle, and compared line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lookout.domain.policy.codec import group_from_json, group_to_json
from lookout.domain.policy.records import Group
from stages.threat_detect.simulation.lines import read_lines
from stages.threat_detect.simulation.rulebook import rulebook_of
from stages.threat_detect.simulation.simulate import Simulation
from stages.threat_detect.simulation.store import Store

from .oracle import NEVER, Oracle, Rule

BASE = 1_763_798_400
"""2025-11-22 08:00 UTC."""
NAME = "home|people"
PERSON = (0.4, 0.2, 0.6, 0.8)
CARS = ((0.1, 0.5, 0.3, 0.7), (0.11, 0.5, 0.31, 0.7), (0.6, 0.5, 0.8, 0.7))
Pick = Callable[[int, int], int]
"""Draws a number from the first to the last, both included."""


@dataclass
class History:
    """A rule document, lines, and the same settings for the oracle."""

    document: dict[str, Any]
    rule: Rule
    lines: list[dict[str, Any]] = field(default_factory=list)


def rule_document(**fields: Any) -> dict[str, Any]:
    rule = {
        "name": "people",
        "user": "home",
        "classes": ["person", "car"],
        "from": "a@example.com",
        "to": ["b@example.com"],
    }
    return {"version": 2, "rules": [{**rule, **fields}]}


def settings_of(pick: Pick, *, static: bool = False, quiet: bool = True) -> History:
    """Draw settings that are small against the times of a history."""
    gap = (0, 20, 60)[pick(0, 2)]
    cooldown = (0, 30, 90)[pick(0, 2)]
    again = (max(gap, cooldown), max(gap, cooldown) + 40, 300, None)[pick(0, 3)]
    hold = 40 if static else 0
    limits = [one for one in (90, gap, cooldown - 1, hold) if one > 0]
    bound = min(min(limits), (5, 10, 30)[pick(0, 2)])
    late_after, late_action = (200, 3600)[pick(0, 1)], ("summary", "drop", "send")[pick(0, 2)]
    fields: dict[str, Any] = {
        "event": {"gap": gap, "again": again},
        "cooldown": cooldown,
        "reorder": bound,
        "late": {"after": late_after, "action": late_action},
    }
    rule = Rule(
        gap=gap,
        again=NEVER if again is None else again,
        cooldown=cooldown,
        bound=bound,
        late_after=late_after,
        late_action=late_action,
    )
    if static:
        fields["static"] = {"classes": ["car"], "hold": hold, "forget": 200}
        rule.hold, rule.forget = hold, 200
    if pick(0, 2) == 0:
        fields["escalate"] = {"after": 45, "to": ["boss@example.com"]}
        rule.escalate = 45
    if quiet:
        _quiet(pick, fields, rule)
    return History(rule_document(**fields), rule)


def _quiet(pick: Pick, fields: dict[str, Any], rule: Rule) -> None:
    kind = pick(0, 4)
    if kind < 2:
        action = ("hold", "drop")[kind]
        fields["quiet"] = [{"from": "08:02", "to": "08:05", "action": action}]
        span = (BASE + 120, BASE + 300)
        rule.until = lambda at: (span[1] if action == "hold" else "drop") if span[0] <= at < span[1] else None
    elif kind == 2:
        fields["digest"] = ["08:02", "08:06"]
        moments = [BASE + 120, BASE + 360, BASE + 86_400 + 120]
        rule.until = lambda at: next(moment for moment in moments if moment > at)


def picture(
    key: str, at: float, decided: float, *objects: tuple[str, tuple[float, ...]], **more: Any
) -> dict[str, Any]:
    things = [{"class": kind, "score": 0.9, "box": list(box)} for kind, box in objects or (("person", PERSON),)]
    return {"key": key, "device": "porch", "captured_at_s": at, "decided_at_s": decided, "objects": things, **more}


def lines_of(pick: Pick, history: History, most: int = 9) -> History:
    """Draw pictures in any order, and what happens between them."""
    now, seen = float(BASE), list[tuple[str, float]]()
    for number in range(pick(2, most)):
        now += (0, 1, 10, 30, 70, 150)[pick(0, 5)]
        kind = pick(0, 11)
        if kind <= 6 or not seen:
            delay = (0, 0, 1, 5, 20, 60, 199, 201, 400)[pick(0, 8)]
            seen.append((f"p{number}", now - delay))
            history.lines.append(picture(*seen[-1], now))
        else:
            history.lines.append(_between(pick, kind, seen[pick(0, len(seen) - 1)], now))
    history.lines.append({"op": "tick", "at_s": now + 86_400 * 2, "up": True})
    return history


def _between(pick: Pick, kind: int, chosen: tuple[str, float], now: float) -> dict[str, Any]:
    key, at = chosen
    if kind == 7:
        return picture(key, at, now, ("dog" if pick(0, 1) else "person", PERSON), op="redetect")
    if kind == 8:
        return {"op": "delete", "key": key, "at_s": now}
    if kind == 9:
        return {"op": "tick", "at_s": now, "up": bool(pick(0, 1))}
    if kind == 10:
        span = {"from_s": now - pick(0, 60), "until_s": now + pick(0, 90)}
        return (
            {"op": "silence", "id": "s", "at_s": now, **span}
            if pick(0, 2)
            else {"op": "unsilence", "id": "s", "at_s": now}
        )
    return {"op": ("ack", "dead")[pick(0, 1)], "at_s": now, "rule": NAME, "key": key}


def crowded(pick: Pick, history: History, most: int = 9) -> History:
    """Draw pictures that lie close together and overtake each other, most of them by less than the bound."""
    times = [BASE + 5 * pick(0, 40) for _ in range(pick(3, most))]
    delays = [pick(0, int(history.rule.bound)) + (40 if pick(0, 9) == 0 else 0) for _ in times]
    arrivals = sorted(zip(times, delays, range(len(times)), strict=True), key=lambda one: one[0] + one[1])
    history.lines = [picture(f"p{number}", at, at + delay) for at, delay, number in arrivals]
    for _ in range(pick(0, 2)):
        place = pick(1, len(history.lines))
        before = history.lines[place - 1]
        now = before["decided_at_s"] if "decided_at_s" in before else before["at_s"]
        key = f"p{pick(0, len(times) - 1)}"
        history.lines.insert(place, _between(pick, pick(7, 11), (key, now), now))
    history.lines.append({"op": "tick", "at_s": BASE + 86_400 * 2, "up": True})
    return history


@dataclass
class Run:
    """The result of a simulation: its decisions, alerts by name, and the state of the group at ``porch`` after it."""

    decisions: list[dict[str, Any]]
    alerts: dict[str, dict[str, Any]]
    group: Group


def simulated(
    document: Mapping[str, Any], lines: Iterable[Mapping[str, Any]], watch: Callable[[Store], None] | None = None
) -> Run:
    """Run lines through the simulation, and check that the state of the group is all that it needs."""
    store, decisions = Store(), []
    try:
        simulation = Simulation(rulebook_of({"rules.json": document}, "rules"), store, 0.5, lambda _: None)
        for where, line in read_lines((json.dumps(line).encode() for line in lines), "lines"):
            decisions += simulation.take(line, where)
            group = store.group(NAME, "porch")
            assert group_from_json(group_to_json(group)) == group
            if watch is not None:
                watch(store)
        alerts = {str(alert["alert"]): dict(alert) for alert in store.alerts()}
        return Run([dict(one) for one in decisions], alerts, store.group(NAME, "porch"))
    finally:
        store.close()


def can_take(oracle: Oracle, line: Mapping[str, Any]) -> bool:
    if line.get("op") == "unsilence":
        return line["id"] in oracle.silences
    return line.get("op") not in ("ack", "dead") or line["key"] in oracle.decided


def take(oracle: Oracle, line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Let the oracle take one line."""
    op, now = line.get("op"), line.get("decided_at_s", line.get("at_s"))
    oracle.leave(now)
    found: dict[str, Any] | None = None
    if op in (None, "redetect"):
        objects = [(one["class"], tuple(one["box"])) for one in line["objects"]]
        matching = [one for one in objects if one[0] in ("person", "car")]
        if matching:
            at = line["captured_at_s"]
            found = oracle.decide(line["key"], at, now, again=op is not None, objects=matching)
        else:
            found = oracle.withdraw(line["key"]) or {"code": "no_wanted_class"}
    elif op == "delete":
        found = oracle.withdraw(line["key"])
    elif op == "tick":
        oracle.mail = line.get("up", oracle.mail)
    elif op == "silence":
        oracle.silences[line["id"]] = {"from": line["from_s"], "until": line["until_s"], "ended": NEVER}
    elif op == "unsilence":
        oracle.silences[line["id"]]["ended"] = now
    elif op == "ack":
        oracle.acknowledge(line["key"])
    elif op == "dead":
        oracle.refuse(line["key"])
    oracle.leave(now)
    return [{"key": line["key"], **found}] if found is not None else []


def difference(history: History) -> str | None:
    """Run a history through both, and describe the first difference; None if there is none."""
    oracle, lines, expected = Oracle(history.rule), [], list[dict[str, Any]]()
    for line in history.lines:
        if can_take(oracle, line):
            lines.append(line)
            expected += take(oracle, line)
    run = simulated(history.document, lines)
    for found, wanted in zip(run.decisions, expected, strict=True):
        for name, value in wanted.items():
            if name != "summary" and found.get(name) != value:
                return f"{name}: expected {wanted}, got {found}"
    alerts = {_short(name): (alert["state"], alert.get("items", [])) for name, alert in run.alerts.items()}
    wanted_alerts = {name: (alert["state"], alert.get("items", [])) for name, alert in oracle.alerts.items()}
    if alerts != wanted_alerts:
        return f"alerts: expected {wanted_alerts}, got {alerts}"
    told = sorted((one["t"], one["key"]) for one in oracle.told)
    if sorted((one.told_s, one.key) for one in run.group.told) != told:
        return f"told: expected {told}, got {run.group.told}"
    return None


def _short(name: str) -> str:
    kind, _, rest = name.partition(":")
    return f"{kind}:{rest.removeprefix(f'{NAME}|').removeprefix('porch|')}"
