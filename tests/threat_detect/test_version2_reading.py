"""Rule files of version 2: what is accepted, that each refusal names file, place and field, and the schema."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Accepted, Refused
from lookout.domain.policy.records import Policy, Static
from stages.threat_detect.rules.rules import accept
from stages.threat_detect.rules.version2.form import FORMS
from stages.threat_detect.rules.version2.reading import parse, parse_tree, schema_text

from .version2_made import document, read, rule

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1]]
EXAMPLES: list[dict[str, Any]] = [
    document(
        rule(
            name="people at night",
            devices=["porch", "gate-*"],
            timezone="Europe/Vienna",
            classes=[{"class": "person", "min_score": 0.6, "min_area": 0.01}],
            schedule=[
                {"days": ["mon-fri"], "from": "22:00", "to": "06:00"},
                {"days": ["sat-sun", "holiday"], "from": "00:00", "to": "24:00"},
            ],
            group="site",
            cooldown="5m",
            severity="alarm",
            escalate={"after": "15m", "to": ["neighbour@example.com"]},
        ),
        rule(
            name="somebody comes",
            classes=["person", "car", "truck"],
            zones=[
                {"name": "drive", "classes": ["car", "truck"], "polygon": [[0.4, 0.5], [1, 0.5], [1, 1], [0.4, 1]]},
                {"name": "street", "mode": "exclude", "polygon": [[0, 0], [1, 0], [1, 0.3], [0, 0.3]]},
            ],
            static={"classes": ["car", "truck"]},
            quiet=[{"from": "22:00", "to": "07:00"}],
        ),
        sites={"home": ["porch", "gate-*"]},
        holidays=["2026-12-25"],
    ),
    document(
        rule(devices=["trail-*"], classes=["horse", "bear"], digest=["08:00"], late={"after": "2h"}),
        clocks=[{"devices": ["trail-*"], "offset": "-1h"}, {"devices": ["old"], "use": "received"}],
    ),
    document(rule(event={"gap": "0s"}, cooldown="0s", late={"action": "send"})),
]


def reason(*rules: dict[str, Any], **top: Any) -> str:
    with pytest.raises(InputRejected) as caught:
        parse("home.json", json.dumps(document(*rules, **top)).encode())
    return str(caught.value)


# --- good files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tree", EXAMPLES)
def test_examples_are_accepted_without_notes(tree: dict[str, Any]) -> None:
    assert parse_tree(tree).notes == ()


def test_a_short_rule_has_the_defaults() -> None:
    (found,) = read().rules
    assert found.policy == Policy(
        gap_s=120, again_s=3600, cooldown_s=600, reorder_s=90, late_after_s=3600, late_action="summary", count=1
    )
    assert (found.devices, found.group, found.severity, found.schedule) == (("*",), "device", "warning", None)
    assert [(one.min_score, one.min_area, one.max_area) for one in found.wanted] == [(None, 0, 1)]
    assert found.recipients == ("home@example.com",)
    assert str(found.clock.zone) == "UTC"


def test_fields_are_read_with_their_units() -> None:
    (found,) = read(
        rule(
            event={"gap": 30, "again": None},
            cooldown="2m",
            static={"classes": ["person"], "hold": "20s", "forget": "1h", "iou": 0.5},
            schedule=[{"days": ["fri-mon", "holiday"], "from": "22:00", "to": "24:00"}],
            digest=["07:30"],
            reorder="10s",
        ),
        holidays=["2026-12-25"],
    ).rules
    assert found.policy == Policy(
        gap_s=30,
        again_s=None,
        cooldown_s=120,
        reorder_s=10,
        late_after_s=3600,
        late_action="summary",
        count=1,
        static=Static(iou=0.5, hold_s=20, forget_s=3600),
    )
    assert found.schedule is not None
    assert found.schedule[0].days == {"fri", "sat", "sun", "mon", "holiday"}
    assert (found.schedule[0].start_s, found.schedule[0].end_s) == (79_200, 86_400)
    assert found.digest_s == (27_000,)
    assert found.clock.holidays == {date(2026, 12, 25)}


@pytest.mark.parametrize(
    ("fields", "bound_s"),
    [
        ({}, 90),
        ({"event": {"gap": "40s"}}, 40),
        ({"cooldown": "25s"}, 12.5),
        ({"event": {"gap": 0}, "cooldown": 0}, 90),
        ({"static": {"classes": ["person"], "hold": "5s"}}, 5),
        ({"reorder": 0}, 0),
    ],
)
def test_the_bound_is_the_least_that_keeps_the_order_meaningless(fields: dict[str, Any], bound_s: float) -> None:
    assert read(rule(**fields)).rules[0].policy.reorder_s == bound_s


def test_a_place_is_the_device_its_site_or_all() -> None:
    groups = [rule(name=group, group=group) for group in ("device", "site", "all")]
    file = read(*groups, sites={"home": ["porch", "gate-*"], "farm": ["gate-1", "barn"]})
    places = {device: [file.place(one, device) for one in file.rules] for device in ("gate-1", "barn", "field")}
    assert places == {
        "gate-1": ["gate-1", "home", "all"],
        "barn": ["barn", "farm", "all"],
        "field": ["field", "field", "all"],
    }


def test_channels_may_stand_instead_of_from_and_to() -> None:
    channels = [{"type": "mail", "from": "a@example.com", "to": ["b@example.com"]}]
    (found,) = read(rule(**{"from": ...}, to=..., channels=channels)).rules
    assert (found.channels[0].sender, found.recipients) == ("a@example.com", ("b@example.com",))


def test_channels_beside_mail_are_told_by_their_name() -> None:
    mail = {"type": "mail", "from": "a@example.com", "to": ["b@example.com"]}
    channels = [{"type": "webhook", "name": "home"}, mail, {"type": "apprise", "name": "front-door"}]
    (found,) = read(rule(**{"from": ...}, to=..., channels=channels)).rules
    assert found.recipients == ("webhook:home", "b@example.com", "apprise:front-door")
    assert found.other_channels == ("webhook:home", "apprise:front-door")
    assert found.mail_sender == "a@example.com"


@pytest.mark.parametrize(
    ("fields", "top", "said"),
    [
        ({"count": 2, "static": {"classes": [1]}}, {}, "rules[0].count: all classes are static"),
        ({"static": {"classes": ["dog"]}}, {}, 'rules[0].static.classes[0]: the rule does not want the class "dog"'),
        ({"min_area": 0.5, "max_area": 0.4}, {}, "rules[0].classes[0]: no object can cover at least 0.5 and at most"),
        (
            {"schedule": [{"days": ["holiday"], "from": "00:00", "to": "24:00"}]},
            {},
            "rules[0].schedule[0]: the span is",
        ),
        (
            {"devices": ["porch"], "zones": [{"name": "z", "polygon": SQUARE, "devices": ["gate-*"]}]},
            {},
            "rules[0].zones[0].devices: the rule watches none of these devices",
        ),
        (
            {"digest": ["08:00"], "escalate": {"after": "1m", "to": ["b@example.com"]}},
            {},
            "rules[0].escalate: nothing is told at once beside a digest",
        ),
        (
            {
                "schedule": [{"days": ["mon-fri"], "from": "23:00", "to": "05:00"}],
                "quiet": [{"from": "22:00", "to": "06:00", "action": "drop"}],
            },
            {},
            "rules[0].schedule: all of it lies in quiet times that drop",
        ),
    ],
)
def test_what_can_never_hold_is_said(fields: dict[str, Any], top: dict[str, Any], said: str) -> None:
    (note,) = read(rule(**fields), **top).notes
    assert note.startswith(said)


# --- bad files -------------------------------------------------------------------------------------------------------

MAIL = {"type": "mail", "from": "a@example.com", "to": ["b@example.com"]}
NO_MAIL: dict[str, Any] = {"from": ..., "to": ...}
DAY = {"from": "00:00", "to": "24:00"}


def zone(polygon: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "drive", "polygon": polygon, **more}]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"cooldown": "10"}, 'cooldown: expected a duration such as 90 or "10m" (units s, m, h, d), got "10"'),
    ({"cooldown": 1.5}, "cooldown: expected a duration"),
    ({"cooldown": True}, "cooldown: expected a duration"),
    ({"cooldown": -1}, "cooldown: expected a duration from 0 s to 366 d, got -1"),
    ({"cooldown": "367d"}, "cooldown: expected a duration from 0 s to 366 d"),
    ({"cooldown": None}, "cooldown: expected a duration"),
    ({"cooldwn": "1m"}, "rules[0].cooldwn: unknown field; did you mean cooldown?"),
    ({"event": {"gap": "2m", "agian": "1h"}}, "rules[0].event.agian: unknown field; did you mean again?"),
    ({"static": {"classes": ["person"], "size": 1}}, "static.size: unknown field; expected one of classes, iou, hold"),
    ({"classes": [{"class": 1, "max_aera": 1}]}, "classes[0].max_aera: unknown field; did you mean max_area?"),
    ({"schedule": [{**DAY, "day": []}]}, "schedule[0].day: unknown field; did you mean days?"),
    ({"schedule": []}, "rules[0].schedule: expected at least one entry"),
    ({"schedule": [{"from": "22:00"}]}, "schedule[0].to: this field is missing"),
    ({"schedule": [{"from": "24:01", "to": "06:00"}]}, 'schedule[0].from: expected a time of day from "00:00"'),
    ({"schedule": [{"from": "7:00", "to": "9:00"}]}, 'got "7:00"'),
    ({"schedule": [{**DAY, "days": ["monday"]}]}, 'schedule[0].days[0]: expected a day such as "mon", "mon-fri"'),
    ({"schedule": [{**DAY, "days": ["mon-daily"]}]}, 'got "mon-daily"'),
    ({"event": {"gap": "2h"}}, "rules[0].event.again: again (3600 s) is less than gap (7200 s)"),
    ({"cooldown": "2h"}, "rules[0].event.again: again (3600 s) is less than cooldown (7200 s)"),
    ({"static": {"classes": ["person"], "forget": "19m"}}, "static.forget: forget (1140 s) is less than twice hold"),
    ({"static": {"classes": ["person"], "hold": 0}}, "static.hold: expected more than 0 s"),
    ({"static": {"classes": ["person"], "iou": 0.2}}, "static.iou: expected a number from 0.3 to 1, got 0.2"),
    ({"static": {"classes": ["persn"]}}, 'static.classes[0]: COCO has no class "persn"'),
    ({"reorder": "121s"}, "rules[0].reorder: expected at most gap (120 s), got 121 s"),
    ({"reorder": 60, "cooldown": 60}, "rules[0].reorder: expected less than cooldown (60 s), got 60 s"),
    ({"reorder": 61, "static": {"classes": ["person"], "hold": 60}}, "expected at most static.hold (60 s), got 61 s"),
    ({"quiet": [DAY]}, "rules[0].quiet: the quiet times cover the whole week: nothing would ever be sent"),
    ({"quiet": [{"from": "08:00", "to": "20:00"}, {"from": "20:00", "to": "08:00"}]}, "cover the whole week"),
    ({"quiet": [{"days": ["mon-fri"], **DAY}, {"days": ["sat-sun"], "from": "00:00", "to": "00:00"}]}, "whole week"),
    ({"quiet": [{"from": "22:00", "to": "07:00"}], "digest": ["08:00"]}, 'rules[0].quiet: "quiet" beside "digest"'),
    ({"digest": ["08:00", "08:00"]}, 'rules[0].digest[1]: "08:00" is in rules[0].digest[0] too'),
    ({"count": 0}, "rules[0].count: expected a whole number from 1 to 100, got 0"),
    ({"count": 101}, "rules[0].count: expected a whole number"),
    ({"zones": zone([[0, 0], [1, 1], [1, 0], [0, 1]])}, "zones[0].polygon: the polygon has no area"),
    ({"zones": zone([[0, 0], [1, 1], [1, 0.2], [0, 1]])}, "zones[0].polygon: the polygon crosses or touches itself"),
    ({"zones": zone([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])}, "the polygon crosses or touches itself"),
    ({"zones": zone([[0, 0], [1, 0], [0.5, 0]])}, "zones[0].polygon: the polygon has no area"),
    ({"zones": zone([[0, 0], [1, 0], [0.5, 0], [0.5, 1]])}, "the polygon crosses or touches itself"),
    ({"zones": zone([[0, 0], [1, 0]])}, "zones[0].polygon: expected at least 3 entries, got 2"),
    ({"zones": zone([[0, 0], [1, 0], [2, 1]])}, "polygon[2]: expected a point [x, y] with numbers from 0 to 1"),
    ({"zones": zone([[0, 0], [1, 0], [1]])}, "zones[0].polygon[2]: expected a point"),
    ({"zones": zone(SQUARE, classes=["dog"])}, 'zones[0].classes[0]: the rule does not want the class "dog"'),
    ({"zones": zone(SQUARE, decides="head")}, "zones[0].decides: expected 'foot', 'centre' or 'overlap'"),
    ({"zones": zone(SQUARE) * 51}, "rules[0].zones: expected at most 50 entries, got 51"),
    ({"escalate": {"after": "1m", "to": ["Home@example.com"]}}, "escalate.to[0]: \"Home@example.com\" is a recipient"),
    ({"escalate": {"to": ["b@example.com"]}}, "rules[0].escalate.after: this field is missing"),
    ({"from": ...}, "rules[0].from: this field is missing"),
    ({"to": ...}, "rules[0].to: this field is missing"),
    ({"channels": [MAIL]}, 'rules[0].from: "from" beside "channels"'),
    ({**NO_MAIL, "channels": []}, "rules[0].channels: expected at least one entry"),
    ({**NO_MAIL, "channels": [{"type": "webhook", "name": "Home"}]}, 'channels[0].name: "Home" cannot be a channel'),
    ({**NO_MAIL, "channels": [{"type": "apprise", "name": "a_b"}]}, 'channels[0].name: "a_b" cannot be a channel'),
    ({**NO_MAIL, "channels": [{"type": "webhook"}]}, "channels[0].name: this field is missing"),
    (
        {**NO_MAIL, "channels": [{**MAIL, "type": "webhook", "name": "x"}]},
        "channels[0].from: a channel of type webhook has a name and no address",
    ),
    (
        {**NO_MAIL, "channels": [{"type": "webhook", "name": "x"}] * 2},
        "rules[0].channels: two channels have a recipient in common",
    ),
    (
        {
            **NO_MAIL,
            "channels": [{"type": "webhook", "name": "x"}],
            "escalate": {"after": "15m", "to": ["b@example.com"]},
        },
        "rules[0].escalate: an escalation is a mail",
    ),
    (
        {**NO_MAIL, "channels": [{"type": "pigeon"}]},
        "channels[0].type: expected 'mail', 'webhook' or 'apprise', got \"pigeon\"",
    ),
    ({**NO_MAIL, "channels": [{"type": "mail", "to": ["b@example.com"]}]}, "channels[0].from: this field is missing"),
    ({**NO_MAIL, "channels": [MAIL, MAIL]}, "rules[0].channels: two channels have a recipient in common"),
    ({"group": "house"}, "rules[0].group: expected 'device', 'site' or 'all', got \"house\""),
    ({"late": {"action": "mail"}}, "rules[0].late.action: expected 'summary', 'drop' or 'send'"),
    ({"severity": "high"}, "rules[0].severity: expected 'info', 'warning' or 'alarm'"),
]  # fmt: skip

BAD_TOP: list[tuple[dict[str, Any], str]] = [
    ({"version": 3}, "home.json: version: expected 2, got 3"),
    ({"holidays": ["2026-02-30"]}, 'holidays[0]: expected a date such as "2026-12-25", got "2026-02-30"'),
    ({"holidays": ["25.12.2026"]}, "holidays[0]: expected a date"),
    ({"sites": {"home": []}}, "sites.home: expected at least one entry"),
    ({"sites": {"home": ["a", "a"]}}, 'sites.home[1]: "a" is in sites.home[0] too'),
    ({"clocks": [{"devices": ["a"]}]}, 'clocks[0]: expected either "offset" or "use"'),
    ({"clocks": [{"devices": ["a"], "offset": "1h", "use": "received"}]}, 'clocks[0]: expected either "offset" or'),
    ({"clocks": [{"devices": ["a"], "offset": "one hour"}]}, "clocks[0].offset: expected a duration"),
    ({"clocks": [{"devices": ["a"], "offest": "1h"}]}, "clocks[0].offest: unknown field; did you mean offset?"),
    ({"holiday": []}, "home.json: holiday: unknown field; did you mean holidays?"),
]


@pytest.mark.parametrize(("fields", "said"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_a_bad_rule_is_refused_with_file_place_and_field(fields: dict[str, Any], said: str) -> None:
    found = reason(rule(**fields))
    assert found.startswith("home.json: rules[0].")
    assert said in found
    assert found.isprintable()


@pytest.mark.parametrize(("top", "said"), BAD_TOP, ids=[str(number) for number in range(len(BAD_TOP))])
def test_a_bad_file_is_refused_with_its_place(top: dict[str, Any], said: str) -> None:
    assert said in reason(**top)


def test_a_rule_of_the_same_user_and_name_is_refused() -> None:
    assert 'rules[1].name: user "home" has a rule "people" in rules[0] too' in reason(rule(), rule())


def test_more_than_40_rules_of_one_device_are_refused() -> None:
    rules = [rule(name=f"r{number}", devices=["gate-?", f"d{number}"]) for number in range(41)]
    assert "41 rules of version 2 watch the device" in reason(*rules)
    assert len(read(*rules[:40]).rules) == 40


def test_a_file_of_version_2_comes_into_force_with_what_planning_asks_for() -> None:
    (verdict,) = accept({"home.json": json.dumps(document()).encode()})
    assert isinstance(verdict, Accepted)
    rule = {"name": "people", "user": "home", "devices": ["*"], "wanted": [[None, ["person"]]]}
    assert verdict.meta == {"rules": [rule]}


def test_a_rule_of_another_file_of_any_version_is_not_given_twice() -> None:
    older = {"rules": [{**rule(), "name": "people"}]}
    first, second = accept({"a.json": json.dumps(older).encode(), "b.json": json.dumps(document()).encode()})
    assert isinstance(first, Accepted)
    assert isinstance(second, Refused)
    assert 'user "home" has a rule "people" in a.json too' in second.reason


def test_more_than_40_rules_of_one_device_in_several_files_are_refused() -> None:
    files = {
        f"{number}.json": json.dumps(document(rule(name=f"r{number}", devices=["gate"]))).encode()
        for number in range(41)
    }
    refused = [one for one in accept(files) if isinstance(one, Refused)]
    assert [one.reason.partition(": ")[2] for one in refused] == [
        'rules: 41 rules of version 2 watch the device "gate"; at most 40 may'
    ]


# --- the schema ------------------------------------------------------------------------------------------------------

SCHEMA = json.loads(schema_text())
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 200)
    | st.floats(0, 1)
    | st.sampled_from(["10m", "08:00", "mon", "x", 1]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["class", "from", "to"]), inner),
    max_leaves=4,
)


def places(tree: Any, place: tuple[int | str, ...] = ()) -> list[tuple[int | str, ...]]:
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place, *(found for step, value in steps for found in places(value, (*place, step)))]


def changed(tree: Any, place: tuple[int | str, ...], value: Any) -> Any:
    if not place:
        return value
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[place[0]] = changed(tree[place[0]], place[1:], value)
    return copy


def is_accepted(tree: Any) -> bool:
    try:
        parse_tree(tree)
    except InputRejected:
        return False
    return True


@pytest.mark.parametrize("tree", EXAMPLES)
def test_the_schema_accepts_the_examples(tree: dict[str, Any]) -> None:
    validator = Draft202012Validator
    validator.check_schema(SCHEMA)
    validator(SCHEMA).validate(tree)


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=300, deadline=None)
def test_what_the_loader_accepts_the_schema_accepts(tree: dict[str, Any], data: st.DataObject) -> None:
    validator = Draft202012Validator(SCHEMA)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(places(tree)))
        tree = changed(tree, place, data.draw(VALUES))
    if is_accepted(tree):
        validator.validate(tree)


@pytest.mark.parametrize(("fields", "said"), [bad for bad in BAD if "unknown field" in bad[1]])
def test_unknown_fields_are_refused_by_both(fields: dict[str, Any], said: str) -> None:
    validator = Draft202012Validator(SCHEMA)
    assert not validator.is_valid(document(rule(**fields)))


def test_the_schema_has_the_fields_of_the_forms_and_no_other() -> None:
    of_objects = [
        set(node["properties"])
        for place in places(SCHEMA)
        if isinstance(node := _at(SCHEMA, place), dict) and isinstance(node.get("properties"), dict)
    ]
    for form in FORMS.values():
        fields = {field.alias or name for name, field in form.model_fields.items()}
        assert of_objects.count(fields) == 1
        of_objects.remove(fields)
    assert of_objects == []


def _at(tree: Any, place: tuple[int | str, ...]) -> Any:
    for step in place:
        tree = tree[step]
    return tree
