"""Local record of uploaded files; a device with write-only credentials cannot list the bucket.

A cache, not the truth: with it a restart uploads nothing twice and rereads no unchanged file; without it everything is
uploaded once more, which costs versions of the same bytes and no processing. So damage never stops an upload: a log
that cannot be read is moved aside, and an entry that cannot be written is reported and skipped.
Knows no store and no folder.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected, Unavailable
from lookout.filesystem.files import words
from lookout.log import get_logger

log = get_logger(__name__)

_FORM: Final = 1
_BUSY_S: Final = 10.0
_PAGE: Final = 1000
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS sent (target TEXT, key TEXT, fingerprint TEXT NOT NULL, sha256 TEXT NOT NULL,"
    " sent_at_s REAL NOT NULL, PRIMARY KEY (target, key)) WITHOUT ROWID"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Entry of one key: the digest of what was uploaded, and the fingerprint of the file it was read from, empty if
    that file could have changed unseen."""

    fingerprint: str
    sha256: str


class Memory:
    """Keys of one bucket, ``target``, that were brought. For one thread; several processes may share the file.

    Opening raises InputRejected or Unavailable when the file cannot be made or is of a newer form.
    """

    def __init__(self, path: Path, target: str) -> None:
        self._path, self._target, self._said = path, target, False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputRejected(
                f"cannot make the folder of the log of sent files: {words(error)}", str(path.parent)
            ) from error
        try:
            self._connection = _open(path)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) not in _DAMAGED:
                raise Unavailable(str(path), str(error)) from error
            aside = path.with_name(path.name + ".damaged")
            path.replace(aside)
            log.warning("damaged", file=path, error=error, put_aside_as=aside)
            self._connection = _open(path)

    def find(self, key: str) -> Kept | None:
        """Return the entry of the key."""
        sql = "SELECT fingerprint, sha256 FROM sent WHERE target = ? AND key = ?"
        try:
            row = self._connection.execute(sql, (self._target, key)).fetchone()
        except sqlite3.Error as error:
            self._say("not looked up", error)
            return None
        return None if row is None else Kept(fingerprint=row[0], sha256=row[1])

    def keep(self, key: str, kept: Kept, now_s: float) -> None:
        """Remember that these bytes are under the key. Atomic; survives a kill at once, and a power cut mostly."""
        row = (self._target, key, kept.fingerprint, kept.sha256, now_s)
        try:
            self._connection.execute("INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            self._say("not remembered", error)
        else:
            self._said = False

    def forget(self, before_s: float, is_there: Callable[[str], bool]) -> int:
        """Forget what was brought before that time and is not there any more; says how many."""
        forgotten = 0
        try:
            for page in self._pages(before_s):
                gone = [(self._target, key) for key in page if not is_there(key)]
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    self._connection.executemany("DELETE FROM sent WHERE target = ? AND key = ?", gone)
                forgotten += len(gone)
        except sqlite3.Error as error:
            self._say("not forgotten", error)
        return forgotten

    def close(self) -> None:
        self._connection.close()

    def _say(self, event: str, error: sqlite3.Error) -> None:
        """Once, until it works again: a disk that is full is so for each picture."""
        if not self._said:
            self._said = True
            log.error(event, file=self._path, error=error, then="sent files may be sent again after a restart")

    def _pages(self, before_s: float) -> Iterator[list[str]]:
        sql = "SELECT key, sent_at_s FROM sent WHERE target = ? AND key > ? ORDER BY key LIMIT ?"
        last = ""
        while page := self._connection.execute(sql, (self._target, last, _PAGE)).fetchall():
            last = page[-1][0]
            yield [key for key, sent_at_s in page if sent_at_s < before_s]


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        _check_form(path, form)
        if form < _FORM:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_FORM}")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_form(path: Path, form: int) -> None:
    if form > _FORM:
        raise InputRejected(f"written by a newer Lookout: its form is {form}", os.fspath(path), "update Lookout")
