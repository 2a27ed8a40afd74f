"""Temporary files between the store and what is slower or comes in another order. Knows no ledger.

A revision can be read only until it is compacted, so a snapshot is first copied as it is, as fast as the
network gives it, and told from the copy. Small kinds stay in memory; a disk that is full is Unavailable.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Final

from lookout.domain.errors import Unavailable
from lookout.ledger.kv.port import Kv

_HEAD: Final = struct.Struct(">IIQQ")
_IN_MEMORY: Final = 1 << 20


class Spool:
    """Keys with their values, by kind, each kind in the order in which it was added."""

    def __init__(self) -> None:
        self._files: dict[bytes, IO[bytes]] = {}

    def add(self, kind: bytes, kvs: Iterable[Kv]) -> None:
        """Keep these after those before."""
        with _said():
            file = self._files.get(kind)
            if file is None:
                file = self._files[kind] = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+b")  # noqa: SIM115
            for kv in kvs:
                file.write(_HEAD.pack(len(kv.key), len(kv.value), kv.create_revision, kv.version) + kv.key + kv.value)

    def read(self, kind: bytes) -> Iterator[Kv]:
        """All of a kind, without their last revision; one reader of a kind at a time."""
        with _said():
            file = self._files.get(kind)
            if file is None:
                return
            file.seek(0)
            while head := file.read(_HEAD.size):
                key, value, created, version = _HEAD.unpack(head)
                yield Kv(file.read(key), file.read(value), 0, created, version)

    def close(self) -> None:
        """Forget all; what comes afterwards begins anew."""
        for file in self._files.values():
            file.close()
        self._files.clear()


class Bodies:
    """Texts by name, to be taken once each, in any order."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+b")  # noqa: SIM115
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def put(self, name: str, text: bytes) -> None:
        """Keep a text; the last one of a name counts."""
        with _said():
            self._file.seek(self._end)
            self._file.write(text)
        self._places[name] = (self._end, len(text))
        self._end += len(text)

    def take(self, name: str) -> bytes | None:
        """The text, which is gone then; None if there is none."""
        place = self._places.pop(name, None)
        if place is None:
            return None
        with _said():
            self._file.seek(place[0])
            return self._file.read(place[1])

    def names(self) -> list[str]:
        """Return what is left, in the order in which it came."""
        return list(self._places)

    def close(self) -> None:
        self._file.close()
        self._places.clear()


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Unavailable(f"the temporary folder {tempfile.gettempdir()}", exc.strerror or str(exc)) from exc
