"""Bringing references into force: a model, a set of rule files.

Files a user gives are checked by the function that the stage declares; what is accepted is stored and put in force by
one ledger record, what is refused is reported, and the last good one of that name stays. Knows no model and no rule.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from lookout.datum import ObjectRef, Reference
from lookout.errors import InputRejected
from lookout.identity import sha256
from lookout.ledger.base import Ledger
from lookout.objects.base import ObjectStore, Publish
from lookout.objects.files import is_text
from lookout.pipeline import Accept, Accepted, Refused, UsesReferences, load

MAX_FILES: Final = 1000
MAX_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True, kw_only=True, slots=True)
class Enforced:
    """What came of the files given: whether the set in force changed, and which files were refused and why."""

    changed: bool
    refused: tuple[Refused, ...] = ()


def enforce(ledger: Ledger, store: ObjectStore, uses: UsesReferences, path: Path) -> Enforced:
    """Bring what is at ``path`` (a file or a folder) into force in the bucket that ``uses`` names.

    A file that was refused leaves the unit of that name as it was in force before; a unit that is no longer given is
    no longer in force. The same files again cost a few ``stat`` calls. Raises InputRejected when the path cannot be
    read, or when nothing of it can be used and nothing was in force before.
    """
    if not is_text(str(path)):
        raise InputRejected("its name is not valid UTF-8", repr(str(path)), "rename it, or name a link to it")
    paths = find_files(uses, path)
    unnamed = [name for name in paths if not is_text(name)]
    seen = json.dumps([str(path.absolute()), [[name, *_fingerprint(file)] for name, file in paths.items()]])
    note = f"given:{uses.bucket}"
    if ledger.find_note(note) == seen:
        return Enforced(changed=False)
    files = {name: _read(file) for name, file in paths.items() if name not in unnamed}
    answers = cast(Accept, load(uses.accept))(files)
    accepted = [answer for answer in answers if isinstance(answer, Accepted)]
    refused = tuple(answer for answer in answers if isinstance(answer, Refused))
    refused += tuple(Refused(name=name, reason=f"{name!r}: its name is not valid UTF-8") for name in unnamed)
    if not answers and not refused:
        refused = (Refused(name=path.name, reason=f"{path}: no usable file in it"),)
    before = {reference.name: reference for reference in ledger.references(uses.bucket)}
    if not accepted and not before:
        reasons = "; ".join(answer.reason for answer in refused)
        raise InputRejected(reasons, f"--{uses.bucket}", f"nothing else is in force in {uses.bucket} yet")
    given = {unit.name: _store(store, uses.bucket, unit, before.get(unit.name)) for unit in accepted}
    kept = {answer.name: before[answer.name] for answer in refused if answer.name in before}
    if not accepted and not kept:
        kept = before  # nothing given can be used: the last good ones stay
    after = {**kept, **given}
    changed = _identity(after) != _identity(before)
    if changed:
        ledger.enforce(uses.bucket, [after[name] for name in sorted(after)])
    if not refused:
        ledger.put_note(note, seen)
    return Enforced(changed=changed, refused=refused)


def find_files(uses: UsesReferences, path: Path) -> dict[str, Path]:
    """The files at the path, by name: all of a folder, or one file (with ``uses.companions``, those of its stem too).

    Raises InputRejected when there is nothing to read.
    """
    hint = f"--{uses.bucket} takes a file or a folder"
    try:
        if path.is_dir():
            found = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
        elif path.is_file():
            found = [file for file in path.parent.iterdir() if file.stem == path.stem and file.is_file()]
            found = found if uses.companions else [path]
        else:
            raise InputRejected("no such file or folder", str(path), hint)
    except OSError as exc:
        raise InputRejected(f"cannot be read: {exc.strerror}", str(path), hint) from exc
    if len(found) > MAX_FILES:
        raise InputRejected(f"expected at most {MAX_FILES} files, got {len(found)}", str(path), hint)
    return {file.name: file for file in sorted(found)}


def _fingerprint(path: Path) -> tuple[int, int, int, int]:
    try:
        seen = path.stat()
    except OSError as exc:
        raise InputRejected(f"cannot be read: {exc.strerror}", str(path)) from exc
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputRejected(f"expected at most {MAX_BYTES} bytes, got {path.stat().st_size}", str(path))
        return path.read_bytes()
    except OSError as exc:
        raise InputRejected(f"cannot be read: {exc.strerror}", str(path)) from exc


def _store(store: ObjectStore, bucket: str, unit: Accepted, before: Reference | None) -> Reference:
    """Keep the unit's files under ``<unit>/<role>`` and make them visible; what is there already is left alone."""
    files: dict[str, ObjectRef] = {}
    for role, data in unit.files.items():
        old = before.files.get(role) if before is not None else None
        if old is not None and old.sha256 == sha256(data) and store.has([old])[0]:
            files[role] = old
        else:
            files[role] = store.put(bucket, f"{unit.name}/{role}", data, "application/octet-stream")
    store.flush(list(files.values()))
    store.publish([Publish(bucket=bucket, key=ref.key, ref=ref) for ref in files.values()])
    return Reference(bucket=bucket, name=unit.name, files=files, meta=unit.meta)


def _identity(references: Mapping[str, Reference]) -> dict[str, dict[str, str]]:
    return {name: {role: ref.sha256 for role, ref in unit.files.items()} for name, unit in references.items()}
