"""Difference between the inputs that are known and what was observed: the same rule for all backends. Does no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lookout.domain.records import Observation

Name = tuple[str, str]
"""Bucket and key of an input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChanges:
    """Changes that some observations make in the inputs of a ledger."""

    writes: Mapping[Name, Observation | None]
    """Inputs as they are now, those that have changed in any way; None for one that is gone."""
    changed: tuple[str, ...]
    """Keys whose content has changed, each as often as it has: all that read them are to be marked."""
    counts: Mapping[tuple[str, str], int]
    """By bucket and origin how many more inputs there are, or fewer; without zeros."""


def compare(known: Mapping[Name, Observation], observed: Iterable[Observation]) -> InputChanges:
    """Compare observations, in their order, with the inputs of their names, as far as these are known.

    An observation of the same content keeps the time of the first one. Raises ValueError for a ref of another object.
    """
    now: dict[Name, Observation | None] = {}
    changed: list[str] = []
    for seen in observed:
        name = (seen.bucket, seen.key)
        before = now[name] if name in now else known.get(name)
        is_, was = content(seen), content(before)
        kept = seen
        if is_ != was:
            changed.append(seen.key)
        elif before is None or before == seen:
            continue
        else:
            kept = _first_seen(seen, before.observed_at_s)
        now[name] = kept if is_ != (None, None) else None
    counts = Counter((new.bucket, new.origin) for new in now.values() if new is not None)
    counts.subtract((old.bucket, old.origin) for name in now if (old := known.get(name)) is not None)
    return InputChanges(
        writes=now, changed=tuple(changed), counts={name: count for name, count in counts.items() if count}
    )


def content(seen: Observation | None) -> tuple[str | None, str | None]:
    """Return the part of an observation that readers depend on: the same for an unknown key as for a deleted one.

    Raises ValueError for a ref of another object.
    """
    if seen is None:
        return None, None
    if seen.ref is None:
        return None, seen.error
    if (seen.ref.bucket, seen.ref.key) != (seen.bucket, seen.key):
        raise ValueError(f"expected a ref of {seen.bucket}/{seen.key}, got one of {seen.ref.path}")
    return seen.ref.sha256, seen.error


def _first_seen(seen: Observation, at_s: float) -> Observation:
    # Not ``replace``, which takes three times as long: this is done for each file of a source that is walked.
    return Observation(
        bucket=seen.bucket,
        key=seen.key,
        origin=seen.origin,
        ref=seen.ref,
        fingerprint=seen.fingerprint,
        observed_at_s=at_s,
        error=seen.error,
    )
