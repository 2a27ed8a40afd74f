"""What the end of a job means: a record with its alerts, another try, or a failure. The one table of errors.

Marks the ledger where an input has to be looked at or made again; settles nothing itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from lookout.domain.errors import Corrupt, InputRejected, ObjectChanged, ObjectMissing
from lookout.domain.identity import alert_id, digest
from lookout.domain.isolation import is_outage, reason
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import Alert, AlertState, Claim, Mark, Outcome, Record, State
from lookout.engine.planner import Planner, Process
from lookout.execution.executor import Completion, Made
from lookout.ledger.port import Ledger
from lookout.log import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Flight:
    """A claimed datum whose job runs."""

    claim: Claim
    process: Process


class Outcomes:
    """Turns completions of one run into outcomes. ``reobserve`` looks again at an input object."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        ledger: Ledger,
        planner: Planner,
        run: str,
        code: str,
        reobserve: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._pipeline, self._ledger, self._planner = pipeline, ledger, planner
        self._run, self._code, self._reobserve, self._clock = run, code, reobserve, clock
        self._changes: Counter[tuple[str, str]] = Counter()

    def of(self, flight: Flight, completion: Completion) -> Outcome:
        """The outcome of a finished job; a failed try if it cannot be told what the job means. Raises the Unavailable
        that the job met: then nobody's datum is to blame."""
        try:
            if completion.made is not None:
                self._changes.pop((flight.claim.stage, flight.claim.key), None)
                return self._success(flight, completion.made)
            return self._failure(flight.claim, completion.error)
        except Exception as exc:
            if is_outage(exc):
                raise
            # Whatever it is, it is this datum's and stops no other.
            return self._tried(flight.claim, exc)

    def _success(self, flight: Flight, made: Made) -> Outcome:
        evidence = {ref.key: ref for ref in made.outputs}
        alerts = tuple(
            Alert(
                id=alert_id(draft.user, draft.rule, draft.picture_key, draft.picture_sha256, draft.recipient),
                draft=draft,
                evidence=evidence[draft.evidence],
                datum_hash=flight.process.hash,
                run=self._run,
                code=self._code,
                created_at_s=self._clock(),
                state=AlertState.PENDING,
            )
            for draft in made.alerts
        )
        record = Record(
            hash=flight.process.hash,
            stage=flight.claim.stage,
            key=flight.claim.key,
            group=flight.process.group,
            recipe=flight.process.recipe,
            inputs=flight.process.inputs,
            outputs=made.outputs,
            facts=made.facts,
            counts=made.counts,
            label=made.label,
            at_s=made.at_s,
            run=self._run,
            code=self._code,
            started_at_s=made.started_at_s,
            finished_at_s=made.finished_at_s,
            alert_ids=tuple(alert.id for alert in alerts),
        )
        # Charts of a group that gets pictures all the time would be superseded for ever: each is shown, then made anew.
        grouped = self._pipeline.stage(flight.claim.stage).grouped
        outcome = Outcome(state=State.SUCCESS, record=record, alerts=alerts, interim=grouped)
        return self._planner.with_marks(flight.claim, outcome, record)

    def _failure(self, claim: Claim, error: BaseException | None) -> Outcome:
        """The table of errors: what hands a datum back, what counts a try, and what ends the trying at once."""
        stage = self._pipeline.stage(claim.stage)
        if isinstance(error, ObjectChanged | ObjectMissing):
            self._changes[claim.stage, claim.key] += 1
            if self._changes[claim.stage, claim.key] < stage.tries:
                self._look_again(error, claim.key)
                return Outcome(state=State.PENDING)
            return self._failed(
                claim, f"it could not be read as it was observed, {stage.tries} times: {error}", final=True
            )
        if error is not None and is_outage(error):
            raise error
        return self._tried(claim, error)

    def _tried(self, claim: Claim, error: BaseException | None) -> Outcome:
        """Count a try, the last one where another would be no use."""
        tries = self._pipeline.stage(claim.stage).tries
        final = isinstance(error, InputRejected | Corrupt) or claim.slot.tries + 1 >= tries
        text = "no answer" if error is None else reason(error)
        return self._failed(claim, text, final=final)

    def refuse(self, claim: Claim, error: BaseException) -> Outcome:
        """Give the outcome of a datum that fails where no job is to blame, and where another try is no use."""
        return self._failed(claim, reason(error), final=True)

    def _look_again(self, error: ObjectChanged | ObjectMissing, key: str) -> None:
        """An input changed under the reader: observe it anew. A result did, which nobody may do: make it anew."""
        if error.bucket == self._pipeline.inputs:
            self._reobserve(key)
        elif any(stage.name == error.bucket for stage in self._pipeline.stages):
            log.warning("lost", object=f"{error.bucket}/{error.key}", error=error)
            salt = digest("lost/1", error.bucket, error.key, self._clock())[:16]
            self._ledger.mark([Mark(stage=error.bucket, key=key)], salt=salt, revive=True)

    def _failed(self, claim: Claim, error: str, *, final: bool) -> Outcome:
        log.warning("failed", stage=claim.stage, key=claim.key, tried=claim.slot.tries + 1, final=final, error=error)
        return self._planner.with_marks(claim, Outcome(state=State.FAILED, error=error, final=final))
