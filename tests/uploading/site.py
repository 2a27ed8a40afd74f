"""A folder, a bucket that may be away, and ``FolderSync`` between them, at work in a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

from lookout.domain.errors import LookoutError, Unavailable
from lookout.domain.identity import sha256
from lookout.domain.records import ObjectRef
from lookout.sources.folder import observe_file
from lookout.uploader.folder_sync import FolderSync, Options
from lookout.uploader.sent_log import Memory
from lookout.uploader.upload import Became, File, Lost, Sent

DEADLINE_S = 20.0


class Bucket:
    """Takes files as a server does: whole or not at all, each time as a new version. ``may_look`` is whether its user
    may see what is there."""

    def __init__(self, *, may_look: bool = False) -> None:
        self.versions: dict[str, list[bytes]] = defaultdict(list)
        self.may_look = may_look
        self.up = threading.Event()
        self.up.set()
        self.refused: dict[str, str] = {}
        self.lost: set[str] = set()
        self.tries: list[str] = []
        self.before: Callable[[File], None] = lambda _: None

    def send(self, file: File, known_sha256: str | None) -> Sent | Lost:
        self.tries.append(file.key)
        self.before(file)
        if file.key in self.refused:
            return Sent(file=file, became=Became.FAILED, error=self.refused[file.key])
        seen = observe_file(file.root, file.name, "images", time.time())
        if seen.ref is None:
            return Sent(file=file, became=Became.GONE, error="gone")
        ref = ObjectRef(bucket="images", key=file.key, sha256=seen.ref.sha256, size=seen.ref.size)
        if ref.sha256 == known_sha256:
            return Sent(file=file, became=Became.THERE, ref=ref, fingerprint=seen.fingerprint)
        if not self.up.is_set() or file.key in self.lost:
            return Lost(file=file, error=Unavailable("http://store", "cannot be reached"))
        data = (file.root / file.name).read_bytes()
        there = self.versions[file.key]
        ref = ObjectRef(bucket="images", key=file.key, sha256=ref.sha256, size=ref.size, version=str(len(there)))
        if self.may_look and there and sha256(there[-1]) == ref.sha256:
            return Sent(file=file, became=Became.THERE, ref=ref, fingerprint=seen.fingerprint)
        there.append(data)
        return Sent(file=file, became=Became.NEW, ref=ref, fingerprint=seen.fingerprint)


class Site:
    """``told`` and ``trouble`` are what was told, in order; trouble as (sentence or None)."""

    def __init__(self, root: Path, bucket: Bucket) -> None:
        self.folder, self.bucket = root / "photos", bucket
        self.folder.mkdir(exist_ok=True)
        self.file = root / "state" / "sent.sqlite"
        self.told: Queue[Sent] = Queue()
        self.trouble: Queue[str | None] = Queue()

    def put(self, name: str, data: bytes, *, age_s: float = 3600.0) -> None:
        """A file that was left alone for so long, there at once and whole; its change time is now, whatever is done."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f".{path.name}")
        written.write_bytes(data)
        os.utime(written, (time.time() - age_s,) * 2)
        written.replace(path)

    def sync(self, **options: Any) -> Working:
        return Working(self, options)


class Working:
    """Opened, it works; closed, it has stopped."""

    def __init__(self, site: Site, options: dict[str, Any]) -> None:
        self._site, self._options = site, Options(**{"settle_s": 0.0, "first_pause_s": 0.01, **options})
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.error: BaseException | None = None
        self.it: FolderSync

    def _run(self) -> None:
        site = self._site
        memory = Memory(site.file, "http://store/images")  # in the thread that uses it

        def trouble(error: LookoutError | None, _: float) -> None:
            site.trouble.put(None if error is None else str(error))

        self.it = FolderSync(
            site.folder, site.bucket.send, memory, self._options, tell=site.told.put, tell_trouble=trouble
        )
        self._ready.set()
        try:
            self.it.run()
        except BaseException as error:  # noqa: BLE001 raised where it is closed
            self.error = error
        finally:
            memory.close()

    def __enter__(self) -> FolderSync:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self.it

    def __exit__(self, *_: object) -> None:
        self.it.stop()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Wait until it holds."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, "not in time"
        time.sleep(0.002)
