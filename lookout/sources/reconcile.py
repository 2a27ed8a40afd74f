"""The source against the inputs of the ledger, so that no picture is lost for good, whatever events were lost.

``reconcile`` merges a whole listing with all known inputs: daily. ``reconcile_recent`` looks only behind the last key
of each series (``porch_1763798400.jpg`` is of the series ``porch_``), as photographs arrive in the order of time: each
minute, at the cost of one page of a listing a series. What comes late, with an older time, is found by the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final

from lookout.domain.records import Observation
from lookout.ledger.notes import read_note, texts
from lookout.ledger.port import Ledger
from lookout.sources.comparable import Source
from lookout.sources.ingest import bind
from lookout.sources.merge import merge

CURSOR_NOTE: Final = "reconciled"
"""Where a full merge was cut off."""
TAILS_NOTE: Final = "tails"
"""The last key of each series, as JSON: for some thousand devices, as it is read and written whole."""
_AT_ONCE: Final = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """``seen`` objects were compared, ``changed`` inputs were new or differed, ``gone`` ones are deleted, ``held`` ones
    are gone and left to a person. ``resumed`` says that an earlier pass had been cut off and this one went on from
    there; ``unlistable`` folders could not be listed, by key, and why."""

    seen: int
    changed: int
    gone: int
    resumed: bool = False
    held: int = 0
    unlistable: Mapping[str, str] = field(default_factory=dict)


def series_of(key: str) -> str:
    """Return the prefix of a device's keys: all up to the last underscore; a key without one is a series of its own."""
    start, underscore, _ = key.rpartition("_")
    return start + underscore or key


def reconcile(
    ledger: Ledger,
    source: Source,
    bucket: str,
    readers: tuple[str, ...],
    clock: Callable[[], float],
    *,
    verify: bool = False,
    allow_deletions: bool = False,
) -> Reconciled:
    """Compare all of the source with all known inputs of the bucket; ``readers`` are the stages that read them.

    See ``merge``. A pass that is cut off goes on from the last part before which nothing was gone, so that what is gone
    is counted whole. Memory also holds the last key of each series.

    Raises InputRejected when the state belongs to another source. Raises Unavailable when source or ledger do not
    answer.
    """
    bind(ledger, source.origin)
    after = "" if verify else (ledger.find_note(CURSOR_NOTE) or "")
    parts = source.compare(ledger.inputs(bucket, after=after), clock(), after=after, verify=verify)
    keep = partial(ledger.put_note, CURSOR_NOTE)
    found = merge(ledger, source, parts, bucket, readers, clock, allow_deletions=allow_deletions, on_settled=keep)
    keep("")
    _put_tails(ledger, _known_tails(ledger, bucket))
    return Reconciled(
        seen=found.seen,
        changed=found.changed,
        gone=found.gone,
        resumed=bool(after),
        held=found.held,
        unlistable=found.unlistable,
    )


def reconcile_recent(
    ledger: Ledger, source: Source, bucket: str, readers: tuple[str, ...], clock: Callable[[], float]
) -> Reconciled:
    """Take in what lies behind the last known key of each series, and all series that are new; nothing is retracted.

    One walk through the listing, which jumps over all that is known of a series as soon as it meets it: so a series
    costs one page, however many photographs it has, and devices need not be known beforehand. Where the last keys are
    is kept by ``reconcile``: before its first pass, this walks through everything once.

    Raises InputRejected when the state belongs to another source, Unavailable when source or ledger do not answer.
    """
    bind(ledger, source.origin)
    tails = _tails(ledger)
    seen = changed = 0
    for keys in _batches(_behind(source, dict(tails))):
        known = ledger.find_inputs(bucket, keys)
        fresh: list[Observation] = [source.observe(key, clock()) for key in keys if key not in known]
        changed += ledger.observe(fresh, readers)
        seen += len(keys)
        tails.update((series, key) for key in keys if (series := series_of(key)) != key)
    if seen:
        _put_tails(ledger, tails)
    return Reconciled(seen=seen, changed=changed, gone=0)


def _behind(source: Source, tails: Mapping[str, str]) -> Iterator[str]:
    """Yield the keys of the source that come after the tail of their series."""
    keys = source.keys()
    while (key := next(keys, None)) is not None:
        tail = tails.get(series_of(key))
        if tail is None or key > tail:
            yield key
        elif key < tail:
            keys = source.keys(tail)


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    source = iter(keys)
    while batch := list(islice(source, _AT_ONCE)):
        yield batch


# --- the last keys ---------------------------------------------------------------------------------------------------


def _known_tails(ledger: Ledger, bucket: str) -> dict[str, str]:
    """By one pass through the inputs, in the order of their keys: the last of a series wins. A key without series needs
    no tail, as there is nothing to jump over."""
    return {series: seen.key for seen in ledger.inputs(bucket) if (series := series_of(seen.key)) != seen.key}


def _tails(ledger: Ledger) -> dict[str, str]:
    return read_note(ledger, TAILS_NOTE, "the last key of each series", texts, {})


def _put_tails(ledger: Ledger, tails: Mapping[str, str]) -> None:
    ledger.put_note(TAILS_NOTE, json.dumps(tails, separators=(",", ":")))
