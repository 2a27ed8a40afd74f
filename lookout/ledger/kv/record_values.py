"""Paths, changes, inputs, alerts and runs as values and back. Slots and claims are in ``slot_values``.

Positional arrays, as in ``codec``; a form is changed only with the form number of the whole. Knows no rule.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from lookout.domain.records import Alert, AlertState, ObjectRef, Observation, Reference
from lookout.ledger import codec
from lookout.ledger.kv.port import Kv
from lookout.ledger.kv.slot_values import corrupt, dump, dump_plain, encode, load, pack, text_of
from lookout.ledger.port import RunRecord
from lookout.object_store.port import Publish

# --- paths, changes, inputs ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Path:
    """Path with who holds it and who made it: the newest makers last, older ones in blocks of their own."""

    holder: tuple[str, str] | None = None
    makers: list[str] = field(default_factory=list)
    mod_revision: int = 0


def write_path(path: Path) -> bytes:
    """The value of a path's key."""
    return dump([*(path.holder or (None, None)), *path.makers])


def read_path(kv: Kv) -> Path:
    """Read what ``write_path`` wrote."""

    def build(value: Any) -> Path:
        stage, key, *makers = value
        return Path(None if stage is None else (stage, key), makers, kv.mod_revision)

    return load(kv, build)


def write_changes(changes: list[Publish]) -> bytes:
    """The value of a change's key."""
    return dump(
        [
            [change.bucket, change.key]
            if change.ref is None
            else [change.bucket, change.key, change.ref.sha256, change.ref.size, change.ref.version]
            for change in changes
        ]
    )


def read_changes(kv: Kv) -> list[Publish]:
    """Read what ``write_changes`` wrote."""

    def build(value: Any) -> list[Publish]:
        return [
            Publish(
                bucket=bucket,
                key=key,
                ref=ObjectRef(bucket=bucket, key=key, sha256=rest[0], size=rest[1], version=rest[2]) if rest else None,
            )
            for bucket, key, *rest in value
        ]

    return load(kv, build)


def write_input(seen: Observation) -> bytes:
    """The value of an input's key."""
    ref = seen.ref
    content = [ref.sha256, ref.size, ref.version] if ref is not None else None
    return dump_plain([seen.origin, content, seen.fingerprint, seen.observed_at_s, seen.error])


def read_inputs(bucket: str, named: Sequence[tuple[str, Kv]]) -> list[Observation]:
    """Read what ``write_input`` wrote, of many keys. Raises Corrupt for the first that cannot be read."""
    try:
        said = codec.decode_all([text_of(kv.value) for _, kv in named])
        rows = [_input(key, value) for (key, _), value in zip(named, said, strict=True)]
    except (ValueError, TypeError):
        rows = [load(kv, partial(_input, key)) for key, kv in named]  # says which
    return codec.build_inputs(bucket, rows)


def _input(key: str, value: Any) -> tuple[Any, ...]:
    origin, content, fingerprint, observed_at_s, error = value
    sha256, size, version = content or (None, None, None)
    return key, origin, sha256, size, version, fingerprint, observed_at_s, error


def write_references(references: Sequence[Reference]) -> bytes:
    """The value of a bucket's references in force."""
    by_name = {reference.name: codec.write_reference(reference) for reference in references}
    return dump(sorted(by_name.items()))


def read_references(bucket: str, kv: Kv) -> tuple[Reference, ...]:
    """Read what ``write_references`` wrote, in the order of their names."""

    def build(value: Any) -> tuple[Reference, ...]:
        return tuple(codec.read_reference(bucket, each, text) for each, text in value)

    return load(kv, build)


# --- alerts and runs -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class KeptAlert:
    """An alert with who sends it and whether its datum went meanwhile."""

    alert: Alert
    owner: str | None = None
    withdrawn: bool = False
    mod_revision: int = 0


def write_alert(kept: KeptAlert) -> bytes:
    """The value of an alert's key."""
    alert = kept.alert
    head = [
        alert.state.value,
        alert.tries,
        alert.due_at_s,
        alert.message_id,
        alert.error,
        alert.settled_at_s,
        kept.owner,
        int(kept.withdrawn),
        *([alert.doubts] if alert.doubts else []),
    ]
    return pack(f"{encode(head)}\n{codec.write_alert(alert)}".encode("utf-8", "surrogatepass"))


def read_alert(id_: str, kv: Kv) -> KeptAlert:
    """Read what ``write_alert`` wrote."""
    try:
        head, _, body = text_of(kv.value).partition("\n")
        state, tries, due_at_s, message_id, error, settled_at_s, owner, withdrawn, *doubts = json.loads(head)
        alert = replace(
            codec.read_alert(id_, body),
            state=AlertState(state),
            tries=tries,
            # A form without doubts is older: what it calls unknown may have arrived.
            doubts=doubts[0] if doubts else int(state == AlertState.UNKNOWN),
            due_at_s=due_at_s,
            message_id=message_id,
            error=error,
            settled_at_s=settled_at_s,
        )
    except (ValueError, TypeError) as exc:
        raise corrupt(kv, exc) from exc
    return KeptAlert(alert, owner, bool(withdrawn), kv.mod_revision)


def write_run(run: RunRecord) -> bytes:
    """The value of a run's key."""
    return dump([run.kind, run.owner, run.started_at_s, run.ended_at_s, run.state, run.summary])


def read_run(id_: str, kv: Kv) -> RunRecord:
    """Read what ``write_run`` wrote."""

    def build(value: Any) -> RunRecord:
        kind, owner, started_at_s, ended_at_s, state, summary = value
        return RunRecord(
            id=id_,
            kind=kind,
            owner=owner,
            started_at_s=started_at_s,
            ended_at_s=ended_at_s,
            state=state,
            summary=summary,
        )

    return load(kv, build)
