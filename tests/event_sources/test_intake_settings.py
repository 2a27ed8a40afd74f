"""Settings of an intake from the environment, and those it refuses, by name and without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_sources.intake.dispatcher import Pace
from event_sources.intake.settings import HintSettings, IntakeSettings
from lookout.domain.errors import InputRejected

GIVEN = {
    "LOOKOUT_INTAKE_TOKEN": "the-token",
    "LOOKOUT_INTAKE_POST_TO": "http://uploads-eventsource-svc:12000",
    "LOOKOUT_INTAKE_POST_TOKEN": "the-other-token",
}
HINTS = {
    "LOOKOUT_INTAKE_HINTS": "tls://nats:4222",
    "LOOKOUT_INTAKE_HINTS_USER": "hints-intake",
    "LOOKOUT_INTAKE_HINTS_PASSWORD": "the-password",
}
DOCS = Path(__file__).parents[2] / "docs" / "intake.md"


def test_two_tokens_and_an_address_are_enough() -> None:
    read = IntakeSettings.from_environment(GIVEN)
    assert (read.token, read.post_to, read.post_token) == tuple(GIVEN.values())
    assert (read.host, read.port, read.pace) == ("127.0.0.1", 12100, Pace())
    assert (read.senders, read.pictures) == (None, ("127.0.0.1", 12101))
    assert read.hints is None
    assert "token" not in repr(read)


def test_all_can_be_given_and_an_empty_value_is_as_if_not_given() -> None:
    more = {
        "LOOKOUT_INTAKE_LISTEN": "[::]:8080",
        "LOOKOUT_INTAKE_SIZE": "1000",
        "LOOKOUT_INTAKE_AGE_S": "0",
        "LOOKOUT_INTAKE_MOST": "1",
        "LOOKOUT_INTAKE_AGAIN_S": "1.5",
        "LOOKOUT_INTAKE_DEVICE_TOKENS": "/device-tokens/tokens.json",
        "LOOKOUT_INTAKE_PICTURES_LISTEN": "0.0.0.0:8081",
        "LOOKOUT_INTAKE_HINTS_SUBJECT": "site1.hints",
        "LOOKOUT_INTAKE_HINTS_CA": "/nats/ca.crt",
    }
    more |= HINTS
    read = IntakeSettings.from_environment(GIVEN | more)
    assert (read.host, read.port) == ("::", 8080)
    assert read.pace == Pace(size=1000, age_s=0.0, most=1, again_s=1.5)
    assert (read.senders, read.pictures) == (Path("/device-tokens/tokens.json"), ("0.0.0.0", 8081))
    assert read.hints == HintSettings(
        server="tls://nats:4222", subject="site1.hints", user="hints-intake", password="the-password", ca="/nats/ca.crt"
    )
    assert "the-password" not in repr(read)
    assert IntakeSettings.from_environment(GIVEN | dict.fromkeys(more, "")) == IntakeSettings.from_environment(GIVEN)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TOKEN", "", "is not set (what MinIO's webhook target shows)"),
        ("TOKEN", "two words", "has characters that are not allowed in a token"),
        ("TOKEN", "t\u00f6ken", "has characters that are not allowed in a token"),
        ("POST_TOKEN", "", "is not set"),
        ("POST_TO", "", "expected http://host:port"),
        ("POST_TO", "uploads:12000", "expected http://host:port"),
        ("POST_TO", "ftp://uploads:12000", "expected http://host:port"),
        ("POST_TO", "http://uploads:12000/uploads", "expected http://host:port without a path"),
        ("LISTEN", "8080", "expected host:port"),
        ("LISTEN", "0.0.0.0:70000", "expected host:port"),
        ("PICTURES_LISTEN", "8081", "expected host:port"),
        ("SIZE", "0", "expected a whole number from 1 to 1000, got '0'"),
        ("SIZE", "2.5", "expected a whole number"),
        ("AGE_S", "soon", "expected a number from 0 to 60, got 'soon'"),
        ("AGE_S", "nan", "expected a number"),
        ("AGE_S", "-1", "expected a number"),
        ("MOST", "0", "expected a whole number from 1 to 1000"),
        ("AGAIN_S", "inf", "expected a number from 1 to 3600"),
        ("HINTS", "nats:4222", "expected nats://host:port or tls://host:port"),
        ("HINTS", "nats://nats:99999", "expected nats://host:port or tls://host:port"),
        ("HINTS", "nats://me:secret@nats:4222", "expected nats://host:port or tls://host:port"),
        ("HINTS_SUBJECT", "lookout.>", "expected words of letters"),
        ("HINTS_USER", "", "is not set"),
        ("HINTS_PASSWORD", "", "is not set"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(name: str, value: str, said: str) -> None:
    with pytest.raises(InputRejected) as refused:
        IntakeSettings.from_environment(GIVEN | HINTS | {f"LOOKOUT_INTAKE_{name}": value})
    assert str(refused.value).startswith(f"LOOKOUT_INTAKE_{name}: {said}")
    assert "TOKEN" not in name or value not in str(refused.value) or not value


@pytest.mark.parametrize(
    "name",
    [
        *("TOKEN", "POST_TO", "POST_TOKEN", "LISTEN", "SIZE", "AGE_S", "MOST", "AGAIN_S"),
        *("HINTS", "HINTS_USER", "HINTS_PASSWORD", "HINTS_CA", "HINTS_SUBJECT"),
    ],
)
def test_each_is_documented(name: str) -> None:
    assert f"`LOOKOUT_INTAKE_{name}`" in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("age_s", "attempt"), [(-5, 1), (0, 1), (59.9, 1), (60, 2), (179, 2), (180, 3), (419, 3), (420, 4), (3600, 6)]
)
def test_a_batch_is_posted_again_after_one_three_and_seven_times_the_pause(age_s: float, attempt: int) -> None:
    pace = Pace(again_s=60.0)
    assert pace.attempt(age_s) == attempt
    assert pace.attempt(pace.next_s(attempt)) == attempt + 1
    assert age_s < pace.next_s(attempt)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 1001}, {"most": 0}, {"age_s": -1}, {"again_s": 0}])
def test_a_pace_that_cannot_be_kept_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Pace(**wrong)
