"""Bucket notifications to a target of the server: an extension of MinIO, not of plain S3.

The target is the server's business: it is set up where the server is (an environment variable or its own tools), and
named here by its ARN. Knows no receiver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from minio.error import S3Error
from minio.notificationconfig import NotificationConfig, QueueConfig

from lookout.domain.errors import InputRejected
from lookout.object_store.minio.buckets import BucketState
from lookout.object_store.minio.errors import code_of, translated
from lookout.object_store.minio.store import MinioStore

CONFIG_ID: Final = "lookout"
HINTS_ID: Final = "lookout-hints"
_CREATED: Final = "s3:ObjectCreated:"
EVENTS: Final = (
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Put",
    "s3:ObjectRemoved:DeleteMarkerCreated",
)
"""What changes what is visible. Not ``s3:ObjectRemoved:Delete``: lifecycle rules send that for each old version that
goes, when nothing visible changes. Who removes a visible version for good is found by reconcile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Target by its ARN, such as ``arn:minio:sqs::NAME:webhook``: of events that are delivered, or of ``hints``, which
    may be lost and tell only of new objects."""

    arn: str
    hints: bool = False

    @property
    def config(self) -> QueueConfig:
        events = [event for event in EVENTS if not self.hints or event.startswith(_CREATED)]
        return QueueConfig(queue=self.arn, events=events, config_id=HINTS_ID if self.hints else CONFIG_ID)

    @property
    def terms(self) -> tuple[str, ...]:
        """The parts by which two targets of one bucket are compared."""
        config = self.config
        return (str(config.config_id), str(config.queue), *sorted(config.events))

    @property
    def said(self) -> str:
        return f"hints to {self.arn}" if self.hints else f"tells {self.arn}"


def notify(store: MinioStore, targets: Mapping[str, Sequence[Target]]) -> list[BucketState]:
    """Let each bucket tell its targets, and no others of ours. Says for each what was done; a second call does nothing.
    What others have set up for the buckets stays.

    Raises InputRejected when the server has no such target.
    """
    return [_notify(store, bucket, wanted) for bucket, wanted in targets.items()]


def _notify(store: MinioStore, bucket: str, wanted: Sequence[Target]) -> BucketState:
    name, connection = store.full(bucket), store.connection
    with translated(connection.access.url, name):
        before = connection.client.get_bucket_notification(name)
        ours = [queue for queue in before.queue_config_list if queue.config_id in (CONFIG_ID, HINTS_ID)]
        if {(queue.config_id, queue.queue, *sorted(queue.events)) for queue in ours} == {one.terms for one in wanted}:
            return BucketState(bucket=bucket, full_name=name)
        after = NotificationConfig(
            before.cloud_func_config_list,
            [*(queue for queue in before.queue_config_list if queue not in ours), *(one.config for one in wanted)],
            before.topic_config_list,
        )
        try:
            connection.client.set_bucket_notification(name, after)
        except S3Error as error:
            if code_of(error) != "InvalidArgument":
                raise
            arns = ", ".join(one.arn for one in wanted)
            raise InputRejected(
                "the server lacks one of the targets",
                arns,
                "set MINIO_NOTIFY_WEBHOOK_* for events and MINIO_NOTIFY_NATS_* for hints where the server is started",
            ) from error
    return BucketState(bucket=bucket, full_name=name, done=tuple(one.said for one in wanted))
