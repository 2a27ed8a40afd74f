"""Events as they are posted: events of S3; anything else is refused in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from event_sources.intake.s3_events import Happened, read_events
from lookout.domain.errors import InputRejected
from tests.event_sources.intake_kit import event


def body(**change: Any) -> bytes:
    return json.dumps(event("images", "a.jpg") | change).encode()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("s3:ObjectCreated:Put", "created"),
        ("s3:ObjectCreated:CompleteMultipartUpload", "created"),
        ("ObjectCreated:Copy", "created"),
        ("s3:ObjectRemoved:DeleteMarkerCreated", "removed"),
        ("s3:ObjectAccessed:Get", "other"),
        ("s3:TestEvent", "other"),
    ],
)
def test_an_event_says_what_happened(name: str, kind: str) -> None:
    (found,) = read_events(json.dumps(event("images", "a.jpg", name)).encode())
    assert found == Happened(bucket="images", key="a.jpg", kind=kind, version="v1")


@pytest.mark.parametrize(
    ("quoted", "key"),
    [
        ("a.jpg", "a.jpg"),
        ("b%C3%BCro%2F%C3%BCber+gang+1.jpg", "büro/über gang 1.jpg"),
        ("a%2Bb%25.jpg", "a+b%.jpg"),
        ("%7B%7B%3D1%7D%7D.jpg", "{{=1}}.jpg"),
        ("%F0%9F%93%B7.jpg", "📷.jpg"),
    ],
)
def test_a_key_is_unquoted(quoted: str, key: str) -> None:
    assert [one.key for one in read_events(json.dumps(event("images", quoted)).encode())] == [key]


@pytest.mark.parametrize(
    ("version", "at", "found"),
    [
        ("v2", "2025-11-22T08:00:00.250Z", ("v2", 1763798400.25)),
        ("v2", "2025-11-22T09:00:00+01:00", ("v2", 1763798400.0)),
        ("", "2025-11-22T08:00:00", ("", None)),
        (None, "soon", ("", None)),
        (7, 1763798400, ("", None)),
    ],
)
def test_what_an_event_claims_of_version_and_time_is_read_or_left_out(version: Any, at: Any, found: Any) -> None:
    made = event("images", "a.jpg")
    made["Records"][0]["s3"]["object"]["versionId"] = version
    made["Records"][0]["eventTime"] = at
    (read,) = read_events(json.dumps(made).encode())
    assert (read.version, read.at_s) == found


def test_a_body_may_have_several_records() -> None:
    records = [*event("images", "a")["Records"], *event("rules", "b", "s3:ObjectRemoved:Delete")["Records"]]
    assert read_events(body(Records=records)) == [
        Happened(bucket="images", key="a", kind="created", version="v1"),
        Happened(bucket="rules", key="b", kind="removed", version="v1"),
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "as JSON"),
        (b"\xff\xfe", "as JSON"),
        (b"[" * 100_000, "as JSON"),
        (b"null", "list Records"),
        (b"[]", "list Records"),
        (b"{}", "list Records"),
        (body(Records=[]), "list Records"),
        (body(Records={"0": 1}), "list Records"),
        (body(Records=[1]), "Records[0].eventName"),
        (body(Records=[{"eventName": 1}]), "Records[0].eventName"),
        (body(Records=[{"eventName": "s3:ObjectCreated:Put"}]), "Records[0].s3.bucket.name"),
        (body(Records=[*event("images", "a")["Records"], *event("", "a")["Records"]]), "Records[1].s3.bucket.name"),
        (body(Records=event("images", "")["Records"]), "Records[0].s3.object.key"),
        (body(Records=event("images", "%ff")["Records"]), "is not UTF-8"),
        (body(Records=event("images", "\ud800")["Records"]), "is not UTF-8"),
        (body(Records=event("images", "k" * 1025)["Records"]), "1024 bytes, got 1025"),
    ],
    ids=range(16),
)
def test_anything_else_is_refused_with_the_place(given: bytes, said: str) -> None:
    with pytest.raises(InputRejected) as refused:
        read_events(given)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
