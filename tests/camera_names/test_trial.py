"""Trials of lists on many paths: counts, paths that two entries read differently, and clocks that look wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from stages.camera_names.name_list import read_list
from stages.camera_names.proposal import Sample, propose
from stages.camera_names.trial import EXAMPLES, Trial

SEEN = datetime(2026, 6, 1, 12, tzinfo=UTC)


def report(lines: list[dict[str, Any]], paths: list[tuple[str, datetime]], zone: str = "UTC") -> Any:
    trial = Trial(read_list({"names": lines, "zone": zone}, "here"))
    for path, changed_at in paths:
        trial.add(path, changed_at)
    return trial.report()


def at(number: int) -> datetime:
    return SEEN + timedelta(minutes=number)


def test_each_entry_is_counted_with_a_few_examples() -> None:
    paths = [(f"cam_{at(number):%Y%m%d%H%M%S}.jpg", at(number)) for number in range(10)]
    found = report([{"preset": "reolink"}], [*paths, ("x.jpg", SEEN)])
    assert (found["read"], found["entries"][0]["count"], len(found["entries"][0]["examples"])) == (10, 10, EXAMPLES)
    assert [(one["reason"], one["count"]) for one in found["unread"]] == [("name", 1)]
    assert found["devices"] == {"cam": 10}
    assert found["clocks"] == []


def test_paths_that_a_later_entry_would_read_otherwise_are_told() -> None:
    lines = [
        {"pattern": "**/mo-{device}-{time:%Y%m%d-%H%M%S}.jpg"},
        {"pattern": "**/{device}-{time:%Y%m%d-%H%M%S}.jpg"},
    ]
    (one,) = report(lines, [("media/mo-cam1-20260601-114605.jpg", SEEN)])["shadowed"]
    assert (one["entry"], one["by"], one["count"]) == ("here: names[0]", "here: names[1]", 1)


def test_a_wrong_zone_is_told_by_whole_hours_from_the_files() -> None:
    paths = [(f"cam_{at(number) + timedelta(hours=2):%Y%m%d%H%M%S}.jpg", at(number)) for number in range(6)]
    (note,) = report([{"preset": "reolink"}], paths)["clocks"]
    assert (note["device"], note["note"]) == ("cam", "whole-hours-off")
    assert "2 h after" in note["sentence"]
    assert report([{"preset": "reolink"}], paths, zone="+02:00")["clocks"] == []


def test_a_clock_that_stands_still_or_was_set_back_is_told() -> None:
    still = [(f"cam/{number}-20260601110000-{number:02}.jpg", at(20)) for number in range(1, 30)]
    assert [note["note"] for note in report([{"preset": "motion"}], still)["clocks"]] == ["same-time"]
    times = (10, 20, 30, 5, 6)
    back = [(f"cam/1-202606{day:02}110000-{number:02}.jpg", SEEN) for number, day in enumerate(times, start=1)]
    late = [(path, changed_at + timedelta(days=40)) for path, changed_at in back]
    assert [note["note"] for note in report([{"preset": "motion"}], late)["clocks"]] == ["going-back"]


def test_a_proposal_reads_all_that_presets_read_with_few_of_them() -> None:
    paths = ("PXL_20260526_210642603.jpg", "porch/01-20260530120001-00.jpg", "front_1763798400.jpg", "notes.jpg")
    proposed = propose([Sample(path=path, changed_at=SEEN) for path in paths], "Europe/Vienna")
    assert proposed["zone"] == "Europe/Vienna"
    found = report(proposed["names"], [(path, SEEN) for path in paths])
    assert found["read"] == 3


def test_a_name_in_decomposed_form_is_counted_with_its_entry() -> None:
    found = report([{"preset": "reolink"}], [(f"Ku\u0308che_{at(0):%Y%m%d%H%M%S}.jpg", at(0))])
    assert (found["entries"][0]["count"], found["devices"]) == (1, {"K\u00fcche": 1})
