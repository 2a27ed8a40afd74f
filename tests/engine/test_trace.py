"""Provenance walks both ways from any object, and ends at pictures, references and alerts."""

from __future__ import annotations

import pytest

from lookout.domain.errors import InputRejected
from lookout.reports.provenance import Node, Tracer

from .world import Text, World

FIXTURES = ("traced", "first_text")


@pytest.fixture
def first_text(world: World) -> Text:
    return world.put("a/1", "alarm")


@pytest.fixture
def traced(world: World, first_text: Text) -> World:
    (world.root / "words").mkdir()
    (world.root / "words" / "all.txt").write_text("!")
    world.put("a/2", "alarm")
    world.put("b/1", "calm")
    world.run(references={"words": world.root / "words"})
    return world


def names(node: Node) -> list[str]:
    return [f"{node.kind} {node.name}", *(name for child in node.children for name in names(child))]


def back(world: World, bucket: str, key: str) -> Node:
    with world.ledger() as ledger:
        return Tracer(world.pipeline, ledger).back(bucket, key)


def forward(world: World, bucket: str, key: str) -> Node:
    with world.ledger() as ledger:
        return Tracer(world.pipeline, ledger).forward(bucket, key)


def test_back_from_a_result_to_text_word_and_alert(traced: World) -> None:
    (letter, *_) = traced.postbox.letters
    node = back(traced, "third", f"{letter.alerts[0].draft.picture_key}.alarm")
    found = names(node)
    assert found[:2] == ["object third/a/1.alarm", "datum third of a/1"]
    assert {"object texts/a/1", "object words/all.txt/word", "datum second of a/1", "datum first of a/1"} <= set(found)
    assert f"alert {letter.alerts[0].id}" in found
    assert not any("a/2" in name for name in found)


def test_forward_from_a_text_to_everything_made_of_it(traced: World) -> None:
    found = set(names(forward(traced, "texts", "a/1")))
    assert {
        "object first/good/a/1",
        "object second/a/1.loud",
        "object third/a/1.alarm",
        "datum sums of a",
        "object sums/groups/a.txt",
    } <= found
    assert not any("a/2" in name or "b/1" in name for name in found)


def test_forward_from_a_word_to_all_that_used_it(traced: World) -> None:
    found = names(forward(traced, "words", "all.txt/word"))
    assert {name for name in found if name.startswith("datum second")} == {
        f"datum second of {k}" for k in ("a/1", "a/2", "b/1")
    }


def test_a_replaced_result_is_traced_to_what_is_live_now(traced: World) -> None:
    traced.put("a/1", "alarm other")
    traced.run()
    node = back(traced, "third", "a/1.alarm")
    (datum,) = node.children
    assert datum.facts["live"] is True
    old = [child for child in forward(traced, "words", "all.txt/word").children if child.facts["live"] is False]
    assert [child.name for child in old] == ["second of a/1"], "history stays, and says that it is history"


def test_the_trace_of_a_retracted_result_says_that_it_is_not_live(traced: World, first_text: Text) -> None:
    first_text.unlink()
    traced.run()
    (datum,) = back(traced, "third", "a/1.alarm").children
    assert datum.facts["live"] is False


@pytest.mark.parametrize(("bucket", "key"), [("third", "a/9.alarm"), ("texts", "nothing"), ("nowhere", "x")])
def test_an_unknown_object_is_refused(traced: World, bucket: str, key: str) -> None:
    with pytest.raises(InputRejected, match="knows no such object"):
        back(traced, bucket, key)
    with pytest.raises(InputRejected, match="knows no such object"):
        forward(traced, bucket, key)


def test_a_trace_is_plain_json(traced: World) -> None:
    document = back(traced, "sums", "overview.txt").as_json()
    assert document["kind"] == "object"
    assert document["children"][0]["children"][0]["role"] == "members"  # type: ignore[index,call-overload]
