"""A whole ledger in one file, and back: for backup, and for carrying it from one backend to another.

gzip around lines of ASCII JSON (docs/upkeep.md shows the form):

    {"lookout-ledger": 2, "made_at_s": 1763798400.0, "code": "0.1.0+1a2b3c4d5e6f"}
    ["note", "source", "/data/photos"]
    ...                                          one line an entry, kinds in the order of ``upkeeping.Entry``
    {"entries": 4711, "sha256": "..."}           of all bytes before this line

The last line proves that the file is whole: a restore reads it to its end before it writes anything. Knows no backend
and no object store: the objects that a ledger names are saved by other means.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from lookout.domain.errors import Corrupt, InputRejected, Unavailable
from lookout.filesystem.files import open_named
from lookout.ledger.backup.entries import kind_of, read_entry, write_entry
from lookout.ledger.maintenance import Entry, UpkeepLedger

FORM: Final = 4
"""Raised whenever an older program could misread what a newer one writes."""
_MAGIC: Final = "lookout-ledger"
_LONGEST_LINE: Final = 64 * 1024 * 1024
_COMPRESSION: Final = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Archived:
    """Summary of a backup file: entries by kind; ``sha256`` is that of its lines, so the same ledger gives the same
    digest but for the first line."""

    made_at_s: float
    code: str
    entries: Mapping[str, int]
    sha256: str
    size_bytes: int


def backup(ledger: UpkeepLedger, path: Path, *, now_s: float, code: str) -> Archived:
    """Write one moment of the ledger, which others go on using, into a new file. It appears whole or not at all, and
    survives a power cut. Raises InputRejected when the file is there already or cannot be made, Unavailable when the
    disk or the ledger fails."""
    if path.exists():
        raise InputRejected("exists already", str(path), "name a new file")
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    counts: Counter[str] = Counter()
    digest = hashlib.sha256()
    with _said(path), _removed_on_failure(part), part.open("xb") as raw:
        # No name and no time in gzip's own header: the bytes depend on the content alone.
        with gzip.GzipFile("", "wb", _COMPRESSION, raw, mtime=0) as file:

            def write(value: object) -> None:
                line = _line(value)
                digest.update(line)
                file.write(line)

            write({_MAGIC: FORM, "made_at_s": now_s, "code": code})
            with ledger.snapshot() as entries:
                for entry in entries:
                    counts[kind_of(entry)] += 1
                    write(write_entry(entry))
            file.write(_line({"entries": counts.total(), "sha256": digest.hexdigest()}))
        raw.flush()
        os.fsync(raw.fileno())
        part.rename(path)
        size_bytes = path.stat().st_size
        _sync_folder(path.parent)
    return Archived(made_at_s=now_s, code=code, entries=dict(counts), sha256=digest.hexdigest(), size_bytes=size_bytes)


def inspect(path: Path) -> Archived:
    """Read a file to its end and check it. Raises InputRejected when it is no backup, of a newer form, or damaged,
    Unavailable when the disk fails."""
    header, counts, sha256 = _check(path)
    made_at_s, code = header.get("made_at_s"), header.get("code")
    return Archived(
        made_at_s=float(made_at_s) if isinstance(made_at_s, int | float) else 0.0,
        code=str(code),
        entries=dict(counts),
        sha256=sha256,
        size_bytes=path.stat().st_size,
    )


def restore(ledger: UpkeepLedger, path: Path) -> Archived:
    """Fill an empty ledger from a file, which is checked to its end before. Raises InputRejected as ``inspect`` does,
    and for a ledger that is not empty; then nothing has changed."""
    found = inspect(path)
    ledger.load(_entries(path))
    return found


# --- lines -----------------------------------------------------------------------------------------------------------


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of the file. Raises InputRejected for what is no gzip, or is cut off."""
    with _said(path), _opened(path) as raw, gzip.open(raw, "rb") as file:
        while line := file.readline(_LONGEST_LINE):
            yield line


def _check(path: Path) -> tuple[dict[str, Any], Counter[str], str]:
    """Return the header, the entries by kind, and the digest, after all of it was read."""
    lines = _lines(path)
    digest = hashlib.sha256()
    counts: Counter[str] = Counter()
    first = next(lines, b"")
    header = _object(path, first)
    form = header.get(_MAGIC)
    if not isinstance(form, int):
        raise InputRejected("is no backup of a ledger", str(path), "name a file that lookout ledger backup wrote")
    if form > FORM:
        raise InputRejected(
            f"was written by a newer Lookout: its form is {form}, this one knows {FORM}", str(path), "update Lookout"
        )
    digest.update(first)
    last = b""
    for line in lines:
        if last:
            digest.update(last)
            counts[_kind(path, last)] += 1
        last = line
    trailer = _object(path, last) if last else {}
    if "sha256" not in trailer:
        raise _damaged(path, "its last line, with the digest, is missing: it was cut off")
    if (trailer["sha256"], trailer.get("entries")) != (digest.hexdigest(), counts.total()):
        raise _damaged(
            path,
            f"expected {trailer.get('entries')} entries with sha256 {str(trailer['sha256'])[:12]}, "
            f"got {counts.total()} with {digest.hexdigest()[:12]}",
        )
    return header, counts, digest.hexdigest()


def _entries(path: Path) -> Iterator[Entry]:
    """Yield the entries of a file that was checked."""
    lines = _lines(path)
    next(lines, None)
    last = b""
    for line in lines:
        if last:
            try:
                yield read_entry(json.loads(last))
            except (ValueError, TypeError, Corrupt) as exc:
                raise _damaged(path, f"an entry that cannot be read: {last[:80]!r} ({exc})") from exc
        last = line


def _object(path: Path, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise _damaged(path, "its last line, with the digest, is missing: it was cut off")
        raise InputRejected("is no backup of a ledger", str(path), "name a file that lookout ledger backup wrote")
    return value


def _kind(path: Path, line: bytes) -> str:
    """Return the kind of an entry by the beginning of its line: `["note",...`."""
    parts = line.split(b'"', 2)
    if len(parts) != 3 or parts[0] != b"[":
        raise _damaged(path, f"a line that is no entry: {line[:80]!r}")
    return parts[1].decode("ascii", "backslashreplace")


def _damaged(path: Path, why: str) -> InputRejected:
    return InputRejected(f"is damaged: {why}", str(path), "use another backup; nothing was changed")


# --- files -----------------------------------------------------------------------------------------------------------


def _opened(path: Path) -> BinaryIO:
    """Return the file, if it is a regular one: a pipe or a device is never waited for. Raises InputRejected, or
    OSError."""
    descriptor, _ = open_named(path, "name a file that lookout ledger backup wrote")
    return os.fdopen(descriptor, "rb")


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Translate errors of files and of compression."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        if isinstance(exc, gzip.BadGzipFile) and "Not a gzipped file" in str(exc):
            raise InputRejected(
                "is no backup of a ledger", str(path), "name a file that lookout ledger backup wrote"
            ) from exc
        raise _damaged(path, f"it cannot be unpacked to its end ({exc})") from exc
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError, PermissionError) as exc:
        raise InputRejected(exc.strerror or str(exc), str(path), "name another file") from exc
    except OSError as exc:
        raise Unavailable(str(path), exc.strerror or str(exc)) from exc


@contextmanager
def _removed_on_failure(part: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):  # what failed is told; a rest that cannot be removed harms nobody
            part.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["FORM", "Archived", "backup", "inspect", "restore"]
