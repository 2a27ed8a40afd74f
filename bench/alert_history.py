"""Histories of alerts in a state: pictures with what was detected on them, each decided by the real ledger at its time.

The records and the JSON of detections are those that the stages leave; the pictures have no bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from lookout.app.deployment import OBJECTS_FOLDER, Program
from lookout.app.state_identity import LEDGER_FILE
from lookout.config.settings import Settings
from lookout.domain.identity import alert_id, digest, sha256
from lookout.domain.pipeline import Accepted
from lookout.domain.policy.records import Match
from lookout.domain.policy.verdicts import Verdict
from lookout.domain.records import (
    Alert,
    AlertDraft,
    AlertState,
    InputRef,
    Mark,
    ObjectRef,
    Observation,
    Outcome,
    Record,
    Reference,
    State,
)
from lookout.ledger.sqlite import SqliteLedger
from lookout.object_store.folder.store import FolderStore
from stages.installation import INSTALLATION
from stages.threat_detect import detections
from stages.threat_detect.explain.gathering import judged
from stages.threat_detect.rules.rules import ROLE, accept
from stages.threat_detect.rules.version2.matching import judge
from stages.threat_detect.simulation.rulebook import Entry, read_rules, read_tree

BASE_S: Final = 1_763_798_400
"""2025-11-22 08:00 UTC."""
PERSON: Final[Mapping[str, Any]] = {"class": 1, "label": "person", "score": 0.87, "box": [64.0, 20.0, 96.0, 80.0]}
CAR: Final[Mapping[str, Any]] = {"class": 3, "label": "car", "score": 0.9, "box": [10.0, 50.0, 50.0, 90.0]}
_LEASE_S: Final = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One picture: the device that took it and when, when it arrived and was decided, and what was detected."""

    device: str
    at_s: int
    objects: Sequence[Mapping[str, Any]] = (PERSON,)
    delay_s: float = 2.0

    @property
    def key(self) -> str:
        return f"{self.device}_{self.at_s}.jpg"


@dataclass
class AlertHistory:
    """One state, which is made where there is none. ``take`` enters pictures."""

    state: Path
    now_s: float = BASE_S
    _entries: list[tuple[ObjectRef, Entry]] = field(default_factory=list)

    def __post_init__(self) -> None:
        with Program(settings=Settings(durable=False), installation=INSTALLATION).open(self.state, create=True):
            pass
        self._store = FolderStore((self.state / OBJECTS_FOLDER).absolute(), durable=False)

    @contextmanager
    def ledger(self) -> Iterator[SqliteLedger]:
        """Open the ledger with this history's clock."""
        ledger = SqliteLedger(self.state / LEDGER_FILE, clock=lambda: self.now_s)
        try:
            yield ledger
        finally:
            ledger.close()

    def enforce(self, document: Mapping[str, Any], name: str = "rules.json") -> None:
        """Bring one file of rules into force, instead of all others."""
        data = json.dumps(document).encode()
        (accepted,) = accept({name: data})
        if not isinstance(accepted, Accepted):
            raise TypeError(f"expected good rules, got {accepted}")
        ref = self._store.put("rules", f"{name}/{ROLE}", data, "application/json")
        self._entries = [(ref, one) for one in read_rules(name, read_tree(name, data), trial=False)[0]]
        with self.ledger() as ledger:
            ledger.enforce("rules", [Reference(bucket="rules", name=name, files={ROLE: ref}, meta=accepted.meta)])

    def take(self, shots: Iterable[Shot]) -> None:
        """Take pictures through the stages, in this order, each at the time of its decision."""
        with self.ledger() as ledger, ledger.session() as owner:
            for shot in shots:
                self.now_s = shot.at_s + shot.delay_s
                _Taken(self, ledger, owner, shot).run()

    def add_drawing(self, shot: Shot, data: bytes) -> None:
        """Detect once more on a picture, so that its drawing has these bytes."""
        ref = self._store.put("object-detect", f"{shot.device}/{shot.at_s}.jpg", data, "image/jpeg")
        with self.ledger() as ledger, ledger.session() as owner:
            record = ledger.find_slots("object-detect", [shot.key])[shot.key].record
            if record is None:
                raise ValueError(f"expected a picture that was taken, got {shot.key}")
            more = replace(record, hash=digest("history", record.hash), outputs=(*record.outputs, ref))
            _settle(ledger, owner, "object-detect", shot.key, Outcome(state=State.SUCCESS, record=more))

    def delete(self, shot: Shot) -> None:
        """Retract what was made of a picture, as if it were gone."""
        with self.ledger() as ledger, ledger.session() as owner:
            for stage in ("validate", "object-detect", "threat-detect"):
                _settle(ledger, owner, stage, shot.key, Outcome(state=State.RETRACTED))


class _Taken:
    """One picture on its way through the stages."""

    def __init__(self, history: AlertHistory, ledger: SqliteLedger, owner: str, shot: Shot) -> None:
        self._history, self._ledger, self._owner, self._shot = history, ledger, owner, shot
        self._picture = ObjectRef(bucket="images", key=shot.key, sha256=sha256(shot.key.encode()), size=60_000)

    def run(self) -> None:
        shot, now_s = self._shot, self._history.now_s
        observation = Observation(
            bucket="images", key=shot.key, origin="history", ref=self._picture, fingerprint="1", observed_at_s=now_s
        )
        self._ledger.observe([observation], ["validate"])
        valid = replace(self._picture, bucket="validate", key=f"valid/{shot.key}")
        self._commit("validate", [self._picture], [valid])
        found = self._history._store.put(
            "object-detect", f"{shot.device}/{shot.at_s}.json", self._document(), "application/json"
        )
        self._commit("object-detect", [valid], [found])
        self._judge(valid, found, observation)

    def _document(self) -> bytes:
        shot = self._shot
        image = {"key": shot.key, "sha256": self._picture.sha256, "width": 160, "height": 100, "orientation": 1}
        return json.dumps(
            {
                "image": image,
                "device": shot.device,
                "captured_at_s": float(shot.at_s),
                "model": {"name": "ssdlite", "sha256": "5b" * 32},
                "threshold": 0.5,
                "objects": list(shot.objects),
            }
        ).encode()

    def _judge(self, valid: ObjectRef, found: ObjectRef, seen: Observation) -> None:
        picture = judged(detections.read(self._document(), found.path), self._shot.key, seen)
        verdicts, alerts, files = [], [], {}
        for ref, entry in self._history._entries:
            match = judge(entry.file, entry.rule, picture)
            if match.code == "other_device":
                continue
            files[ref.key] = ref
            told = [self._alert(entry, match, one) for one in entry.rule.recipients] if match.code is None else []
            if entry.each:
                alerts += told
                continue
            later = entry.rule.escalate_to if match.code is None else ()
            verdicts.append(
                Verdict(
                    match=match,
                    policy=entry.rule.policy,
                    picture_sha256=self._picture.sha256,
                    rule_sha256=ref.sha256,
                    alerts=tuple(told),
                    escalations=tuple(self._alert(entry, match, one, escalates=True) for one in later),
                )
            )
        inputs = [InputRef(role="picture", ref=valid), InputRef(role="detections", ref=found)]
        inputs += [InputRef(role="rules", ref=ref) for ref in files.values()]
        record = replace(
            self._record("threat-detect", (), ()),
            inputs=tuple(inputs),
            alert_ids=tuple(one.id for one in (*alerts, *(one for made in verdicts for one in made.alerts))),
            decided=any(made.match.code is None for made in verdicts),
        )
        outcome = Outcome(state=State.SUCCESS, record=record, alerts=tuple(alerts), verdicts=tuple(verdicts))
        _settle(self._ledger, self._owner, "threat-detect", self._shot.key, outcome)

    def _alert(self, entry: Entry, match: Match, recipient: str, *, escalates: bool = False) -> Alert:
        user, name = entry.rule.identity
        draft = AlertDraft(
            user=user,
            rule=name,
            picture_key=match.key,
            picture_sha256=self._picture.sha256,
            sender="lookout@example.com",
            recipient=recipient,
            evidence="evidence.jpg",
            detail={"device": match.device, "captured_at_s": float(self._shot.at_s)},
            escalates=escalates,
        )
        return Alert(
            id=alert_id(draft),
            draft=draft,
            evidence=replace(self._picture, bucket="threat-detect", key="evidence.jpg"),
            datum_hash=self._hash("threat-detect"),
            run="history",
            code="code",
            created_at_s=self._history.now_s,
            state=AlertState.PENDING,
        )

    def _hash(self, stage: str) -> str:
        return digest("history", stage, self._shot.key, self._history.now_s)

    def _record(self, stage: str, inputs: Sequence[ObjectRef], outputs: Sequence[ObjectRef]) -> Record:
        now_s = self._history.now_s
        return Record(
            hash=self._hash(stage),
            stage=stage,
            key=self._shot.key,
            group=f"{self._shot.device}/2025-11-22",
            recipe="r",
            inputs=tuple(InputRef(role="picture", ref=ref) for ref in inputs),
            outputs=tuple(outputs),
            at_s=float(self._shot.at_s),
            started_at_s=now_s,
            finished_at_s=now_s,
        )

    def _commit(self, stage: str, inputs: Sequence[ObjectRef], outputs: Sequence[ObjectRef]) -> None:
        outcome = Outcome(state=State.SUCCESS, record=self._record(stage, inputs, outputs))
        _settle(self._ledger, self._owner, stage, self._shot.key, outcome)


def _settle(ledger: SqliteLedger, owner: str, stage: str, key: str, outcome: Outcome) -> None:
    ledger.mark([Mark(stage=stage, key=key)])
    (claim,) = ledger.claim(stage, owner, 1, _LEASE_S, keys=[key])
    (answer,) = ledger.commit([(claim, outcome)])
    if answer.value != "done":
        raise RuntimeError(f"expected {stage} of {key} to be done, got {answer}")
