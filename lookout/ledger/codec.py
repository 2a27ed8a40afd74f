"""Records of the ledger as compact JSON text and back: one form for every backend that keeps text.

Positional arrays, because names would be two thirds of the bytes and of the time. A form is never changed in place: a
backend keeps a form number beside its data and raises it. Knows no backend.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, repeat
from typing import Any, Final, TypeVar

from lookout.domain.errors import Corrupt
from lookout.domain.records import (
    MAIL,
    Alert,
    AlertDraft,
    AlertState,
    InputRef,
    Json,
    JsonObject,
    ObjectRef,
    Observation,
    Record,
    Reference,
)

T = TypeVar("T")

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_decode: Final = json.loads
_FIELDS: Final = 13
"""Fields of a record that the policy has not decided on."""


def write_record(record: Record) -> str:
    """Return all of a record but hash, stage and key, which a backend keeps as columns. TypeError for what JSON has
    not."""
    return _encode(
        [
            record.group,
            record.recipe,
            [[item.role, *_ref_fields(item.ref)] for item in record.inputs],
            [_ref_fields(ref) for ref in record.outputs],
            record.facts,
            record.counts,
            record.label,
            record.at_s,
            record.run,
            record.code,
            record.started_at_s,
            record.finished_at_s,
            record.alert_ids,
            *_some(record.decided or None),
        ]
    )


# "Any" ends here: these read what the functions beside them wrote, and everything else becomes Corrupt.
def read_record(hash_: str, stage: str, key: str, text: str) -> Record:
    """Return the record that ``write_record`` wrote. Raises Corrupt."""
    return _read(f"record {hash_[:12]} of {stage}/{key}", text, lambda parts: _record(hash_, stage, key, parts))


def _record(hash_: str, stage: str, key: str, parts: Any) -> Record:
    group, recipe, inputs, outputs, facts, counts, label, at_s, run, code, started_at_s, finished_at_s, *rest = parts
    alert_ids, *decided = rest
    return Record(
        hash=hash_,
        stage=stage,
        key=key,
        group=group,
        recipe=recipe,
        inputs=tuple([InputRef(role=role, ref=_ref(fields)) for role, *fields in inputs]),
        outputs=tuple([_ref(fields) for fields in outputs]),
        facts=facts,
        counts=counts,
        label=label,
        at_s=at_s,
        run=run,
        code=code,
        started_at_s=started_at_s,
        finished_at_s=finished_at_s,
        alert_ids=tuple(alert_ids),
        decided=bool(decided),
    )


def read_records(rows: Sequence[tuple[str, str, str, str]]) -> list[Record]:
    """Return the records of many rows (hash, stage, key, text), in their order: ``read_record`` three times as fast.

    Raises Corrupt for the first that cannot be read.
    """
    try:
        return _records(rows)
    except (ValueError, TypeError):
        return [read_record(*row) for row in rows]  # says which


def _records(rows: Sequence[tuple[str, str, str, str]]) -> list[Record]:
    if not rows:
        return []
    bodies = decode_all([text for _, _, _, text in rows])
    decided = [len(body) > _FIELDS for body in bodies]
    groups, recipes, inputs, outputs, *rest, alert_ids = zip(*[body[:_FIELDS] for body in bodies], strict=True)
    facts, counts, labels, times_s, runs, codes, starts_s, ends_s = rest
    read = _slices(_input_refs([item for items in inputs for item in items]), inputs)
    made = _slices(_refs([item for items in outputs for item in items]), outputs)
    hashes, stages, keys, _ = zip(*rows, strict=True)
    return build(
        Record,
        len(rows),
        hash=hashes,
        stage=stages,
        key=keys,
        group=groups,
        recipe=recipes,
        inputs=read,
        outputs=made,
        facts=facts,
        counts=counts,
        label=labels,
        at_s=times_s,
        run=runs,
        code=codes,
        started_at_s=starts_s,
        finished_at_s=ends_s,
        alert_ids=map(tuple, alert_ids),
        decided=decided,
    )


def _input_refs(items: Sequence[Sequence[Any]]) -> list[InputRef]:
    if not items:
        return []
    roles, *columns = zip(*items, strict=True)
    return build(InputRef, len(items), role=roles, ref=_refs_of(columns, len(items)))


def _refs(items: Sequence[Sequence[Any]]) -> list[ObjectRef]:
    return _refs_of(list(zip(*items, strict=True)), len(items)) if items else []


def _refs_of(columns: Sequence[Sequence[Any]], count: int) -> list[ObjectRef]:
    buckets, keys, sha256s, sizes, versions = columns
    return build(ObjectRef, count, bucket=buckets, key=keys, sha256=sha256s, size=sizes, version=versions)


def _slices(things: Sequence[T], like: Sequence[Sequence[object]]) -> list[tuple[T, ...]]:
    """Return the things in tuples that are as long as those of ``like``."""
    source = iter(things)
    return [tuple(islice(source, len(items))) for items in like]


def decode_all(texts: Sequence[str]) -> list[Any]:
    """Decode JSON texts together, in their order: in half the time of decoding one by one. Raises ValueError."""
    values = _decode(f"[{','.join(texts)}]")
    if len(values) != len(texts):
        raise ValueError(f"expected {len(texts)} values, got {len(values)}")
    return list(values)


def build_inputs(bucket: str, rows: Sequence[tuple[Any, ...]]) -> list[Observation]:
    """Inputs from their columns: key, origin, sha256, size and version (all None without a ref), fingerprint, when it
    was observed, error. Every run reads all inputs, so they are built by columns; see ``build``."""
    if not rows:
        return []
    keys, origins, sha256s, sizes, versions, fingerprints, times_s, errors = zip(*rows, strict=True)
    refs: list[ObjectRef | None] = list(
        build(ObjectRef, len(rows), bucket=repeat(bucket), key=keys, sha256=sha256s, size=sizes, version=versions)
    )
    if None in sha256s:
        refs = [ref if sha256 is not None else None for ref, sha256 in zip(refs, sha256s, strict=True)]
    return build(
        Observation,
        len(rows),
        bucket=repeat(bucket),
        key=keys,
        origin=origins,
        ref=refs,
        fingerprint=fingerprints,
        observed_at_s=times_s,
        error=errors,
    )


def build(kind: type[T], count: int, **columns: Iterable[object]) -> list[T]:
    """``count`` frozen records from columns, one for each of their fields, without their ``__init__`` and its checks.

    Several times as fast as calling the class for each, and only for what passed the checks on its way in.
    """
    things = list(map(object.__new__, repeat(kind, count)))
    for name, values in columns.items():
        deque(map(getattr(kind, name).__set__, things, values), maxlen=0)
    return things


def write_alert(alert: Alert) -> str:
    """Encode the fields of an alert that do not change as it is delivered, without its id: draft, evidence, datum, run,
    code, creation, keys."""
    draft = alert.draft
    return _encode(
        [
            [draft.user, draft.rule, draft.picture_key, draft.picture_sha256, *_some(draft.subject)],
            [draft.sender, draft.recipient, draft.evidence, draft.detail, *_some(_not_mail(draft.channel))],
            _ref_fields(alert.evidence),
            [alert.datum_hash, alert.run, alert.code, alert.created_at_s, *_some(alert.keys or None)],
            *([] if alert.place is None else [[alert.place, alert.summary, draft.escalates]]),
        ]
    )


def _some(value: Json) -> list[Json]:
    """Give a last field only where there is one, as in forms that had no such field."""
    return [] if value is None else [value]


def _not_mail(channel: str) -> str | None:
    return None if channel == MAIL else channel


def read_alert(id_: str, text: str) -> Alert:
    """Return the alert that ``write_alert`` wrote, PENDING and untried: a backend keeps what changes as columns."""
    return _read(f"alert {id_[:12]}", text, lambda parts: _alert(id_, parts))


def _alert(id_: str, parts: Any) -> Alert:
    (user, rule, picture_key, picture_sha256, *subject), told, ref, origin, *of = parts
    sender, recipient, evidence, detail, *channel = told
    place, summary, escalates = of[0] if of else (None, None, False)
    datum_hash, run, code, created_at_s, *keys = origin
    return Alert(
        id=id_,
        draft=AlertDraft(
            user=user,
            rule=rule,
            picture_key=picture_key,
            picture_sha256=picture_sha256,
            sender=sender,
            recipient=recipient,
            evidence=evidence,
            detail=detail,
            subject=subject[0] if subject else None,
            escalates=escalates,
            channel=channel[0] if channel else MAIL,
        ),
        evidence=_ref(ref),
        datum_hash=datum_hash,
        run=run,
        code=code,
        created_at_s=created_at_s,
        state=AlertState.PENDING,
        keys=tuple(keys[0]) if keys else (),
        place=place,
        summary=summary,
    )


def write_reference(reference: Reference) -> str:
    """Return all of a reference but its bucket and name."""
    return _encode([[[role, *_ref_fields(ref)] for role, ref in reference.files.items()], reference.meta])


def read_reference(bucket: str, name: str, text: str) -> Reference:
    """Return the reference that ``write_reference`` wrote. Raises Corrupt."""

    def build(parts: Any) -> Reference:
        files, meta = parts
        return Reference(bucket=bucket, name=name, files={role: _ref(fields) for role, *fields in files}, meta=meta)

    return _read(f"reference {bucket}/{name}", text, build)


def write_object(value: JsonObject) -> str:
    """Return a JSON object as text."""
    return _encode(value)


def read_object(what: str, text: str) -> JsonObject:
    """Return the object that ``write_object`` wrote. Raises Corrupt, naming ``what``."""

    def build(value: Any) -> JsonObject:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {type(value).__name__}")
        return value

    return _read(what, text, build)


def _read(what: str, text: str, build: Callable[[Any], T]) -> T:
    try:
        return build(_decode(text))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as exc:
        raise Corrupt(what, "what was written", f"{str(text)[:80]!r} ({exc})") from exc


def _ref_fields(ref: ObjectRef) -> Sequence[str | int | None]:
    return (ref.bucket, ref.key, ref.sha256, ref.size, ref.version)


def _ref(fields: Sequence[Any]) -> ObjectRef:
    bucket, key, sha256, size, version = fields
    return ObjectRef(bucket=bucket, key=key, sha256=sha256, size=size, version=version)
