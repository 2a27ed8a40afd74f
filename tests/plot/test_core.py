"""The stage: which work gives which objects, the same bytes each time, and data that never becomes code."""

from __future__ import annotations

import json
import re

import pytest

from lookout.domain.errors import InputRejected
from lookout.domain.records import LoadedReference, Reference, Tally, Work
from stages.plot.core import prepare
from tests.plot.site_maker import RULE, RULE2, decided, tallies, threat, visit_of

GROUP = "porch/2025-11-22"


def partition(*members, group: str = GROUP) -> dict:
    data, _ = partitions(*members, group=group)
    return data


def partitions(*members, group: str = GROUP) -> tuple[dict, dict | None]:
    """The part that the page shows at once, and the one with the other pictures."""
    outputs = prepare({}, ())(Work(key=group, tallies=tallies(members), members=members)).outputs
    found = {}
    for output in outputs:
        assert output.content_type.startswith("text/javascript")
        call = output.data.decode().removeprefix("lookoutPartition(").removesuffix(");" + chr(10))
        name, data = json.loads(f"[{call}]")
        assert output.key == f"data/{name}.js"
        found[name] = data
    assert found.keys() <= {group, f"{group}.others"}
    return found[group], found.get(f"{group}.others")


def test_a_group_without_threats_has_no_partition() -> None:
    run = prepare({}, ())
    assert run(Work(key=GROUP, tallies=(Tally(group=GROUP, counts={"pictures": 1}),))).outputs == ()
    assert run(Work(key="-/-", tallies=(Tally(group="-/-", counts={"pictures": 1}),))).outputs == ()


def test_a_partition_has_each_threat_with_its_proof() -> None:
    member = threat("cellar/porch_1763798400.jpg", "person", "car")
    data = partition(member)
    (entry,) = data["pictures"]
    assert entry["stem"] == "cellar/porch/1763798400"
    assert entry["datum"] == member.hash
    assert entry["picture"]["key"] == "cellar/porch_1763798400.jpg"
    assert [data["rules"][number] for number in entry["rules"]] == [RULE]
    assert data["models"][entry["model"]] == member.facts["model"]
    assert [found["label"] for found in entry["threats"]] == ["person", "car"]


def test_without_decisions_each_picture_is_shown_at_once() -> None:
    data, others = partitions(*(threat(f"porch_{1763798400 + n}.jpg", "person") for n in range(3)))
    assert (len(data["pictures"]), data["events"], data["others"], others) == (3, [], 0, None)


def test_an_event_is_one_picture_and_the_others_stand_apart_with_their_reasons() -> None:
    data, others = partitions(*visit_of("porch", 1763798400, 12))
    (event,) = data["events"]
    assert (event["codes"], event["labels"], event["told"]) == ({"sent": 1, "merged_event": 11}, {"person": 12}, True)
    assert (event["first_s"], event["last_s"], event["cover"]) == (1763798400, 1763798455, "porch/1763798400")
    assert [one["stem"] for one in data["pictures"]] == ["porch/1763798400"]
    assert data["others"] == 11
    assert others is not None
    why = "Of this event the person was told 5 s before this picture, by porch_1763798400.jpg."
    assert others["pictures"][0]["judged"] == [{"event": 0, "code": "merged_event", "why": why}]
    assert others["pictures"][0]["zones"] == [["drive"]]


def test_what_was_held_back_is_not_loaded_with_what_was_told() -> None:
    held = decided(
        threat("porch_1763798900.jpg", "car", rules=[RULE2]),
        "cooldown",
        event="porch_1763798900.jpg",
        told_by="porch_1763798400.jpg",
        told_at_s=1763798400.0,
        left_s=100.0,
    )
    data, others = partitions(*visit_of("porch", 1763798400, 1), held)
    assert [(event["told"], event["codes"]) for event in data["events"]] == [
        (True, {"sent": 1}),
        (False, {"cooldown": 1}),
    ]
    assert [one["stem"] for one in data["pictures"]] == ["porch/1763798400"]
    assert others is not None
    assert [one["stem"] for one in others["pictures"]] == ["porch/1763798900"]


def test_a_picture_that_another_rule_tells_is_shown_at_once_too() -> None:
    by = {"event": "porch_1763798400.jpg", "told_by": "porch_1763798400.jpg", "told_at_s": 1763798400.0}
    both = decided(threat("porch_1763798410.jpg", "person", rules=[RULE, RULE2]), "merged_event", **by)
    data, others = partitions(*visit_of("porch", 1763798400, 1), both)
    assert [one["stem"] for one in data["pictures"]] == ["porch/1763798400", "porch/1763798410"]
    assert others is None


def test_pictures_in_no_event_are_put_together_by_their_reason() -> None:
    still = {"class": "car", "seen_at_s": 1763790000.0, "since_s": 1763790000.0, "iou": 0.93}
    members = [
        decided(threat(f"porch_{1763798400 + n}.jpg", "car", rules=[RULE2]), "static_object", **still) for n in range(3)
    ]
    late = {"age_s": 90_000.0, "until_s": 1763900000.0, "summary": "porch|1"}
    members += [
        decided(threat(f"porch_{1763799400 + n}.jpg", "car", rules=[RULE2]), "late_summary", **late) for n in range(2)
    ]
    data, _ = partitions(*members)
    assert [(event["name"], event["told"]) for event in data["events"]] == [
        ("static_object", False),
        ("late_summary porch|1", True),
    ]


def test_a_partition_does_not_depend_on_the_order_of_its_members() -> None:
    members = [threat(f"porch_{1763798400 + n}.jpg", "person") for n in range(3)]
    assert partition(*members) == partition(*reversed(members))


def test_the_stage_counts_nothing_itself() -> None:
    result = prepare({}, ())(Work(key="", tallies=()))
    assert (result.counts, result.label, result.alerts, result.at_s) == ({}, None, (), None)


def test_the_overview_writes_charts_and_page_the_same_each_time() -> None:
    work = Work(key="", tallies=tallies([threat("porch_1763798400.jpg", "person")]))
    first, second = prepare({}, ())(work), prepare({}, ())(work)
    assert [(o.key, o.content_type.split(";")[0]) for o in first.outputs] == [
        ("threats.png", "image/png"),
        ("days.png", "image/png"),
        ("invalid.png", "image/png"),
        ("last_seen.png", "image/png"),
        ("index.html", "text/html"),
    ]
    assert first == second


def test_the_page_holds_the_sums() -> None:
    members = [threat("porch_1763798400.jpg", "person", "person"), threat("gate_1763798401.jpg", "car")]
    extra = {"-__-": {"pictures": 2, "invalid": 2, "invalid:name": 2}}
    result = prepare({}, ())(Work(key="", tallies=tallies(members, **extra)))
    page = result.outputs[-1].data.decode()
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert (data["pictures"], data["valid"], data["invalid"], data["threats"]) == (4, 2, 2, 2)
    assert data["reasons"] == [["name", 2]]
    assert data["classes"] == [["person", 2, 0], ["car", 1, 1]]
    assert data["devices"] == [["gate", 1, 1, 1763798401.0], ["porch", 1, 1, 1763798400.0]]
    assert data["partitions"] == [[0, "2025-11-22", 1, [[1, 1]]], [1, "2025-11-22", 1, [[0, 2]]]]
    assert "{{" not in page.replace(json.dumps(data), "")


@pytest.mark.parametrize(
    "text", ["</script><script>x()</script>", "<!--", "\u2028\u2029", "'\"`${x}\\", "\ud800", "]]>&amp;"]
)
def test_data_never_ends_a_script(text: str) -> None:
    member = threat("porch_1763798400.jpg", text, rules=[{**RULE, "name": text, "user": text}])
    run = prepare({}, ())
    script = run(Work(key=GROUP, members=(member,))).outputs[0].data.decode()
    page = run(Work(key="", tallies=tallies([member]))).outputs[-1].data.decode()
    assert not re.search("[<>&\u2028\u2029]", script)
    assert page.count("</script>") == 2
    assert page.count("<!--") == 0
    if text.isprintable():
        assert partition(member)["rules"][0]["name"] == text


def test_parameters_and_references_are_refused() -> None:
    with pytest.raises(InputRejected, match="colour"):
        prepare({"colour": "red"}, ())
    with pytest.raises(InputRejected, match=r"m\.onnx"):
        prepare({}, [LoadedReference(reference=Reference(bucket="model", name="m.onnx", files={}), data={})])
