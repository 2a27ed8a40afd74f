"""References that people put into a bucket, a model or rule files: activated by ``lookout.references.activation``.

The objects at the top of the bucket are what is given, all of it. What is in force lies in folders below, one a unit,
so that nothing is lost when somebody replaces a good file by a bad one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Refused, UsesReferences, load
from lookout.execution.executor import Workers
from lookout.ledger.port import Ledger
from lookout.object_store.minio import MinioStore
from lookout.object_store.minio.listing import Entry
from lookout.references.activation import MAX_BYTES, MAX_FILES, Activated, propose

_NOTE: Final = "given-in-bucket:"
_UNTOUCHED: Final = "[]"


def take_given(ledger: Ledger, store: MinioStore, workers: Workers, uses: UsesReferences) -> Activated:
    """Bring into force what is given in the bucket that ``uses`` names, if it is not what was looked at last.

    A file that is gone takes its unit out of force; the last one does so only where a stage can go without. In a bucket
    in which nobody has ever put a file, nothing is said about what is in force. A file that cannot be used is told of
    once, not each time. Reasons name the bucket where ``propose`` has a folder. Raises Unavailable.
    """
    given = {entry.key: entry for entry in _at_the_top(store, uses.bucket)}
    if not given and next(store.versions(uses.bucket), None) is None:
        return Activated(changed=False)  # no trace of an older version either: it was made anew, or wiped
    about = [[load(uses.context)()]] if uses.context and given else []
    seen = json.dumps([*sorted([key, entry.version] for key, entry in given.items()), *about])
    note = f"{_NOTE}{uses.bucket}"
    if seen == (ledger.find_note(note) or _UNTOUCHED):
        return Activated(changed=False)
    done = _bring(ledger, store, workers, uses, given) if given else _drop_all(ledger, uses)
    ledger.put_note(note, seen)
    return done


def _at_the_top(store: MinioStore, bucket: str) -> Iterator[Entry]:
    for entry in store.versions(bucket):
        if entry.is_latest and not entry.is_marker and "/" not in entry.key and not entry.key.startswith("."):
            yield entry


def _bring(
    ledger: Ledger, store: MinioStore, workers: Workers, uses: UsesReferences, given: dict[str, Entry]
) -> Activated:
    size = sum(entry.size for entry in given.values())
    if size > MAX_BYTES or len(given) > MAX_FILES:
        what = f"expected at most {MAX_FILES} files with {MAX_BYTES} bytes in all, got {len(given)} with {size}"
        return Activated(changed=False, refused=(Refused(name=uses.bucket, reason=f"{uses.bucket}: {what}"),))
    with TemporaryDirectory(prefix="lookout-") as folder:
        for key, entry in given.items():
            data = store.connection.read(store.full(uses.bucket), key, entry.version)
            if data is not None:  # gone meanwhile: the next look sees that
                Path(folder, key).write_bytes(data)
        try:
            done = propose(ledger, store, workers, uses, Path(folder)).activate()
        except InputRejected as exc:  # nothing is in force yet, and this cannot be: the pictures go on without
            done = Activated(changed=False, refused=(Refused(name=uses.bucket, reason=exc.what),))
        return replace(done, refused=tuple(_named(one, folder, uses.bucket) for one in done.refused))


def _named(refused: Refused, folder: str, bucket: str) -> Refused:
    reason = refused.reason.replace(f"{folder}: ", "")
    return Refused(name=refused.name, reason=f"{bucket}/{reason}" if refused.name != bucket else f"{bucket}: {reason}")


def _drop_all(ledger: Ledger, uses: UsesReferences) -> Activated:
    if uses.required or not ledger.references(uses.bucket):
        return Activated(changed=False)
    ledger.enforce(uses.bucket, ())
    return Activated(changed=True)
