"""Mutants of the policy: each turns one boundary or leaves one step out, and a scenario or a drawn history finds it."""

from __future__ import annotations

import importlib
import inspect
import random
import types
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .histories import crowded, difference, lines_of, settings_of, simulated
from .test_scenarios import SCENARIOS

EVENTS, TELLING, SUMMARIES, SIGHTINGS, DECIDE, BACK = (
    f"lookout.domain.policy.{name}" for name in ("events", "telling", "summaries", "sightings", "decide", "taking_back")
)
MUTANTS = [
    (EVENTS, "event.first_s - policy.gap_s <= at_s", "event.first_s - policy.gap_s < at_s"),
    (EVENTS, "<= event.last_s + policy.gap_s]", "< event.last_s + policy.gap_s]"),
    (EVENTS, "<= policy.gap_s + policy.reorder_s else", "<= policy.gap_s else"),
    (EVENTS, "if is_extra and one.then_s is not None else one", "if False else one"),
    (EVENTS, "and one.due_s > now_s:", "and one.due_s > now_s + 1000:"),
    (EVENTS, "if entry.at_s < first.at_s:", "if entry.at_s > first.at_s:"),
    (TELLING, "if abs(at_s - one.told_s) < needed_s:", "if abs(at_s - one.told_s) <= needed_s:"),
    (TELLING, "for one in (last, first):", "for one in (last,):"),
    (TELLING, "match.at_s >= told.at_s - policy.reorder_s:", "match.at_s >= told.at_s:"),
    (TELLING, "if held_by.is_later and", "if False and"),
    (TELLING, "told = replace(told, then_s=match.at_s)\n", "pass\n"),
    (TELLING, "if before is not None and _is_due_if_joined", "if False and _is_due_if_joined"),
    (TELLING, "due_s=now_s + policy.reorder_s), Code.HELD_CONFIRM", "due_s=now_s), Code.HELD_CONFIRM"),
    (TELLING, "if before.ack is not None or", "if"),
    (SUMMARIES, "max(until_s, now_s) + policy.gap_s + policy.reorder_s", "until_s"),
    (SUMMARIES, "told_s > since_s for", "told_s > entry.at_s for"),
    (SUMMARIES, "elif entry.listed is None and match.at_s < entry.at_s:", "elif False:"),
    (SUMMARIES, "min(before.opened_s + LATE_OPEN_S, now_s + LATE_PAUSE_S)", "now_s + LATE_PAUSE_S"),
    (SUMMARIES, "group.late.due_s <= now_s", "group.late.due_s < now_s"),
    (SIGHTINGS, "<= time_s <= at_s - static.hold_s", "<= time_s < at_s - static.hold_s"),
    (SIGHTINGS, "at_s - static.forget_s <= time_s", "at_s - static.forget_s < time_s"),
    (DECIDE, "now_s - match.at_s > policy.late_after_s", "now_s - match.at_s >= policy.late_after_s"),
    (DECIDE, "silence.from_s <= match.at_s < silence.until_s", "silence.from_s <= match.at_s <= silence.until_s"),
    (DECIDE, "if given.has_alert:", "if False:"),
    (BACK, "if not left:\n", "if False:\n"),
    (BACK, "return replace(kept, withdrawn=True) if was_sent else None", "return replace(kept, withdrawn=True)"),
]


def functions(scope: dict[str, object], module_name: str) -> dict[str, types.FunctionType]:
    """The functions of a module and the methods of its classes, by their names."""
    owners = [scope, *(vars(one) for one in scope.values() if isinstance(one, type) and one.__module__ == module_name)]
    return {
        one.__qualname__: one
        for owner in owners
        for one in owner.values()
        if isinstance(one, types.FunctionType) and one.__module__ == module_name
    }


@contextmanager
def mutated(module_name: str, old: str, new: str) -> Iterator[None]:
    """The module with one text replaced, in place: its functions run other code, whoever has imported them."""
    module = importlib.import_module(module_name)
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{module_name} has {old!r} {source.count(old)} times"
    mutant: dict[str, object] = {"__name__": module_name}
    exec(compile(source.replace(old, new), module_name, "exec"), mutant)
    originals, changed = functions(vars(module), module_name), functions(mutant, module_name)
    before = {name: one.__code__ for name, one in originals.items()}
    assert any(
        one.__code__.co_code != changed[name].__code__.co_code or _differs(one, changed[name])
        for name, one in originals.items()
    )
    try:
        for name, one in originals.items():
            one.__code__ = changed[name].__code__
        yield
    finally:
        for name, one in originals.items():
            one.__code__ = before[name]


def _differs(one: types.FunctionType, other: types.FunctionType) -> bool:
    return one.__code__.co_consts != other.__code__.co_consts


def is_found(histories: int) -> bool:
    """Tell whether a scenario, a difference from the oracle, or an order that matters shows that something is wrong."""
    if any(_fails(scenario) for scenario in SCENARIOS):
        return True
    for seed in range(histories):
        pick = random.Random(seed).randint
        if difference((crowded if seed % 2 else lines_of)(pick, settings_of(pick, static=seed % 10 == 0))) is not None:
            return True
    return False


def _fails(scenario: dict[str, object]) -> bool:
    rules, lines, expect = scenario["rules"], scenario["events"], scenario["expect"]
    assert isinstance(rules, dict)
    assert isinstance(lines, list)
    assert isinstance(expect, list)
    run = simulated(rules, lines)
    found = [{name: one.get(name) for name in wanted} for one, wanted in zip(run.decisions, expect, strict=False)]
    states = {name: one["state"] for name, one in run.alerts.items()}
    items = scenario.get("items", {})
    assert isinstance(items, dict)
    listed = {name: run.alerts.get(name, {}).get("items") for name in items}
    return found != expect or states != scenario.get("alerts", states) or listed != items


def test_nothing_is_found_in_the_policy_itself() -> None:
    assert not is_found(200)


@pytest.mark.parametrize("mutant", MUTANTS[::5], ids=lambda mutant: mutant[1][:40])
def test_a_mutant_is_found(mutant: tuple[str, str, str]) -> None:
    with mutated(*mutant):
        assert is_found(3_000)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant[1][:40])
def test_each_mutant_is_found(mutant: tuple[str, str, str]) -> None:
    with mutated(*mutant):
        assert is_found(20_000)
