"""Who may do what with which bucket, as S3 policy documents: pure data, with the least that each role needs.

A role reads some buckets and writes some. To read is to get and list, all versions: the ledger names versions. To
write is to read, put, hide, and remove one's own versions that were not committed. Who only puts can neither look nor
overwrite what anybody still reads: each PUT is a version, and the ledger names the older one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lookout.datum import JsonObject
from lookout.objects.minio.names import full_bucket

ENGINE: Final = "engine"
UPLOADER: Final = "uploader"
LOGS: Final = "logs"
LOGS_BUCKET: Final = "lookout-logs"

_READ_OBJECTS: Final = ("s3:GetObject", "s3:GetObjectVersion")
_READ_BUCKET: Final = (
    "s3:GetBucketLocation",
    "s3:GetBucketVersioning",
    "s3:GetLifecycleConfiguration",
    "s3:ListBucket",
    "s3:ListBucketVersions",
)
_PUT: Final = ("s3:PutObject",)
_REMOVE: Final = ("s3:DeleteObject", "s3:DeleteObjectVersion")


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """What one user may do, by bucket names without the prefix. ``writes`` may be read too; ``puts`` only put to."""

    name: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    puts: tuple[str, ...] = ()


def roles(inputs: str, stages: Mapping[str, Sequence[str]], references: Sequence[str]) -> list[Role]:
    """The roles of a pipeline: one a stage (``stages`` maps each to the buckets it reads, its references included),
    the engine of a machine that runs all stages, and a device that uploads.

    The engine may put pictures but never remove one: what devices sent is not its own.
    """
    return [
        *(Role(name=stage, reads=tuple(reads), writes=(stage,)) for stage, reads in stages.items()),
        Role(name=ENGINE, reads=(inputs,), writes=(*references, *stages), puts=(inputs,)),
        Role(name=UPLOADER, puts=(inputs,)),
    ]


def logs_role() -> Role:
    """Who keeps the logs of a cluster's workflows, in a bucket of their own: puts them and reads them."""
    return Role(name=LOGS, reads=(LOGS_BUCKET,), puts=(LOGS_BUCKET,))


def policy(role: Role, prefix: str) -> JsonObject:
    """The policy document of a role. Raises InputRejected for a bucket that cannot be named so."""
    readable = [full_bucket(prefix, bucket) for bucket in dict.fromkeys((*role.reads, *role.writes))]
    writable = [full_bucket(prefix, bucket) for bucket in role.writes]
    puttable = [full_bucket(prefix, bucket) for bucket in dict.fromkeys((*role.writes, *role.puts))]
    statements = [
        _allow(_READ_BUCKET, readable, ""),
        _allow(_READ_OBJECTS, readable, "/*"),
        _allow(_PUT, puttable, "/*"),
        _allow(_REMOVE, writable, "/*"),
    ]
    return {"Version": "2012-10-17", "Statement": [statement for statement in statements if statement is not None]}


def _allow(actions: Sequence[str], buckets: Sequence[str], below: str) -> JsonObject | None:
    if not buckets:
        return None
    return {
        "Effect": "Allow",
        "Action": sorted(actions),
        "Resource": sorted(f"arn:aws:s3:::{bucket}{below}" for bucket in buckets),
    }
