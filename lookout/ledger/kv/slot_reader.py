"""Reader of slots, and all that the parts of the ledger share: the connection, the clock, names of keys, tries.

A slot lies in up to three places, so that the common steps touch few keys: its row, which only its holder writes; its
mark, which anybody puts without reading; and the claim that holds it, one key for all slots of one claim call.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Final

from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import Record, State
from lookout.ledger.kv import keys, slot_values
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
from lookout.ledger.kv.slot_values import ClaimPart, Kept
from lookout.ledger.port import Ledger
from lookout.ledger.rules.slots import SlotState

FORM: Final = 3
"""Raised whenever an older program could misread what a newer one wrote: keys, values, or the forms of ``codec``."""
OLDER: Final = (2,)
"""Forms of which everything can be read as it is: without doubts of alerts, and with held alerts among the others."""
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


@dataclass(slots=True)
class SlotView:
    """One slot as a transaction has read it. ``row`` is put together and may be changed; the rest says what was."""

    stage: str
    key: str
    row: SlotState
    kept: Kept | None
    version: int
    """Number of puts that its mark has."""
    part: ClaimPart | None
    record: Record | None = None
    """The one that was live."""
    touched: bool = False
    """True if this transaction marks it."""


class KvBase(Ledger):
    """Common part. ``kv`` is closed with the ledger, ``prefix`` sets this ledger apart from others in it, ``clock``
    gives Unix seconds, ``ttl_s`` is the time for which a session outlives its process."""

    def __init__(self, kv: KeyValues, prefix: str, clock: Callable[[], float] = time.time, *, ttl_s: int = 15) -> None:
        self._kv, self._clock, self._ttl_s = kv, clock, ttl_s
        self._prefix = keys.ledger(prefix)
        self._publishing = False
        self._sessions: set[str] = set()
        self._not_ours: set[tuple[str, int] | str] = set()
        """Claim calls, by stage and token, and dead owners that this user may not, or not wholly, take back."""
        self._pause = Event()
        self._shard = 0
        self._claimed: dict[tuple[str, str, int], Kept] = {}
        """Rows of slots that were claimed here, by (stage, key, token): nobody changes them without a mark."""
        try:
            self._check_form()
        except BaseException:
            self._kv.close()
            raise

    def _check_form(self) -> None:
        name, where = self._name(keys.META), f"{self._kv.name}, prefix {self._prefix[:-1].decode()!r}"
        kv = self._kv.get_many([name]).get(name)
        if kv is None:
            self._kv.write([SameLife(name, 0)], [Put(name, b"%d" % FORM)])
            return
        if kv.value == FILLING:
            raise InputRejected(
                "a backup is being restored into it, or that was cut off",
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
            raised = self._kv.write([Unchanged(kv.key, kv.mod_revision)], [Put(kv.key, b"%d" % FORM)])
        except NotPermitted as exc:
            raise Unavailable(
                where, f"its form is {int(kv.value)}, and `lookout init` has not brought it to {FORM} yet"
            ) from exc
        if not raised.succeeded:  # somebody else was faster
            self._check_form()

    def close(self) -> None:
        self._kv.close()

    # --- names and writes -------------------------------------------------------------------------------------------

    def _name(self, kind: bytes, *texts: str) -> bytes:
        return self._prefix + kind + b"".join([keys.text(each) for each in texts])

    def _range(self, kind: bytes, *texts: str) -> tuple[bytes, bytes]:
        """All keys of the kind that begin with these parts."""
        start = self._name(kind, *texts)
        return start, keys.after(start)

    def _check_writing(self) -> None:
        if self._publishing:
            raise RuntimeError("expected no write to the ledger while its changes are handed out")

    def _write(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Answer:
        self._check_writing()
        return self._kv.write(compares, ops)

    def _attempts(self, what: str) -> Iterator[int]:
        """Tries of a transaction that others may spoil, with pauses that grow."""
        for attempt in range(TRIES):
            yield attempt
            self._pause.wait(random.uniform(0, min(0.002 * (attempt + 1), 0.05)))  # noqa: S311
        raise Unavailable(self._kv.name, f"{what}: others changed the same {TRIES} times")

    @contextmanager
    def _handing_out(self) -> Iterator[None]:
        self._publishing = True
        try:
            yield
        finally:
            self._publishing = False

    # --- slots ------------------------------------------------------------------------------------------------------

    def _pick(
        self, prefix: bytes, wanted: Collection[str], revision: int = 0, *, keys_only: bool = False
    ) -> dict[str, Kv]:
        """Those of the keys after the prefix that are there."""
        return self._pick_each([prefix], wanted, revision=revision, keys_only=keys_only).picked[0]

    def _pick_each(
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
            answer = self._kv.read([*besides, *asked])
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

    def _read_parts(self, claims: Sequence[Kv], leases: Sequence[Kv]) -> list[ClaimPart]:
        """Claims with their leases, of any stages."""
        start = len(self._prefix) + 1
        ends = {kv.key[start:]: kv for kv in leases}
        parts = []
        for kv in claims:
            stage, token, number = self._claim_name(kv.key)
            part = slot_values.read_part(stage, token, number, kv)
            lease = ends.get(kv.key[start:])
            if lease is not None:
                _, part.lease_end_s, _ = slot_values.read_lease(lease)
                part.lease_mod_revision = lease.mod_revision
            parts.append(part)
        return parts

    def _claim_name(self, key: bytes) -> tuple[str, int, int]:
        """Stage, token and number of a claim from its key, or its lease's."""
        rest = key[len(self._prefix) + 1 :]
        (stage,) = keys.parts(rest[:-12], 1)
        return (stage, *keys.read_token_part(rest[-12:]))

    def _part_names(self, part: ClaimPart) -> tuple[bytes, bytes]:
        tail = keys.text(part.stage) + keys.token_part(part.token, part.number)
        return self._prefix + keys.CLAIM + tail, self._prefix + keys.LEASE + tail

    def _parts_of(self, stage: str) -> tuple[list[ClaimPart], int]:
        """All claims of a stage, and the revision at which they were read."""
        answer = self._kv.read([Range(*self._range(kind, stage)) for kind in (keys.CLAIM, keys.LEASE)])
        return self._read_parts(answer.get(0).kvs, answer.get(1).kvs), answer.revision

    def _see(self, stage: str, wanted: Collection[str]) -> dict[str, SlotView]:
        """The slots of these keys that are there, at one revision."""
        if not wanted:
            return {}
        asked = [Range(*self._range(kind, stage)) for kind in (keys.CLAIM, keys.LEASE)]
        found = self._pick_each([self._name(kind, stage) for kind in (keys.SLOT, keys.DIRTY)], wanted, asked)
        rows, marks = found.picked
        return views(stage, wanted, rows, marks, self._read_parts(*[each.kvs for each in found.besides]))


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


def views(
    stage: str, wanted: Collection[str], rows: Mapping[str, Kv], marks: Mapping[str, Kv], parts: Sequence[ClaimPart]
) -> dict[str, SlotView]:
    """Slots put together from what was read at one revision; a row that cannot be read harms no other."""
    kept = {one.row.key: one for one in slot_values.read_slots_apart([(stage, key, kv) for key, kv in rows.items()])}
    holders = {key: part for part in parts for key in part.held}
    found = {}
    for key in wanted:
        view = view_of(stage, key, kept.get(key), marks.get(key), holders.get(key))
        if view is not None:
            found[key] = view
    return found


def view_of(stage: str, key: str, kept: Kept | None, mark: Kv | None, part: ClaimPart | None) -> SlotView | None:
    """One slot put together; None if it is nowhere."""
    if kept is None and mark is None and part is None:
        return None
    row = kept.row if kept is not None else SlotState(stage, key)
    version = mark.version if mark is not None else 0
    base = part.held[key][0] if part is not None else kept.base if kept is not None else 0
    row.dirty = base + version
    if row.dirty and (kept is None or kept.rests):
        row.tries = row.losses = 0
    if mark is not None:
        row.updated_at_s = max(row.updated_at_s, slot_values.read_mark(mark))
    if part is not None:
        row.state, row.owner, row.token = State.RUNNING, part.owner, part.token
        row.lease_end_s = part.lease_end_s
        row.updated_at_s = max(row.updated_at_s, part.claimed_at_s)
    return SlotView(stage, key, row, kept, version, part, row.record)
