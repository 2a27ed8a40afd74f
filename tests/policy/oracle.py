"""A second reading of the rules for alerts, of one rule and one place: plain lists, nothing forgotten, and slow.

Written from the description of the rules, not from the policy. Events are found anew from all times, each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NEVER = float("inf")


@dataclass
class Rule:
    """Settings in seconds. ``until`` gives, for a picture's time, the end of its quiet time, "drop" or None."""

    gap: float = 120
    again: float = 3600
    cooldown: float = 600
    bound: float = 30
    late_after: float = 3600
    late_action: str = "summary"
    hold: float = 0
    forget: float = 0
    iou: float = 0.6
    escalate: float | None = None
    until: Callable[[float], Any] = lambda _: None


@dataclass
class Oracle:
    rule: Rule
    pictures: list[dict[str, Any]] = field(default_factory=list)  # those in events
    told: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    decided: dict[str, dict[str, Any]] = field(default_factory=dict)
    silences: dict[str, dict[str, Any]] = field(default_factory=dict)
    sightings: list[tuple[str, tuple[float, ...], float]] = field(default_factory=list)
    known: list[tuple[float, float]] = field(default_factory=list)  # times within acknowledged events
    late: dict[str, Any] | None = None
    mail: bool = True

    # --- events: rows of times, each at most the gap after the one before --------------------------------------------

    def rows(self, times: list[float]) -> list[list[float]]:
        found: list[list[float]] = []
        for time in sorted(times):
            if found and time - found[-1][-1] <= self.rule.gap:
                found[-1].append(time)
            else:
                found.append([time])
        return found

    def event(self, time: float) -> tuple[float, float]:
        row = next(row for row in self.rows([one["t"] for one in self.pictures]) if time in row)
        return row[0], row[-1]

    def event_around(self, time: float) -> tuple[float, float] | None:
        rows = self.rows([one["t"] for one in self.pictures])
        return next(((row[0], row[-1]) for row in rows if row[0] <= time <= row[-1]), None)

    def told_in(self, event: tuple[float, float]) -> list[dict[str, Any]]:
        return sorted((one for one in self.told if event[0] <= one["t"] <= event[1]), key=lambda one: one["t"])

    def is_known(self, event: tuple[float, float]) -> bool:
        return any(event[0] <= time <= event[1] for span in self.known for time in span)

    # --- a line ------------------------------------------------------------------------------------------------------

    def leave(self, now: float) -> None:
        self.settle(now)
        for alert in self.alerts.values():
            if self.mail and alert["state"] == "pending" and alert["due"] <= now:
                alert["state"] = "sent"

    def settle(self, now: float) -> None:
        due = [one for one in self.alerts.values() if "until" in one and not one["filled"] and one["due"] <= now]
        for alert in sorted(due, key=lambda one: (one["due"], one["until"], one["number"])):
            mine = [one for one in self.entries if one["summary"] == alert["name"] and one["listed"] is None]
            chosen = []
            for entry in mine:
                event = self.event_around(entry["t"])
                since = entry["t"] - self.rule.again
                news = [one["t"] for one in self.told_in(event)] if event else []
                if event:
                    news += [one["t"] for one in self.entries if one["listed"] and event[0] <= one["t"] <= event[1]]
                chosen.append(not any(time > since for time in news))
            for entry, is_listed in zip(mine, chosen, strict=True):
                entry["listed"] = is_listed
            alert["items"] = [
                one["key"] for one in sorted(mine, key=lambda one: (one["t"], one["key"])) if one["listed"]
            ]
            alert["filled"] = True
            if not alert["items"] and alert["state"] == "pending":
                alert["state"] = "canceled"
        if self.late and self.late["due"] <= now:
            self.late = None

    def put(self, name: str, due: float, **more: Any) -> None:
        alert = self.alerts.setdefault(name, {"name": name, "state": "canceled", "due": due, **more})
        if alert["state"] in ("pending", "canceled"):
            alert.update(state="pending", due=due)

    def cancel(self, name: str) -> None:
        if name in self.alerts and self.alerts[name]["state"] == "pending":
            self.alerts[name]["state"] = "canceled"

    def state(self, name: str) -> str:
        return str(self.alerts.get(name, {"state": "canceled"})["state"])

    # --- decisions ---------------------------------------------------------------------------------------------------

    def decide(
        self, key: str, time: float, now: float, *, again: bool = False, objects: list[tuple[str, tuple[float, ...]]]
    ) -> dict[str, Any]:
        """Decide on a picture that matches: ``objects`` are classes and boxes; "car" may stand still."""
        if key in self.decided:
            return {"code": "decided_before", "was": self.decided[key]["code"]}
        if self.state(f"event:{key}") != "canceled":
            return {"code": "told_before"}
        self.settle(now)
        found = self.judge(key, time, now, again, objects)
        self.decided[key] = {"t": time, "withdrawn": False, **found}
        return found

    def judge(
        self, key: str, time: float, now: float, again: bool, objects: list[tuple[str, tuple[float, ...]]]
    ) -> dict[str, Any]:
        rule = self.rule
        if now - time > rule.late_after and (again or rule.late_action != "send"):
            return self.judge_late(key, time, now, again)
        if rule.hold:
            moving = [one for one in objects if one[0] != "car" or not self.stands(one, time)]
            self.sightings += [(kind, grid(box), time) for kind, box in objects if kind == "car"]
            if not moving:
                return {"code": "static_object"}
        return self.judge_event(key, time, now)

    def judge_late(self, key: str, time: float, now: float, again: bool) -> dict[str, Any]:
        if again:
            return {"code": "old_news"}
        for row in self.rows([one["t"] for one in self.pictures]):
            if row[0] - self.rule.gap <= time <= row[-1] + self.rule.gap and self.told_in((row[0], row[-1])):
                return {"code": "late_merged"}
        if self.rule.late_action == "drop":
            return {"code": "late_dropped"}
        if self.late is None:
            self.late = {"key": key, "first": now, "due": 0.0, "count": 0}
        self.late["due"] = min(self.late["first"] + 7200, now + 900)
        self.late["count"] += 1
        name = f"late:{self.late['key']}"
        self.put(name, self.late["due"], items=[])
        self.alerts[name]["items"].append(key)
        return {"code": "late_summary", "until_s": self.late["due"], "summary": name}

    def stands(self, thing: tuple[str, tuple[float, ...]], time: float) -> bool:
        rule = self.rule
        return any(
            kind == thing[0] and time - rule.forget <= seen <= time - rule.hold and overlap(thing[1], box) >= rule.iou
            for kind, box, seen in self.sightings
        )

    def judge_event(self, key: str, time: float, now: float) -> dict[str, Any]:
        before = self.rows([one["t"] for one in self.pictures])
        near = [row for row in before if row[0] - self.rule.gap <= time <= row[-1] + self.rule.gap]
        members = sorted((one for one in self.pictures for row in near if one["t"] in row), key=lambda one: one["t"])
        name = members[0]["event"] if members else key
        self.pictures.append({"t": time, "key": key, "live": True, "event": name})
        event = self.event(time)
        for one in self.pictures:
            if event[0] <= one["t"] <= event[1]:
                one["event"] = name
        if len(near) > 1:
            self.join(event, now)
        found = self.judge_telling(key, time, now, event)
        return {"event": name, **found}

    def join(self, event: tuple[float, float], now: float) -> None:
        last = None
        for entry in self.told_in(event):
            extra = self.is_known(event) or (last is not None and entry["t"] < last + self.rule.again)
            if extra and entry["then"] is not None:
                entry["t"] = entry["then"]
            elif extra and entry["due"] > now:
                self.told.remove(entry)
                self.cancel(f"event:{entry['key']}")
                self.cancel(f"escalation:{entry['key']}")
                continue
            last = entry["t"]
        mine = [one for one in self.entries if event[0] <= one["t"] <= event[1] and one["listed"] is None]
        for entry in mine:
            if any(one["until"] == entry["until"] and one["t"] < entry["t"] for one in mine):
                self.entries.remove(entry)

    def judge_telling(self, key: str, time: float, now: float, event: tuple[float, float]) -> dict[str, Any]:
        for silence in self.silences.values():
            if silence["from"] <= time < silence["until"] and not (silence["ended"] <= now):
                return {"code": "silenced"}
        if self.is_known(event):
            return {"code": "acknowledged"}
        until = self.rule.until(time)
        if until == "drop":
            return {"code": "quiet_dropped"}
        if until is not None:
            return self.collect(key, time, now, event, until)
        return self.tell(key, time, now, event)

    def collect(self, key: str, time: float, now: float, event: tuple[float, float], until: float) -> dict[str, Any]:
        mine = [one for one in self.entries if one["until"] == until and event[0] <= one["t"] <= event[1]]
        if mine:
            if mine[0]["listed"] is None and time < mine[0]["t"]:
                mine[0].update(t=time, key=key)
            name = mine[0]["summary"]
        else:
            name = self.summary(until, now)
            self.entries.append({"t": time, "key": key, "until": until, "summary": name, "listed": None})
        told = self.told_in(event)
        if not told:
            return {"code": "held_quiet", "until_s": until, "summary": name}
        earlier = [one for one in told if one["t"] <= time]
        return {"code": "merged_event", "told_by": (earlier[-1] if earlier else told[0])["key"], "summary": name}

    def summary(self, until: float, now: float) -> str:
        same = [one for one in self.alerts.values() if one.get("until") == until]
        for alert in same:
            if not alert["filled"]:
                return str(alert["name"])
        name = f"summary:{until:.0f}#{len(same) + 1}"
        due = max(until, now) + self.rule.gap + self.rule.bound
        self.put(name, due, until=until, number=len(same) + 1, filled=False, items=[])
        return name

    def held_by(self, time: float, event: tuple[float, float]) -> dict[str, Any] | None:
        ordered = sorted(self.told, key=lambda one: one["t"])
        earlier = [one for one in ordered if one["t"] <= time]
        later = [one for one in ordered if one["t"] > time]
        for one in earlier[-1:] + later[:1]:
            needed = self.rule.again if event[0] <= one["t"] <= event[1] else self.rule.cooldown
            if abs(time - one["t"]) < needed:
                return one
        return None

    def tell(self, key: str, time: float, now: float, event: tuple[float, float]) -> dict[str, Any]:
        rule = self.rule
        rows = [row for row in self.rows([one["t"] for one in self.pictures]) if row[-1] < event[0]]
        newest = max(one["t"] for one in self.pictures)
        before = (rows[-1][0], rows[-1][-1]) if rows else None
        if before and (rule.gap <= 0 or newest - before[1] > rule.gap + rule.bound):
            before = None
        by = self.held_by(time, event)
        if by is not None:
            code = "merged_event" if event[0] <= by["t"] <= event[1] else "cooldown"
            if by["t"] > time and time >= by["at"] - rule.bound:
                by["t"] = time
            told = self.told_in(before) if before else []
            if told and time >= told[-1]["t"] + rule.again:
                by["then"] = time if by["then"] is None else min(by["then"], time)
            return {"code": code, "told_by": by["key"], "told_at_s": by["t"]}
        entry = {"t": time, "at": time, "key": key, "due": now, "then": None}
        code = "sent"
        if before:
            if self.is_known(before) or self.held_by(time, (before[0], event[1])) is not None:
                code, entry["due"] = "held_confirm", now + rule.bound
            else:
                entry["then"] = time
        self.told.append(entry)
        self.put(f"event:{key}", entry["due"])
        if rule.escalate is not None:
            self.put(f"escalation:{key}", entry["due"] + rule.escalate)
        return {"code": code}

    # --- between decisions -------------------------------------------------------------------------------------------

    def withdraw(self, key: str) -> dict[str, Any] | None:
        kept = self.decided.get(key)
        if kept is None or kept["withdrawn"]:
            return None
        left = 0
        mine = [one for one in self.pictures if one["key"] == key and one["live"]]
        if mine:
            mine[0]["live"] = False
            event = self.event(mine[0]["t"])
            left = sum(one["live"] for one in self.pictures if event[0] <= one["t"] <= event[1])
            if left == 0:
                self.empty(event)
        elif kept["code"] == "late_summary" and self.state(kept["summary"]) != "sent":
            left = self.withdraw_late(key, kept["summary"])
        sent = self.state(f"event:{key}") == "sent" or self.state(kept.get("summary", "")) == "sent"
        if sent:
            kept["withdrawn"] = True
        else:
            del self.decided[key]
        return {"code": "withdrawn", "left": left}

    def withdraw_late(self, key: str, name: str) -> int:
        items = self.alerts[name]["items"]
        items.remove(key)
        if not items:
            self.cancel(name)
        if self.late is None or f"late:{self.late['key']}" != name:
            return 0
        self.late["count"] -= 1
        left = int(self.late["count"])
        self.late = self.late if left else None
        return left

    def empty(self, event: tuple[float, float]) -> None:
        for entry in self.told_in(event):
            if self.state(f"event:{entry['key']}") != "sent":
                self.told.remove(entry)
                self.cancel(f"event:{entry['key']}")
                self.cancel(f"escalation:{entry['key']}")
        for entry in [one for one in self.entries if event[0] <= one["t"] <= event[1]]:
            alert = self.alerts[entry["summary"]]
            if alert["state"] == "sent":
                continue
            self.entries.remove(entry)
            if entry["listed"]:
                alert["items"].remove(entry["key"])
                if not alert["items"]:
                    self.cancel(alert["name"])

    def acknowledge(self, key: str) -> None:
        entry = next((one for one in self.told if one["key"] == key), None)
        event = self.event_around(entry["t"]) if entry else None
        if event is not None:
            self.known.append(event)
            for one in self.told_in(event):
                self.cancel(f"escalation:{one['key']}")

    def refuse(self, key: str) -> None:
        if self.state(f"event:{key}") != "canceled":
            self.alerts[f"event:{key}"]["state"] = "dead"
        self.told = [one for one in self.told if one["key"] != key]


def grid(box: tuple[float, ...]) -> tuple[float, ...]:
    """The box on a grid of step 2^(k-4), where 2^(k-1) <= smaller side < 2^k."""
    side, k = min(box[2] - box[0], box[3] - box[1]), 0
    while side >= 2.0**k:
        k += 1
    while side < 2.0 ** (k - 1):
        k -= 1
    return tuple(round(edge / 2.0 ** (k - 4)) * 2.0 ** (k - 4) for edge in box)


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, wide) * max(0.0, high)
    areas = sum((one[2] - one[0]) * (one[3] - one[1]) for one in (a, b))
    return both / (areas - both) if both else 0.0
