"""Provenance, both ways: what an object was made from, and what was made from it.

Reads the ledger only, and only the records on the way: its cost depends on the answer and not on the ledger's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from lookout.domain.errors import Corrupt, InputRejected
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import Alert, Json, JsonObject, ObjectRef, Record
from lookout.ledger.port import DAMAGED_HINT, Ledger

FORWARD_LIMIT: Final = 10_000
"""How many records a forward trace shows at most below one object; it says when there were more."""


@dataclass(kw_only=True)
class Node:
    """One step of a trace: an object, a datum, an alert or an input, with its facts and what lies behind it."""

    kind: str
    name: str
    facts: JsonObject = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def as_json(self) -> JsonObject:
        """Return the node and all below it as plain JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            **self.facts,
            "children": [child.as_json() for child in self.children],
        }


class Tracer:
    """Walks the provenance of one ledger."""

    def __init__(self, pipeline: Pipeline, ledger: Ledger) -> None:
        self._pipeline, self._ledger = pipeline, ledger

    def back(self, bucket: str, key: str) -> Node:
        """From an object back to pictures, models and rules. Raises InputRejected for one the ledger never heard of."""
        node = self._object(bucket, key, None, set())
        if not node.children and "origin" not in node.facts and "in_force" not in node.facts:
            raise InputRejected(
                "the ledger knows no such object", f"{bucket}/{key}", "names look like images/porch_1.jpg"
            )
        return node

    def forward(self, bucket: str, key: str) -> Node:
        """From an object on to everything made from it, alerts included. Raises InputRejected for an unknown one."""
        ref = self._find(bucket, key)
        if ref is None:
            raise InputRejected(
                "the ledger knows no such object", f"{bucket}/{key}", "names look like images/porch_1.jpg"
            )
        return self._onward(ref, set())

    # --- back -------------------------------------------------------------------------------------------------------

    def _object(self, bucket: str, key: str, sha256: str | None, seen: set[str]) -> Node:
        node = Node(kind="object", name=f"{bucket}/{key}", facts={"sha256": sha256} if sha256 else {})
        if bucket == self._pipeline.inputs:
            known = self._ledger.find_inputs(bucket, [key]).get(key)
            if known is not None and known.ref is not None:
                same = sha256 in (None, known.ref.sha256)
                node.facts = {"sha256": sha256 or known.ref.sha256, "origin": known.origin, "current": same}
            return node
        record = self._maker(bucket, key, sha256)
        if record is None:
            reference = next(
                (r for r in self._ledger.references(bucket) for f in r.files.values() if f.key == key), None
            )
            if reference is not None:
                now = next(f.sha256 for f in reference.files.values() if f.key == key)
                node.facts = {"sha256": sha256 or now, "in_force": sha256 in (None, now)}
            return node
        if sha256 is None:
            node.facts = {"sha256": _output(record, key).sha256}
        if record.hash in seen:
            node.facts = {**node.facts, "above": record.hash}
            return node
        seen.add(record.hash)
        node.children = [self._datum(record, seen)]
        return node

    def _datum(self, record: Record, seen: set[str]) -> Node:
        node = Node(kind="datum", name=f"{record.stage} of {record.key or 'all groups'}", facts=self._facts(record))
        for item in record.inputs:
            if item.role == "members":
                child = Node(kind="manifest", name=item.ref.path, facts={"sha256": item.ref.sha256})
            else:
                child = self._object(item.ref.bucket, item.ref.key, item.ref.sha256, seen)
            child.facts = {"role": item.role, **child.facts}
            node.children.append(child)
        node.children += [_alert_node(alert) for alert in self._alerts(record)]
        return node

    # --- forward ----------------------------------------------------------------------------------------------------

    def _onward(self, ref: ObjectRef, seen: set[str]) -> Node:
        node = Node(kind="object", name=ref.path, facts={"sha256": ref.sha256})
        count = 0
        for record in self._users(ref):
            count += 1
            if count > FORWARD_LIMIT:
                node.facts = {**node.facts, "more": True}
                break
            if record.hash in seen:
                continue
            seen.add(record.hash)
            child = Node(kind="datum", name=f"{record.stage} of {record.key}", facts=self._facts(record))
            child.children = [self._onward(output, seen) for output in record.outputs]
            child.children += [_alert_node(alert) for alert in self._alerts(record)]
            child.children += self._groups(record, seen)
            node.children.append(child)
        return node

    def _groups(self, record: Record, seen: set[str]) -> Iterator[Node]:
        """Yield the grouped datums that count this record: their inputs are one manifest, so the way is by the
        group."""
        for stage in self._pipeline.readers(record.stage):
            if not stage.grouped or not record.outputs:
                continue
            for slot in self._ledger.find_slots(stage.name, [record.group]).values():
                if slot.record is not None and slot.record.hash not in seen:
                    seen.add(slot.record.hash)
                    outputs = [
                        Node(kind="object", name=ref.path, facts={"sha256": ref.sha256}) for ref in slot.record.outputs
                    ]
                    yield Node(
                        kind="datum",
                        name=f"{stage.name} of {slot.key}",
                        facts=self._facts(slot.record),
                        children=outputs,
                    )

    def _users(self, ref: ObjectRef) -> Iterator[Record]:
        """Records that read this very object; the same bytes under another key are another object."""
        after = ""
        while page := self._ledger.users(ref.sha256, after=after):
            for record in page:
                if any(item.ref.bucket == ref.bucket and item.ref.key == ref.key for item in record.inputs):
                    yield record
            after = page[-1].hash

    # --- shared -----------------------------------------------------------------------------------------------------

    def _find(self, bucket: str, key: str) -> ObjectRef | None:
        if bucket == self._pipeline.inputs:
            known = self._ledger.find_inputs(bucket, [key]).get(key)
            return known.ref if known is not None else None
        record = self._maker(bucket, key, None)
        if record is not None:
            return _output(record, key)
        files = (ref for unit in self._ledger.references(bucket) for ref in unit.files.values())
        return next((ref for ref in files if ref.key == key), None)

    def _maker(self, bucket: str, key: str, sha256: str | None) -> Record | None:
        for record in self._ledger.makers(bucket, key):
            if sha256 is None or any(ref.key == key and ref.sha256 == sha256 for ref in record.outputs):
                return record
        return None

    def _facts(self, record: Record) -> JsonObject:
        finished = datetime.fromtimestamp(record.finished_at_s, UTC).isoformat(timespec="seconds")
        return {
            "datum": record.hash,
            "live": bool(self._ledger.is_live([record.hash])),
            "recipe": record.recipe,
            "run": record.run,
            "code": record.code,
            "finished_at": finished,
        }

    def _alerts(self, record: Record) -> list[Alert]:
        return list(self._ledger.alerts(ids=record.alert_ids)) if record.alert_ids else []


def _output(record: Record, key: str) -> ObjectRef:
    """Return the output of that key. Raises Corrupt for a record that has none: the ledger led to it by the key."""
    found = next((ref for ref in record.outputs if ref.key == key), None)
    if found is None:
        keys = ", ".join(ref.key for ref in record.outputs) or "none"
        raise Corrupt(f"the record of {record.stage} of {record.key}", f"an output {key}", keys, DAMAGED_HINT)
    return found


def _alert_node(alert: Alert) -> Node:
    facts: dict[str, Json] = {
        "rule": alert.draft.rule,
        "user": alert.draft.user,
        "to": alert.draft.recipient,
        "state": alert.state.value,
        "message_id": alert.message_id,
        "error": alert.error,
    }
    return Node(kind="alert", name=alert.id, facts={name: value for name, value in facts.items() if value is not None})
