"""Rights of each role on each bucket, as S3 policy documents: pure data, with the least that each role needs.

A role reads some buckets and writes some. To read is to get and list, all versions: the ledger names versions. To
write is to read, put, hide, and remove one's own versions that were not committed. A write-only role can neither read
nor overwrite what anybody still reads: each PUT is a version, and the ledger names the older one.

Two denials go with every role, as MinIO by default lets each user make service accounts and temporary credentials of
their own, which outlive the user's secret: all of the admin interface, and all requests of derived credentials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lookout.domain.records import JsonObject
from lookout.object_store.minio.names import full_bucket

ENGINE: Final = "engine"
UPLOADER: Final = "uploader"
CAMERA: Final = "camera"
INTAKE: Final = "intake"
LOGS: Final = "logs"
LOGS_BUCKET: Final = "lookout-logs"
METRICS: Final = "metrics"

_READ_OBJECTS: Final = ("s3:GetObject", "s3:GetObjectVersion")
_READ_BUCKET: Final = (
    "s3:GetBucketLocation",
    "s3:GetBucketVersioning",
    "s3:GetLifecycleConfiguration",
    "s3:ListBucket",
    "s3:ListBucketVersions",
)
_PUT: Final = ("s3:PutObject",)
_TRANSFER_BUCKET: Final = ("s3:ListBucket",)
_TRANSFER_OBJECTS: Final = ("s3:AbortMultipartUpload", "s3:GetObject")
_DERIVED: Final[JsonObject] = {"StringEquals": {"aws:principaltype": ["AssumedRole"]}}
"""True of requests with the credentials of a service account or a session (STS), not with a user's own."""
_REMOVE: Final = ("s3:DeleteObject", "s3:DeleteObjectVersion")


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """Rights of one user, by bucket names without the prefix. ``writes`` may be read too; ``puts`` only put to, and
    where there are ``endings`` only keys of which none hides another (``names.check_beside_others``).

    ``transfers`` adds what MinIO's FTP and SFTP servers ask of a user before they store a file in ``puts``: to look for
    the bucket, which is the right to list it; to look for a folder, which is the right to read a key without one of
    the ``endings``, of which there is none; and to remove the parts of an upload that broke off.
    """

    name: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    puts: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    transfers: bool = False
    measures: bool = False
    """May read the server's metrics, which is the one right of the admin interface that anybody has."""


def roles(
    inputs: str, stages: Mapping[str, Sequence[str]], references: Sequence[str], endings: tuple[str, ...] = ()
) -> list[Role]:
    """Return the roles of a pipeline: one a stage (``stages`` maps each to the buckets it reads, its references
    included), the engine of a machine that runs all stages, a device that uploads, a camera that does so by FTP or
    SFTP, and the intake, which stores what devices send it by HTTP. The intake sees the first stage's results, which
    are the same pictures: beside results, a ledger that is empty is a lost one.

    The engine may put pictures but never remove one: what devices sent is not its own. ``endings`` are those that a
    picture's key may have; all, if there are none.
    """
    return [
        *(Role(name=stage, reads=tuple(reads), writes=(stage,)) for stage, reads in stages.items()),
        Role(name=ENGINE, reads=(inputs,), writes=(*references, *stages), puts=(inputs,), endings=endings),
        Role(name=UPLOADER, puts=(inputs,), endings=endings),
        Role(name=CAMERA, puts=(inputs,), endings=endings, transfers=True),
        Role(name=INTAKE, reads=(inputs, *list(stages)[:1]), puts=(inputs,), endings=endings),
    ]


def logs_role() -> Role:
    """Return the role that keeps the logs of a cluster's workflows, in a bucket of their own: puts and reads them."""
    return Role(name=LOGS, reads=(LOGS_BUCKET,), puts=(LOGS_BUCKET,))


def metrics_role() -> Role:
    """Return the role of Prometheus, which may read the server's metrics and nothing else."""
    return Role(name=METRICS, measures=True)


def policy(role: Role, prefix: str) -> JsonObject:
    """Return the policy document of a role. Raises InputRejected for a bucket that cannot be named so."""
    readable = [full_bucket(prefix, bucket) for bucket in dict.fromkeys((*role.reads, *role.writes))]
    writable = [full_bucket(prefix, bucket) for bucket in role.writes]
    puttable = [full_bucket(prefix, bucket) for bucket in role.puts]
    put_keys = [f"*{ending}" for ending in role.endings] or ["*"]
    statements = [
        _statement("Allow", _READ_BUCKET, readable),
        _statement("Allow", _READ_OBJECTS, _below(readable, ["*"])),
        _statement("Allow", _PUT, [*_below(writable, ["*"]), *_below(puttable, put_keys)]),
        _statement("Allow", _REMOVE, _below(writable, ["*"])),
        _statement("Deny", _PUT, _below(puttable, [f"*{ending}/*" for ending in role.endings])),
        *(_transfers(puttable, put_keys) if role.transfers else ()),
        *_administration(role),
        {**_statement("Deny", ["s3:*"], ["*"]), "Condition": _DERIVED},
    ]
    return {"Version": "2012-10-17", "Statement": [found for found in statements if found.get("Resource") != []]}


def _transfers(buckets: Sequence[str], objects: Sequence[str]) -> list[JsonObject]:
    """See ``Role``. Without the right to read, a look for a folder is refused; with it, the answer is that there is no
    such object, which the servers take for a folder."""
    return [
        _statement("Allow", _TRANSFER_BUCKET, buckets),
        _statement("Allow", _TRANSFER_OBJECTS, _below(buckets, ["*"])),
        _statement("Deny", _READ_OBJECTS, _below(buckets, objects)),
    ]


def _administration(role: Role) -> list[JsonObject]:
    if not role.measures:
        return [{"Effect": "Deny", "Action": ["admin:*"]}]
    return [
        {"Effect": "Allow", "Action": ["admin:Prometheus"]},
        {"Effect": "Deny", "Action": ["admin:CreateServiceAccount", "admin:CreateUser"]},
    ]


def _below(buckets: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [f"{bucket}/{pattern}" for bucket in buckets for pattern in patterns]


def _statement(effect: str, actions: Sequence[str], resources: Sequence[str]) -> JsonObject:
    named = sorted({f"arn:aws:s3:::{resource}" for resource in resources})
    return {"Effect": effect, "Action": sorted(actions), "Resource": named}
