"""States in which many pictures are finished, made in seconds: the real ledger, engine and graph, without the work.

What the workers would have made is made up: the same outputs, facts, counts and alerts as the stages give, with no
bytes behind them. So nothing in such a state may read an output, and nothing does that finds it finished. The test
beside this compares what is made up with what the stages really give.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from lookout.app.deployment import Deployment, Program
from lookout.config.settings import Settings
from lookout.domain.identity import sha256
from lookout.domain.pipeline import OVERVIEW
from lookout.domain.records import AlertDraft, AlertState, JsonObject, ObjectRef, Observation
from lookout.engine.engine import Engine
from lookout.engine.session import EngineSession
from lookout.execution.executor import Done, Workers
from lookout.execution.jobs import Job, StageRun
from lookout.ledger.port import Delivered, Ledger
from lookout.object_store.port import Listed, ObjectStore, Publish
from lookout.references.activation import propose
from lookout.sources.folder_keys import origin_of
from lookout.sources.ingest import SOURCE_NOTE, Intake
from lookout.version import code_version
from stages.installation import INSTALLATION
from stages.picture_names import find_name
from stages.pipeline import PIPELINE
from stages.validate.reasons import EDITION

THREAT_SHARE: Final = 8
"""One picture in so many shows a threat."""
INVALID_SHARE: Final = 100
"""One picture in so many is invalid."""
DAY_S: Final = 86_400
LAST_DAY_S: Final = 1_763_769_600
"""2025-11-22 00:00 UTC: the newest day of a made-up state."""
READERS: Final = tuple(stage.name for stage in PIPELINE.readers(PIPELINE.inputs))
"""The stages that read the bucket of pictures."""


def make_state(state: Path, source: Path, rules: Path, known: Iterable[Observation] | None = None) -> Counter[str]:
    """Make a state in which every picture is finished; return how many datums of each stage succeeded.

    The pictures are those of the folder ``source``, or, if given, those ``known`` as if they lay in it.
    """
    with Program(settings=Settings(durable=False), installation=INSTALLATION).open(state, create=True) as opened:
        enforce(opened, rules)
        if known is None:
            Intake(ledger=opened.ledger, bucket=PIPELINE.inputs, readers=READERS, clock=time.time).take_folder(source)
        else:
            opened.ledger.put_note(SOURCE_NOTE, origin_of(source))
            opened.ledger.observe(known, READERS)
        return finish(opened.ledger)


def enforce(opened: Deployment, rules: Path) -> None:
    """Bring the rules into force, and the shipped model if none is yet."""
    paths = opened.references({"rules": rules})
    for stage in PIPELINE.stages:
        uses = stage.references
        if uses is not None and uses.bucket in paths:
            propose(opened.ledger, opened.store, MadeUp(), uses, paths[uses.bucket]).activate()


def finish(ledger: Ledger) -> Counter[str]:
    """Finish all that waits and send all alerts; says how many datums of each stage succeeded."""
    with ledger.session() as owner:
        engine = engine_of(ledger, owner)
        engine.rebase(PIPELINE.stages)
        report = engine.work(PIPELINE.stages)
        settle_alerts(ledger, owner)
    if report.failed or report.unrunnable:
        raise RuntimeError(f"expected every datum to succeed, got {report}")
    return report.success


def engine_of(ledger: Ledger, owner: str) -> Engine:
    """Return the real engine with made-up workers."""
    return Engine(
        pipeline=PIPELINE,
        ledger=ledger,
        store=Nowhere(),
        workers=MadeUp(),
        source=Unchanging(),
        session=EngineSession(owner=owner, run="made-up", code=code_version()),
    )


def observations(source: Path, devices: int, days: int, a_day: int, first_day: int = 0) -> Iterator[Observation]:
    """Pictures as if they lay in the folder: ``a_day`` from each device on each of the ``days`` up to the last, but
    for the ``first_day`` newest ones."""
    origin = origin_of(source)
    now_s = time.time()
    for device in range(devices):
        for day in range(first_day, days):
            for number in range(a_day):
                at_s = LAST_DAY_S - day * DAY_S + number * (DAY_S // a_day) + device
                yield observation(origin, device, at_s, now_s)


def observation(origin: str, device: int, at_s: int, now_s: float) -> Observation:
    """One picture of a device, taken at ``at_s``, as it would have been seen at ``now_s``."""
    key = f"cam{device:02}_{at_s}.jpg"
    return Observation(
        bucket=PIPELINE.inputs,
        key=key,
        origin=origin,
        ref=ObjectRef(bucket=PIPELINE.inputs, key=key, sha256=sha256(key.encode()), size=60_000, version=origin),
        fingerprint=f"{at_s}{device}:60000:{at_s}000000001:{at_s}000000001",
        observed_at_s=now_s,
    )


def settle_alerts(ledger: Ledger, owner: str) -> None:
    """All alerts were sent: a run that follows has none to send."""
    while claimed := ledger.claim_alerts(owner, 1000, time.time()):
        sent = {alert.id: Delivered(state=AlertState.SENT, message_id=alert.id[:22]) for alert in claimed}
        ledger.settle_alerts(owner, sent, time.time())


class Unchanging:
    """Source of inputs that do not change while something is measured or made up."""

    def observe_again(self, key: str) -> None:
        raise RuntimeError(f"nothing changes while this is at work, but {key} did")


class Nowhere(ObjectStore):
    """Stands for the store while a state is made up: takes note of nothing and has nothing to read."""

    def get(self, ref: ObjectRef) -> bytes:
        raise RuntimeError(f"{ref.path} is made up and has no bytes")

    def has(self, refs: Sequence[ObjectRef]) -> list[bool]:
        return [True] * len(refs)

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        content_type: str,
        *,
        known_sha256: str | None = None,
        made_by: Mapping[str, str] | None = None,
    ) -> ObjectRef:
        del data, content_type, known_sha256, made_by
        raise RuntimeError(f"{bucket}/{key}: nothing is written to a store that keeps nothing")

    def flush(self, refs: Sequence[ObjectRef]) -> None:
        """There are no bytes to bring to the disk."""

    def publish(self, changes: Sequence[Publish]) -> None:
        """Nothing becomes visible: a finished datum's outputs are not looked at again."""

    def overwrite(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        del data, content_type
        raise RuntimeError(f"{bucket}/{key}: nothing is written to a store that keeps nothing")

    def find_visible(self, bucket: str, key: str) -> bytes | None:
        del bucket, key
        return None

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Listed]:
        del bucket, prefix, after
        return iter(())

    def discard(self, refs: Sequence[ObjectRef]) -> None:
        """Nothing was put."""

    def collect(self, keep_newer_than_s: float) -> int:
        del keep_newer_than_s
        return 0


class MadeUp(Workers):
    """Answers every job at once with what the stage would have made of an ordinary picture."""

    size = 1

    def submit(self, jobs: Sequence[Job], timeout_s: float, done: Done) -> None:
        del timeout_s
        for job in jobs:
            done(job, make_up(job))

    def stop(self) -> None:
        """Nothing runs on its own."""


def make_up(job: Job) -> StageRun:
    """Return the outputs, facts, counts and alerts of a job of one of the four stages. Raises KeyError for another
    one."""
    return {"validate": _validate, "object-detect": _detect, "threat-detect": _threats, "plot": _plot}[job.stage](job)


def _validate(job: Job) -> StageRun:
    name = find_name(job.key)
    if name is None:
        raise RuntimeError(f"expected pictures with good names, got {job.key}")
    picture = job.inputs[0].ref
    if int(picture.sha256[:8], 16) % INVALID_SHARE == 0:
        keys = [f"invalid/{job.key}", f"invalid/{job.key}.json"]
        return _made(
            [_output(job, keys[0], picture), _output(job, keys[1])],
            facts={
                "reason": "truncated",
                "sentence": "The picture is cut: the file ends before the picture does.",
                "edition": EDITION,
            },
            counts={"pictures": 1, "invalid": 1, "invalid:truncated": 1},
            label="invalid: truncated",
            at_s=name.captured_at_s,
        )
    return _made(
        [_output(job, f"valid/{job.key}", picture)],
        facts={"flags": [], "width": 640, "height": 480},
        counts={"pictures": 1, "valid": 1},
        at_s=name.captured_at_s,
    )


def _detect(job: Job) -> StageRun:
    name = find_name(job.key)
    if name is None:
        raise RuntimeError(f"expected pictures with good names, got {job.key}")
    labels = {"person": 1} if _is_threat(job) else {"car": 2}
    return _made(
        [_output(job, f"{name.stem}.json"), _output(job, f"{name.stem}.jpg")],
        facts={"objects": sum(labels.values()), "labels": labels},
        counts={"objects": sum(labels.values()), **{f"seen:{label}": number for label, number in labels.items()}},
        at_s=name.captured_at_s,
    )


def _threats(job: Job) -> StageRun:
    name = find_name(job.key)
    if name is None:
        raise RuntimeError(f"expected pictures with good names, got {job.key}")
    if not job.references or not _is_threat(job):
        return _made((), at_s=name.captured_at_s)
    picture, file = job.inputs[0].ref, job.references[0]
    said = cast("Sequence[JsonObject]", file.meta["rules"])[0]
    ref = next(iter(file.files.values()))
    rule: JsonObject = {
        "name": said["name"],
        "user": said["user"],
        "file": file.name,
        "key": ref.key,
        "sha256": ref.sha256,
    }
    subject: JsonObject = {"key": job.key, "sha256": picture.sha256, "width": 640, "height": 480}
    model: JsonObject = {"name": "ssdlite_mobilenet_v2_coco", "sha256": sha256(b"model")}
    seen: JsonObject = {"class": 1, "label": "person", "score": 0.7512, "box": [21.4, 8.6, 368.9, 467.2]}
    common: JsonObject = {"device": name.device, "captured_at_s": name.captured_at_s, "objects": 1}
    evidence = f"{name.stem}.jpg"
    draft = AlertDraft(
        user=str(said["user"]),
        rule=str(said["name"]),
        picture_key=job.key,
        picture_sha256=picture.sha256,
        sender="lookout@example.com",
        recipient="bench@example.com",
        evidence=evidence,
        detail={
            **common,
            "timezone": "UTC",
            "seen": [seen],
            "threshold": 0.5,
            "rule": rule,
            "picture": subject,
            "model": model,
        },
    )
    return _made(
        [_output(job, f"{name.stem}.json"), _output(job, evidence)],
        facts={**common, "picture": subject, "model": model, "rules": [rule], "threats": [seen]},
        counts={"threats": 1, "threat:person": 1},
        label="threat: person",
        at_s=name.captured_at_s,
        alerts=(draft,),
    )


def _plot(job: Job) -> StageRun:
    if job.key == OVERVIEW:
        names = ("threats.png", "days.png", "invalid.png", "last_seen.png", "index.html")
        return _made([_output(job, name) for name in names])
    return _made([_output(job, f"data/{job.key}.js")] if job.members else ())


def _is_threat(job: Job) -> bool:
    """Decided by the picture's content, so that the stages agree."""
    picture = next(item.ref for item in job.inputs if item.role == "picture")
    return int(picture.sha256[-8:], 16) % THREAT_SHARE == 0


def _output(job: Job, key: str, same: ObjectRef | None = None) -> ObjectRef:
    """Return an output with content of its own, or with the ``same`` as another object."""
    digest = same.sha256 if same is not None else sha256(f"{job.stage}/{key}".encode())
    size = same.size if same is not None else 50_000
    return ObjectRef(bucket=job.stage, key=key, sha256=digest, size=size, version=digest[:32])


def _made(
    outputs: Sequence[ObjectRef],
    *,
    facts: JsonObject | None = None,
    counts: dict[str, int] | None = None,
    label: str | None = None,
    at_s: float | None = None,
    alerts: tuple[AlertDraft, ...] = (),
) -> StageRun:
    now_s = time.time()
    return StageRun(
        outputs=tuple(outputs),
        facts=facts or {},
        counts=counts or {},
        label=label,
        at_s=at_s,
        alerts=alerts,
        started_at_s=now_s,
        finished_at_s=now_s,
    )
