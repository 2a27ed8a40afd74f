"""``python -m event_sources.intake``: the settings, the servers and the pipeline, put together and served.

The only module here that knows where things are. The pipeline is read for the names of its buckets and stages: no
stage's code is loaded.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import click

from event_sources.intake.settings import IntakeSettings
from lookout.app.deployment import open_ledger, open_minio
from lookout.app.process import run_command
from lookout.app.state_identity import check_servers
from lookout.config.settings import Settings
from lookout.domain.errors import InputRejected
from lookout.log import configure, get_logger
from stages.camera_names.exif_time import find_exif_time
from stages.camera_names.instant import to_instant
from stages.imaging.exif import find_texts
from stages.installation import INSTALLATION
from stages.picture_names import find_name
from stages.time_zones import find_zone

if TYPE_CHECKING:
    from event_sources.intake.picture_api import WayIn
    from lookout.object_store.minio import MinioStore

log = get_logger(__name__)


@click.command()
def main() -> None:
    """Take events of MinIO, enter what they are about into the ledger, and have a workflow started for each batch.

    All settings come from the environment: docs/intake.md names them.
    """
    # Imported here, within ``run_command``, which tells of a missing extra: the intake's own first, which brings both.
    from event_sources.intake.http_api import Buckets
    from event_sources.intake.service import Intake, Where, listen
    from event_sources.intake.workflow_trigger import EventSource

    settings = Settings.from_environment(os.environ)
    configure(settings.log_level)
    own = IntakeSettings.from_environment(os.environ)
    if settings.store is None:
        raise InputRejected("is not set", "LOOKOUT_STORE", "an intake needs a store on a server")
    if settings.ledger is None and own.pace.runs is not None:
        raise InputRejected("is not set", "LOOKOUT_LEDGER", "open runs need a ledger on a server; or unset _LINGER_S")
    from event_sources.intake.bucket_pictures import BucketPictures

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
        hints=own.hints,
    )
    way_in = None if own.senders is None else _way_in(own.senders, store, pipeline.inputs)
    intake = Intake(where, token=own.token, pace=own.pace, clock=time.time, nonce=uuid.uuid4().hex[:8], way_in=way_in)
    listening = listen(own.host, own.port)
    for_pictures = None
    if way_in is not None:
        for_pictures = listen(*own.pictures, setting="LOOKOUT_INTAKE_PICTURES_LISTEN")
        address = "{}:{}".format(*for_pictures.getsockname()[:2])
        log.info("listening for pictures", address=address, devices=len(way_in.devices.tokens))
    log.info("listening", address="{}:{}".format(*listening.getsockname()[:2]), post_to=own.post_to)
    intake.serve(listening, for_pictures)


def _way_in(file: Path, store: MinioStore, bucket: str) -> WayIn:
    from event_sources.intake.device_tokens import DeviceTokens
    from event_sources.intake.picture_api import WayIn
    from event_sources.intake.picture_shelf import PictureShelf

    return WayIn(
        devices=DeviceTokens.read(file, _is_device, find_zone),
        shelf=PictureShelf(store, bucket),
        find_name=find_name,
        find_time=_find_time,
    )


def _is_device(name: str) -> bool:
    found = find_name(f"{name}_0000000000.jpg")
    return found is not None and found.device == name


def _find_time(picture: bytes, zone: tzinfo | None, now: datetime) -> datetime | None:
    """Return the instant that the EXIF tags of a picture say; None without, or where they say a local time only and
    the zone is not known."""
    written = find_exif_time(find_texts(picture))
    if written is None or (written.is_local and zone is None):
        return None
    return written.at if zone is None or not written.is_local else to_instant(written.at, zone, now).at


if __name__ == "__main__":
    sys.exit(run_command(main, "python -m event_sources.intake"))
