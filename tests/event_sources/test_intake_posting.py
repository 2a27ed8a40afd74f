"""Answers of an EventSource, or none: each is reported in words that help."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from event_sources.intake.workflow_trigger import EventSource
from lookout.domain.errors import Unavailable
from lookout.ledger.batches import LIVE, Batch
from tests.event_sources.intake_kit import POST_TOKEN, Bus, serving_bus

BATCH = Batch(id="20251122t080000000-0123abcd-00001", kind=LIVE, keys=("a", "b"), created_at_s=0.0)


@pytest.fixture
def bus() -> Iterator[Bus]:
    with serving_bus() as bus:
        yield bus


def test_a_batch_is_posted_with_its_attempt_and_the_token(bus: Bus) -> None:
    EventSource(url=bus.url, token=POST_TOKEN).post_batch(BATCH, 3)
    (one,) = bus.posted
    assert (one.path, one.token) == ("/batches", f"Bearer {POST_TOKEN}")
    assert one.body == {"batch": BATCH.id, "attempt": "3", "objects": "2"}


@pytest.mark.parametrize(("status", "hint"), [(500, False), (401, True), (403, True), (302, False)])
def test_any_other_answer_is_worth_another_try_and_a_wrong_token_is_hinted_at(
    bus: Bus, status: int, hint: bool
) -> None:
    bus.status = status
    with pytest.raises(Unavailable) as refused:
        EventSource(url=bus.url, token=POST_TOKEN).post_batch(BATCH, 1)
    assert f"{bus.url}/batches: status {status}" in str(refused.value)
    assert ("LOOKOUT_INTAKE_POST_TOKEN" in str(refused.value)) is hint
    assert POST_TOKEN not in str(refused.value)


def test_one_that_does_not_answer_is_not_waited_for_for_ever(bus: Bus) -> None:
    bus.frozen = True
    with pytest.raises(Unavailable, match="timed out"):
        EventSource(url=bus.url, token=POST_TOKEN, timeout_s=0.2).post_batch(BATCH, 1)


def test_nobody_there_is_told_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}/batches: .*refused"):
        EventSource(url=f"http://127.0.0.1:{port}", token=POST_TOKEN).post_batch(BATCH, 1)
