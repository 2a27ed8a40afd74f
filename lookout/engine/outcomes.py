"""Outcomes of stage runs: a record with its alerts, another try, or a failure. The one table of errors.

Marks the ledger where an input has to be looked at or made again; settles nothing itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lookout.domain.errors import Corrupt, InputRejected, ObjectChanged, ObjectMissing
from lookout.domain.identity import alert_id, digest
from lookout.domain.isolation import is_outage, reason
from lookout.domain.pipeline import Pipeline
from lookout.domain.policy.verdicts import RuleVerdict, Verdict
from lookout.domain.records import Alert, AlertDraft, AlertState, Claim, Mark, ObjectRef, Outcome, Record, State
from lookout.engine.downstream import DownstreamMarks
from lookout.engine.earlier_alerts import EarlierAlerts
from lookout.engine.planner import PlannedDatum
from lookout.engine.session import EngineSession
from lookout.execution.jobs import StageRun
from lookout.ledger.port import Ledger
from lookout.log import get_logger
from lookout.sources.input_source import InputSource

log = get_logger(__name__)


class Outcomes:
    """Outcomes of the stage runs of one session. ``source`` is asked to observe an input again that was another one, or
    gone, when it was read."""

    def __init__(self, pipeline: Pipeline, ledger: Ledger, source: InputSource, session: EngineSession) -> None:
        self._pipeline, self._ledger, self._source, self._session = pipeline, ledger, source, session
        self._marks = DownstreamMarks(pipeline)
        self._changes: Counter[tuple[str, str]] = Counter()

    def of(self, planned: PlannedDatum, run: StageRun) -> Outcome:
        """Give the outcome of a finished job; a failed try if it cannot be told what the job means. Raises the
        Unavailable that the job met: then no datum is to blame."""
        claim = planned.claim
        try:
            if run.error is not None:
                return self._failure(claim, run.error)
            self._changes.pop((claim.stage, claim.key), None)
            return self._success(planned, run)
        except Exception as exc:
            if is_outage(exc):
                raise
            # Whatever it is, it is this datum's and stops no other.
            return self._tried(claim, exc)

    def _success(self, planned: PlannedDatum, run: StageRun) -> Outcome:
        proposed = [*run.alerts, *(draft for verdict in run.verdicts for draft in verdict.all_drafts)]
        earlier = EarlierAlerts(self._pipeline, self._ledger, proposed, planned.claim.slot.record)
        evidence = {ref.key: ref for ref in run.outputs}

        def alerts_of(drafts: Iterable[AlertDraft]) -> tuple[Alert, ...]:
            return tuple(self._alert(planned, earlier.identified(draft), evidence) for draft in drafts)

        def verdict_of(given: RuleVerdict) -> Verdict:
            repeated = earlier.is_repeated(planned.claim.stage, given.picture_sha256)
            return Verdict(
                match=replace(given.match, repeated=repeated),
                policy=given.policy,
                picture_sha256=given.picture_sha256,
                rule_sha256=given.rule_sha256,
                alerts=alerts_of(given.drafts),
                escalations=alerts_of(given.escalations),
            )

        alerts = alerts_of(run.alerts)
        verdicts = tuple(map(verdict_of, run.verdicts))
        record = self._record(planned, run, alerts, verdicts)
        # Charts of a group that gets pictures all the time would be superseded for ever: each is shown, then made anew.
        grouped = self._pipeline.stage(record.stage).grouped
        outcome = Outcome(state=State.SUCCESS, record=record, alerts=alerts, verdicts=verdicts, interim=grouped)
        return self._marks.add(planned.claim, outcome, record)

    def _alert(self, planned: PlannedDatum, draft: AlertDraft, evidence: Mapping[str, ObjectRef]) -> Alert:
        return Alert(
            id=alert_id(draft),
            draft=draft,
            evidence=evidence[draft.evidence],
            datum_hash=planned.hash,
            run=self._session.run,
            code=self._session.code,
            created_at_s=self._session.clock(),
            state=AlertState.PENDING,
        )

    def _record(
        self, planned: PlannedDatum, run: StageRun, alerts: Sequence[Alert], verdicts: Sequence[Verdict]
    ) -> Record:
        judged = [alert for verdict in verdicts for alert in (*verdict.alerts, *verdict.escalations)]
        before = planned.claim.slot.record
        return Record(
            hash=planned.hash,
            stage=planned.claim.stage,
            key=planned.claim.key,
            group=planned.group if run.group is None else run.group,
            recipe=planned.recipe,
            inputs=planned.inputs,
            outputs=run.outputs,
            facts=run.facts,
            counts=run.counts,
            label=run.label,
            at_s=run.at_s,
            run=self._session.run,
            code=self._session.code,
            started_at_s=run.started_at_s,
            finished_at_s=run.finished_at_s,
            alert_ids=tuple(alert.id for alert in (*alerts, *judged)),
            decided=any(verdict.match.code is None for verdict in verdicts) or (before is not None and before.decided),
        )

    def _failure(self, claim: Claim, error: BaseException) -> Outcome:
        """Apply the table of errors: what hands a datum back, what counts a try, and what ends the trying at once."""
        stage = self._pipeline.stage(claim.stage)
        if isinstance(error, ObjectChanged | ObjectMissing):
            self._changes[claim.stage, claim.key] += 1
            if self._changes[claim.stage, claim.key] < stage.tries:
                self._observe_again(error, claim.key)
                return Outcome(state=State.PENDING)
            return self._failed(
                claim, f"it could not be read as it was observed, {stage.tries} times: {error}", final=True
            )
        if is_outage(error):
            raise error
        return self._tried(claim, error)

    def _tried(self, claim: Claim, error: BaseException) -> Outcome:
        """Count a try, the last one where another would be no use."""
        tries = self._pipeline.stage(claim.stage).tries
        final = isinstance(error, InputRejected | Corrupt) or claim.slot.tries + 1 >= tries
        return self._failed(claim, reason(error), final=final)

    def refuse(self, claim: Claim, error: BaseException) -> Outcome:
        """Give the outcome of a datum that fails where no job is to blame, and where another try is no use."""
        return self._failed(claim, reason(error), final=True)

    def _observe_again(self, error: ObjectChanged | ObjectMissing, key: str) -> None:
        """Observe an input again that changed under the reader. Have a result made again that did, which nobody may
        do."""
        if error.bucket == self._pipeline.inputs:
            self._source.observe_again(key)
        elif any(stage.name == error.bucket for stage in self._pipeline.stages):
            log.warning("result lost", object=f"{error.bucket}/{error.key}", error=error)
            salt = digest("lost/1", error.bucket, error.key, self._session.clock())[:16]
            self._ledger.mark([Mark(stage=error.bucket, key=key)], salt=salt, revive=True)

    def _failed(self, claim: Claim, error: str, *, final: bool) -> Outcome:
        log.warning(
            "datum failed", stage=claim.stage, key=claim.key, tried=claim.slot.tries + 1, final=final, error=error
        )
        return self._marks.add(claim, Outcome(state=State.FAILED, error=error, final=final))
