"""Builders for tests of ledgers: a clock that is set by hand, and small records with the fields that matter named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict, Unpack

from lookout.domain.identity import sha256
from lookout.domain.records import (
    MAIL,
    Alert,
    AlertDraft,
    AlertState,
    Claim,
    InputRef,
    JsonObject,
    Mark,
    ObjectRef,
    Observation,
    Outcome,
    Record,
    Slot,
    State,
)
from lookout.ledger.port import Ledger, Settled
from lookout.object_store.port import Publish

LEASE_S = 60.0


@dataclass
class ManualClock:
    """Unix seconds that move only when they are told to."""

    now_s: float = 1_763_798_400.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Bench:
    """One new ledger: ``open`` gives a handle on it, the same or another one; ``clock`` is the one they read.

    Whoever makes the bench closes the handles.
    """

    open: Callable[[], Ledger]
    clock: ManualClock = field(default_factory=ManualClock)


def ref(bucket: str, key: str, content: str = "", version: str | None = None) -> ObjectRef:
    """A reference to content that need not exist anywhere."""
    data = (content or key).encode()
    return ObjectRef(bucket=bucket, key=key, sha256=sha256(data), size=len(data), version=version)


def seen(
    key: str,
    content: str | None = "1",
    *,
    bucket: str = "images",
    origin: str = "folder",
    fingerprint: str = "",
    at_s: float = 5.0,
    error: str | None = None,
) -> Observation:
    """An observation; without content, of something gone or, with an error, unreadable."""
    return Observation(
        bucket=bucket,
        key=key,
        origin=origin,
        ref=ref(bucket, key, content) if content is not None else None,
        fingerprint=fingerprint,
        observed_at_s=at_s,
        error=error,
    )


class Shown(TypedDict, total=False):
    """Fields of a record from which charts and lists are made; each has the record's own default."""

    counts: Mapping[str, int]
    at_s: float | None
    label: str | None
    facts: JsonObject


def record(
    key: str,
    hash_: str = "",
    *,
    stage: str = "s",
    outputs: Sequence[ObjectRef] | None = None,
    reads: Sequence[ObjectRef] = (),
    group: str = "g",
    alerts: Sequence[Alert] = (),
    **shown: Unpack[Shown],
) -> Record:
    """A record with one output of its own, if not told otherwise."""
    return Record(
        hash=hash_ or (f"hash of {key}" if stage == "s" else f"hash of {stage}/{key}"),
        stage=stage,
        key=key,
        group=group,
        recipe="r",
        inputs=tuple(InputRef(role="picture", ref=item) for item in reads),
        outputs=(ref(stage, f"{key}.json", hash_),) if outputs is None else tuple(outputs),
        run="run-1",
        code="code",
        started_at_s=1.0,
        finished_at_s=2.0,
        alert_ids=tuple(alert.id for alert in alerts),
        **shown,
    )


def alert(
    id_: str, *, created_at_s: float = 1.0, run: str = "run-1", hash_: str = "hash of k", channel: str = MAIL
) -> Alert:
    """A pending alert."""
    return Alert(
        id=id_,
        draft=AlertDraft(
            user="ann",
            rule="night",
            picture_key="k",
            picture_sha256=sha256(b"k"),
            sender="from@example.org",
            recipient="to@example.org" if channel == MAIL else channel,
            evidence="k.jpg",
            detail={"threats": [{"label": "person", "score": 0.5}]},
            channel=channel,
        ),
        evidence=ref("s", "k.jpg"),
        datum_hash=hash_,
        run=run,
        code="code",
        created_at_s=created_at_s,
        state=AlertState.PENDING,
    )


def done(made: Record, *, marks: Sequence[Mark] = (), alerts: Sequence[Alert] = ()) -> Outcome:
    """Success with a record."""
    return Outcome(state=State.SUCCESS, record=made, marks=tuple(marks), alerts=tuple(alerts))


def failed(error: str = "broken", *, final: bool = True) -> Outcome:
    """A failed try."""
    return Outcome(state=State.FAILED, error=error, final=final)


GONE = Outcome(state=State.RETRACTED)
SKIP = Outcome(state=State.SUCCESS)


class Desk:
    """One ledger with one session open, and the steps that most tests are made of."""

    def __init__(self, bench: Bench, ledger: Ledger, owner: str) -> None:
        self.bench, self.ledger, self.owner, self.clock = bench, ledger, owner, bench.clock

    def mark(self, *keys: str, stage: str = "s") -> None:
        self.ledger.mark([Mark(stage=stage, key=key) for key in keys])

    def claim(
        self, limit: int = 100, *, stage: str = "s", owner: str | None = None, keys: Collection[str] | None = None
    ) -> list[Claim]:
        return self.ledger.claim(stage, owner or self.owner, limit, LEASE_S, keys)

    def take(self, key: str, *, stage: str = "s") -> Claim:
        """Mark and claim one slot."""
        self.mark(key, stage=stage)
        (claim,) = self.claim(stage=stage, keys=[key])
        return claim

    def settle(self, key: str, outcome: Outcome, *, stage: str = "s") -> Settled:
        """Mark, claim and settle one slot."""
        (answer,) = self.ledger.commit([(self.take(key, stage=stage), outcome)])
        return answer

    def do(self, made: Record, *, marks: Sequence[Mark] = (), alerts: Sequence[Alert] = ()) -> Settled:
        """Have a record committed."""
        return self.settle(made.key, done(made, marks=marks, alerts=alerts), stage=made.stage)

    def slot(self, key: str, *, stage: str = "s") -> Slot:
        return self.ledger.find_slots(stage, [key])[key]

    def publish(self) -> list[Publish]:
        """All changes that were not visible, which are now."""
        with self.ledger.unpublished() as changes:
            return list(changes)

    def outlive_lease(self) -> None:
        self.clock.now_s += LEASE_S


@contextmanager
def open_desk(bench: Bench) -> Iterator[Desk]:
    """A desk whose session ends with the context."""
    ledger = bench.open()
    with ledger.session() as owner:
        yield Desk(bench, ledger, owner)
