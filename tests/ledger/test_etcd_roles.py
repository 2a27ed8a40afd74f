"""The rights in etcd name each kind of key once, and the roles of the pipeline are as narrow as its graph."""

from __future__ import annotations

from itertools import chain

import pytest

from lookout.app.provisioning import ledger_roles
from lookout.ledger.etcd import roles
from lookout.ledger.etcd.users import rights
from lookout.ledger.kv import keys
from stages.installation import INSTALLATION

CLASSES = (
    roles.SHARED,
    roles.OF_STAGE,
    roles.OF_RESULTS,
    roles.OF_INPUTS,
    roles.OF_ALERTS,
    roles.OF_CUTS,
    roles.OF_OPERATOR,
)
ROLES = {role.name: role for role in ledger_roles(INSTALLATION.pipeline)}


def test_each_kind_of_key_is_in_one_class_so_that_a_new_one_has_to_be_put_into_one() -> None:
    every = list(chain.from_iterable(CLASSES))
    assert len(set(every)) == len(every)
    assert set(every) == {bytes((kind,)) for kind in keys.KINDS}


def test_the_roles_are_those_of_the_pipeline_and_two_more() -> None:
    assert list(ROLES) == ["validate", "object-detect", "threat-detect", "plot", "intake", "reader"]


def may(role: str, kind: bytes, *parts: str) -> bool:
    key = kind + b"".join(keys.text(part) for part in parts)
    return any(key.startswith(begin) for begin in ROLES[role].writes)


def test_whoever_looks_at_inputs_counts_deletions_and_writes_no_other_note() -> None:
    for name in ROLES:
        looks = may(name, keys.INPUT, "images")
        assert [may(name, keys.NOTE, note) for note in ("retracted", "held-back", "retention", "state")] == [
            looks,
            looks,
            False,
            False,
        ]


@pytest.mark.parametrize("role", ROLES)
def test_no_limited_role_writes_what_is_the_operators(role: str) -> None:
    assert not any(may(role, kind, "model") for kind in roles.OF_OPERATOR)


@pytest.mark.parametrize(
    ("role", "marks", "slots"),
    [
        ("validate", {"validate", "object-detect", "threat-detect", "plot"}, {"validate"}),
        ("object-detect", {"validate", "object-detect", "threat-detect", "plot"}, {"validate", "object-detect"}),
        (
            "threat-detect",
            {"validate", "object-detect", "threat-detect", "plot"},
            {"validate", "object-detect", "threat-detect"},
        ),
        ("plot", {"threat-detect", "plot"}, {"threat-detect", "plot"}),
        ("intake", {"validate"}, set()),
        ("reader", set(), set()),
    ],
)
def test_a_stage_marks_what_comes_behind_it_and_repairs_what_it_reads(
    role: str, marks: set[str], slots: set[str]
) -> None:
    stages = ("validate", "object-detect", "threat-detect", "plot")
    assert {stage for stage in stages if may(role, keys.DIRTY, stage, "a")} == marks
    assert {stage for stage in stages if may(role, keys.SLOT, stage, "a")} == slots
    own = {role} & set(stages)
    for kind in (keys.CLAIM, keys.LEASE, keys.TOKEN, keys.BASIS, keys.LABEL, keys.SUSPECT, *roles.OF_RESULTS):
        assert {stage for stage in stages if may(role, kind, stage, "a")} == own


@pytest.mark.parametrize("role", ROLES)
def test_alerts_are_threat_detects_and_inputs_are_of_those_who_look_at_them(role: str) -> None:
    assert may(role, keys.ALERT, "a") == (role == "threat-detect")
    assert may(role, keys.INPUT, "images", "a") == (role in ("validate", "intake"))
    assert not may(role, keys.INPUT, "model", "a")
    assert may(role, keys.BATCH_KEYS, "a") == (role == "intake")


def test_a_range_ends_with_the_ledger_and_one_of_a_stage_with_the_stage() -> None:
    found = rights("/lookout", roles.stage("plot", before=[], behind=[], inputs=None))
    assert {(begin, end) for kind, begin, end in found if kind == "READ"} == {(b"/lookout\0", b"/lookout\1")}
    writes = {begin: end for kind, begin, end in found if kind == "WRITE"}
    assert writes[b"/lookout\0splot\0"] == b"/lookout\0splot\1"
    assert all(begin.startswith(b"/lookout\0") for begin in writes)
    assert rights("/lookout/", roles.operator()) == {("READWRITE", b"/lookout\0", b"/lookout\1")}


def test_a_password_is_not_shown() -> None:
    assert "hush" not in repr(roles.LedgerUser(name="a", password="hush", role=roles.reader()))
