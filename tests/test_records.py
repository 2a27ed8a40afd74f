"""Records are checked when made; errors keep their facts; logs stay on one line; settings name what is wrong."""

from __future__ import annotations

import io
import pickle

import pytest

from devkit.toy_pipeline import toy_pipeline
from lookout import log
from lookout.config.settings import Settings
from lookout.domain.errors import (
    ClaimLost,
    Corrupt,
    InputRejected,
    LookoutError,
    ObjectChanged,
    ObjectMissing,
    Unavailable,
)
from lookout.domain.identity import sha256
from lookout.domain.pipeline import Pipeline, Reads, Stage
from lookout.domain.records import AlertDraft, ObjectRef, Outcome, Output, Record, Result, State
from stages.picture_names import find_name, group_of, short_digest
from stages.pipeline import PIPELINE


@pytest.mark.parametrize(
    "error",
    [
        InputRejected("what", "where", "hint"),
        Unavailable("disk", "full"),
        ClaimLost("datum", 3, "other"),
        ClaimLost("datum", 3, None),
        Corrupt("object", "a", "b"),
        ObjectMissing("bucket", "key"),
        ObjectChanged("bucket", "key", "a" * 64, "b" * 64),
    ],
)
def test_an_error_is_the_same_behind_a_process_boundary(error: LookoutError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_exit_codes_tell_the_kinds_apart() -> None:
    kinds = {InputRejected: 2, Unavailable: 75, ClaimLost: 75, Corrupt: 65}
    assert {kind: kind.exit_code for kind in kinds} == kinds
    assert [kind.retryable for kind in kinds] == [False, True, True, False]


@pytest.mark.parametrize("digest", ["", "A" * 64, "a" * 63, "g" * 64])
def test_a_reference_to_an_object_needs_a_real_digest(digest: str) -> None:
    with pytest.raises(ValueError, match="64 hex digits"):
        ObjectRef(bucket="b", key="k", sha256=digest, size=1)


@pytest.mark.parametrize("key", ["", "/x", "../x", "a/../b", "a/.."])
def test_an_output_key_cannot_leave_its_bucket(key: str) -> None:
    with pytest.raises(ValueError, match="relative key"):
        Output(key=key, data=b"", content_type="text/plain")


def test_a_result_names_each_output_once_and_shows_only_what_it_has() -> None:
    output = Output(key="k", data=b"", content_type="text/plain")
    with pytest.raises(ValueError, match="each output key once"):
        Result(outputs=(output, output))
    draft = AlertDraft(
        user="u",
        rule="r",
        picture_key="p",
        picture_sha256="0" * 64,
        sender="a@b.c",
        recipient="d@e.f",
        evidence="other",
    )
    with pytest.raises(ValueError, match="expected evidence among the outputs"):
        Result(outputs=(output,), alerts=(draft,))


RECORD = Record(hash="h", stage="s", key="k", group="g", recipe="r")


@pytest.mark.parametrize(
    "fields",
    [
        {"state": State.FAILED},
        {"state": State.UNRUNNABLE},
        {"state": State.SUCCESS, "error": "x"},
        {"state": State.FAILED, "error": "x", "record": RECORD},
        {"state": State.RUNNING},
    ],
)
def test_an_outcome_that_contradicts_itself_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        Outcome(**fields)


def test_a_pipeline_reads_only_what_comes_before() -> None:
    stage = Stage(name="s", version=1, prepare="m:f", reads=(Reads(role="r", bucket="later"),))
    with pytest.raises(ValueError, match="reads 'later'"):
        Pipeline(inputs="i", stages=(stage,), group_of=str)
    twice = Stage(name="i", version=1, prepare="m:f", reads=(Reads(role="r", bucket="i"),))
    with pytest.raises(ValueError, match="once"):
        Pipeline(inputs="i", stages=(twice,), group_of=str)


def test_upstream_and_downstream_are_transitive() -> None:
    pipeline = toy_pipeline()
    assert pipeline.upstream("third") == ("first", "second")
    assert pipeline.upstream("first") == ()
    assert pipeline.downstream("first") == ("second", "third", "sums")
    assert PIPELINE.downstream("object-detect") == ("threat-detect", "plot")


def test_a_read_finds_the_one_output_it_means() -> None:
    refs = [ObjectRef(bucket="b", key=key, sha256=sha256(key.encode()), size=1) for key in ("valid/a/x", "other/x")]
    assert Reads(role="r", bucket="b", pattern="valid/*").find(refs) == refs[0]
    assert Reads(role="r", bucket="b", pattern="none/*").find(refs) is None
    assert Reads(role="r", bucket="b").find([]) is None
    with pytest.raises(ValueError, match="expected one output"):
        Reads(role="r", bucket="b").find(refs)


_OTHER_ENDING = "a b/c/gate-2.x_1763798400123.JPEG"


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("porch_1763798400.jpg", ("porch", 1763798400.0, "porch/1763798400")),
        (
            "a b/c/gate-2.x_1763798400123.JPEG",
            ("gate-2.x", 1763798400.123, "a b/c/gate-2.x/1763798400123-" + short_digest(_OTHER_ENDING)),
        ),
        ("front_door_1763798400.jpg", ("front_door", 1763798400.0, "front_door/1763798400")),
        ("-x_1763798400.jpg", ("-x", 1763798400.0, "-x/1763798400")),
        ("p\u00f6rch 2_1763798400.jpg", ("p\u00f6rch 2", 1763798400.0, "p\u00f6rch 2/1763798400")),
        ("po\u0308rch_1763798400.jpg", ("p\u00f6rch", 1763798400.0, "p\u00f6rch/1763798400")),
        (" x_1763798400.jpg", None),
        ("x _1763798400.jpg", None),
        ("IMG_0001.jpg", None),
        ("porch_176379840.jpg", None),
        ("porch_17637984001.jpg", None),
        ("porch_1763798400.png", None),
        ("_1763798400.jpg", None),
        ("porch_1763798400.jpg\n", None),
        ("porch_١٧٦٣٧٩٨٤٠٠.jpg", None),
        ("p" * 64 + "_1763798400.jpg", None),
        ("", None),
    ],
)
def test_names(key: str, parts: tuple[str, float, str] | None) -> None:
    name = find_name(key)
    assert (name and (name.device, name.captured_at_s, name.stem)) == parts


def test_groups_are_device_and_day_in_utc() -> None:
    assert group_of("x/porch_1763855999.jpg") == "porch/2025-11-22"
    assert group_of("x/porch_1763856000.jpg") == "porch/2025-11-23"
    assert group_of("notes.txt") == "-/-"


def test_a_log_line_is_one_line_of_fields() -> None:
    stream = io.StringIO()
    log.configure("info", stream)
    try:
        logger = log.get_logger("test")
        logger.info("two words", key="a\nb", elapsed_s=1.23456, empty="", plain="x-1")
        logger.debug("not shown")
    finally:
        log.configure("error")
    assert stream.getvalue().endswith('INFO lookout.test "two words" key="a\\nb" elapsed_s=1.235 empty="" plain=x-1\n')
    assert stream.getvalue().count("\n") == 1


def test_settings_come_from_the_environment_and_hide_the_key() -> None:
    settings = Settings.from_environment(
        {"SENDGRID_API_KEY": "SG.secret", "LOOKOUT_STATE": "/s", "LOOKOUT_DURABLE": "0"}
    )
    assert (settings.sendgrid_api_key, str(settings.state), settings.durable) == ("SG.secret", "/s", False)
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("variable", ["LOOKOUT_LOG", "LOOKOUT_DURABLE", "SENDGRID_API_KEY"])
def test_a_setting_that_makes_no_sense_is_named_and_not_shown(variable: str) -> None:
    with pytest.raises(InputRejected, match=variable) as caught:
        Settings.from_environment({variable: "some times"})
    assert variable != "SENDGRID_API_KEY" or "some times" not in str(caught.value)
