"""Entries of a ledger as JSON arrays and back: the form of one line of an archive. A form is never changed in place:
``file.FORM`` is raised. Knows no file and no backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeAlias, cast

from lookout.domain.errors import Corrupt
from lookout.domain.records import Alert, AlertState, Json, ObjectRef, Observation, Record, Reference, State
from lookout.ledger import codec
from lookout.ledger.maintenance import Basis, Entry, KeptPath, KeptSlot, Note, PolicyText
from lookout.ledger.port import RunRecord
from lookout.object_store.port import Publish

Line: TypeAlias = list[Any]
"""The kind, then the fields. "Any" ends here."""


def kind_of(entry: Entry) -> str:
    """Return the name under which entries of its kind are written."""
    return _KINDS[type(entry)]


def write_entry(entry: Entry) -> list[Json]:
    """Return the entry as a JSON array."""
    kind = _KINDS[type(entry)]
    return [kind, *_WRITERS[kind](entry)]


def read_entry(line: Line) -> Entry:
    """Return the entry that ``write_entry`` wrote. Raises Corrupt, ValueError or TypeError for anything else."""
    kind, *fields = line
    if kind not in _READERS:
        raise Corrupt("an entry of a ledger", f"one of {sorted(_READERS)}", repr(kind))
    return _READERS[kind](*fields)


def _write_ref(ref: ObjectRef | None) -> list[Json]:
    return [ref.sha256, ref.size, ref.version] if ref is not None else [None, None, None]


def _read_ref(bucket: str, key: str, sha256: str | None, size: int, version: str | None) -> ObjectRef | None:
    return None if sha256 is None else ObjectRef(bucket=bucket, key=key, sha256=sha256, size=size, version=version)


def _write_input(e: Observation) -> list[Json]:
    return [e.bucket, e.key, e.origin, *_write_ref(e.ref), e.fingerprint, e.observed_at_s, e.error]


def _read_input(
    bucket: str, key: str, origin: str, sha256: str | None, size: int, version: str | None, *rest: Any
) -> Observation:
    fingerprint, observed_at_s, error = rest
    return Observation(
        bucket=bucket,
        key=key,
        origin=origin,
        ref=_read_ref(bucket, key, sha256, size, version),
        fingerprint=fingerprint,
        observed_at_s=observed_at_s,
        error=error,
    )


def _write_slot(e: KeptSlot) -> list[Json]:
    counters = [e.dirty, e.token, e.tries, e.losses, e.suspect, e.cohort]
    return [e.stage, e.key, e.state.value, e.hash, *counters, e.salt, e.error, e.updated_at_s, e.proven]


def _read_slot(stage: str, key: str, state: str, hash_: str | None, *rest: Any) -> KeptSlot:
    dirty, token, tries, losses, suspect, cohort, salt, error, updated_at_s, proven = rest
    return KeptSlot(
        stage=stage,
        key=key,
        state=State(state),
        hash=hash_,
        dirty=dirty,
        token=token,
        tries=tries,
        losses=losses,
        suspect=suspect,
        cohort=cohort,
        salt=salt,
        error=error,
        updated_at_s=updated_at_s,
        proven=proven,
    )


def _write_path(e: KeptPath) -> list[Json]:
    return [e.bucket, e.key, list(e.holder) if e.holder is not None else None, list(e.makers)]


def _read_path(bucket: str, key: str, holder: list[str] | None, makers: list[str]) -> KeptPath:
    owner = None
    if holder is not None:
        stage, slot = holder
        owner = (stage, slot)
    return KeptPath(bucket=bucket, key=key, holder=owner, makers=tuple(makers))


def _write_alert(e: Alert) -> list[Json]:
    return [
        e.id,
        codec.write_alert(e),
        e.state.value,
        e.tries,
        e.due_at_s,
        e.message_id,
        e.error,
        e.settled_at_s,
        e.doubts,
    ]


def _read_alert(id_: str, text: str, state: str, tries: int, due_at_s: float, *rest: Any) -> Alert:
    message_id, error, settled_at_s, *doubts = rest
    return replace(
        codec.read_alert(id_, text),
        state=AlertState(state),
        tries=tries,
        doubts=doubts[0] if doubts else int(state == AlertState.UNKNOWN),  # form 1 has none
        due_at_s=due_at_s,
        message_id=message_id,
        error=error,
        settled_at_s=settled_at_s,
    )


def _write_run(e: RunRecord) -> list[Json]:
    return [e.id, e.kind, e.owner, e.started_at_s, e.ended_at_s, e.state, e.summary]


def _read_run(id_: str, kind: str, owner: str, started_at_s: float, *rest: Any) -> RunRecord:
    ended_at_s, state, summary = rest
    return RunRecord(
        id=id_,
        kind=kind,
        owner=owner,
        started_at_s=started_at_s,
        ended_at_s=ended_at_s,
        state=state,
        summary=summary,
    )


_KINDS: Final[dict[type, str]] = {
    Note: "note",
    Basis: "basis",
    Reference: "reference",
    Observation: "input",
    Record: "record",
    KeptSlot: "slot",
    KeptPath: "path",
    Publish: "change",
    Alert: "alert",
    PolicyText: "policy",
    RunRecord: "run",
}
_WRITERS: Final = cast(
    dict[str, Callable[[Entry], list[Json]]],
    {
        "note": lambda e: [e.name, e.value],
        "basis": lambda e: [e.stage, e.basis],
        "reference": lambda e: [e.bucket, e.name, codec.write_reference(e)],
        "input": _write_input,
        "record": lambda e: [e.hash, e.stage, e.key, codec.write_record(e)],
        "slot": _write_slot,
        "path": _write_path,
        "change": lambda e: [e.bucket, e.key, *_write_ref(e.ref)],
        "alert": _write_alert,
        "policy": lambda e: [*e.name, e.text],
        "run": _write_run,
    },
)
_READERS: Final[dict[str, Callable[..., Entry]]] = {
    "note": lambda name, value: Note(name=name, value=value),
    "basis": lambda stage, basis: Basis(stage=stage, basis=basis),
    "reference": codec.read_reference,
    "input": _read_input,
    "record": codec.read_record,
    "slot": _read_slot,
    "path": _read_path,
    "change": lambda bucket, key, *ref: Publish(bucket=bucket, key=key, ref=_read_ref(bucket, key, *ref)),
    "alert": _read_alert,
    "policy": lambda kind, first, second, text: PolicyText(name=(kind, first, second), text=text),
    "run": _read_run,
}
