"""Values of slots and claims as bytes and back: small ones as JSON arrays, large ones deflated when that pays.

The first byte says which. Digests are kept as they are: most of a record's bytes, and no form of text makes them
smaller than deflate does. Everything that cannot be read becomes Corrupt and names its key. Knows no rule.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from lookout.domain.errors import Corrupt
from lookout.domain.records import State
from lookout.ledger import codec
from lookout.ledger.kv.port import Kv
from lookout.ledger.rules.slots import SlotState

T = TypeVar("T")

_PLAIN: Final = b"j"
_DEFLATED: Final = b"z"
_PAYS_FROM: Final = 120

_WORDS: Final = (
    b'"dropped":0,"kind":"photo","format":"JPEG","reason":null,"class":1,"label":"person","score":0.9,"box":['
    b'"model.onnx","model.json","manifest","rule","rules","model","picture","detections","image","images",'
    b'"objects":"threats":"width":"height":"sha256":"valid":1,"invalid":1,"seen:","count":'
    b'["picture","validate","valid/","object-detect",".jpg","threat-detect",".json","'
    b'],0,0,0,0,0,"",null,17,1,1,[]]\n["'
)
"""Words that deflate starts with, so that short texts shrink too. Part of the ledger's form: never changed in place."""

encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
"""A JSON value as text."""

LETTERS: Final = {
    State.PENDING: "p",
    State.SUCCESS: "s",
    State.FAILED: "f",
    State.KILLED: "k",
    State.UNRUNNABLE: "u",
    State.RETRACTED: "r",
}
STATES: Final = {letter: state for state, letter in LETTERS.items()}


def dump(value: object) -> bytes:
    """A JSON value. Raises TypeError for what JSON has not."""
    return pack(encode(value).encode("utf-8", "surrogatepass"))


def dump_plain(value: object) -> bytes:
    """A JSON value that is not deflated: for what is read all at once, where inflating would take longest."""
    return _PLAIN + encode(value).encode("utf-8", "surrogatepass")


def pack(data: bytes) -> bytes:
    """The bytes, deflated when that pays."""
    if len(data) >= _PAYS_FROM:
        # A window and tables as small as the value: making larger ones would take longer than deflating.
        window, memory = (-12, 5) if len(data) <= 3000 else (-15, 8)
        deflate = zlib.compressobj(6, zlib.DEFLATED, window, memory, zlib.Z_DEFAULT_STRATEGY, _WORDS)
        small = _DEFLATED + deflate.compress(data) + deflate.flush()
        if len(small) <= len(data):
            return small
    return _PLAIN + data


def unpack(data: bytes) -> bytes:
    """Read what ``pack`` was given. Raises ValueError."""
    if data[:1] == _PLAIN:
        return data[1:]
    if data[:1] != _DEFLATED:
        raise ValueError(f"expected plain or deflated bytes, got {data[:1]!r}")
    try:
        return zlib.decompressobj(-15, _WORDS).decompress(data[1:])
    except zlib.error as exc:
        raise ValueError(str(exc)) from exc


def text_of(data: bytes) -> str:
    """The text of a value. Raises ValueError."""
    return unpack(data).decode("utf-8", "surrogatepass")


def load(kv: Kv, build: Callable[[Any], T]) -> T:
    """Return what the value of the key stands for. Raises Corrupt with the key."""
    try:
        return build(json.loads(text_of(kv.value)))
    except (ValueError, TypeError, KeyError, IndexError) as exc:
        raise corrupt(kv, exc) from exc


def load_all(kvs: Sequence[Kv], build: Callable[[Any], T]) -> list[T]:
    """As ``load`` for many keys, in their order: faster, and the names in them are one text each for all."""
    try:
        return [build(value) for value in codec.decode_all([text_of(kv.value) for kv in kvs])]
    except (ValueError, TypeError, KeyError, IndexError):
        return [load(kv, build) for kv in kvs]  # says which


def corrupt(kv: Kv, exc: Exception) -> Corrupt:
    """The error for a value that cannot be read."""
    return Corrupt(f"the key {kv.key!r} of the ledger", "what was written", f"{kv.value[:60]!r} ({exc})")


# --- slots -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Kept:
    """A slot as its key holds it: the row, without what the keys of marks and claims add to it."""

    row: SlotState
    base: int = 0
    """Counter of the slot beside the puts of its mark."""
    rests: bool = True
    """True if it was settled: the next mark begins its tries anew."""
    loose: tuple[str, ...] = ()
    """Alerts that came with its record without being named in it."""
    body: str | None = field(default=None, repr=False)
    """The record as text."""
    letter: str = ""
    """Of its state as it was read; the row may have changed since."""
    labelled: bool = False
    hash: str | None = None
    said: Sequence[object] = ()
    """Its fields as they were read; see ``fields_of``."""

    def copy(self) -> Kept:
        """Another with a row of its own. Written out, for ``replace`` would be the largest cost of a skip."""
        row = self.row
        again = SlotState(
            row.stage, row.key, row.state, row.record, row.dirty, row.token, row.owner, row.lease_end_s, row.tries,
            row.losses, row.suspect, row.cohort, row.salt, row.error, row.updated_at_s, row.proven, row.damage,
        )  # fmt: skip
        return Kept(
            again, self.base, self.rests, self.loose, self.body, self.letter, self.labelled, self.hash, self.said
        )


def fields_of(kept: Kept) -> list[object]:
    """All but the record; the last is when it was written."""
    row = kept.row
    return [
        LETTERS[row.state],
        kept.base,
        int(kept.rests),
        row.tries,
        row.losses,
        row.suspect,
        row.cohort,
        row.salt,
        row.error,
        int(row.proven),
        list(kept.loose),
        row.record.hash if row.record is not None else None,
        row.updated_at_s,
    ]


def write_slot(kept: Kept) -> bytes:
    """The value of a slot's key."""
    text = encode(fields_of(kept))
    if kept.body is not None:
        text += "\n" + kept.body
    return pack(text.encode("utf-8", "surrogatepass"))


def read_slots(named: list[tuple[str, str, Kv]]) -> list[Kept]:
    """The slots of (stage, key, value). Records are read in bulk. Raises Corrupt."""
    kept: list[Kept] = []
    bodies: list[tuple[str, str, str, str]] = []
    holders: list[Kept] = []
    texts = [_head_and_body(kv) for _, _, kv in named]
    for (stage, key, kv), (_, body), said in zip(named, texts, _heads(named, texts), strict=True):
        try:
            one, hash_ = _slot(stage, key, said)
            one.said, one.hash = said, hash_
        except (ValueError, TypeError, KeyError) as exc:
            raise corrupt(kv, exc) from exc
        if hash_ is not None:
            one.body = body
            bodies.append((hash_, stage, key, body))
            holders.append(one)
        kept.append(one)
    for one, record in zip(holders, codec.read_records(bodies), strict=True):
        one.row.record = record
        one.labelled = record.label is not None
    return kept


def read_slots_apart(named: list[tuple[str, str, Kv]]) -> list[Kept]:
    """As ``read_slots``, but one that cannot be read harms no other: it is FAILED, and its damage says why."""
    try:
        return read_slots(named)
    except Corrupt as exc:
        if len(named) == 1:
            stage, key, _ = named[0]
            why = str(exc)
            row = SlotState(stage, key, state=State.FAILED, error=why, proven=True, damage=why)
            return [Kept(row, letter=LETTERS[State.FAILED])]
    half = len(named) // 2
    return [*read_slots_apart(named[:half]), *read_slots_apart(named[half:])]


def _head_and_body(kv: Kv) -> tuple[str, str]:
    try:
        head, _, body = text_of(kv.value).partition("\n")
    except ValueError as exc:
        raise corrupt(kv, exc) from exc
    return head, body


def _heads(named: list[tuple[str, str, Kv]], texts: list[tuple[str, str]]) -> list[Any]:
    try:
        return codec.decode_all([head for head, _ in texts])
    except ValueError:
        for (_, _, kv), (head, _) in zip(named, texts, strict=True):  # says which
            try:
                json.loads(head)
            except ValueError as exc:
                raise corrupt(kv, exc) from exc
        raise


def _slot(stage: str, key: str, head: Any) -> tuple[Kept, str | None]:
    letter, base, rests, tries, losses, suspect, cohort, salt, error, proven, loose, hash_, updated_at_s = head
    row = SlotState(
        stage,
        key,
        state=STATES[letter],
        tries=tries,
        losses=losses,
        suspect=suspect,
        cohort=cohort,
        salt=salt,
        error=error,
        updated_at_s=updated_at_s,
        proven=bool(proven),
    )
    return Kept(row, base, bool(rests), tuple(loose), letter=letter), hash_


def write_mark(now_s: float) -> bytes:
    """The value of a mark's key."""
    return repr(now_s).encode()


def read_mark(kv: Kv) -> float:
    """Return when the slot was marked last."""
    try:
        return float(kv.value)
    except ValueError as exc:
        raise corrupt(kv, exc) from exc


def write_record(stage: str, key: str, body: str | None) -> bytes:
    """The value of a record's key: of history with its text, of a live one the slot only."""
    text = encode([stage, key])
    return pack((text if body is None else f"{text}\n{body}").encode("utf-8", "surrogatepass"))


def read_record(kv: Kv) -> tuple[str, str, str | None]:
    """Stage, key, and the text of a record of history."""
    try:
        head, _, body = text_of(kv.value).partition("\n")
        stage, key = json.loads(head)
    except (ValueError, TypeError) as exc:
        raise corrupt(kv, exc) from exc
    return stage, key, body or None
