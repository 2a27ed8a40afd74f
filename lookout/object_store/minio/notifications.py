"""Bucket notifications to a target of the server: an extension of MinIO, not of plain S3.

The target is the server's business: it is set up where the server is (an environment variable or its own tools), and
named here by its ARN. Knows no receiver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from minio.error import S3Error
from minio.notificationconfig import NotificationConfig, QueueConfig

from lookout.domain.errors import InputRejected
from lookout.object_store.minio.buckets import BucketState
from lookout.object_store.minio.errors import code_of, translated
from lookout.object_store.minio.store import MinioStore

CONFIG_ID: Final = "lookout"
EVENTS: Final = (
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Put",
    "s3:ObjectRemoved:DeleteMarkerCreated",
)
"""What changes what is visible. Not ``s3:ObjectRemoved:Delete``: lifecycle rules send that for each old version that
goes, when nothing visible changes. Who removes a visible version for good is found by reconcile."""


def notify(store: MinioStore, buckets: Sequence[str], target: str) -> list[BucketState]:
    """Let each bucket tell ``target``, an ARN such as ``arn:minio:sqs::NAME:webhook``, of each EVENTS. Says for each
    what was done; a second call does nothing. What others have set up for the buckets stays.

    Raises InputRejected when the server has no such target.
    """
    return [_notify(store, bucket, target) for bucket in buckets]


def _notify(store: MinioStore, bucket: str, target: str) -> BucketState:
    name, connection = store.full(bucket), store.connection
    with translated(connection.access.url, name):
        before = connection.client.get_bucket_notification(name)
        queues = before.queue_config_list
        if any(_is_ours(queue, target) for queue in queues):
            return BucketState(bucket=bucket, full_name=name)
        ours = QueueConfig(queue=target, events=list(EVENTS), config_id=CONFIG_ID)
        after = NotificationConfig(
            before.cloud_func_config_list,
            [*(queue for queue in queues if queue.config_id != CONFIG_ID), ours],
            before.topic_config_list,
        )
        try:
            connection.client.set_bucket_notification(name, after)
        except S3Error as error:
            if code_of(error) != "InvalidArgument":
                raise
            raise InputRejected(
                "the server has no such target", target, "set MINIO_NOTIFY_WEBHOOK_* where the server is started"
            ) from error
    return BucketState(bucket=bucket, full_name=name, done=(f"tells {target}",))


def _is_ours(queue: QueueConfig, target: str) -> bool:
    return queue.config_id == CONFIG_ID and queue.queue == target and sorted(queue.events) == sorted(EVENTS)
