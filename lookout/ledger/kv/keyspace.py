"""Keyspace of a ledger, which its parts share: the connection, the clock, names of keys, tries, reading of slots."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Final

from lookout.domain.errors import InputRejected, Unavailable
from lookout.ledger.kv import claim_values, keys
from lookout.ledger.kv.claim_values import ClaimPart
from lookout.ledger.kv.port import (
    Answer,
    Compacted,
    Compare,
    Found,
    KeyValues,
    Kv,
    NotPermitted,
    Op,
    Put,
    Range,
    SameLife,
    Unchanged,
)
from lookout.ledger.kv.slot_reader import SlotView, views

FORM: Final = 5
"""Raised whenever an older program could misread what a newer one wrote: keys, values, or the forms of ``codec``."""
OLDER: Final = (2, 3, 4)
"""Forms of which everything can be read as it is: 2 has no doubts of alerts, and held alerts among the others; in 3
alerts have no subject, in 4 no policy has decided."""
FILLING: Final = b"filling"
"""In the place of the form while a ledger is filled from a backup."""
GETS: Final = 120
"""Ranges asked for at once: under the limit of one transaction, with room for some beside them."""
TRIES: Final = 60
"""Tries of a transaction against others that change the same keys: each failure is another's success."""


@dataclass(slots=True)
class Picked:
    """Some keys that were looked for: by prefix those that are there, what was asked for beside them, and when."""

    picked: list[dict[str, Kv]]
    besides: list[Found]
    revision: int


class Keyspace:
    """Keys of one ledger in a store. ``kv`` is closed with it, ``prefix`` sets this ledger apart from others in the
    store, ``clock`` gives Unix seconds, ``ttl_s`` is the time for which a session outlives its process.

    Raises InputRejected for a prefix that is no use or a ledger of a newer form, and what the store raises.
    """

    def __init__(self, kv: KeyValues, prefix: str, clock: Callable[[], float] = time.time, *, ttl_s: int = 15) -> None:
        self.kv, self.clock, self.ttl_s = kv, clock, ttl_s
        self.prefix = keys.ledger(prefix)
        self._publishing = False
        self._pause = Event()
        self.shard = 0
        """Number of the shard of sums and counts that this connection adds to, so that two rarely write one key."""
        try:
            self._check_form()
        except BaseException:
            self.kv.close()
            raise

    def _check_form(self) -> None:
        name, where = self.name(keys.META), f"{self.kv.name}, prefix {self.prefix[:-1].decode()!r}"
        kv = self.kv.get_many([name]).get(name)
        if kv is None:
            self.kv.write([SameLife(name, 0)], [Put(name, b"%d" % FORM)])
            return
        if kv.value == FILLING:
            raise InputRejected(
                "a backup is being restored into it, or its restore was interrupted",
                where,
                "wait; or restore into another prefix, or remove all keys of this one first",
            )
        if not kv.value.isdigit():
            raise InputRejected(f"not a ledger: {kv.key!r} holds {kv.value[:40]!r}", where, "give another prefix")
        if int(kv.value) in OLDER:
            self._upgrade(kv, where)
        elif int(kv.value) != FORM:
            age, hint = ("a newer", "update Lookout") if int(kv.value) > FORM else ("an older", "begin anew")
            raise InputRejected(
                f"written by {age} Lookout: its form is {int(kv.value)}, this one knows {FORM}",
                where,
                f"{hint}, or give another prefix",
            )

    def _upgrade(self, kv: Kv, where: str) -> None:
        """Raise the form, so that older programs refuse the ledger instead of failing at some of its alerts."""
        try:
            raised = self.kv.write([Unchanged(kv.key, kv.mod_revision)], [Put(kv.key, b"%d" % FORM)])
        except NotPermitted as exc:
            raise Unavailable(
                where, f"its form is {int(kv.value)}, and `lookout init` has not brought it to {FORM} yet"
            ) from exc
        if not raised.succeeded:  # somebody else was faster
            self._check_form()

    def close(self) -> None:
        """Close the connection to the store."""
        self.kv.close()

    # --- names and writes -------------------------------------------------------------------------------------------

    def name(self, kind: bytes, *texts: str) -> bytes:
        """Return the key of this kind with these parts."""
        return self.prefix + kind + b"".join([keys.text(each) for each in texts])

    def span(self, kind: bytes, *texts: str) -> tuple[bytes, bytes]:
        """All keys of the kind that begin with these parts."""
        start = self.name(kind, *texts)
        return start, keys.after(start)

    def span_from(self, kind: bytes, texts: Sequence[str], prefix: str, first: str | None) -> tuple[bytes, bytes, int]:
        """From where to where the keys go, and where their last part begins."""
        start = self.name(kind, *texts)
        cut = len(start)
        if prefix:
            start += keys.open_text(prefix)
        end = keys.after(start)
        if first is not None:
            start = max(start, keys.behind(self.name(kind, *texts, first)))
        return start, end, cut

    def check_writing(self) -> None:
        """Raise RuntimeError while changes are handed out."""
        if self._publishing:
            raise RuntimeError("expected no write to the ledger while its changes are handed out")

    def write(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Answer:
        """Write one transaction. Raises RuntimeError while changes are handed out, and what the store raises."""
        self.check_writing()
        return self.kv.write(compares, ops)

    def attempts(self, what: str) -> Iterator[int]:
        """Tries of a transaction that others may spoil, with pauses that grow."""
        for attempt in range(TRIES):
            yield attempt
            self._pause.wait(random.uniform(0, min(0.004 * 2 ** min(attempt, 10), 0.3)))  # noqa: S311
        raise Unavailable(self.kv.name, f"{what} failed {TRIES} times: other processes changed the same keys")

    @contextmanager
    def handing_out(self) -> Iterator[None]:
        """Refuse writes in this context: changes are handed out, and whoever gets them must not change the ledger."""
        self._publishing = True
        try:
            yield
        finally:
            self._publishing = False

    # --- slots ------------------------------------------------------------------------------------------------------

    def pick(
        self, prefix: bytes, wanted: Collection[str], revision: int = 0, *, keys_only: bool = False
    ) -> dict[str, Kv]:
        """Those of the keys after the prefix that are there."""
        return self.pick_each([prefix], wanted, revision=revision, keys_only=keys_only).picked[0]

    def pick_each(
        self,
        prefixes: Sequence[bytes],
        wanted: Collection[str],
        besides: Sequence[Range] = (),
        revision: int = 0,
        *,
        keys_only: bool = False,
    ) -> Picked:
        """Those of the keys that are there after each of the prefixes, and what ``besides`` asks for; all at one
        revision, and mostly by one request. Raises Compacted for a revision that was given and is gone."""
        while True:
            try:
                return self._pick_at(prefixes, wanted, besides, revision, keys_only=keys_only)
            except Compacted:
                if revision:
                    raise

    def _pick_at(
        self,
        prefixes: Sequence[bytes],
        wanted: Collection[str],
        besides: Sequence[Range],
        revision: int,
        *,
        keys_only: bool,
    ) -> Picked:
        tails = {keys.text(key): key for key in wanted}
        todo = [(n, run) for n in range(len(prefixes)) for run in runs(sorted(tails))]
        found = Picked([{} for _ in prefixes], [], revision)
        while todo or besides:
            some, todo = todo[:GETS], todo[GETS:]
            asked = [
                Range(
                    prefixes[n] + run[0],
                    keys.behind(prefixes[n] + run[-1]),
                    limit=len(run) + len(run) // 2 + 8,
                    revision=found.revision,
                    keys_only=keys_only,
                )
                for n, run in some
            ]
            answer = self.kv.read([*besides, *asked])
            found.revision = found.revision or answer.revision
            for number, (n, run) in enumerate(some, len(besides)):
                page, cut = answer.get(number), len(prefixes[n])
                there = {kv.key[cut:]: kv for kv in page.kvs}
                found.picked[n].update((tails[tail], there[tail]) for tail in run if tail in there)
                if page.more:  # others lie between them
                    last = page.kvs[-1].key[cut:]
                    todo += [(n, [tail]) for tail in run if tail > last]
            found.besides += [answer.get(number) for number in range(len(besides))]
            besides = ()
        return found

    def read_suspects(self, stage: str, found: Iterable[Kv]) -> list[tuple[bytes, str]]:
        """Cohort and key of each suspect, the largest cohort first."""
        start = len(self.name(keys.SUSPECT, stage))
        return [(kv.key[start : start + 12], keys.parts(kv.key[start + 12 :], 1)[0]) for kv in found]

    def read_parts(self, claims: Sequence[Kv], leases: Sequence[Kv]) -> list[ClaimPart]:
        """Claims with their leases, of any stages."""
        start = len(self.prefix) + 1
        ends = {kv.key[start:]: kv for kv in leases}
        parts = []
        for kv in claims:
            stage, token, number = self.claim_name(kv.key)
            part = claim_values.read_part(stage, token, number, kv)
            lease = ends.get(kv.key[start:])
            if lease is not None:
                _, part.lease_end_s, _ = claim_values.read_lease(lease)
                part.lease_mod_revision = lease.mod_revision
            parts.append(part)
        return parts

    def claim_name(self, key: bytes) -> tuple[str, int, int]:
        """Stage, token and number of a claim from its key, or its lease's."""
        rest = key[len(self.prefix) + 1 :]
        (stage,) = keys.parts(rest[:-12], 1)
        return (stage, *keys.read_token_part(rest[-12:]))

    def part_names(self, part: ClaimPart) -> tuple[bytes, bytes]:
        """Return the keys of a part of a claim and of its lease."""
        tail = keys.text(part.stage) + keys.token_part(part.token, part.number)
        return self.prefix + keys.CLAIM + tail, self.prefix + keys.LEASE + tail

    def parts_of(self, stage: str) -> tuple[list[ClaimPart], int]:
        """All claims of a stage, and the revision at which they were read."""
        answer = self.kv.read([Range(*self.span(kind, stage)) for kind in (keys.CLAIM, keys.LEASE)])
        return self.read_parts(answer.get(0).kvs, answer.get(1).kvs), answer.revision

    def see(self, stage: str, wanted: Collection[str]) -> dict[str, SlotView]:
        """The slots of these keys that are there, at one revision."""
        if not wanted:
            return {}
        asked = [Range(*self.span(kind, stage)) for kind in (keys.CLAIM, keys.LEASE)]
        found = self.pick_each([self.name(kind, stage) for kind in (keys.SLOT, keys.DIRTY)], wanted, asked)
        rows, marks = found.picked
        return views(stage, wanted, rows, marks, self.read_parts(*[each.kvs for each in found.besides]))


def runs(order: Sequence[bytes]) -> list[list[bytes]]:
    """Keys in their order, cut into those that most likely lie beside each other, as pictures of one device and day do:
    each begins like the one before. To look for what lies far apart by one range would have the store count,
    and give, much of what lies between."""
    found: list[list[bytes]] = []
    for key in order:
        half = len(key) // 2
        if found and found[-1][-1][:half] == key[:half]:
            found[-1].append(key)
        else:
            found.append([key])
    return found
