"""Commits: many outcomes in few transactions, each outcome whole in one.

A piece of a commit is read in two steps, settled in memory by ``settling``, and written by one transaction that holds
only if nothing it was settled on has changed; otherwise it is read again. Claims cover the slots: only who holds one
writes its row, so the claim, the session and the marks are what is compared.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence

from lookout.domain.errors import InputRejected
from lookout.domain.records import Claim, Outcome, State
from lookout.ledger import codec
from lookout.ledger.kv import keys, record_values, slot_values
from lookout.ledger.kv.claims import Claims
from lookout.ledger.kv.commit_unit import CommitUnit, Name, Read, below_path
from lookout.ledger.kv.keyspace import GETS, Keyspace
from lookout.ledger.kv.leases import Leases
from lookout.ledger.kv.outbox import Alerts
from lookout.ledger.kv.policy import PolicyTexts
from lookout.ledger.kv.port import Found, Kv, Range
from lookout.ledger.kv.publishing import Publishing
from lookout.ledger.kv.record_values import Path
from lookout.ledger.kv.slot_reader import view_of
from lookout.ledger.kv.slot_values import Kept
from lookout.ledger.kv.tallies import SHARDS, Shards, read_shards
from lookout.ledger.kv.transaction import TransactionBuilder
from lookout.ledger.port import Settled
from lookout.ledger.rules import slots as settling
from lookout.ledger.rules.decisions import alerts_read, names_read

Pair = tuple[Claim, Outcome]
BELOW = 200
"""Paths read below one that is to be a file: more than one transaction could have freed."""
OPS = 700
"""Operations that one piece may be expected to have; the hard limits are those of ``TransactionBuilder.fits``."""


class Commits:
    """Commits of outcomes. See ``Ledger``."""

    def __init__(
        self,
        space: Keyspace,
        claims: Claims,
        leases: Leases,
        alerts: Alerts,
        publishing: Publishing,
        policy: PolicyTexts,
    ) -> None:
        self._space, self._claims, self._leases, self._alerts = space, claims, leases, alerts
        self._publishing, self._policy = publishing, policy

    def commit(self, outcomes: Sequence[Pair]) -> list[Settled]:
        self._space.check_writing()
        settling.check(outcomes)
        bodies = {
            outcome.record.hash: codec.write_record(outcome.record)
            for _, outcome in outcomes
            if outcome.record is not None
        }
        answers: list[Settled] = []
        for piece in pieces(outcomes):
            answers += self._commit(piece, bodies)
            for claim, _ in piece:
                self._claims.claimed.pop((claim.stage, claim.key, claim.token), None)
        return answers

    def _commit(self, piece: Sequence[Pair], bodies: Mapping[str, str]) -> list[Settled]:
        one_by_one = False
        before: dict[str, Shards] = {}
        for attempt in self._space.attempts("committing"):
            one_by_one = attempt >= 4 and len(piece) <= 40
            draft = TransactionBuilder(self._space.prefix)
            now_s = self._space.clock()
            read, revision = self._read_views(piece, draft)
            self._read_rest(piece, read)
            self._avoid_others(before, read.tallies)
            before = read.tallies
            unit = CommitUnit(draft, read, bodies, now_s, self._space.shard)
            answers = [self._settle(unit, claim, outcome, now_s) for claim, outcome in piece]
            settled = unit.write()
            if not settled:
                return answers
            draft.expect_marks(settled, revision, one_by_one=one_by_one)
            if unit.changes:
                draft.put(self._publishing.change_name(), record_values.write_changes(list(unit.changes.values())))
                self._publishing.expect_unpublished(draft, unit.changes.keys())
            if not draft.fits():
                return self._split(piece, bodies)
            if self._space.write(draft.compares, draft.ops).succeeded:
                return answers
            if attempt >= 8 and len(piece) > 1:
                return self._split(piece, bodies)
        return []

    def _settle(self, unit: CommitUnit, claim: Claim, outcome: Outcome, now_s: float) -> Settled:
        return settling.settle(unit, claim, outcome, now_s)

    def _avoid_others(self, before: Mapping[str, Shards], now: Mapping[str, Shards]) -> None:
        """Add to another shard when somebody else has just written to ours."""
        for group in before.keys() & now.keys():
            shards = before[group].by_number.get(self._space.shard), now[group].by_number.get(self._space.shard)
            mods = [shard.mod_revision if shard is not None else 0 for shard in shards]
            if mods[0] != mods[1]:
                self._space.shard = random.randrange(SHARDS)  # noqa: S311
                return

    def _split(self, piece: Sequence[Pair], bodies: Mapping[str, str]) -> list[Settled]:
        """The same in two transactions."""
        if len(piece) == 1:
            return [self._refuse(*piece[0])]
        half = len(piece) // 2
        return [*self._commit(piece[:half], bodies), *self._commit(piece[half:], bodies)]

    def _refuse(self, claim: Claim, outcome: Outcome) -> Settled:
        """Fail a datum whose outcome no transaction can take: it must not stop the others, nor be tried for ever."""
        if outcome.record is None:
            raise InputRejected("too many marks for one transaction of the ledger", f"{claim.stage}/{claim.key}")
        error = "its outcome is too large for one transaction of the ledger: make fewer outputs or smaller facts"
        failed = Outcome(state=State.FAILED, error=error, marks=outcome.marks_if_refused)
        (answer,) = self._commit([(claim, failed)], {})
        return Settled.CONFLICT if answer is Settled.DONE else answer

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read_views(self, piece: Sequence[Pair], draft: TransactionBuilder) -> tuple[Read, int]:
        """The slots of the claims that are still held by a session that is alive; and since when they are known."""
        claims = [claim for claim, _ in piece]
        wanted = {stage: {claim.key for claim in claims if claim.stage == stage} for stage in {c.stage for c in claims}}
        spans = [self._span_of(stage, names) for stage, names in wanted.items()]
        parts, alive, revision, found = self._leases.parts_for(claims, spans)
        read = Read()
        for (stage, names), page in zip(wanted.items(), found, strict=True):
            marks = self._marks_of(stage, names, page)
            held = {
                claim.key: claim
                for claim in claims
                if claim.stage == stage and claim.owner in alive and (stage, claim.key, claim.token) in parts
            }
            rows = self._rows_of(stage, held, marks)
            for key, claim in held.items():
                view = view_of(stage, key, rows.get(key), marks.get(key), parts[stage, key, claim.token])
                if view is not None:
                    read.views[stage, key] = view
        for owner in {claim.owner for claim in claims} & alive:
            draft.expect_there(self._space.name(keys.ALIVE, owner))
        return read, revision

    def _span_of(self, stage: str, names: Collection[str]) -> Range:
        """Asks for the marks between the first and the last of the slots: mostly there are none."""
        prefix = self._space.name(keys.DIRTY, stage)
        order = [prefix + keys.text(key) for key in (min(names), max(names))]
        return Range(order[0], keys.behind(order[1]), limit=100)

    def _marks_of(self, stage: str, names: Collection[str], page: Found) -> dict[str, Kv]:
        """The marks of these slots, of which the first page is there."""
        prefix = self._space.name(keys.DIRTY, stage)
        found = {keys.parts(kv.key[len(prefix) :], 1)[0]: kv for kv in page.kvs}
        marks = {key: found[key] for key in names & found.keys()}
        if page.more:
            last = keys.parts(page.kvs[-1].key[len(prefix) :], 1)[0]
            marks.update(self._space.pick(prefix, [key for key in names if key > last]))
        return marks

    def _rows_of(self, stage: str, held: Mapping[str, Claim], marks: Mapping[str, Kv]) -> dict[str, Kept]:
        """The rows of held slots: as they were claimed here, where no mark says that somebody may have changed them."""
        rows: dict[str, Kept] = {}
        for key, claim in held.items():
            known = self._claims.claimed.get((stage, key, claim.token))
            if known is not None and key not in marks:
                rows[key] = known.copy()
        missing = self._space.pick(self._space.name(keys.SLOT, stage), held.keys() - rows.keys())
        named = [(stage, key, kv) for key, kv in missing.items()]
        rows.update((one.row.key, one) for one in slot_values.read_slots_apart(named))
        return rows

    def _read_rest(self, piece: Sequence[Pair], read: Read) -> None:
        """Paths, alerts and tallies that the outcomes may touch."""
        paths: set[Name] = set()
        made: set[Name] = set()
        alerts: set[str] = set()
        groups: set[str] = set()
        for claim, outcome in piece:
            view = read.views.get((claim.stage, claim.key))
            if view is None:
                continue
            was = view.row.record
            for record in (was, outcome.record):
                if record is not None and (outcome.record is not None or outcome.state is not outcome.state.SUCCESS):
                    paths.update((ref.bucket, ref.key) for ref in record.outputs)
                    groups.add(record.group)
                    alerts.update(record.alert_ids)
            if outcome.record is not None:
                made.update((ref.bucket, ref.key) for ref in outcome.record.outputs)
            alerts.update(alert.id for alert in outcome.alerts)
            alerts.update(view.kept.loose if view.kept is not None else ())
        paths.update((bucket, folder) for bucket, key in made for folder in settling.folders(key))
        self._read_paths(read, sorted(paths), sorted(made))
        alerts |= self._read_policy(piece, read)
        read.alerts = self._alerts.find(alerts) if alerts else {}
        self._read_tallies(read, sorted(groups))

    def _read_paths(self, read: Read, paths: Sequence[Name], made: Sequence[Name]) -> None:
        """Read these paths, and those that have one of ``made`` as a folder."""
        asked = [(path, Range(self._space.name(keys.PATH, *path))) for path in paths]
        asked += [(path, Range(*below_path(self._space.name, *path), limit=BELOW)) for path in made]
        for start in range(0, len(asked), GETS):
            some = asked[start : start + GETS]
            answer = self._space.kv.read([get for _, get in some])
            read.revision = read.revision or answer.revision
            for n, (path, _) in enumerate(some):
                kvs = answer.get(n).kvs
                if start + n < len(paths):
                    read.paths[path] = record_values.read_path(kvs[0]) if kvs else Path()
                else:
                    self._keep_below(read, path, kvs)

    def _keep_below(self, read: Read, path: Name, kvs: Sequence[Kv]) -> None:
        cut = len(self._space.name(keys.PATH, path[0]))
        names = [(path[0], keys.parts(kv.key[cut:], 1)[0]) for kv in kvs]
        read.below[path] = names
        for name, kv in zip(names, kvs, strict=True):
            read.paths.setdefault(name, record_values.read_path(kv))

    def _read_policy(self, piece: Sequence[Pair], read: Read) -> set[str]:
        """Read the policy's state that the outcomes are decided by; the ids of alerts that are looked at then."""
        known = read.policy
        while True:
            names = {
                name
                for claim, outcome in piece
                if (view := read.views.get((claim.stage, claim.key))) is not None
                for name in names_read(claim.stage, claim.key, view.row.record, outcome, known.texts)
            }
            missing = names - known.texts.keys()
            if not missing:
                return alerts_read(known.texts)
            known.add(self._policy.read(missing))

    def _read_tallies(self, read: Read, groups: Sequence[str]) -> None:
        for start in range(0, len(groups), 100):
            some = groups[start : start + 100]
            answer = self._space.kv.read([Range(*self._space.span(keys.TALLY, group)) for group in some])
            for n, group in enumerate(some):
                read.tallies[group] = read_shards(answer.get(n).kvs)


def pieces(outcomes: Sequence[Pair]) -> list[list[Pair]]:
    """The outcomes in their order, cut so that each piece most likely fits one transaction. A slot is settled once in
    a piece: what comes later for it is answered from what was written."""
    found: list[list[Pair]] = []
    compares = ops = 0
    above: set[Name] = set()
    for claim, outcome in outcomes:
        record = outcome.record
        outputs = record.outputs if record is not None else ()
        new = {(ref.bucket, folder) for ref in outputs for folder in settling.folders(ref.key)} - above
        more_compares = len(outputs) + len(new) + 1 if record is not None else 0
        judged = [alert for verdict in outcome.verdicts for alert in (*verdict.alerts, *verdict.escalations)]
        more_compares += 2 * len(outcome.verdicts)
        more_ops = 4 * (len(outcome.alerts) + len(judged)) + len(outcome.marks) + 1 + 2 * len(outcome.verdicts)
        if record is not None:
            more_ops += 5 + len(record.inputs) + 2 * len(record.outputs)
        if not found or compares + more_compares > 85 or ops + more_ops > OPS or len(found[-1]) >= 500:
            found.append([])
            compares = ops = 0
            above = set()
        found[-1].append((claim, outcome))
        compares, ops = compares + more_compares, ops + more_ops
        above |= new
    return found
