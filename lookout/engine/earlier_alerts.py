"""Alerts about the same picture that the ledger has already: the identity by which a new one is known as one of them.

A picture keeps its alerts when it is moved or copied, and when its name is read otherwise than before. Reads only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from lookout.domain.pipeline import Pipeline
from lookout.domain.records import AlertDraft, Record
from lookout.ledger.port import Ledger

MOST: Final = 100
"""Records of a picture's bytes that are looked at. A device that is stuck sends the same bytes thousands of times: then
what tells copies apart, time and number in their names, identifies their alerts all the same."""


class EarlierAlerts:
    """Alerts of datums that have read the pictures of these drafts, by their bytes, and of the datum's last record."""

    def __init__(
        self, pipeline: Pipeline, ledger: Ledger, drafts: Sequence[AlertDraft], last: Record | None = None
    ) -> None:
        self._pipeline = pipeline
        digests = {draft.picture_sha256 for draft in drafts}
        readers = [(digest, record) for digest in digests for record in ledger.users(digest, limit=MOST)]
        readers += [(item.ref.sha256, last) for item in last.inputs] if digests and last is not None else []
        self._done = {(record.stage, digest) for digest, record in readers}
        ids = {id_ for _, record in readers for id_ in record.alert_ids}
        self._alerts = list(ledger.alerts(ids=ids)) if ids else []

    def is_repeated(self, stage: str, sha256: str) -> bool:
        """Tell whether the stage has done the picture before, at whatever place and by whatever references."""
        return (stage, sha256) in self._done

    def identified(self, draft: AlertDraft) -> AlertDraft:
        """Return the draft with the identity of an earlier alert of the same rule for the same recipient, if there is
        one: about the picture of that subject, wherever it lay, or about the one of that key, however it was read."""
        of_key: AlertDraft | None = None
        for alert in self._alerts:
            known = alert.draft
            if not _is_for_same(known, draft):
                continue
            if draft.subject is not None and self._subject(known) == draft.subject:
                return _as_known(draft, known)
            if known.picture_key == draft.picture_key:
                of_key = of_key or known
        return draft if of_key is None else _as_known(draft, of_key)

    def _subject(self, known: AlertDraft) -> str | None:
        return self._pipeline.subject_of(known.picture_key) if known.subject is None else known.subject


def _is_for_same(known: AlertDraft, draft: AlertDraft) -> bool:
    return (known.user, known.rule, known.recipient, known.picture_sha256) == (
        draft.user,
        draft.rule,
        draft.recipient,
        draft.picture_sha256,
    )


def _as_known(draft: AlertDraft, known: AlertDraft) -> AlertDraft:
    """Return the draft with what identifies the known one: its subject, or, where it has none, its key."""
    if known.subject is None:
        return replace(draft, subject=None, picture_key=known.picture_key)
    return replace(draft, subject=known.subject)


def same_recipient(drafts: Iterable[AlertDraft], known: AlertDraft) -> AlertDraft | None:
    """Return the draft that is meant for the same recipient by the same rule, as the known one is identified."""
    return next((_as_known(draft, known) for draft in drafts if _is_for_same(known, draft)), None)
