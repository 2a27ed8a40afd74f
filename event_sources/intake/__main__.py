"""``python -m event_sources.intake``: the settings, the servers and the pipeline, put together and served.

The only module here that knows where things are. The pipeline is read for the names of its buckets and stages: no
stage's code is loaded.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from event_sources.intake.http_api import Buckets
from event_sources.intake.service import Intake, Where, listen
from event_sources.intake.settings import IntakeSettings
from event_sources.intake.workflow_trigger import EventSource
from lookout.app.deployment import open_ledger, open_minio
from lookout.app.process import run_command
from lookout.app.state_identity import check_servers
from lookout.config.settings import Settings
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import Observation
from lookout.log import configure, get_logger
from lookout.object_store.minio.names import FILE_ENDINGS, check_object_key
from lookout.sources.bucket import is_blank, observe_object
from stages.installation import INSTALLATION

if TYPE_CHECKING:
    from lookout.object_store.minio import MinioStore

log = get_logger(__name__)


@dataclass(frozen=True)
class BucketPictures:
    """The bucket of pictures on a server. See ``Pictures``."""

    store: MinioStore
    bucket: str

    def observe(self, key: str, now_s: float) -> Observation:
        return observe_object(self.store, self.bucket, key, now_s, FILE_ENDINGS)

    def is_still(self, seen: Observation) -> bool:
        if seen.error is not None:
            return True  # a key that cannot be used stays so
        try:
            check_object_key(self.bucket, seen.key)
        except InputRejected:
            return True  # no store can hold it, so nothing is there and nothing will be
        found = self.store.connection.stat(self.store.full(self.bucket), seen.key)
        return (found and found.version) == (seen.ref and seen.ref.version)

    def is_blank(self) -> bool:
        return is_blank(self.store, self.bucket)

    def check(self) -> None:
        if not self.store.exists(self.bucket):
            raise Unavailable(self.store.full(self.bucket), "no such bucket; run `lookout init`")


@click.command()
def main() -> None:
    """Take events of MinIO, enter what they are about into the ledger, and have a workflow started for each batch.

    All settings come from the environment: docs/intake.md names them.
    """
    settings = Settings.from_environment(os.environ)
    configure(settings.log_level)
    own = IntakeSettings.from_environment(os.environ)
    if settings.store is None:
        raise InputRejected("is not set", "LOOKOUT_STORE", "an intake hears of objects on a server")
    store = open_minio(settings.store)
    pipeline, references = INSTALLATION.pipeline, INSTALLATION.references
    where = Where(
        open_ledger=lambda: open_ledger(settings, settings.state),
        pictures=BucketPictures(store, pipeline.inputs),
        pipeline=pipeline,
        buckets=Buckets(
            pictures=store.full(pipeline.inputs), references=frozenset(store.full(name) for name in references)
        ),
        check=lambda ledger: check_servers(pipeline, ledger, store),
        event_source=EventSource(url=own.post_to, token=own.post_token),
    )
    intake = Intake(where, token=own.token, pace=own.pace, clock=time.time, nonce=uuid.uuid4().hex[:8])
    listening = listen(own.host, own.port)
    log.info("listening", address="{}:{}".format(*listening.getsockname()[:2]), post_to=own.post_to)
    intake.serve(listening)


if __name__ == "__main__":
    sys.exit(run_command(main, "python -m event_sources.intake"))
