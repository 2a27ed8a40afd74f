"""Works, rules and letters for the tests, made of a small drawn picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lookout.domain.identity import alert_id, sha256
from lookout.domain.pipeline import Accepted
from lookout.domain.records import (
    Alert,
    AlertState,
    Input,
    LoadedReference,
    ObjectRef,
    Reference,
    Result,
    Work,
)
from lookout.outbox.channel import Letter
from stages.imaging.annotate import encode_jpeg
from stages.threat_detect.rules.rules import accept

CODE = "lookout 0.1.0+abc"
PERSON = {"class": 1, "label": "person", "score": 0.87, "box": [10.0, 10.0, 60.0, 90.0]}
CAT = {"class": 17, "label": "cat", "score": 0.6, "box": [100, 20, 140, 60]}

RULE: Mapping[str, Any] = {
    "name": "people",
    "user": "home@example.com",
    "classes": ["person"],
    "from": "lookout@example.com",
    "to": ["home@example.com"],
}


def rule_file(*rules: Mapping[str, Any], **top: Any) -> bytes:
    """A rule file with rules like ``RULE`` but for what each mapping says."""
    return json.dumps({"rules": [{**RULE, **rule} for rule in rules or ({},)], **top}).encode()


def jpeg(width_px: int = 160, height_px: int = 100, shade: int = 90) -> bytes:
    ramp = np.linspace(0, 120, width_px, dtype=np.uint8)
    picture = np.full((height_px, width_px, 3), shade, np.uint8)
    picture[:, :, 1] += ramp
    return encode_jpeg(picture, 90)


def loaded(files: Mapping[str, bytes]) -> list[LoadedReference]:
    """The files as references in force; all must be good."""
    found = []
    for verdict in accept(files):
        assert isinstance(verdict, Accepted), verdict
        refs = {
            role: ObjectRef(bucket="rules", key=f"{verdict.name}/{role}", sha256=sha256(data), size=len(data))
            for role, data in verdict.files.items()
        }
        reference = Reference(bucket="rules", name=verdict.name, files=refs, meta=verdict.meta)
        found.append(LoadedReference(reference=reference, data=verdict.files))
    return found


def document(key: str, data: bytes, objects: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    device, _, stamp = key.rpartition("/")[2].rpartition("_")
    return {
        "image": {"key": key, "sha256": sha256(data), "width": 160, "height": 100, "orientation": 1},
        "device": device,
        "captured_at_s": float(stamp.partition(".")[0]),
        "model": {"name": "ssdlite", "sha256": "5b" * 32},
        "threshold": 0.5,
        "objects": list(objects),
        **more,
    }


def work(
    objects: Sequence[Mapping[str, Any]] = (PERSON,),
    key: str = "porch_1763798400.jpg",
    data: bytes | None = None,
    detections: bytes | None = None,
    **more: Any,
) -> Work:
    data = jpeg() if data is None else data
    if detections is None:
        detections = json.dumps(document(key, data, objects, **more)).encode()
    return Work(
        key=key,
        inputs={
            "picture": _input("picture", "validate", f"valid/{key}", data),
            "detections": _input("detections", "object-detect", "porch/1763798400.json", detections),
        },
    )


def alerts(result: Result, created_at_s: float = 1763798401.0) -> list[Alert]:
    """The drafts as the outbox would keep them."""
    data = {output.key: output.data for output in result.outputs}
    return [
        Alert(
            id=alert_id(draft),
            draft=draft,
            evidence=ObjectRef(bucket="threat-detect", key=draft.evidence, sha256=sha256(data[draft.evidence]), size=1),
            datum_hash="da" * 32,
            run="run-1",
            code=CODE,
            created_at_s=created_at_s,
            state=AlertState.PENDING,
        )
        for draft in result.alerts
    ]


def letter(results: Sequence[Result], *, resend: bool = False, evidence: bool = True) -> Letter:
    found, pictures = [], {}
    for result in results:
        for alert in alerts(result):
            found.append(alert)
            if evidence:
                pictures[alert.id] = next(item.data for item in result.outputs if item.key == alert.draft.evidence)
    ids = sorted(alert.id for alert in found)
    name = ids[0] if len(ids) == 1 else sha256("".join(ids).encode())
    return Letter(id=name, alerts=tuple(found), evidence=pictures, resend=resend)


def _input(role: str, bucket: str, key: str, data: bytes) -> Input:
    return Input(role=role, ref=ObjectRef(bucket=bucket, key=key, sha256=sha256(data), size=len(data)), data=data)
