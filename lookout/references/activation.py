"""Activation of references: a model, a set of rule files.

Files a user gives are checked by the function that the stage declares; what is accepted is stored and put in force by
one ledger record, what is refused is reported, and the last good one of that name stays. Knows no model and no rule.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from lookout.domain.errors import InputRejected, find_lack
from lookout.domain.identity import sha256
from lookout.domain.pipeline import Accept, Accepted, Refused, UsesReferences, load
from lookout.domain.records import ObjectRef, Reference
from lookout.execution.executor import StageTimeoutError, WorkerDiedError, Workers
from lookout.filesystem.beneath import LeadsOutside, Root
from lookout.filesystem.files import is_text, read_open, words
from lookout.ledger.port import Ledger
from lookout.object_store.port import ObjectStore, Publish

EXAMINE: Final = "lookout.references.activation:examine"
MAX_FILES: Final = 1000
MAX_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True, kw_only=True, slots=True)
class Activated:
    """Result of an activation: whether the set in force changed, and which files were refused and why."""

    changed: bool
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """Result of examining files: accepted units, not visible yet, and refused files."""

    accepted: tuple[Reference, ...]
    refused: tuple[Refused, ...]


class Proposal:
    """Proposal to bring what is at a path into force: the files are being examined in a worker, and ``activate`` ends
    that. What was examined before, and has not changed, is not examined again."""

    def __init__(
        self, ledger: Ledger, store: ObjectStore, uses: UsesReferences, path: Path, note: str, seen: str
    ) -> None:
        self._ledger, self._store, self._uses, self._path = ledger, store, uses, path
        self._note, self._seen = note, seen
        self._before: dict[str, Reference] = {}
        self._unnamed: list[str] = []
        self._examined: Callable[[], object] | None = None

    def examine(self, workers: Workers, paths: Mapping[str, Path]) -> None:
        """Begin to examine these files, by name, in a worker."""
        self._before = {reference.name: reference for reference in self._ledger.references(self._uses.bucket)}
        self._unnamed = [name for name in paths if not is_text(name)]
        files = {name: file for name, file in paths.items() if name not in self._unnamed}
        self._examined = workers.call(EXAMINE, self._uses, files, self._store, self._before)

    def activate(self) -> Activated:
        """Wait for the examination, and bring what was accepted into force. Raises InputRejected when nothing can be
        used and nothing was in force before."""
        if self._examined is None:
            return Activated(changed=False)
        found = tried(self._examined, self._path)
        unnamed = (Refused(name=name, reason=f"{name!r}: its name is not valid UTF-8") for name in self._unnamed)
        refused = (*found.refused, *unnamed)
        if not found.accepted and not refused:
            refused = (Refused(name=self._path.name, reason=f"{self._path}: no usable file in it"),)
        if not found.accepted and not self._before:
            reasons, bucket = "; ".join(answer.reason for answer in refused), self._uses.bucket
            raise InputRejected(reasons, f"--{bucket}", f"nothing else is in force in {bucket} yet")
        _show(self._store, found.accepted)
        after = merge(self._before, found.accepted, refused)
        changed = _identity(after) != _identity(self._before)
        if changed or _meta(after) != _meta(self._before):
            self._ledger.enforce(self._uses.bucket, [after[name] for name in sorted(after)])
        if not refused:
            self._ledger.put_note(self._note, self._seen)
        return Activated(changed=changed, refused=refused)


def propose(ledger: Ledger, store: ObjectStore, workers: Workers, uses: UsesReferences, path: Path) -> Proposal:
    """Begin to bring what is at ``path`` (a file or a folder) into force in the bucket that ``uses`` names.

    A file that was refused leaves the unit of that name as it was in force before; a unit that is no longer given is
    no longer in force. The same files again cost a few ``stat`` calls. The files are tried in a worker: a model that
    kills or hangs whoever opens it is refused like any other. Raises InputRejected when the path cannot be read.
    """
    if not is_text(str(path)):
        raise InputRejected("its name is not valid UTF-8", repr(str(path)), "rename it, or name a link to it")
    paths = find_files(uses, path)
    about = [[load(uses.context)()]] if uses.context else []
    seen = json.dumps([str(path.absolute()), [[name, *_fingerprint(file)] for name, file in paths.items()], *about])
    note = f"given:{uses.bucket}"
    proposal = Proposal(ledger, store, uses, path, note, seen)
    if ledger.find_note(note) != seen:
        proposal.examine(workers, paths)
    return proposal


def tried(examined: Callable[[], object], path: Path) -> Examined:
    """Try the files at ``path`` in a worker process; those that kill it, or make it hang, are refused."""
    try:
        return cast(Examined, examined())
    except (StageTimeoutError, WorkerDiedError) as exc:
        refused = Refused(name=path.name, reason=f"{path}: when it was tried, {exc}")
        return Examined(accepted=(), refused=(refused,))


def merge(
    before: Mapping[str, Reference], accepted: Sequence[Reference], refused: Sequence[Refused]
) -> dict[str, Reference]:
    """Return the references that are in force afterwards, by name; a part, ``unit/part``, stays with its unit."""
    given = {unit.name: unit for unit in accepted}
    names = {answer.name for answer in refused}
    kept = {name: unit for name, unit in before.items() if name in names or name.partition("/")[0] in names}
    if not given and not kept:
        return dict(before)  # nothing given can be used: the last good ones stay
    return {**kept, **given}


def examine(
    uses: UsesReferences, paths: Mapping[str, Path], store: ObjectStore, before: Mapping[str, Reference]
) -> Examined:
    """Have the stage's own function look at the files, and store those of the units that it accepts."""
    units, refused = accept(uses, paths)
    accepted = tuple(_store(store, uses.bucket, unit, before.get(unit.name)) for unit in units)
    return Examined(accepted=accepted, refused=refused)


def accept(uses: UsesReferences, paths: Mapping[str, Path]) -> tuple[tuple[Accepted, ...], tuple[Refused, ...]]:
    """Return the verdicts of the stage's own function on the files. One that cannot be read is refused, and the others
    are looked at."""
    files, unread = dict[str, bytes](), list[Refused]()
    for name, file in paths.items():
        try:
            files[name] = _read(file)
        except InputRejected as exc:
            unread.append(Refused(name=name, reason=str(exc)))
    answers = cast(Accept, load(uses.accept))(files)
    return (
        tuple(answer for answer in answers if isinstance(answer, Accepted)),
        (*unread, *(answer for answer in answers if isinstance(answer, Refused))),
    )


def find_files(uses: UsesReferences, path: Path) -> dict[str, Path]:
    """Return the files at the path, by name: all of a folder, or one file (with ``uses.companions``, those of its stem
    too).

    A link that is named itself is followed wherever it leads; one that is found beside it or in the folder is not (see
    ``_read``). Raises InputRejected when there is nothing to read.
    """
    hint = f"--{uses.bucket} takes a file or a folder"
    try:
        if path.is_dir():
            found = [file for file in path.iterdir() if _is_given(file) and not file.name.startswith(".")]
        elif path.is_file():
            found = [file for file in path.parent.iterdir() if file.stem == path.stem and file.is_file()]
            found = found if uses.companions else [path]
        else:
            what = "is a pipe or a device" if path.exists() else "no such file or folder"
            raise InputRejected(what, str(path), hint)
    except OSError as exc:
        raise find_lack(exc) or InputRejected(f"cannot be read: {exc.strerror}", str(path), hint) from exc
    if len(found) > MAX_FILES:
        raise InputRejected(f"expected at most {MAX_FILES} files, got {len(found)}", str(path), hint)
    return {file.name: Path(os.path.realpath(file)) if file == path else file for file in sorted(found)}


def _is_given(path: Path) -> bool:
    """Tell whether the path is to be looked at: also a pipe or a device, which is refused by name."""
    return path.exists() and not path.is_dir()


def _fingerprint(path: Path) -> tuple[int, int, int, int]:
    try:
        seen = path.stat()
    except OSError as exc:
        raise find_lack(exc) or InputRejected(f"cannot be read: {words(exc)}", str(path)) from exc
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _read(path: Path) -> bytes:
    """Read a file beneath its folder: a link that leads outside is refused. Raises InputRejected."""
    try:
        with Root(str(path.parent)) as folder:
            opened = folder.open_file(path.name)
        if opened is None:
            raise InputRejected("is not a regular file", str(path))
        fd, found = opened
        if found.st_size <= MAX_BYTES:
            data = read_open(fd, found.st_size)
            if len(data) <= found.st_size:
                return data
            raise InputRejected("is being written", str(path), "try again when it is complete")
        os.close(fd)
    except OSError as exc:
        text = str(exc.strerror) if isinstance(exc, LeadsOutside) else f"cannot be read: {words(exc)}"
        raise find_lack(exc) or InputRejected(text, str(path)) from exc
    raise InputRejected(f"expected at most {MAX_BYTES} bytes, got {found.st_size}", str(path))


def _store(store: ObjectStore, bucket: str, unit: Accepted, before: Reference | None) -> Reference:
    """Keep the unit's files as versions of ``<unit>/<role>``; what is there already is left alone."""
    files: dict[str, ObjectRef] = {}
    for role, data in unit.files.items():
        old = before.files.get(role) if before is not None else None
        if old is not None and old.sha256 == sha256(data) and store.has([old])[0]:
            files[role] = old
        else:
            files[role] = store.put(bucket, f"{unit.name}/{role}", data, "application/octet-stream")
    return Reference(bucket=bucket, name=unit.name, files=files, meta=unit.meta)


def _show(store: ObjectStore, units: Sequence[Reference]) -> None:
    refs = [ref for unit in units for ref in unit.files.values()]
    store.flush(refs)
    store.publish([Publish(bucket=ref.bucket, key=ref.key, ref=ref) for ref in refs])


def _meta(references: Mapping[str, Reference]) -> dict[str, str]:
    """Return what is kept of each unit beside its files, in one spelling: it is read back from JSON."""
    return {name: json.dumps(unit.meta, sort_keys=True) for name, unit in references.items()}


def _identity(references: Mapping[str, Reference]) -> dict[str, dict[str, str]]:
    return {name: {role: ref.sha256 for role, ref in unit.files.items()} for name, unit in references.items()}
