"""The match of a picture and a rule of version 2: limits, zones, times, and which object gives the reason."""

from __future__ import annotations

from typing import Any

import pytest

from stages.threat_detect.rules.version2.matching import Picture, Thing, judge, zones_of

from .version2_made import BASE_S, picture, read, rule, thing

LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]


def verdict(fields: dict[str, Any], found: Picture, **top: Any) -> tuple[str | None, dict[str, Any]]:
    file = read(rule(**fields), **top)
    match = judge(file, file.rules[0], found)
    return match.code, dict(match.numbers)


def code(fields: dict[str, Any], *things: Thing, device: str = "porch") -> str | None:
    return verdict(fields, picture(*things, device=device))[0]


def test_a_match_has_its_time_its_place_and_the_objects_that_matter() -> None:
    file = read(rule(static={"classes": ["car"]}, classes=["person", "car"], group="site"), sites={"home": ["porch"]})
    match = judge(file, file.rules[0], picture(thing("dog"), thing("car"), thing("person", 0.4), thing("person", 0.6)))
    assert (match.code, match.at_s, match.place, match.clock, match.until) == (None, BASE_S, "home", None, None)
    assert [(one.label, one.score, one.may_stand) for one in match.objects] == [
        ("car", 0.9, True),
        ("person", 0.6, False),
    ]


@pytest.mark.parametrize(
    ("fields", "things", "expected"),
    [
        ({}, [], "no_objects"),
        ({}, [thing("dog")], "no_wanted_class"),
        ({}, [thing(score=0.49)], "below_score"),
        ({}, [thing(score=0.5)], None),
        ({"min_score": 0.7}, [thing(score=0.7)], None),
        ({"min_score": 0.7, "classes": [{"class": "person", "min_score": 0.2}]}, [thing(score=0.2)], None),
        ({"min_area": 0.12}, [thing(box=(0, 0, 0.4, 0.3))], None),
        ({"min_area": 0.1201}, [thing(box=(0, 0, 0.4, 0.3))], "too_small"),
        ({"max_area": 0.12}, [thing(box=(0, 0, 0.4, 0.3))], None),
        ({"max_area": 0.1199}, [thing(box=(0, 0, 0.4, 0.3))], "too_large"),
        ({"max_area": 0.25}, [thing(box=(-1, -1, 0.5, 0.5))], None),
        ({"count": 2}, [thing(), thing("dog")], "too_few"),
        ({"count": 2}, [thing(), thing()], None),
        ({"classes": [1]}, [Thing(class_id=1, label="person", score=0.9, box=(0, 0, 1, 1))], None),
        ({"classes": [1]}, [Thing(class_id=3, label="car", score=0.9, box=(0, 0, 1, 1))], "no_wanted_class"),
        ({"min_score": 0.8}, [thing("dog"), thing(score=0.7), thing("cat")], "below_score"),
        ({"devices": ["gate"]}, [thing()], "other_device"),
    ],
)
def test_each_limit_is_reached_by_equality(fields: dict[str, Any], things: list[Thing], expected: str | None) -> None:
    assert code(fields, *things) == expected


def test_numbers_say_by_how_much_the_best_of_the_objects_failed() -> None:
    assert verdict({"min_score": 0.8}, picture(thing(score=0.6), thing(score=0.7)))[1] == {
        "class": "person",
        "score": 0.7,
        "needed": 0.8,
    }
    numbers = verdict({"min_area": 0.5}, picture(thing(box=(0, 0, 0.5, 0.5))))[1]
    assert (numbers["area"], numbers["needed"]) == (0.25, 0.5)
    assert verdict({"count": 3}, picture(thing()))[1] == {"seen": 1, "needed": 3}
    zones = [{"name": "left", "polygon": LEFT}]
    assert verdict({"zones": zones}, picture(thing(box=(0.6, 0, 0.8, 0.5))))[1] == {
        "class": "person",
        "zone": "left",
        "point": [0.7, 0.5],
    }
    overlap = [{"name": "left", "polygon": LEFT, "decides": "overlap"}]
    assert verdict({"zones": overlap}, picture(thing(box=(0.4, 0, 0.8, 1))))[1]["overlap"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("decides", "box", "inside"),
    [
        ("foot", (0.4, 0.1, 0.6, 0.9), True),
        ("foot", (0.4, 0.1, 0.61, 0.9), False),
        ("foot", (0.4, 0.1, 0.6, 1.5), True),
        ("centre", (0.4, 0.1, 0.6, 0.9), True),
        ("centre", (0.41, 0.1, 0.6, 0.9), False),
        ("overlap", (0.4, 0.1, 0.6, 0.9), True),
        ("overlap", (0.41, 0.1, 0.6, 0.9), False),
        ("overlap", (0.2, 0.1, 0.2, 0.9), False),
        ("overlap", (-3, 0.1, 1, 0.9), True),
    ],
)
def test_an_object_is_in_a_zone_by_foot_centre_or_overlap(decides: str, box: tuple[float, ...], inside: bool) -> None:
    zones = [{"name": "left", "polygon": LEFT, "decides": decides}]
    assert (code({"zones": zones}, thing(box=box)) is None) == inside


def test_a_zone_binds_only_the_devices_and_classes_that_it_names_and_exclude_wins() -> None:
    of_cars = {"classes": ["person", "car"], "zones": [{"name": "drive", "polygon": LEFT, "classes": ["car"]}]}
    right = (0.6, 0.1, 0.9, 0.9)
    assert code(of_cars, thing("person", box=right)) is None
    assert code(of_cars, thing("car", box=right)) == "outside_zone"
    of_gate = {"zones": [{"name": "left", "polygon": LEFT, "devices": ["gate-*"]}]}
    assert code(of_gate, thing(box=right)) is None
    assert code(of_gate, thing(box=right), device="gate-1") == "outside_zone"
    both = {"zones": [{"name": "in", "polygon": LEFT}, {"name": "out", "polygon": LEFT, "mode": "exclude"}]}
    assert code(both, thing(box=(0.1, 0.1, 0.3, 0.9))) == "excluded_zone"
    two = {"zones": [{"name": "a", "polygon": LEFT}, {"name": "b", "polygon": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}]}
    assert code(two, thing(box=right)) is None


def test_outside_of_the_schedule_the_local_time_and_the_next_span_are_said() -> None:
    schedule = [{"days": ["mon-fri"], "from": "22:00", "to": "06:00"}]
    said, numbers = verdict({"schedule": schedule, "timezone": "Europe/Vienna"}, picture(thing()))
    assert said == "outside_schedule"
    assert numbers == {"local": "2025-11-22T09:00:00+01:00", "next_s": 1764018000.0}


@pytest.mark.parametrize(
    ("captured_s", "received_s", "expected"),
    [
        (0.0, 0.0, (0.0, None)),
        (120.0, 0.0, (120.0, None)),
        (121.0, 0.0, (0.0, "clock_ahead")),
        (-86_400.0, 0.0, (-86_400.0, None)),
        (1_420_070_400.0 - BASE_S, 0.0, (1_420_070_400.0 - BASE_S, None)),
        (1_420_070_399.0 - BASE_S, 5.0, (5.0, "clock_reset")),
    ],
)
def test_a_clock_that_is_ahead_or_was_reset_is_not_believed(
    captured_s: float, received_s: float, expected: tuple[float, str | None]
) -> None:
    file = read()
    found = picture(thing(), at_s=BASE_S + captured_s, received_at_s=BASE_S + received_s)
    match = judge(file, file.rules[0], found)
    assert (match.at_s - BASE_S, match.clock) == expected


def test_the_first_correction_of_a_clock_holds() -> None:
    file = read(clocks=[{"devices": ["trail-*"], "offset": "-1h"}, {"devices": ["trail-1", "old"], "use": "received"}])
    for device, expected in (("trail-1", BASE_S - 3600), ("old", BASE_S + 9), ("porch", BASE_S)):
        match = judge(file, file.rules[0], picture(thing(), device=device, received_at_s=BASE_S + 9))
        assert match.at_s == expected


def test_the_zones_of_a_match_are_those_in_which_something_that_matters_is() -> None:
    left = {"name": "left", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}
    right = {"name": "right", "polygon": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}
    street = {"name": "street", "mode": "exclude", "polygon": [[0, 0], [1, 0], [1, 0.1], [0, 0.1]]}
    (checked,) = read(rule(zones=[left, right, street])).rules
    seen = picture(thing(box=(0.1, 0.2, 0.2, 0.8)), thing(box=(0.7, 0.2, 0.8, 0.8)))
    assert zones_of(checked, seen, (0, 1)) == ("left", "right")
    assert zones_of(checked, seen, (1,)) == ("right",)
    assert zones_of(checked, seen, ()) == ()
