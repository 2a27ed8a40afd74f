"""Makes what the engine would make, threats and their groups' work, and reads what the page then shows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Page, expect

from devkit.fakes.memory_kv import memory_ledger
from lookout.domain.identity import sha256
from lookout.domain.policy import codec
from lookout.domain.policy.records import Kept
from lookout.domain.policy.verdicts import PictureDecision
from lookout.domain.records import Member, ObjectRef, Tally, Work
from lookout.object_store.port import STATUS_KEY
from lookout.runs.status_file import look, render
from stages.picture_names import find_name, group_of
from stages.pipeline import PIPELINE
from stages.plot.core import prepare

MODEL = {"name": "ssdlite_mobilenet_v2_coco", "sha256": sha256(b"model")}
RULE = {"name": "people at the door", "user": "ada", "key": "porch.json", "sha256": sha256(b"rule")}
RULE2 = {
    **RULE,
    "name": "people at night",
    "severity": "alarm",
    "gap_s": 120.0,
    "zones": ["drive"],
    "sha256": sha256(b"rule 2"),
}
CLASS_IDS = {"person": 1, "bicycle": 2, "car": 3, "motorcycle": 4, "truck": 8, "dog": 18}


def threat(key: str, *labels: str, rules: Sequence[dict[str, Any]] = (RULE,), picture: bytes = b"picture") -> Member:
    """The live datum of a picture with these objects in it."""
    name = find_name(key)
    assert name is not None
    found = [
        {
            "class": CLASS_IDS.get(label, 99),
            "label": label,
            "score": round(0.92 - 0.07 * n, 2),
            "box": [10, 20, 110, 220],
        }
        for n, label in enumerate(labels)
    ]
    facts = {
        "device": name.device,
        "captured_at_s": name.captured_at_s,
        "picture": {"key": key, "sha256": sha256(key.encode()), "width": 640, "height": 480},
        "model": MODEL,
        "rules": list(rules),
        "threats": found,
        "objects": len(found) + 1,
    }
    outputs = tuple(
        ObjectRef(bucket="threat-detect", key=f"{name.stem}.{ending}", sha256=sha256(picture), size=len(picture))
        for ending in ("jpg", "json")
    )
    identity = hashlib.sha256(b"datum" + key.encode()).hexdigest()
    return Member(stage="threat-detect", key=key, hash=identity, outputs=outputs, facts=facts, at_s=name.captured_at_s)


def decided(member: Member, code: str, rule: dict[str, Any] = RULE2, place: str = "porch", **numbers: Any) -> Member:
    """The same datum after the policy has decided on it, beside what it decided before; ``event`` is the picture that
    opened its event."""
    at_s = member.at_s or 0.0
    summary = numbers.get("summary")
    kept = Kept(code=code, at_s=at_s, decided_s=at_s + 3, place=place, summary=summary)
    made = PictureDecision(
        rule=(rule["user"], rule["name"]),
        picture_sha256=sha256(member.key.encode()),
        rule_sha256=rule["sha256"],
        kept=kept,
        numbers=numbers,
    )
    before = [] if member.decisions is None else codec.decisions_from_json(member.decisions)
    return replace(member, decisions=codec.decisions_to_json([*before, made]))


def visit_of(device: str, first_s: int, pictures: int, rule: dict[str, Any] = RULE2, **more: Any) -> list[Member]:
    """Pictures of one event, five seconds apart, of which the first one is told."""
    keys = [f"{device}_{first_s + 5 * n}.jpg" for n in range(pictures)]
    told = decided(threat(keys[0], "person", rules=[rule]), "sent", rule, event=keys[0], **more)
    by = {"event": keys[0], "told_by": keys[0], "told_at_s": float(first_s)}
    rest = [decided(threat(key, "person", rules=[rule]), "merged_event", rule, **by, **more) for key in keys[1:]]
    return [told, *rest]


def tallies(members: Sequence[Member], **extra: dict[str, int]) -> tuple[Tally, ...]:
    """The sums of these threats by group; ``extra`` adds counts to a group whose slash is written ``__``."""
    counts: dict[str, Counter[str]] = {}
    last: dict[str, float] = {}
    for member in members:
        group = group_of(member.key)
        own = counts.setdefault(group, Counter())
        own.update({"pictures": 1, "valid": 1, "threats": 1, "objects": int(str(member.facts["objects"]))})
        own.update(f"threat:{found['label']}" for found in member.facts["threats"])  # type: ignore[index,union-attr]
        last[group] = max(last.get(group, 0.0), member.at_s or 0.0)
    for group, more in extra.items():
        counts.setdefault(group.replace("__", "/"), Counter()).update(more)
    return tuple(Tally(group=g, counts=dict(counts[g]), last_at_s=last.get(g)) for g in sorted(counts))


def site(objects: Path, members: Sequence[Member], picture: bytes = b"", **extra: dict[str, int]) -> Path:
    """Write the pictures and what the stage makes under ``objects/<bucket>/<key>``; gives the page's path."""
    run = prepare({}, ())
    sums = tallies(members, **extra)
    works = [Work(key="", tallies=sums)]
    for tally in sums:
        own = tuple(member for member in members if group_of(member.key) == tally.group)
        works.append(Work(key=tally.group, tallies=(tally,), members=own))
    for work in works:
        for output in run(work).outputs:
            write(objects / "plot" / output.key, output.data)
    for member in members if picture else ():
        write(objects / "threat-detect" / member.outputs[0].key, picture)
        write(objects / "threat-detect" / member.outputs[1].key, b"{}")
        write(objects / "validate" / "valid" / member.key, picture)
    page = objects / "plot" / "index.html"
    tell(page)
    return page


def tell(page: Path, **trouble: Any) -> None:
    """Write what Lookout says of itself beside the page: that a run ended well at ``FIRST_S`` but for this."""
    calm = look(PIPELINE, memory_ledger(), FIRST_S, watching=False, broken=False)
    write(page.parent / STATUS_KEY, render({**calm, **trouble}))


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


FIRST_S = 1763798400  # 2025-11-22 08:00 UTC
DAY_S = 86_400
PICTURE = cv2.imencode(".jpg", np.full((48, 64, 3), (60, 120, 180), np.uint8))[1].tobytes()

FEW = [
    threat(f"porch_{FIRST_S}.jpg", "person"),
    threat(f"porch_{FIRST_S + 60}.jpg", "person", "car"),
    threat(f"gate_{FIRST_S + 30}.jpg", "car"),
    threat(f"gate_{FIRST_S - DAY_S}.jpg", "truck"),
    threat(f"a b/yard_{FIRST_S - 2 * DAY_S}.jpg", "dog"),
]


def stems(page: Page) -> list[str]:
    return page.locator("[data-threat]").evaluate_all("cards => cards.map((card) => card.dataset.threat)")


def settled(page: Page, text: str) -> None:
    expect(page.locator("#found")).to_have_text(text)
    expect(page.locator("#gallery")).to_have_attribute("aria-busy", "false")
