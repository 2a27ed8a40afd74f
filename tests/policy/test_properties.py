"""Promises of the policy, on drawn histories through the simulation. The long forms draw many more."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout.domain.policy.codec import group_to_json, sightings_from_json, sightings_to_json
from lookout.domain.policy.records import Sighted, Static
from lookout.domain.policy.sightings import MAX_BOXES, Sightings, iou, on_grid
from stages.threat_detect.simulation.store import Store

from .histories import (
    BASE,
    CARS,
    NAME,
    PERSON,
    History,
    Pick,
    Run,
    crowded,
    difference,
    lines_of,
    picture,
    rule_document,
    settings_of,
    simulated,
)

PICKS = st.randoms(use_true_random=False).map(lambda source: source.randint)
FEW = settings(max_examples=60, deadline=None)
MANY = settings(max_examples=3_000, deadline=None)


def short_and_long(check: Callable[[Pick], None]) -> tuple[Callable[..., None], Callable[..., None]]:
    """The test in its short and its long form."""

    @FEW
    @given(PICKS)
    def short(pick: Pick) -> None:
        check(pick)

    @pytest.mark.slow
    @MANY
    @given(PICKS)
    def long(pick: Pick) -> None:
        check(pick)

    return short, long


# --- P1: the product is the oracle -----------------------------------------------------------------------------------


def check_oracle(pick: Pick) -> None:
    history = settings_of(pick)
    drawn = (crowded if pick(0, 1) else lines_of)(pick, history)
    assert difference(drawn) is None


test_decisions_and_alerts_are_those_of_the_oracle, test_decisions_and_alerts_are_those_of_the_oracle_long = (
    short_and_long(check_oracle)
)


# --- P2: within the bound, order does not matter ---------------------------------------------------------------------


def orders(pick: Pick, history: History, *, static: bool) -> list[list[dict[str, Any]]]:
    """The same pictures in five orders, with delays that differ by less than the bound."""
    times = sorted({BASE + 5 * pick(0, 60) for _ in range(pick(3, 10))})
    things = [[("car", CARS[pick(0, 2)])] if static and pick(0, 2) else [("person", PERSON)] for _ in times]
    least = (0, 15)[pick(0, 1)] if history.rule.gap else 0
    found = []
    for number in range(5):
        delays = [least + (0 if number == 0 else pick(0, 999) * history.rule.bound / 1000) for _ in times]
        lines = [
            picture(f"p{time - BASE}", time, time + delay, *objects)
            for time, delay, objects in zip(times, delays, things, strict=True)
        ]
        found.append(sorted(lines, key=lambda line: line["decided_at_s"]))
    return found


def outcome(run: Run) -> dict[str, Any]:
    return {
        "events": [(one.first_s, one.last_s, one.pictures) for one in run.group.events],
        "told": [one.told_s for one in run.group.told],
        "summaries": {name: (one["state"], one["items"]) for name, one in run.alerts.items() if "items" in one},
        "mails": Counter(one["state"] for name, one in run.alerts.items() if name.startswith("event:"))["sent"],
        "standing": sorted(one["key"] for one in run.decisions if one["code"] == "static_object"),
    }


def check_order(pick: Pick) -> None:
    static = bool(pick(0, 1))
    history = settings_of(pick, static=static)
    silence = {"op": "silence", "id": "s", "at_s": BASE, "from_s": BASE + 5 * pick(0, 60), "until_s": BASE + 200}
    before = [silence] if pick(0, 2) == 0 else []
    after = [{"op": "tick", "at_s": BASE + 86_400 * 2}]
    drawn = orders(pick, history, static=static)
    first, *others = (outcome(simulated(history.document, [*before, *lines, *after])) for lines in drawn)
    for other in others:
        assert other == first


test_order_within_the_bound_does_not_matter, test_order_within_the_bound_does_not_matter_long = short_and_long(
    check_order
)


# --- P3: in any order, alerts keep their distance and no event is lost -----------------------------------------------


def check_any_order(pick: Pick) -> None:
    history = settings_of(pick, quiet=False)
    times = [BASE + 5 * pick(0, 120) for _ in range(pick(2, 10))]
    lines = [picture(f"p{number}", time, time + pick(0, 190)) for number, time in enumerate(times)]
    lines.sort(key=lambda line: line["decided_at_s"])
    run = simulated(history.document, [*lines, {"op": "tick", "at_s": BASE + 86_400 * 2}])
    rule = history.rule
    mailed = {
        name.rpartition("|")[2] for name, one in run.alerts.items() if one["state"] == "sent" and "items" not in one
    }
    at = {line["key"]: float(line["captured_at_s"]) for line in lines}
    alerts = sorted(at[key] for key in mailed)
    assert all(later - earlier >= rule.cooldown - rule.bound for earlier, later in pairwise(alerts))
    for decision in run.decisions:
        if decision["code"] in ("sent", "held_confirm", "merged_event", "cooldown"):
            time = decision["t"]
            event = next(one for one in run.group.events if one.spans(time))
            near = [one for one in alerts if event.spans(one) or abs(one - time) <= rule.cooldown + rule.bound]
            assert near, (decision, alerts)


test_any_order_loses_no_event_and_floods_nobody, test_any_order_loses_no_event_and_floods_nobody_long = short_and_long(
    check_any_order
)


# --- P6: kept decisions fold to the same state -----------------------------------------------------------------------


def check_fold(pick: Pick) -> None:
    history = lines_of(pick, settings_of(pick))
    lines = [line for line in history.lines if line.get("op") not in ("ack", "dead", "unsilence")]
    first, again = (simulated(history.document, lines) for _ in range(2))
    assert (first.decisions, first.alerts, first.group) == (again.decisions, again.alerts, again.group)
    numbers = [one["n"] for one in first.decisions if "n" in one]
    assert numbers == list(range(1, len(numbers) + 1))


test_the_same_lines_give_the_same_state, test_the_same_lines_give_the_same_state_long = short_and_long(check_fold)


# --- P7: nothing twice -----------------------------------------------------------------------------------------------


def check_nothing_twice(pick: Pick) -> None:
    history = lines_of(pick, settings_of(pick))
    other = settings_of(pick)
    lines = []
    for line in history.lines:
        lines.append(line)
        if line.get("op") is None and pick(0, 2) == 0:
            lines.append({"op": "rules", "at_s": line["decided_at_s"], "doc": (other, history)[pick(0, 1)].document})
            lines.append({**line, "op": "redetect"})
    lines = [line for line in lines if line.get("op") not in ("ack", "dead", "unsilence")]
    left: set[str] = set()

    def watch(store: Store) -> None:
        sent = {str(one["alert"]) for one in store.alerts() if one["state"] == "sent"}
        assert left <= sent  # what has left stays so, and its name is that of one picture: nothing leaves twice
        left.update(sent)

    run = simulated(history.document, lines, watch)
    told = Counter(one["key"] for one in run.decisions if one["code"] in ("sent", "held_confirm"))
    back = Counter(one["key"] for one in run.decisions if one["code"] == "withdrawn")
    for key, count in told.items():
        assert count <= 1 + back[key]


test_nothing_leaves_twice, test_nothing_leaves_twice_long = short_and_long(check_nothing_twice)


# --- P9: groups do not touch each other ------------------------------------------------------------------------------


def check_groups(pick: Pick) -> None:
    history = crowded(pick, settings_of(pick))
    lines = [line for line in history.lines if line.get("op") is None]
    devices = [f"cam-{pick(0, 2)}" for _ in lines]
    mixed = [{**line, "device": device} for line, device in zip(lines, devices, strict=True)]
    tick = history.lines[-1]
    together = simulated(history.document, [*mixed, tick])
    for device in set(devices):
        alone = simulated(history.document, [*(line for line in mixed if line["device"] == device), tick])
        found = [one for one in together.decisions if one["place"] == device]
        assert found == alone.decisions
        assert {name: together.alerts[name]["state"] for name in alone.alerts} == {
            name: one["state"] for name, one in alone.alerts.items()
        }


test_groups_are_independent, test_groups_are_independent_long = short_and_long(check_groups)


# --- P10: the state is small -----------------------------------------------------------------------------------------


def flood(days: int, pictures_a_day: int) -> tuple[int, int]:
    """The largest state of a group and of sightings in bytes, with so many matches a day of people and parked cars."""
    source = random.Random(7)
    document = rule_document(static={"classes": ["car"]}, event={"gap": 0}, cooldown=0)
    largest = [0, 0]

    def watch(store: Store) -> None:
        largest[0] = max(largest[0], len(group_to_json(store.group(NAME, "porch")).encode()))
        largest[1] = max(largest[1], len(sightings_to_json(store.sightings(NAME, "porch")).encode()))

    def box() -> tuple[float, float, float, float]:
        left, top = source.random() * 0.8, source.random() * 0.8
        return left, top, left + 0.1, top + 0.1

    step = 86_400 / pictures_a_day
    lines = (
        picture(f"porch_{BASE + number:.0f}.jpg", at := BASE + number * step, at, ("person", PERSON), ("car", box()))
        for number in range(days * pictures_a_day)
    )
    simulated(document, lines, watch)
    return largest[0], largest[1]


def test_the_state_of_a_group_stays_small() -> None:
    group_bytes, sightings_bytes = flood(1, 400)
    assert group_bytes < 8_000
    assert sightings_bytes < 16_000


@pytest.mark.slow
def test_the_state_of_a_group_stays_small_long() -> None:
    group_bytes, sightings_bytes = flood(7, 5_000)
    assert group_bytes < 8_000
    assert sightings_bytes < 16_000


# --- sightings -------------------------------------------------------------------------------------------------------


def check_sightings(pick: Pick) -> None:
    """Few times a box answer as all of them do, for pictures up to ``hold`` out of order."""
    static = Static(iou=0.6, hold_s=10 * pick(1, 6), forget_s=0)
    static = Static(iou=0.6, hold_s=static.hold_s, forget_s=static.hold_s * pick(2, 5) + pick(0, 9))
    kept, all_seen, newest = Sightings(), list[tuple[Sighted, float]](), 10_000.0
    for _ in range(pick(1, 30)):
        newest += pick(0, 40)
        at_s = newest - pick(0, int(static.hold_s) - 1)
        thing = Sighted(label="car", score=0.9, box=CARS[pick(0, 2)], may_stand=True)
        expected = any(
            iou(thing.box, on_grid(seen.box)) >= static.iou and at_s - static.forget_s <= time <= at_s - static.hold_s
            for seen, time in all_seen
        )
        assert (kept.find(static, thing, at_s) is not None) == expected
        kept = sightings_from_json(sightings_to_json(kept.entered(static, [thing], at_s)))
        all_seen.append((thing, at_s))
        assert all(len(times) <= 4 for times in kept.boxes.values())


test_sightings_answer_as_all_of_them_do, test_sightings_answer_as_all_of_them_do_long = short_and_long(check_sightings)


def test_the_boxes_that_were_seen_longest_ago_go() -> None:
    static, kept = Static(iou=0.6, hold_s=10, forget_s=1_000_000), Sightings()
    boxes = [(number / 200, 0.0, number / 200 + 0.004, 0.004) for number in range(MAX_BOXES + 5)]
    for number, box in enumerate(boxes):
        kept = kept.entered(static, [Sighted(label="car", score=1, box=box, may_stand=True)], 1000.0 + number)
    assert len(kept.boxes) == MAX_BOXES
    assert on_grid(boxes[4]) not in {box for _, box in kept.boxes}
    assert on_grid(boxes[5]) in {box for _, box in kept.boxes}


def test_the_step_of_the_grid_is_an_eighth_to_a_sixteenth_of_the_smaller_side() -> None:
    for side in (0.9, 0.5, 0.26, 0.25, 0.1, 0.003):
        edges = {on_grid((left / 20_000, 0.0, left / 20_000 + side, 1.0))[0] for left in range(1000)}
        step = min(later - earlier for earlier, later in pairwise(sorted(edges)))
        assert side / 16 <= step <= side / 8


def test_a_history_of_one_rule_is_drawn_of_all_codes() -> None:
    """The histories above reach each code; a property that never meets a case proves nothing about it."""
    codes: Counter[str] = Counter()
    for seed in range(400):
        pick = random.Random(seed).randint
        history = (crowded if seed % 2 else lines_of)(pick, settings_of(pick))
        lines = [line for line in history.lines if line.get("op") not in ("ack", "dead", "unsilence")]
        codes.update(str(one["code"]) for one in simulated(history.document, lines).decisions)
    reached = {code for code, _ in groupby(sorted(codes))}
    assert reached >= {
        "sent", "held_confirm", "held_quiet", "late_summary", "merged_event", "cooldown", "silenced", "quiet_dropped",
        "late_merged", "late_dropped", "old_news", "decided_before", "withdrawn",
    }  # fmt: skip
