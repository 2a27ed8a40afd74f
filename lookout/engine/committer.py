"""Committer of outcomes: keeps finished datums for a moment, so that many are committed at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, TypeAlias

from lookout.domain.errors import Corrupt
from lookout.domain.isolation import apart, reason
from lookout.domain.records import Claim, ObjectRef, Outcome, State
from lookout.engine.outcomes import Outcomes
from lookout.engine.publication import Publisher
from lookout.engine.report import Progress, Report
from lookout.ledger.port import Ledger, Settled
from lookout.log import get_logger
from lookout.object_store.port import ObjectStore

log = get_logger(__name__)

COMMIT_LIMIT: Final = 64
COMMIT_AFTER_S: Final = 0.25
"""Maximum time that a finished datum waits to be committed together with others; none at all when little else runs."""

Ended: TypeAlias = tuple[Claim, Outcome]


class Committer:
    """Committer of one engine's outcomes. A datum whose outcome cannot be committed stops no other."""

    def __init__(
        self, ledger: Ledger, store: ObjectStore, publisher: Publisher, outcomes: Outcomes, report: Report
    ) -> None:
        self._ledger, self._store, self._publisher = ledger, store, publisher
        self._outcomes, self._report = outcomes, report
        self._ready: list[Ended] = []
        self._ready_since_s = 0.0
        self._unsettled: dict[tuple[str, str], Corrupt] = {}

    # --- datums that are finished and not yet committed ---------------------------------------------------------------

    def add(self, claim: Claim, outcome: Outcome) -> None:
        """Keep an outcome until it is committed with others."""
        if not self._ready:
            self._ready_since_s = time.monotonic()
        self._ready.append((claim, outcome))

    @property
    def has_ready(self) -> bool:
        """True if an outcome waits to be committed."""
        return bool(self._ready)

    def bound(self, wait_s: float) -> float:
        """Give the time that may pass until the next commit is due, ``wait_s`` at most."""
        if not self._ready:
            return wait_s
        return min(wait_s, max(0.0, COMMIT_AFTER_S - (time.monotonic() - self._ready_since_s)))

    def is_due(self, *, idle: bool) -> bool:
        """Tell whether what is ready is to be committed now; ``idle`` says that little else runs."""
        late = time.monotonic() - self._ready_since_s >= COMMIT_AFTER_S
        return bool(self._ready) and (late or idle or len(self._ready) >= COMMIT_LIMIT)

    def take_ready(self) -> list[Ended]:
        """Give what is ready, to be committed by the caller: what the policy decides on in the order of its times."""
        ready, self._ready = self._ready, []
        return sorted(ready, key=_decided_at) if any(outcome.verdicts for _, outcome in ready) else ready

    # --- committing -------------------------------------------------------------------------------------------------

    def commit(self, settled: Sequence[Ended]) -> None:
        """Commit these outcomes and tell of them; one by one, if they cannot be committed together. Raises Unavailable
        when the ledger or the store does not answer."""
        answers = apart(settled, self._settle)
        whole = not any(isinstance(answer, Exception) for answer in answers)
        for (claim, outcome), answer in zip(settled, answers, strict=True):
            if isinstance(answer, Exception):
                self._settle_failed(claim, answer)
            else:
                self._after(claim, outcome, answer, discard=whole)

    def check(self) -> None:
        """Raise Corrupt for a datum whose end the ledger did not take."""
        if self._unsettled:
            raise next(iter(self._unsettled.values()))

    def discard(self, refs: Sequence[ObjectRef]) -> None:
        """Drop versions that nobody will name. What cannot be dropped now is freed with the old versions."""
        try:
            self._store.discard(refs)
        except Exception as exc:  # noqa: BLE001 - it costs space and no result
            log.warning("outputs not discarded", objects=[ref.path for ref in refs], error=reason(exc))

    def _settle(self, settled: Sequence[Ended]) -> list[Settled]:
        made = [outcome.record for _, outcome in settled if outcome.record is not None and not outcome.republished]
        self._store.flush([ref for record in made for ref in record.outputs])
        return self._ledger.commit(settled)

    def _settle_failed(self, claim: Claim, why: Exception) -> None:
        """Fail a datum whose outcome the ledger cannot take. If it cannot take that either, the claim is kept for
        as long as its lease, and ``check`` raises, unless the datum could be settled by then."""
        outcome = self._outcomes.refuse(claim, why)
        (answer,) = apart([(claim, outcome)], self._settle)
        if isinstance(answer, Exception):
            log.error("outcome not settled", stage=claim.stage, key=claim.key, error=reason(answer))
            what = f"{claim.stage} of {claim.key}"
            self._unsettled[claim.stage, claim.key] = Corrupt(what, "a ledger that accepts its outcome", reason(answer))
        else:
            self._after(claim, outcome, answer, discard=False)

    def _after(self, claim: Claim, outcome: Outcome, answer: Settled, *, discard: bool) -> None:
        """Tell what became of an outcome, and ``discard`` the versions of one that was not applied: not where a commit
        was repeated in parts, for a claim that is lost then may be one that has been settled."""
        self._unsettled.pop((claim.stage, claim.key), None)
        if answer is Settled.DONE:
            self._publisher.renew(outcome.record.outputs if outcome.record is not None else ())
            self._tell(claim, outcome)
            return
        log.warning("outcome refused", stage=claim.stage, key=claim.key, why=answer.value)
        if discard and outcome.record is not None and not outcome.republished:
            self.discard(outcome.record.outputs)
        if answer is Settled.CONFLICT:
            slot = self._ledger.find_slots(claim.stage, [claim.key])[claim.key]
            self._tell(claim, Outcome(state=State.FAILED, error=slot.error or answer.value))

    def _tell(self, claim: Claim, outcome: Outcome) -> None:
        if outcome.state in (State.PENDING, State.KILLED) or (outcome.state is State.FAILED and not outcome.final):
            return
        if outcome.state is State.RETRACTED and claim.slot.record is None:
            return  # a slot that never held anything: nobody would miss it
        self._report.add(
            Progress(
                stage=claim.stage,
                key=claim.key,
                state=outcome.state,
                skipped=outcome.state is State.SUCCESS and (outcome.record is None or outcome.republished),
                error=outcome.error,
            )
        )


def _decided_at(ended: Ended) -> tuple[float, str]:
    """Return the order in which outcomes are decided on."""
    claim, outcome = ended
    at_s = outcome.record.at_s if outcome.record is not None else None
    return 0.0 if at_s is None else at_s, claim.key
