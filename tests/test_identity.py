"""Identity is fixed for good: the digests below are literal. A change here is a change of every user's history."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lookout.domain.identity import (
    alert_id,
    datum_hash,
    digest,
    group_digest,
    recipe_digest,
    references_digest,
    sha256,
    slot_id,
    unread_digest,
)
from lookout.domain.records import AlertDraft, InputRef, Member, ObjectRef, Reference, Tally

ONE, TWO = sha256(b"1"), sha256(b"2")


def ref(key: str, digest_hex: str, **fields) -> ObjectRef:
    return ObjectRef(bucket="images", key=key, sha256=digest_hex, size=fields.pop("size", 1), **fields)


PICTURE = InputRef(role="picture", ref=ref("porch_1.jpg", ONE))
DETECTIONS = InputRef(role="detections", ref=ref("porch/1.json", TWO))
MODEL = Reference(bucket="model", name="ssd", files={"model": ref("m.onnx", ONE), "manifest": ref("m.json", TWO)})
RULE = Reference(bucket="rules", name="gate", files={"rule": ref("gate.json", TWO)})
TALLIES = (Tally(group="porch/2025-11-22", counts={"pictures": 2, "valid": 1}, last_at_s=1.5), Tally(group="a/b"))
MEMBERS = (Member(stage="threat-detect", key="b", hash=TWO), Member(stage="threat-detect", key="a", hash=ONE))


def draft(user, rule, key, recipient, subject=None, channel="mail"):
    return AlertDraft(
        user=user,
        rule=rule,
        picture_key=key,
        picture_sha256=ONE,
        sender="s@example.org",
        recipient=recipient,
        evidence="e.jpg",
        subject=subject,
        channel=channel,
    )


PINNED = [
    (digest("empty/1"), "a838521935fd446dd1c85ff51d50ea6837afc226218990c3ea22d84fc6dcf8ed"),
    (
        digest("values/1", None, True, False, 0, -1, 1.5, "é", "\ud800", [], {}, {"b": [1, 2], "a": {"c": None}}),
        "3f49e3008fd6822443870ad9ed15fe6c672151ee49dcd85005ad45e371ea1953",
    ),
    (unread_digest(33_554_433), "f33283e0944eca02e9d7123b0368b5d284eb39547ba862347fdf418845ea938c"),
    (slot_id("validate", "porch_1.jpg"), "7fb7c8b55fa1afd2a21aba5518348f4b6d59208fed8f2ac109278e3b4029173a"),
    (slot_id("validate", "日本語.jpg"), "187722e8f840d756043049d3935190210d0bfe8865d0484a2bf7d447e0e579c9"),
    (
        recipe_digest("validate", 1, {"max_bytes": 33554432}),
        "1b20bff458f05079d5df5d18b77e57618efffc41e7c34b45c4d4e2d3460f2ba3",
    ),
    (
        datum_hash("validate", "porch_1.jpg", [PICTURE], "", "recipe"),
        "e3abc74efdedc3f267dbfee7584530b7b15af1b3e11d580ae744ed6f683eaabd",
    ),
    (
        datum_hash("validate", "porch_1.jpg", [PICTURE], "", "recipe", "again"),
        "f1be5507746f7b744fce524f423b5d1b2e0b57a5f2e3fc7ed1ba8b8bfa586cd1",
    ),
    (
        datum_hash("threat-detect", "porch_1.jpg", [PICTURE, DETECTIONS], references_digest([RULE]), "recipe"),
        "a2cd8fb61954a123684a4af1a351e629247e31508cb60472eb705383e72bc60d",
    ),
    (references_digest([]), "0495c45f4157599202fc7148c8bd0f85121f602fde58780e791519eb30dd9595"),
    (references_digest([MODEL, RULE]), "9f157ab487b4f77a40d021cfc8a1738994671659e31b45d36acace0dc73d57b4"),
    (group_digest([], []), "0345dc85df673263d040a0beb4f29fba9db32da841750c87dff8fae10aeed67c"),
    (group_digest(TALLIES, MEMBERS), "eab4668555255cae19463fc23deea7faccda9a7e114dda185e2d595df5de2d8b"),
    (
        alert_id(draft("ann", "gate", "porch_1.jpg", "ann@example.org")),
        "56c9a164c7249d92009cd0069e19995fac39f7bedcb71a04fd7ea56669f25f9e",
    ),
    (
        alert_id(draft("ann", "gate", "porch_1.jpg", "webhook:home", "porch at noon", "webhook:home")),
        "822d368880700673f429755e93fb4f6926f7ea3d880c9fcd96360d0dcdbaaacf",
    ),
    (
        alert_id(draft("ann", "gate", "porch_1.jpg", "ann@example.org", subject="porch at noon")),
        "dae9f8d59fcd1ed40cae4788590e9ef5a04f2cd2a99c084dfc98f1315097b974",
    ),
]


@pytest.mark.parametrize(("made", "pinned"), PINNED)
def test_a_digest_is_what_it_always_was(made, pinned):
    assert made == pinned


def test_all_pinned_digests_differ():
    assert len({pinned for _, pinned in PINNED}) == len(PINNED)


def test_a_digest_is_sha256_of_canonical_json_with_its_kind_in_front():
    assert slot_id("validate", "é/1.jpg") == sha256(rb'["slot/1","validate","\u00e9/1.jpg"]')
    assert recipe_digest("plot", 2, {"b": 0.5, "a": [True, None]}) == sha256(
        b'["recipe/1","plot",2,{"a":[true,null],"b":0.5}]'
    )
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# --- what makes no difference -----------------------------------------------------------------------------------------


def test_the_order_of_names_in_a_mapping_makes_no_difference():
    assert digest("k/1", {"a": 1, "b": 2}) == digest("k/1", {"b": 2, "a": 1})


def test_the_order_of_inputs_references_tallies_and_members_makes_no_difference():
    chance = random.Random(1)
    rules = [RULE, MODEL, Reference(bucket="rules", name="yard", files=dict(reversed(MODEL.files.items())))]
    expected = (
        datum_hash("s", "k", [PICTURE, DETECTIONS], "", "r"),
        references_digest(rules),
        group_digest(TALLIES, MEMBERS),
    )
    for _ in range(10):
        inputs, shuffled = [PICTURE, DETECTIONS], list(rules)
        tallies, members = list(TALLIES), list(MEMBERS)
        for items in (inputs, shuffled, tallies, members):
            chance.shuffle(items)
        assert expected == (
            datum_hash("s", "k", inputs, "", "r"),
            references_digest(shuffled),
            group_digest(tallies, members),
        )


def test_decisions_on_members_are_a_part_of_a_groups_identity():
    kept, other = ([replace(MEMBERS[0], decisions=text), *MEMBERS[1:]] for text in ("[1]", "[2]"))
    assert len({group_digest(TALLIES, some) for some in (MEMBERS, kept, other)}) == 3


def test_lists_and_tuples_are_the_same_json():
    assert digest("k/1", [1, [2]]) == digest("k/1", (1, (2,)))


def test_an_inputs_key_version_and_size_make_no_difference_its_content_does():
    moved = InputRef(role="picture", ref=ref("elsewhere.jpg", ONE, version="v2", size=9))
    assert datum_hash("s", "k", [moved], "", "r") == datum_hash("s", "k", [PICTURE], "", "r")
    other = InputRef(role="picture", ref=ref("porch_1.jpg", TWO))
    assert datum_hash("s", "k", [other], "", "r") != datum_hash("s", "k", [PICTURE], "", "r")


def test_what_was_extracted_from_a_reference_makes_no_difference():
    with_meta = Reference(bucket="rules", name="gate", files=RULE.files, meta={"classes": [1]})
    assert references_digest([with_meta]) == references_digest([RULE])


# --- what makes a difference ------------------------------------------------------------------------------------------


def test_each_part_of_a_datum_makes_a_difference():
    hashes = {
        datum_hash("s", "k", [PICTURE], "refs", "recipe"),
        datum_hash("t", "k", [PICTURE], "refs", "recipe"),
        datum_hash("s", "l", [PICTURE], "refs", "recipe"),
        datum_hash("s", "k", [DETECTIONS], "refs", "recipe"),
        datum_hash("s", "k", [InputRef(role="other", ref=PICTURE.ref)], "refs", "recipe"),
        datum_hash("s", "k", [PICTURE, PICTURE], "refs", "recipe"),
        datum_hash("s", "k", [], "refs", "recipe"),
        datum_hash("s", "k", [PICTURE], "", "recipe"),
        datum_hash("s", "k", [PICTURE], "refs", "other"),
        datum_hash("s", "k", [PICTURE], "refs", "recipe", "salt"),
        datum_hash("s", "k", [PICTURE], "recipe", "refs"),
    }
    assert len(hashes) == 11


def test_parts_cannot_run_into_each_other():
    assert slot_id("ab", "c") != slot_id("a", "bc")
    assert digest("k/1", "a", "b") != digest("k/1", ["a", "b"]) != digest("k/1", "a,b")
    assert digest("k/1", 'a","b') != digest("k/1", "a", "b")
    assert alert_id(draft("a", "b c", "d", "e")) != alert_id(draft("a b", "c", "d", "e"))


def test_a_channel_that_is_not_mail_is_a_part_of_the_alerts_identity():
    ids = {
        alert_id(draft("a", "b", "c", to, subject, channel))
        for subject in (None, "c")
        for to, channel in (("x", "mail"), ("x", "webhook:x"), ("x", "apprise:x"), ("y", "webhook:x"))
    }
    assert len(ids) == 8


def test_an_alert_with_a_subject_is_the_same_wherever_its_picture_lies():
    here, there = (draft("a", "b", key, "e", subject="x") for key in ("x_1.jpg", "day/x_1.jpg"))
    assert alert_id(here) == alert_id(there)


def test_the_kind_and_its_version_make_a_difference():
    assert len({digest("a/1", "x"), digest("a/2", "x"), digest("b/1", "x")}) == 3


def test_values_of_different_types_are_different():
    values = [0, False, "0", None, "", [], {}, 0.5, "0.5", [0], "false", "null"]
    assert len({digest("k/1", value) for value in values}) == len(values)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"1",
        {1, 2},
        datetime.now(UTC),
        Path("a"),
        object(),
        1j,
        [b"1"],
        {"a": {"b": {3}}},
        {1: "a"},
        {None: 1},
        ONE.encode,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_json_has_not_is_refused(value):
    with pytest.raises(TypeError, match="expected"):
        digest("k/1", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [math.nan], {"a": math.inf}])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match=r"[Jj][Ss][Oo][Nn]"):
        digest("k/1", value)
