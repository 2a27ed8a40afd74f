"""Creation of the buckets: versioned, with lifecycle rules. Can be repeated.

**Why the lifecycle rule cannot remove what is live.** It removes a version only some days after another version or a
delete marker was put over it. What a ledger names as live lies on top, because ``publish`` puts it there; so its age
under the rule does not even begin. The one exception is a late PUT of an engine that had been frozen: then the named
version lies below it until upkeep publishes it again, which makes a copy on top, and from then on the content is safe
whatever happens to the version below (``get`` finds it by its digest). Upkeep runs daily; ``MIN_DAYS`` keeps the rule
from being faster than a week of missed upkeeps.

Nothing in an existing bucket is made looser: versioning is turned on, the one rule of ours is set to what is asked,
rules of others stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule
from minio.versioningconfig import VersioningConfig

from lookout.domain.errors import InputRejected, Unavailable
from lookout.object_store.minio.client import Connection
from lookout.object_store.minio.errors import translated
from lookout.object_store.minio.store import MinioStore

DEFAULT_DAYS: Final = 30
MIN_DAYS: Final = 7
RULE_ID: Final = "lookout-replaced-versions"
PASSING_RULE_ID: Final = "lookout-passing"


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketState:
    """One bucket as it is after ``make_buckets``: its full name, and what was done to it in words (empty: nothing)."""

    bucket: str
    full_name: str
    done: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketFacts:
    """One bucket as it is on the server, for a check that changes nothing. ``keeps_days`` is None without our rule."""

    bucket: str
    full_name: str
    exists: bool
    versioned: bool = False
    keeps_days: int | None = None


def make_buckets(store: MinioStore, buckets: Sequence[str], *, keep_days: int = DEFAULT_DAYS) -> list[BucketState]:
    """Make each bucket that is not there, turn its versioning on, and let replaced and removed versions go after
    ``keep_days`` days. Says for each what was done; a second call does nothing.

    Raises InputRejected for a name that no bucket can have, before any is made, and for fewer than MIN_DAYS days.
    """
    if keep_days < MIN_DAYS:
        raise InputRejected(f"expected at least {MIN_DAYS} days, got {keep_days}", "keep_days")
    full_names = [store.full(bucket) for bucket in buckets]
    connection = store.connection
    return [
        BucketState(bucket=bucket, full_name=name, done=tuple(_make(connection, name, keep_days)))
        for bucket, name in zip(buckets, full_names, strict=True)
    ]


def make_passing_bucket(store: MinioStore, bucket: str, *, keep_days: int = DEFAULT_DAYS) -> BucketState:
    """Make a bucket whose objects themselves go after ``keep_days`` days and that keeps no versions, as for logs. Never
    for what a ledger names. Raises InputRejected for a name that no bucket can have."""
    name, connection = store.full(bucket), store.connection
    done = _make_if_missing(connection, name)
    rule = Rule(
        status=ENABLED, rule_filter=Filter(prefix=""), rule_id=PASSING_RULE_ID, expiration=Expiration(days=keep_days)
    )
    if _set_rule(connection, name, rule):
        done.append(f"objects go after {keep_days} days")
    return BucketState(bucket=bucket, full_name=name, done=tuple(done))


def find_buckets(store: MinioStore, buckets: Sequence[str]) -> list[BucketFacts]:
    """Return the state of buckets on the server, in the order asked; changes nothing."""
    return [_look_at(store, bucket) for bucket in buckets]


def _look_at(store: MinioStore, bucket: str) -> BucketFacts:
    name, connection = store.full(bucket), store.connection
    if not connection.has_bucket(name):
        return BucketFacts(bucket=bucket, full_name=name, exists=False)
    with translated(connection.access.url, name):
        versioning = connection.client.get_bucket_versioning(name)
    ours = next((rule for rule in _rules(connection, name) if rule.rule_id == RULE_ID), None)
    kept = None if ours is None else ours.noncurrent_version_expiration
    return BucketFacts(
        bucket=bucket,
        full_name=name,
        exists=True,
        versioned=versioning.status == ENABLED,
        keeps_days=None if kept is None else kept.noncurrent_days,
    )


def _make(connection: Connection, name: str, keep_days: int) -> list[str]:
    done = _make_if_missing(connection, name)
    with translated(connection.access.url, name):
        if connection.client.get_bucket_versioning(name).status != ENABLED:
            connection.client.set_bucket_versioning(name, VersioningConfig(ENABLED))
            if not done:
                done.append("versioning turned on; what was overwritten before is lost")
    if _set_rule(connection, name, _rule(keep_days)):
        done.append(f"replaced and removed versions go after {keep_days} days")
    return done


def _make_if_missing(connection: Connection, name: str) -> list[str]:
    if connection.has_bucket(name):
        return []
    try:
        with translated(connection.access.url, name):
            connection.client.make_bucket(name)
    except Unavailable:
        if not connection.has_bucket(name):  # else another process made it in this moment
            raise
    return ["made"]


def _set_rule(connection: Connection, name: str, rule: Rule) -> bool:
    """Let the bucket have this rule beside those of others; False when it has it."""
    before = _rules(connection, name)
    after = [*(other for other in before if other.rule_id != rule.rule_id), rule]
    if before == after:
        return False
    with translated(connection.access.url, name):
        connection.client.set_bucket_lifecycle(name, LifecycleConfig(after))
    return True


def _rules(connection: Connection, name: str) -> list[Rule]:
    with translated(connection.access.url, name):
        found = connection.client.get_bucket_lifecycle(name)
    return [] if found is None else list(found.rules)


def _rule(keep_days: int) -> Rule:
    return Rule(
        status=ENABLED,
        rule_filter=Filter(prefix=""),
        rule_id=RULE_ID,
        expiration=Expiration(expired_object_delete_marker=True),
        noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=keep_days),
    )
