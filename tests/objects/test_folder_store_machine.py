"""The folder store and a plain dict agree after any order of calls."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

from devkit.contracts.objects_machine import ObjectStoreMachine
from lookout.object_store.folder.store import FolderStore


class FolderStoreMachine(ObjectStoreMachine):
    def make_store(self) -> FolderStore:
        self.folder = tempfile.mkdtemp()
        return FolderStore(Path(self.folder) / "objects", durable=False)

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


TestFolderStoreMachine = FolderStoreMachine.TestCase
TestFolderStoreMachine.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
