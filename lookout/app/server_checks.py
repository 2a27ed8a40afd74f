"""``lookout doctor`` on servers: do they answer, are they what is needed, and will they stay so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from lookout.app.deployment import open_minio
from lookout.app.health_checks import Check
from lookout.config.addresses import LedgerAddress, StoreAddress
from lookout.text import count

if TYPE_CHECKING:
    from lookout.ledger.etcd.health import Member
    from lookout.object_store.minio import MinioStore
    from lookout.object_store.minio.buckets import BucketFacts

CLOCK_WARNING_S: Final = 5.0
CLOCK_BAD_S: Final = 15 * 60.0
"""Difference of clocks from which on S3 refuses every request."""
FILLED_WARNING: Final = 0.7
FILLED_BAD: Final = 0.9
OLDEST_ETCD: Final = (3, 5)
_INIT: Final = "lookout init"


# --- the store -------------------------------------------------------------------------------------------------------


def check_store(address: StoreAddress, buckets: Sequence[str]) -> Iterator[Check]:
    """Check the server, its clock, the credentials and the buckets. Raises Unavailable when it does not answer."""
    from lookout.object_store.minio.health import look

    store = open_minio(address)
    health = look(store.access)
    version = health.version or "its version is told to administrators only"
    hint = "see the server's log: are its disks there?"
    found = f"{address.url}, {health.server}, {version}"
    yield Check(name="store", ok=health.is_ready, found=found if health.is_ready else f"{found}: not ready", hint=hint)
    yield check_clock(health.clock_ahead_s)
    yield from _check_buckets(store, buckets)


def check_clock(ahead_s: float | None) -> Check:
    """Say by how much the clocks differ; ``ahead_s`` is the server's, to a second."""
    if ahead_s is None:
        return Check(name="clock", ok=True, warning=True, found="the server does not tell the time")
    apart_s = abs(ahead_s)
    found = (
        "as the server's"
        if apart_s < 1.5
        else f"the server's is {apart_s:,.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    )
    return Check(
        name="clock",
        ok=apart_s < CLOCK_BAD_S,
        warning=apart_s >= CLOCK_WARNING_S,
        found=found,
        hint="set both clocks (NTP); from 15 minutes on the store refuses everything",
    )


def _check_buckets(store: MinioStore, buckets: Sequence[str]) -> Iterator[Check]:
    from lookout.domain.errors import Denied
    from lookout.object_store.minio.buckets import find_buckets

    seen: list[BucketFacts] = []
    denied = []
    for bucket in buckets:
        try:
            seen += find_buckets(store, [bucket])
        except Denied:
            denied.append(bucket)
    user = f"{store.access.access_key} is let in"
    limits = f", and may not look at {', '.join(denied)}" if denied else ""
    yield Check(name="credentials", ok=True, found=user + limits)
    yield _named("buckets", [fact for fact in seen if not fact.exists], len(seen), "missing")
    there = [fact for fact in seen if fact.exists]
    yield _named("versioning", [fact for fact in there if not fact.versioned], len(there), "keep no versions")
    keeping = [fact for fact in there if fact.keeps_days is None]
    yield _named("lifecycle", keeping, len(there), "keep old versions for ever", warning=True)


def _named(name: str, bad: list[BucketFacts], total: int, trouble: str, *, warning: bool = False) -> Check:
    found = f"{', '.join(fact.full_name for fact in bad)}: {trouble}" if bad else f"right in {count(total, 'bucket')}"
    return Check(name=name, ok=warning or not bad, warning=warning and bool(bad), found=found, hint=_INIT)


# --- the ledger ------------------------------------------------------------------------------------------------------


def check_ledger(address: LedgerAddress) -> Iterator[Check]:
    """Every member of the etcd by itself; a bad ``ledger`` when none can work."""
    from lookout.ledger.etcd import Address
    from lookout.ledger.etcd.health import look

    members = look(Address.of(address))
    for member in members:
        yield from check_member(member)
    if all(member.error is not None for member in members):
        yield Check(name="ledger", ok=False, found=f"{address.url}: no member can work", hint="see above")
    there = max((member.members for member in members), default=0)
    if there > len(members):
        yield Check(
            name="members",
            ok=True,
            warning=True,
            found=f"{there} in the cluster, {len(members)} in LOOKOUT_LEDGER",
            hint="name all, so that none that is down stops the work",
        )


def check_member(member: Member) -> Iterator[Check]:
    """Check one member: its state, its alarms, its room."""
    name = f"etcd {member.endpoint}"
    if member.error is not None:
        yield Check(name=name, ok=False, found=member.error, hint="is it running, and LOOKOUT_LEDGER right?")
        return
    if member.electing:
        hint = "once is no trouble; if it is said again, look at the network between the members and at their disks"
        yield Check(name=name, ok=True, warning=True, found="saw no leader, and a moment later one", hint=hint)
    parts = re.findall(r"\d+", member.version)[:2]
    yield Check(
        name=name,
        ok=tuple(map(int, parts)) >= OLDEST_ETCD,
        found=f"{member.version}, {'leads' if member.leads else 'follows'}, {count(member.members, 'member')} in all",
        hint=f"etcd {'.'.join(map(str, OLDEST_ETCD))} or newer is needed",
    )
    for alarm in member.alarms:
        hint = "compact, defragment, raise --quota-backend-bytes, then: etcdctl alarm disarm"
        yield Check(
            name=name, ok=False, found=f"alarm {alarm}", hint=hint if alarm == "NOSPACE" else "restore a backup"
        )
    yield _check_room(name, member.database_bytes, member.quota_bytes)


def _check_room(name: str, used: int, quota: int | None) -> Check:
    if not quota:
        return Check(name=name, ok=True, found=f"database {used / 1024**2:,.0f} MiB; its quota is not told")
    share = used / quota
    return Check(
        name=name,
        ok=share < FILLED_BAD,
        warning=share >= FILLED_WARNING,
        found=f"database {used / 1024**2:,.0f} of {quota / 1024**2:,.0f} MiB",
        hint="compact and defragment it, or raise --quota-backend-bytes",
    )
