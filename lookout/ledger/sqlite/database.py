"""One connection to a ledger's file: opening, transactions, and the way from SQLite's errors to ours.

Knows tables only as far as telling a ledger from another file. No sqlite3 error leaves this package past here.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from lookout.domain.errors import Corrupt, InputRejected, LookoutError, Unavailable
from lookout.ledger.port import DAMAGED_HINT
from lookout.ledger.sqlite.schema import FORM, SCHEMA, UPGRADES

BUSY_S: Final = 30.0
CHUNK: Final = 512
"""Keys in one statement."""

_READ_ONLY_HINT: Final = "make the file and its folder writable, or name another state folder"
_DAMAGED: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}
    | {sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}
)
"""With those that a statement of ours can only meet in a file whose tables or indexes are not what was written."""
_NO_TEXT: Final = "bytes that are no text"
_DENIED: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})
_MAYBE_DENIED: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR})


class Database:
    """A connection in autocommit mode with explicit transactions. For one thread; other threads open their own."""

    def __init__(self, path: Path, *, writing: bool = True) -> None:
        """Open the file, and make it where there is none. Without ``writing`` one that is there and cannot be written
        is read as it is, also on a file system that is mounted read-only; every write then raises InputRejected."""
        self.path = path
        self._read_only = not writing and path.exists() and not self._is_writable()
        self._copy: TemporaryDirectory[str] | None = None
        self._connection: sqlite3.Connection | None = None
        self._writing = False
        with self._translated():
            if self._read_only:
                self._open_read_only()
            else:
                self._open()

    # --- opening ----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _os_error(self.path, exc) from exc
        if self.path.exists() and not self._is_writable():
            raise self._refusal()
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, cached_statements=256)
        self._connection = connection
        try:
            form = self._find_form(connection)
            if form is None:
                self._make(connection)
            elif form < FORM:
                self._upgrade(connection)
            connection.execute("PRAGMA synchronous = NORMAL")  # in WAL: a power cut may lose the newest, never part
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -16000")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")  # 16 MB: folded in rarely, each page once
        except BaseException:
            self.close()
            raise

    def _open_read_only(self) -> None:
        """Read the file in place if SQLite can, else a copy of it: its log needs a file beside it that lies in shared
        memory, and an older form has to be brought to ours."""
        log = self.path.with_name(f"{self.path.name}-wal")
        try:
            unused = not log.exists() or not log.stat().st_size
        except OSError as exc:
            raise _os_error(self.path, exc) from exc
        try:
            # Nobody has a ledger open that has no log beside it: then nothing changes while it is read.
            self._connection = _connect(self.path, "immutable=1" if unused else "mode=ro")
            form = self._find_form(self._connection)
        except sqlite3.DatabaseError as exc:
            if unused or getattr(exc, "sqlite_errorcode", 0) & 0xFF not in (*_DENIED, *_MAYBE_DENIED):
                raise
            form = None
        if form is None or form < FORM:
            self.close()
            self._open_copy(log)

    def _open_copy(self, log: Path) -> None:
        """Read a copy of the file and its log in a folder for temporary files."""
        self._copy = TemporaryDirectory(prefix="lookout-ledger-")
        copy = Path(self._copy.name) / self.path.name
        try:
            for source in (self.path, log):
                if source.exists():
                    shutil.copyfile(source, copy.with_name(source.name))
        except OSError as exc:
            raise _os_error(copy, exc) from exc
        connection = self._connection = _connect(copy, "mode=rw")
        form = self._find_form(connection)
        for step in range(FORM if form is None else form, FORM):
            connection.executescript(UPGRADES[step])
        connection.execute("PRAGMA query_only = ON")

    def _find_form(self, connection: sqlite3.Connection) -> int | None:
        """Return the form of the ledger that is there; None for an empty file. Raises InputRejected for anything
        else."""
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not tables:
            return None
        where = str(self.path)
        form = None
        if {"meta", "slots"} <= tables:
            form = next(iter(connection.execute("SELECT value FROM meta WHERE name = 'form'")), None)
        if form is None:
            raise InputRejected("is an SQLite file, but not a ledger", where, "name another state folder")
        if not form[0].isdigit():
            raise Corrupt(where, "a number as form", repr(form[0]), DAMAGED_HINT)
        if int(form[0]) > FORM:
            raise InputRejected(
                f"written by a newer Lookout: its form is {form[0]}, this one knows {FORM}",
                where,
                "update Lookout, or name another state folder",
            )
        return int(form[0])

    def _make(self, connection: sqlite3.Connection) -> None:
        # SQLite does not wait when two processes switch one new file to WAL at once, so they take turns here.
        with locked(self.lock_folder() / "making"):
            if self._find_form(connection) is not None:
                return
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} INSERT INTO meta VALUES ('form', '{FORM}'); COMMIT;"  # noqa: S608
            )

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        """Bring an older ledger to our form, in one transaction."""
        with locked(self.lock_folder() / "making"):
            steps = "".join(UPGRADES[form] for form in range(self._find_form(connection) or FORM, FORM))
            connection.executescript(
                f"BEGIN IMMEDIATE; {steps} UPDATE meta SET value = '{FORM}' WHERE name = 'form'; COMMIT;"  # noqa: S608
            )

    def lock_folder(self) -> Path:
        """Return the folder beside the file for lock files; made if it is not there."""
        if self._read_only:
            raise self._refusal()
        folder = self.path.with_name(self.path.name + ".d")
        try:
            folder.mkdir(exist_ok=True)
        except OSError as exc:
            raise _os_error(folder, exc) from exc
        return folder

    def close(self) -> None:
        """Give the connection back; twice is allowed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    # --- transactions -----------------------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One snapshot for several queries."""
        with self._translated():
            connection = self._get()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction, alone among all processes; rolled back if the body raises. ``durable``: survives a power
        cut too. Raises RuntimeError inside another one."""
        with self._translated():
            connection = self._get()
            if connection.in_transaction:
                raise RuntimeError("expected no write to the ledger while its changes are handed out")
            if durable:
                connection.execute("PRAGMA synchronous = FULL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")

    def _get(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable(str(self.path), "the ledger is closed")
        return self._connection

    # --- errors -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as exc:
            raise self._error(exc) from exc
        except UnicodeEncodeError as exc:
            raise InputRejected(f"a name or text is not valid UTF-8: {exc.object[:80]!r}", str(self.path)) from exc
        except UnicodeDecodeError as exc:  # in the words in which SQLite tells of a damaged schema
            raise Corrupt(str(self.path), "an SQLite file as it was written", _NO_TEXT, DAMAGED_HINT) from exc
        except (TypeError, ValueError, LookupError) as exc:
            if damage := self._find_damage():
                raise Corrupt(str(self.path), "an SQLite file as it was written", damage, DAMAGED_HINT) from exc
            raise

    def _find_damage(self) -> str | None:
        """Return the first damage that SQLite finds in the file; None where it finds none. Reads the whole file."""
        if self._connection is None:
            return None
        try:
            ((found,),) = self._connection.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.DatabaseError as exc:
            return str(exc)
        except UnicodeDecodeError:
            return _NO_TEXT
        return None if found == "ok" else " ".join(str(found).split())

    def _error(self, exc: sqlite3.DatabaseError) -> LookoutError:
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        where = str(self.path)
        full = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in _DAMAGED or full == sqlite3.SQLITE_IOERR_SHORT_READ:
            return Corrupt(where, "an SQLite file as it was written", str(exc), DAMAGED_HINT)
        if code in _DENIED or (code in _MAYBE_DENIED and not self._is_writable()):
            return InputRejected(f"the ledger cannot be written: {exc}", where, _READ_ONLY_HINT)
        return Unavailable(where, str(exc))

    def _refusal(self) -> InputRejected:
        return InputRejected("the ledger is read-only", str(self.path), _READ_ONLY_HINT)

    def _is_writable(self) -> bool:
        place = self.path if self.path.exists() else self.path.parent
        effective = os.access in os.supports_effective_ids
        return all(os.access(each, os.W_OK, effective_ids=effective) for each in (place, self.path.parent))


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file that is there."""
    uri = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, cached_statements=256)


def _os_error(path: Path, exc: OSError) -> LookoutError:
    if isinstance(exc, PermissionError | FileExistsError | NotADirectoryError) or exc.errno == 30:  # EROFS
        return InputRejected(f"the ledger cannot be created: {exc.strerror}", str(path), _READ_ONLY_HINT)
    return Unavailable(str(path), exc.strerror or str(exc))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file, waiting for it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as exc:
        raise _os_error(path, exc) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- statements over many keys ---------------------------------------------------------------------------------------


def select_in(
    connection: sqlite3.Connection, sql: str, before: Sequence[object], values: Collection[object]
) -> Iterator[tuple[Any, ...]]:
    """Rows of a query whose ``{}`` stands for a list of values, after the parameters ``before``; in no order.

    Lists are filled up to few lengths by repeating a value, so that few statements are compiled.
    """
    todo = list(values)
    for start in range(0, len(todo), CHUNK):
        part = todo[start : start + CHUNK]
        size = 1
        while size < len(part):
            size *= 4
        size = min(size, CHUNK)
        part += part[-1:] * (size - len(part))
        yield from connection.execute(sql.format(",".join("?" * size)), [*before, *part])


def by_first(pairs: Collection[tuple[str, str]]) -> dict[str, list[str]]:
    """Second halves by their first ones: keys by bucket or stage."""
    groups: dict[str, list[str]] = {}
    for first, second in pairs:
        groups.setdefault(first, []).append(second)
    return groups


Clock = Callable[[], float]
