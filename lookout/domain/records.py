"""Records that all packages share: objects, work, results, claims, outcomes, alerts.

Frozen, keyword-only, checked when made, and without any I/O: a stage's core may import this module and nothing else of
the engine. Times are Unix seconds as float (``_s``); digests are lower-case hex sha256.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from lookout.domain.policy.verdicts import RuleVerdict, Verdict

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = Mapping[str, Json]

_SHA256 = re.compile(r"[0-9a-f]{64}")


class State(StrEnum):
    """State of a slot in the ledger. ``SKIPPED`` is none: a run reports it of a datum that was done before."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    KILLED = "killed"
    UNRUNNABLE = "unrunnable"
    RETRACTED = "retracted"


# --- objects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectRef:
    """One version of one object. ``version`` is the store's own handle for exactly these bytes, opaque to others."""

    bucket: str
    key: str
    sha256: str
    size: int
    version: str | None = None

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.bucket}/{self.key}: expected 64 hex digits as sha256, got {self.sha256!r}")
        if self.size < 0:
            raise ValueError(f"{self.bucket}/{self.key}: expected size >= 0, got {self.size}")

    @property
    def path(self) -> str:
        return f"{self.bucket}/{self.key}"


# --- what a stage sees: it is given Work and answers with a Result ----------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One input object with its bytes, under the role that the stage's declaration gives it."""

    role: str
    ref: ObjectRef
    data: bytes
    observed_at_s: float | None = None
    """When the ledger first saw this content of an input bucket; None for what a stage made."""
    planned_at_s: float | None = None
    """The later of that time and of the one at which the work was planned: the clock may have been behind at first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """One accepted unit of a reference bucket in force: a model with its manifest, or one rule file.

    ``files`` maps a role chosen by the accepting function to the object; ``meta`` is what it extracted when accepting.
    """

    bucket: str
    name: str
    files: Mapping[str, ObjectRef]
    meta: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedReference:
    """A reference with the bytes of its files, by the same roles."""

    reference: Reference
    data: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Sums over the live datums of one group: what the ledger keeps so that charts need no listing.

    ``counts`` holds only positive numbers; ``last_at_s`` is the greatest ``at_s`` of the group's live datums.
    """

    group: str
    counts: Mapping[str, int] = field(default_factory=dict)
    last_at_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One live datum of a group, as a grouped stage reads it: its key, identity, outputs and facts, and the policy's
    decisions on it as ``policy.codec`` writes them, None for none."""

    stage: str
    key: str
    hash: str
    outputs: tuple[ObjectRef, ...] = ()
    facts: JsonObject = field(default_factory=dict)
    at_s: float | None = None
    decisions: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """All that a stage may look at for one datum.

    An ordinary stage gets ``inputs`` by role. A grouped stage gets no inputs but ``tallies`` and ``members``: of its
    one group, or, for the overview datum (``key == ""``), the tallies of all groups, sorted by group, and no members.
    ``known`` has the facts of the last result of the same recipe from the same inputs under other references, if there
    is one: what does not depend on references need not be found again.
    """

    key: str
    inputs: Mapping[str, Input] = field(default_factory=dict)
    known: JsonObject | None = None
    tallies: tuple[Tally, ...] = ()
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One object that a stage wants written to its bucket."""

    key: str
    data: bytes
    content_type: str

    def __post_init__(self) -> None:
        if not self.key or self.key.startswith("/") or ".." in self.key.split("/"):
            raise ValueError(f"expected a relative key without '..', got {self.key!r}")


MAIL: Final = "mail"
"""The channel of alerts that are sent to an e-mail address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertDraft:
    """One alert for one recipient: identity, addresses, what happened, and which of the outputs shows it.

    The identity beside the rule and the recipient is the picture: its sha256 and its ``subject``, what names it
    wherever it lies; alerts of older versions have none, and are known by the picture's key. ``detail`` is what a
    channel renders; the engine adds nothing to it. ``evidence`` is the key of the output that shows the threat.
    ``channel`` is the way by which it leaves: ``MAIL``, or the type and the name of another one, as in
    ``webhook:home``. Such an alert has no address: its ``recipient`` is the channel again.
    ``escalates`` says that it tells somebody of an alert that nobody has acknowledged.
    """

    user: str
    rule: str
    picture_key: str
    picture_sha256: str
    sender: str
    recipient: str
    evidence: str
    detail: JsonObject = field(default_factory=dict)
    subject: str | None = None
    escalates: bool = False
    channel: str = MAIL


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Result of a stage for one datum. A pure function of the work, the parameters and the references.

    ``label`` is a short text by which the ledger finds remarkable datums again (``invalid: truncated``), None for the
    ordinary; ``facts`` are kept with the record; ``counts`` are added to the tally of the datum's group; ``at_s`` is
    when the subject happened. ``group`` is the datum's group, where its content and not its key says it. ``alerts`` are
    told in any case; of ``verdicts`` the ledger decides, by what it remembers, whether and when they are told.
    """

    outputs: tuple[Output, ...] = ()
    facts: JsonObject = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    label: str | None = None
    at_s: float | None = None
    group: str | None = None
    alerts: tuple[AlertDraft, ...] = ()
    verdicts: tuple[RuleVerdict, ...] = ()

    def __post_init__(self) -> None:
        keys = [output.key for output in self.outputs]
        if len(set(keys)) != len(keys):
            raise ValueError(f"expected each output key once, got {sorted(keys)}")
        for draft in (*self.alerts, *(draft for verdict in self.verdicts for draft in verdict.all_drafts)):
            if draft.evidence not in keys:
                raise ValueError(f"expected evidence among the outputs {sorted(keys)}, got {draft.evidence!r}")


# --- what the ledger keeps -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """An input object as it was seen: ``ref`` is None when it is gone or ``error`` says why it cannot be read.

    ``fingerprint`` proves that unchanged bytes need no rereading (a folder's inode, size and times, or a version id);
    ``origin`` is where it was found: a listing of one origin retracts only what came from that origin.
    """

    bucket: str
    key: str
    origin: str
    ref: ObjectRef | None
    fingerprint: str = ""
    observed_at_s: float = 0.0
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A slot that must be planned again."""

    stage: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class InputRef:
    """One entry of a record's provenance: what was read, and as what."""

    role: str
    ref: ObjectRef


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A datum that was processed: identity, what it read, what it made, and by which code and run. Never changed.

    ``alert_ids`` are the alerts that it may have entered; ``decided`` says that the policy has decided on it, now or
    before, so that its decisions are to be looked at when it changes.
    """

    hash: str
    stage: str
    key: str
    group: str
    recipe: str
    inputs: tuple[InputRef, ...] = ()
    outputs: tuple[ObjectRef, ...] = ()
    facts: JsonObject = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    label: str | None = None
    at_s: float | None = None
    run: str = ""
    code: str = ""
    started_at_s: float = 0.0
    finished_at_s: float = 0.0
    alert_ids: tuple[str, ...] = ()
    decided: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """The live view of one datum. ``record`` is the last success and stays while a newer try has failed. ``losses``
    counts the engines in a row that died while they worked on it alone."""

    stage: str
    key: str
    state: State
    group: str = ""
    hash: str | None = None
    record: Record | None = None
    dirty: int = 0
    token: int = 0
    owner: str | None = None
    tries: int = 0
    losses: int = 0
    salt: str = ""
    error: str | None = None
    updated_at_s: float = 0.0
    damage: str | None = None
    """Why the live record, which is None then, cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The right to settle one slot until the lease ends. Every write about the slot carries it.

    ``dirty`` is the slot's counter when it was claimed: if it moved since, the outcome is of an older input.
    ``slot`` is the live view at that moment, before the claim (with its error, tries and last record). ``suspect``
    says that a dead owner held it: who works on it works on nothing else, or the blame cannot be told.
    """

    stage: str
    key: str
    owner: str
    token: int
    dirty: int
    slot: Slot
    suspect: bool = False


class AlertState(StrEnum):
    """The life of an alert. ``SENDING``: its request may have left; ``UNKNOWN``: an earlier request may have arrived,
    and it is repeated; ``DEAD``: refused for good."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    WRITTEN = "written"
    UNKNOWN = "unknown"
    DEAD = "dead"
    CANCELED = "canceled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """An alert as the outbox keeps it. ``id`` is the digest of its draft's identity. ``tries`` counts tries of any end,
    ``doubts`` those that may have arrived; ``settled_at_s`` is the end of the last one. ``keys`` are those of the
    datums that need it, of one picture that lies in several places; none: the one of its draft. ``place`` is set by the
    policy, which alone enters and cancels such an alert: the place of its group. Alerts with the same ``summary`` leave
    in one letter a recipient, once the last of them is due."""

    id: str
    draft: AlertDraft
    evidence: ObjectRef
    datum_hash: str
    run: str
    code: str
    created_at_s: float
    state: AlertState
    tries: int = 0
    doubts: int = 0
    due_at_s: float = 0.0
    message_id: str | None = None
    error: str | None = None
    settled_at_s: float | None = None
    keys: tuple[str, ...] = ()
    place: str | None = None
    summary: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """End of a claim; the ledger applies it in one transaction, or not at all.

    - SUCCESS with ``record``: it becomes the live record, ``alerts`` enter the outbox unless an alert of that id is
      there, outputs of the former record that the new one does not write are removed. ``republished`` says that the
      record is an old one whose outputs are made visible again.
    - SUCCESS without ``record``: nothing changed; the live record stands (a skip).
    - FAILED: ``error`` is kept and a try counted; ``final`` ends the trying, otherwise the slot stays dirty.
    - UNRUNNABLE: ``error`` names the upstream slot that failed.
    - KILLED: the work was stopped; the slot stays dirty, no try counted.
    - PENDING: handed back to be planned again; the slot stays dirty, no try counted.
    - RETRACTED: the inputs are gone; record, outputs, tally and pending alerts go too.

    ``verdicts`` are decided by the policy in the same transaction, and what was decided on the datum before is taken
    back where a rule does not match any more.

    ``marks`` are the slots downstream to be planned again, in the same transaction; ``marks_if_refused`` are those
    instead if the ledger makes it FAILED, because the record is in conflict with another. ``interim`` says that the
    record may be applied though its slot was marked after the claim: it is whole, of a moment ago, and the slot stays
    dirty.
    """

    state: State
    record: Record | None = None
    alerts: tuple[Alert, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    error: str | None = None
    final: bool = True
    republished: bool = False
    marks: tuple[Mark, ...] = ()
    marks_if_refused: tuple[Mark, ...] = ()
    interim: bool = False

    def __post_init__(self) -> None:
        if self.record is not None and self.state is not State.SUCCESS:
            raise ValueError(f"expected a record with success only, got one with {self.state}")
        if self.interim and self.record is None:
            raise ValueError("expected a record with an interim outcome, got none")
        if self.state is State.RUNNING:
            raise ValueError("expected a state that ends a claim, got running")
        if (self.error is None) != (self.state not in (State.FAILED, State.UNRUNNABLE)):
            raise ValueError(f"expected an error exactly with failed and unrunnable, got {self.error!r}")
