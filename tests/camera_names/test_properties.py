"""Names in general: what a pattern writes it reads back; nothing takes long; nothing is read in two ways in silence."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from lookout.domain.errors import InputRejected
from stages.camera_names.matcher import Ambiguous, Matcher
from stages.camera_names.name_list import read_list
from stages.camera_names.names import Reading, Unread
from stages.camera_names.pattern import parse

LONGEST_S = 2.0
"""For one name of the worst kind, on a machine that does other things too."""

DEVICES = st.text(st.sampled_from("abzAZ09._-()[] \u00fc\u4e2d"), min_size=1, max_size=20).filter(
    lambda text: text == text.strip()
)
TIMES = st.datetimes(datetime(2001, 1, 2), datetime(2099, 12, 30))
FORMATS = {
    "%Y%m%d%H%M%S": "%Y%m%d%H%M%S",
    "%Y-%m-%d_%H-%M-%S": "%Y-%m-%d_%H-%M-%S",
    "%y%m%d%H%M%S": "%y%m%d%H%M%S",
    "%Y%j%H%M%S": "%Y%j%H%M%S",
    "%d.%m.%Y, %I.%M.%S %p": "%d.%m.%Y, %I.%M.%S %p",
}


@given(
    DEVICES, TIMES, st.sampled_from(sorted(FORMATS)), st.integers(0, 9_999_999_999), st.sampled_from(["jpg", "JPEG"])
)
@settings(max_examples=200, deadline=None)
def test_what_a_pattern_writes_it_reads_back(device: str, at: datetime, form: str, seq: int, ending: str) -> None:
    at = at.replace(microsecond=0)
    path = f"x/{device}/y_{at.strftime(FORMATS[form])}_{seq}.{ending}"
    document = {"names": [{"pattern": f"*/{{device}}/y_{{time:{form}}}_{{seq}}.jpg"}], "zone": "UTC"}
    found = read_list(document, "").read(path)
    assert isinstance(found, Reading), found
    assert (found.device, found.captured_at, found.seq) == (device, at.replace(tzinfo=UTC), seq)


@given(TIMES, st.sampled_from(["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "+05:45"]))
@settings(max_examples=200, deadline=None)
def test_a_picture_that_is_seen_at_once_has_its_own_instant_on_the_days_of_all_clocks(at: datetime, zone: str) -> None:
    names = read_list({"names": [{"pattern": "{device}_{time:%Y%m%d%H%M%S}.jpg"}], "zone": zone}, "")
    instant = at.replace(microsecond=0, tzinfo=UTC)
    local = instant.astimezone(names.zone).strftime("%Y%m%d%H%M%S")
    found = names.read(f"cam_{local}.jpg", first_seen=instant + timedelta(seconds=30))
    assert isinstance(found, Reading), found
    assert (found.captured_at, found.flags) == (instant, ())


def _identities(matcher: Matcher, path: str) -> int:
    """Count the readings: none, one, or two that differ."""
    try:
        return int(matcher.find(path) is not None)
    except Ambiguous as both:
        return len({both.first.identity, both.second.identity})


PATTERNS = st.lists(
    st.sampled_from(
        ["*", "?", "_", "a", "1", "{device}", "{seq}", "{event}", "{time:%s}", "{time:%H}", "/", "**/", "{seq:2}"]
    ),
    min_size=1,
    max_size=10,
).map("".join)
PATHS = st.text(st.sampled_from("a1_/.-"), max_size=120).map(lambda text: f"{text}.jpg")


@given(PATTERNS, PATHS)
@settings(max_examples=400, deadline=None)
def test_a_pattern_that_is_accepted_gives_one_reading_none_or_says_that_there_are_several(text: str, path: str) -> None:
    try:
        matcher = Matcher(pattern=parse(text, "here", is_ignored=True))
    except InputRejected:
        return
    assert _identities(matcher, path) <= 2
    matcher.find_furthest(path)


def test_the_worst_names_take_no_long_time() -> None:
    for pattern, path in (
        ("*_*_*_*x.jpg", "_" * 250 + "y.jpg"),
        ("*_*_*_*_{time:%s}.jpg", "_" * 240 + "y.jpg"),
        ("{device}_*_{event}_*_{time:%s}.jpg", "a_" * 110 + "1763798400.jpg"),
        ("**/{device}/**/*_{time:%s}.jpg", "a/" * 400 + "1_1763798400.jpg"),
        ("*_{device}_*_{time:%s}.jpg", "_" * 200 + "_1763798400.jpg"),
    ):
        matcher = Matcher(pattern=parse(pattern, "here", is_ignored=True))
        began_s = time.perf_counter()
        _identities(matcher, path)
        assert time.perf_counter() - began_s < LONGEST_S, pattern


def test_a_path_that_no_file_system_has_is_refused() -> None:
    names = read_list({}, "")
    assert isinstance(names.read("a" * 300 + "_1763798400.jpg"), Unread)
    assert isinstance(names.read("a/" * 600 + "a_1763798400.jpg"), Unread)
