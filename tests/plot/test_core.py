"""The stage: which work gives which objects, the same bytes each time, and data that never becomes code."""

from __future__ import annotations

import json
import re

import pytest

from lookout.domain.errors import InputRejected
from lookout.domain.records import LoadedReference, Reference, Tally, Work
from stages.plot.core import prepare
from tests.plot.site_maker import RULE, tallies, threat

GROUP = "porch/2025-11-22"


def partition(*members, group: str = GROUP) -> dict:
    (output,) = prepare({}, ())(Work(key=group, tallies=tallies(members), members=members)).outputs
    assert output.key == f"data/{group}.js"
    assert output.content_type.startswith("text/javascript")
    name, data = json.loads(f"[{output.data.decode().removeprefix('lookoutPartition(').removesuffix(');' + chr(10))}]")
    assert name == group
    return data


def test_a_group_without_threats_has_no_partition() -> None:
    run = prepare({}, ())
    assert run(Work(key=GROUP, tallies=(Tally(group=GROUP, counts={"pictures": 1}),))).outputs == ()
    assert run(Work(key="-/-", tallies=(Tally(group="-/-", counts={"pictures": 1}),))).outputs == ()


def test_a_partition_has_each_threat_with_its_proof() -> None:
    member = threat("cellar/porch_1763798400.jpg", "person", "car")
    (entry,) = partition(member)["threats"]
    assert entry["stem"] == "cellar/porch/1763798400"
    assert entry["datum"] == member.hash
    assert entry["picture"]["key"] == "cellar/porch_1763798400.jpg"
    assert entry["rules"] == [RULE]
    assert [found["label"] for found in entry["threats"]] == ["person", "car"]


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
        assert partition(member)["threats"][0]["rules"][0]["name"] == text


def test_parameters_and_references_are_refused() -> None:
    with pytest.raises(InputRejected, match="colour"):
        prepare({"colour": "red"}, ())
    with pytest.raises(InputRejected, match=r"m\.onnx"):
        prepare({}, [LoadedReference(reference=Reference(bucket="model", name="m.onnx", files={}), data={})])
