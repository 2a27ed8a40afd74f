"""Rule files: what is accepted, and that each refusal names file, place and field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lookout.domain.pipeline import Accepted, Refused
from stages import coco_labels as coco
from stages.strict_json import MAX_BYTES
from stages.threat_detect.rules.rules import Wanted, accept, parse

from .made import RULE, rule_file

ORIGINAL = {"from_email": "a@example.com", "to_email": "b@example.com", "threat_classes": [1, 3, 4, 8]}


def reason(data: bytes, name: str = "home.json") -> str:
    (verdict,) = accept({name: data})
    assert isinstance(verdict, Refused), verdict
    assert verdict.name == name
    return verdict.reason


# --- good files ------------------------------------------------------------------------------------------------------


def test_no_files_give_no_verdicts() -> None:
    assert accept({}) == []


def test_the_original_form_is_one_rule_for_all_devices_and_its_recipient() -> None:
    (rule,) = parse("team/night.json", json.dumps(ORIGINAL).encode())
    assert (rule.name, rule.user, rule.devices, rule.recipients) == (
        "night",
        "b@example.com",
        ("*",),
        ("b@example.com",),
    )
    assert [wanted.class_id for wanted in rule.wanted] == [1, 3, 4, 8]
    assert all(wanted.min_score is None and wanted.min_area == 0 for wanted in rule.wanted)


def test_a_file_without_a_stem_names_its_rule_rule() -> None:
    assert parse(".json", json.dumps(ORIGINAL).encode())[0].name == "rule"


def test_a_whole_rule_is_read_with_its_defaults_and_class_overrides() -> None:
    written = {
        "devices": ["porch", "gate-*"],
        "classes": [1, "Traffic_Light", {"class": "dog", "min_score": 0.9, "min_area": 0}],
        "min_score": 0.6,
        "min_area": 0.25,
        "to": ["x@example.com", "y@example.org"],
        "timezone": "Europe/Vienna",
    }
    (rule,) = parse("r.json", rule_file(written, version=1))
    assert rule.wanted == (
        Wanted(class_id=1, label=None, min_score=0.6, min_area=0.25),
        Wanted(class_id=None, label="traffic light", min_score=0.6, min_area=0.25),
        Wanted(class_id=None, label="dog", min_score=0.9, min_area=0.0),
    )
    assert rule.recipients == ("x@example.com", "y@example.org")
    assert (rule.devices, rule.timezone, rule.sender) == (("porch", "gate-*"), "Europe/Vienna", "lookout@example.com")


def test_a_byte_order_mark_is_allowed() -> None:
    assert len(parse("r.json", b"\xef\xbb\xbf" + rule_file())) == 1


def test_accepted_files_carry_what_select_needs() -> None:
    (verdict,) = accept({"r.json": rule_file({"devices": ["gate-*"]}, {"name": "other"})})
    assert isinstance(verdict, Accepted)
    assert verdict.files == {"rules": rule_file({"devices": ["gate-*"]}, {"name": "other"})}
    assert verdict.meta == {
        "rules": [
            {"name": "people", "user": "home@example.com", "devices": ["gate-*"], "wanted": [[None, ["person"]]]},
            {"name": "other", "user": "home@example.com", "devices": ["*"], "wanted": [[None, ["person"]]]},
        ]
    }


def test_custom_labels_take_any_name_and_id_and_do_not_know_that_1_is_a_person() -> None:
    (rule,) = parse("r.json", rule_file({"classes": ["Forklift", 0, 1, "person", 500]}, labels="custom"))
    assert [wanted.label for wanted in rule.wanted] == ["forklift", None, None, "person", None]


def test_notes_and_hidden_files_get_no_verdict_and_other_files_are_refused() -> None:
    verdicts = accept({"README.md": b"", "notes.txt": b"", ".swp": b"", "a/.x.json": b"", "rules.yaml": b"x: 1"})
    assert [verdict.name for verdict in verdicts] == ["rules.yaml"]
    assert "rules.yaml: a rule file is JSON and its name ends with .json" in str(verdicts[0])


def test_one_bad_file_does_not_touch_another() -> None:
    verdicts = accept({"bad.json": b"{", "good.json": rule_file()})
    assert [type(verdict) for verdict in verdicts] == [Refused, Accepted]


def test_a_rule_of_the_same_user_and_name_in_a_second_file_is_refused_and_the_first_is_named() -> None:
    verdicts = accept({"b.json": rule_file({"name": "x"}, {}), "a.json": rule_file()})
    assert [verdict.name for verdict in verdicts] == ["a.json", "b.json"]
    assert isinstance(verdicts[1], Refused)
    assert verdicts[1].reason == 'b.json: rules[1].name: user "home@example.com" has a rule "people" in a.json too'


def test_the_same_rule_name_of_two_users_is_fine() -> None:
    assert len(parse("r.json", rule_file({}, {"user": "other"}))) == 2


# --- bad files -------------------------------------------------------------------------------------------------------


def rule_with(**fields: Any) -> bytes:
    return rule_file({**fields})


def original(**fields: Any) -> bytes:
    return json.dumps({**ORIGINAL, **fields}).encode()


def rule_without(field: str) -> bytes:
    return json.dumps({"rules": [{name: value for name, value in RULE.items() if name != field}]}).encode()


BAD: list[tuple[str, bytes, list[str]]] = [
    ("empty", b"", ["home.json: the file is empty"]),
    ("blank", b" \n ", ["the file is empty"]),
    ("comma", b'{\n "rules": [,]\n}', ["home.json: line 2, column 12: not JSON: expecting value"]),
    ("cut", b'{"rules": [', ["line 1, column 12: not JSON"]),
    ("behind", rule_file() + b"}", ["not JSON: extra data"]),
    ("comment", b"// hello\n{}", ["line 1, column 1: not JSON"]),
    ("latin-1", b'{"rules":\n "Z\xfcrich"}', ["line 2, column 4: byte 0xfc is not UTF-8 (save the file as UTF-8)"]),
    ("utf-16", rule_file().decode().encode("utf-16"), ["byte 0xff is not UTF-8"]),
    ("huge", b" " * (MAX_BYTES + 1), [f"expected at most {MAX_BYTES} bytes, got {MAX_BYTES + 1}"]),
    ("deep", b"[" * 200_000, ["nested too deeply"]),
    ("digits", b'{"rules": ' + b"1" * 5000 + b"}", ["a number has too many digits"]),
    ("list", b"[]", ['home.json: expected an object with "rules", got []']),
    ("null", b"null", ['expected an object with "rules", got null']),
    ("no rules", b"{}", ["home.json: rules: this field is missing"]),
    ("rules empty", b'{"rules": []}', ["rules: expected at least one entry, got none"]),
    ("rules object", b'{"rules": {}}', ["rules: expected a list, got {}"]),
    ("rule text", b'{"rules": ["x"]}', ['rules[0]: expected an object, got "x"']),
    ("version", rule_file(version=3), ["version: expected 1, got 3"]),
    ("version bool", rule_file(version="1"), ['version: expected 1, got "1"']),
    ("labels", rule_file(labels="voc"), ["labels: expected 'coco' or 'custom', got \"voc\""]),
    ("twice", b'{"rules": [{"to": [], "to": []}]}', ["rules[0].to: the name stands twice in one object"]),
    ("twice at the top", b'{"rules": [], "rules": []}', ["home.json: rules: the name stands twice"]),
    ("NaN", b'{"rules": [{"min_score": NaN}]}', ["rules[0].min_score: expected a number that JSON has, got NaN"]),
    ("infinite", b'{"rules": [{"min_score": -Infinity}]}', ["rules[0].min_score", "got -Infinity"]),
    ("1e999", rule_with(min_score=0.5).replace(b"0.5", b"1e999"), ["rules[0].min_score: expected a number"]),
    ("unknown field", rule_with(device=["x"]), ["rules[0].device: unknown field; did you mean devices?"]),
    ("unknown top", rule_file(lables="coco"), ["home.json: lables: unknown field; did you mean labels?"]),
    ("foreign field", rule_with(zones=1), ["rules[0].zones: unknown field; expected one of name, user, devices"]),
    ("no name", rule_without("name"), ["rules[0].name: this field is missing"]),
    ("no user", rule_without("user"), ["rules[0].user: this field is missing"]),
    ("no classes", rule_without("classes"), ["rules[0].classes: this field is missing"]),
    ("no from", rule_without("from"), ["rules[0].from: this field is missing"]),
    ("no to", rule_without("to"), ["rules[0].to: this field is missing"]),
    ("name number", rule_with(name=5), ["rules[0].name: expected a name as text, got 5"]),
    ("name empty", rule_with(name=""), ["rules[0].name: expected a name of 1 to 80 characters, got 0"]),
    ("name long", rule_with(name="x" * 81), ["rules[0].name: expected a name of 1 to 80 characters, got 81"]),
    ("name lines", rule_with(name="a\r\nBcc: x"), ["rules[0].name: expected a name without line breaks"]),
    ("name turned", rule_with(name="a\u202eb"), ["rules[0].name", "control characters", "\\u202e"]),
    ("name surrogate", rule_with(name="\ud800"), ["rules[0].name", "\\ud800"]),
    ("user blank", rule_with(user=" x"), ["rules[0].user: expected a user without", "outer blanks"]),
    ("devices text", rule_with(devices="porch"), ['rules[0].devices: expected a list, got "porch"']),
    ("devices none", rule_with(devices=[]), ["rules[0].devices: expected at least one entry"]),
    ("device space", rule_with(devices=["a", "b c"]), ['rules[0].devices[1]: no device can match "b c"']),
    ("device under", rule_with(devices=["porch_*"]), ['rules[0].devices[0]: no device can match "porch_*"']),
    ("device bracket", rule_with(devices=["gate[1"]), ['rules[0].devices[0]: no device can match "gate[1"']),
    ("device twice", rule_with(devices=["a", "b", "a"]), ['devices[2]: "a" is in rules[0].devices[0] too']),
    ("classes none", rule_with(classes=[]), ["rules[0].classes: expected at least one entry"]),
    ("class bool", rule_with(classes=[True]), ["rules[0].classes[0]: expected a class id, a name, or an object"]),
    ("class float", rule_with(classes=[{"class": 1.0}]), ["classes[0].class: expected a class id or name, got 1.0"]),
    ("class in bool", rule_with(classes=[{"class": True}]), ["classes[0].class: expected a class id", "got true"]),
    ("class null", rule_with(classes=[None]), ["rules[0].classes[0]: expected a class id", "got null"]),
    ("class missing", rule_with(classes=[{"min_score": 1}]), ["rules[0].classes[0].class: this field is missing"]),
    ("class 12", rule_with(classes=[1, 12]), ["rules[0].classes[1]: COCO has no class 12", '"labels": "custom"']),
    ("class 0", rule_with(classes=[0]), ["rules[0].classes[0]: COCO has no class 0"]),
    ("class -1", rule_with(classes=[-1]), ["rules[0].classes[0].class: expected a class id or name, got -1"]),
    ("class persn", rule_with(classes=["persn"]), ['COCO has no class "persn" (did you mean person?']),
    ("class bike", rule_with(classes=["bike"]), ["did you mean bicycle"]),
    ("class motorbike", rule_with(classes=["motorbike"]), ["did you mean motorcycle"]),
    ("class odd", rule_with(classes=["qqqq"]), ['COCO has no class "qqqq" (for a model with other labels']),
    ("class twice", rule_with(classes=["person", 1]), ['rules[0].classes[1]: "person" is in rules[0].classes[0]']),
    ("score 1.7", rule_file({}, {"name": "b"}, {"name": "c", "classes": [{"class": 1, "min_score": 1.7}]}),
     ["home.json: rules[2].classes[0].min_score: expected a number from 0 to 1, got 1.7"]),
    ("score -0.1", rule_with(min_score=-0.1), ["rules[0].min_score: expected a number from 0 to 1, got -0.1"]),
    ("score text", rule_with(min_score="0.5"), ['rules[0].min_score: expected a number from 0 to 1, got "0.5"']),
    ("score bool", rule_with(min_score=True), ["rules[0].min_score: expected a number from 0 to 1, got true"]),
    ("area percent", rule_with(min_area=20), ["rules[0].min_area: expected a number from 0 to 1, got 20"]),
    ("area null", rule_with(min_area=None), ["rules[0].min_area: expected a number from 0 to 1, got null"]),
    ("from name", rule_with(**{"from": "Me <a@example.com>"}), ["rules[0].from: expected a plain e-mail address"]),
    ("to text", rule_with(to="a@example.com"), ['rules[0].to: expected a list, got "a@example.com"']),
    ("to none", rule_with(to=[]), ["rules[0].to: expected at least one entry"]),
    ("to no at", rule_with(to=["a.example.com"]), ["rules[0].to[0]: expected a plain e-mail address"]),
    ("to two", rule_with(to=["a@example.com,b@example.com"]), ["rules[0].to[0]: expected a plain e-mail address"]),
    ("to crlf", rule_with(to=["a@example.com\r\nBcc: b@example.com"]), ["rules[0].to[0]", "\\r\\n"]),
    ("to newline", rule_with(to=["a@example.com\n"]), ["rules[0].to[0]: expected an e-mail address without"]),
    ("to dots", rule_with(to=["a..b@example.com"]), ["rules[0].to[0]: expected a plain e-mail address"]),
    ("to local", rule_with(to=["a@localhost"]), ["rules[0].to[0]: expected a plain e-mail address"]),
    ("to umlaut", rule_with(to=["a@zürich.example"]), ["rules[0].to[0]: expected a plain e-mail address"]),
    ("to twice", rule_with(to=["a@example.com", "A@Example.com"]), ["rules[0].to[1]:", "rules[0].to[0] too"]),
    ("zone", rule_with(timezone="Europe/Wien"), ['unknown time zone "Europe/Wien"; did you mean Europe/Vienna']),
    ("zone path", rule_with(timezone="../../etc/passwd"), ["rules[0].timezone: unknown time zone"]),
    ("zone folder", rule_with(timezone="Europe"), ["rules[0].timezone: unknown time zone"]),
    ("zone local", rule_with(timezone="localtime"), ["rules[0].timezone: unknown time zone"]),
    ("rule twice", rule_file({}, {}), ['rules[1].name: user "home@example.com" has a rule "people" in rules[0] too']),
    ("original extra", original(devices=[]), ["home.json: devices: unknown field"]),
    ("original none", original(threat_classes=[]), ["threat_classes: expected at least one"]),
    ("original bool", original(threat_classes=[True]), ["threat_classes[0]: expected a class id"]),
    ("original 26", original(threat_classes=[1, 26]), ["threat_classes[1]: COCO has no class 26"]),
    ("original from", original(from_email=""), ["home.json: from_email: a sender is needed"]),
    ("original to", original(to_email="x"), ["home.json: to_email: expected a plain e-mail"]),
    ("original half", b'{"to_email": "a@example.com"}', ["from_email: this field is missing", "threat_classes: this"]),
    ("both", original(rules=[RULE]), ["from_email: unknown field"]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "parts"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_file_is_refused_with_file_place_and_field(data: bytes, parts: list[str]) -> None:
    said = reason(data)
    assert said.startswith("home.json: ")
    assert "\n" not in said
    assert said.isprintable()
    for part in parts:
        assert part in said


def test_several_problems_are_said_at_once_and_many_are_counted() -> None:
    said = reason(rule_file({"name": 1, "min_score": 2, "min_area": 3, "user": 4, "from": 5, "to": 6, "timezone": 7}))
    assert said.count(";") == 5
    assert said.endswith("; and 2 more")


def test_a_bad_file_name_cannot_break_the_sentence() -> None:
    assert reason(b"", "a\nb\u202e.json") == "a\\nb\\u202e.json: the file is empty"


# --- anything at all -------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*RULE, "devices", "min_score", "min_area", "timezone", "labels", "version", "zones"])


@given(st.dictionaries(st.text(max_size=10).map(lambda stem: f"{stem}.json"), st.binary(max_size=200), max_size=3))
@example({"a.json": b"\xff\xfe"})
@settings(max_examples=60, deadline=None)
def test_accept_never_raises_for_any_bytes(files: dict[str, bytes]) -> None:
    assert len(accept(files)) <= len(files)


@given(FIELDS, JSON, st.booleans())
@settings(max_examples=150, deadline=None)
def test_accept_never_raises_for_any_value_of_any_field(field: str, value: Any, at_top: bool) -> None:
    tree = {"rules": [{**RULE, **({} if at_top else {field: value})}], **({field: value} if at_top else {})}
    (verdict,) = accept({"r.json": json.dumps(tree).encode()})
    if isinstance(verdict, Refused):
        assert verdict.reason.startswith("r.json: ")
        assert verdict.reason.isprintable()


# --- COCO ------------------------------------------------------------------------------------------------------------


def test_coco_has_80_classes_and_leaves_out_ten_ids() -> None:
    assert len(coco.NAMES) == len(set(coco.NAMES.values())) == len(coco.IDS) == 80
    assert set(range(1, 91)) - set(coco.NAMES) == coco.UNUSED_IDS
    assert [coco.NAMES[number] for number in (1, 3, 4, 8, 13, 17, 90)] == [
        "person", "car", "motorcycle", "truck", "stop sign", "cat", "toothbrush",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "meant"), [("Sofa", "couch"), ("cell-phon", "cell phone"), ("people", "person"), ("", None)]
)
def test_suggestions_know_everyday_words_and_typing_errors(said: str, meant: str | None) -> None:
    assert (coco.suggest(said) or (None,))[0] == meant


def test_the_original_form_without_a_recipient_finds_threats_and_tells_nobody() -> None:
    data = json.dumps({"from_email": "", "to_email": "", "threat_classes": [1]}).encode()
    (rule,) = parse("rule.json", data)
    assert (rule.user, rule.recipients) == ("nobody", ())
    (unit,) = accept({"rule.json": data})
    assert isinstance(unit, Accepted)
    wanted = [[None, [1]]]
    assert unit.meta["rules"] == [
        {"name": "rule", "user": "nobody", "devices": ["*"], "silent": True, "wanted": wanted}
    ]
