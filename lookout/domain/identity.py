"""Identity of slots, datums, recipes and alerts: canonical bytes -> sha256, with a kind and a version in front.

Two things are the same exactly when these digests are equal, so the bytes under them are fixed for good: literal
digests are pinned in the tests, and a change of form takes a new version in the kind (``datum/2``). Never hashed:
times, sizes (but for an input that is too large to be read), paths outside keys, ETags, the code's own digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from lookout.domain.records import MAIL, AlertDraft, InputRef, Json, JsonObject, Member, Reference, Tally

MAX_INPUT_BYTES: Final = 32 * 1024 * 1024
"""No stage reads a larger input, so none is read for its digest either: see ``unread_digest``."""

_encode: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, check_circular=False
).encode


def sha256(data: bytes) -> str:
    """Return the sha256 of the bytes in hex."""
    return hashlib.sha256(data).hexdigest()


def digest(kind: str, *parts: Json) -> str:
    """Return the digest of a kind tag and JSON values, by canonical JSON: sorted keys, no spaces, UTF-8, no NaN.

    Raises TypeError for a value that JSON has not, ValueError for NaN and infinities. Lone surrogates are escaped.
    """
    for part in parts:
        _check(part)
    return sha256(_encode([kind, *parts]).encode("ascii"))


def unread_digest(size: int) -> str:
    """Return a stand-in for the sha256 of an input that is larger than ``MAX_INPUT_BYTES``: only its size counts."""
    return digest("unread/1", size)


def slot_id(stage: str, key: str) -> str:
    """Return the identity of a datum's slot: the stage and the input path it is about."""
    return digest("slot/1", stage, key)


def recipe_digest(stage: str, version: int, params: JsonObject) -> str:
    """Return the identity of a recipe: the stage's declared version and its parameters."""
    return digest("recipe/1", stage, version, params)


def datum_hash(stage: str, key: str, inputs: Iterable[InputRef], references: str, recipe: str, salt: str = "") -> str:
    """Return the identity of a datum: slot, contents of its inputs, references in force for it, recipe, reprocess
    salt."""
    contents = sorted((item.role, item.ref.sha256) for item in inputs)
    return digest("datum/1", slot_id(stage, key), [list(pair) for pair in contents], references, recipe, salt)


def references_digest(references: Iterable[Reference]) -> str:
    """Return one digest for a set of references, whatever their order: names and contents, not what was extracted."""
    units = sorted(
        (ref.bucket, ref.name, sorted((role, item.sha256) for role, item in ref.files.items())) for ref in references
    )
    return digest("references/1", [[bucket, name, [list(pair) for pair in files]] for bucket, name, files in units])


def group_digest(tallies: Iterable[Tally], members: Iterable[Member]) -> str:
    """Return the input digest of a grouped datum: the manifest of its tallies and members, in the order of their
    names. What the policy decided on a member is a part of it."""
    members = list(members)
    sums = [[tally.group, _object(tally.counts), tally.last_at_s] for tally in sorted(tallies, key=lambda t: t.group)]
    parts = sorted([member.stage, member.key, member.hash] for member in members)
    decided = sorted([one.stage, one.key, one.decisions] for one in members if one.decisions is not None)
    return digest("group/2", sums, parts, decided) if decided else digest("group/1", sums, parts)


def _object(value: Mapping[str, int]) -> dict[str, Json]:
    """Return a mapping as a JSON object; copied only where necessary, for the overview has thousands of entries."""
    return value if isinstance(value, dict) else dict(value)


def alert_id(draft: AlertDraft) -> str:
    """Return the identity of an alert: a new model, a new rule version, a rerun or another place of the picture gives
    the same, so no mail is repeated. A channel that is not mail is a part of it."""
    if draft.escalates:
        return digest("escalation/1", alert_id(replace(draft, escalates=False)))
    if draft.channel != MAIL:
        place = draft.picture_key if draft.subject is None else None
        picture = [place, draft.subject, draft.picture_sha256]
        return digest("alert/3", draft.user, draft.rule, picture, draft.channel, draft.recipient)
    if draft.subject is None:
        return digest("alert/1", draft.user, draft.rule, draft.picture_key, draft.picture_sha256, draft.recipient)
    return digest("alert/2", draft.user, draft.rule, draft.subject, draft.picture_sha256, draft.recipient)


_PLAIN: Final = frozenset((str, int, float, bool, type(None)))
_TEXT: Final = frozenset((str,))


def _check(value: Json) -> None:
    if type(value) in _PLAIN:  # first, as nearly every value is: checks of abstract types cost much more
        return
    if isinstance(value, (list, tuple)):
        _check_all(value)
    elif isinstance(value, Mapping):
        if not _TEXT.issuperset(map(type, value)):
            for name in value:
                if not isinstance(name, str):
                    raise TypeError(f"expected text as a name, got {name!r}")
        _check_all(value.values())
    else:
        raise TypeError(f"expected a JSON value, got {type(value).__name__}")


def _check_all(values: Collection[Json]) -> None:
    if not _PLAIN.issuperset(map(type, values)):
        for value in values:
            _check(value)
