"""Names of keys: one letter for the kind, then parts that sort as the texts they stand for do.

Parts are UTF-8, so that the order of bytes is the order of code points, and end with a NUL, so that a key and one that
begins with it stay apart. A part may hold any text: NUL and the one byte that escapes it are escaped in an order that
changes nothing. Knows what lies where, and no value.
"""

from __future__ import annotations

import struct
from typing import Final

from lookout.domain.errors import Corrupt, InputRejected

META: Final = b"!"
"""form number of the whole."""
SLOT: Final = b"s"
"""stage, key -> a row, with its live record."""
DIRTY: Final = b"d"
"""stage, key: waits for a claim. Every mark is a put; the version of the key counts them."""
SUSPECT: Final = b"e"
"""stage, (how many, token), key: waits as a suspect, the largest cohort first."""
STATE: Final = b"x"
"""stage, state, key: rows in a state that is not SUCCESS."""
LABEL: Final = b"b"
"""stage, key: rows whose record has a label."""
CLAIM: Final = b"c"
"""stage, (token, part) -> owner and the slots that it holds by one claim call."""
LEASE: Final = b"l"
"""stage, (token, part) -> owner, end of the lease, how many."""
TOKEN: Final = b"n"
"""stage -> the last token."""
RECORD: Final = b"r"
"""hash -> a record of history, or the slot in which it is live."""
USER: Final = b"u"
"""sha256, hash: the record read these bytes."""
PATH: Final = b"p"
"""bucket, key -> its holder and the newest of its makers; only paths that somebody holds."""
MAKERS: Final = b"m"
"""bucket, key, (any 12 bytes) -> older makers, in blocks; their order is that of their making, by revisions."""
MEMBER: Final = b"g"
"""group, stage, (at, newest first), key: live datums of a group."""
TALLY: Final = b"t"
"""group, shard -> sums."""
CHANGE: Final = b"q"
"""nonce -> what a commit has to have published."""
PUBLISHING: Final = b"P"
"""held by the session that publishes, with the paths that it publishes."""
INPUT: Final = b"i"
"""bucket, key -> an observation."""
INPUTS: Final = b"I"
"""bucket, origin, shard -> how many inputs."""
REFERENCES: Final = b"f"
"""bucket -> the set in force."""
BASIS: Final = b"a"
"""stage -> basis."""
NOTE: Final = b"k"
"""name -> note."""
ALERT: Final = b"o"
"""id -> an alert."""
ALERT_STATE: Final = b"O"
"""state, (created), id -> when it is due, or who sends it."""
ALERT_RUN: Final = b"v"
"""run, (created), id."""
POLICY: Final = b"h"
"""kind, first, second -> a text of the policy's state."""
RUN: Final = b"j"
"""id -> a run."""
RUN_START: Final = b"y"
"""(started, newest first), id."""
RUN_OPEN: Final = b"z"
"""owner, id: runs that have not ended."""
BATCH: Final = b"B"
"""id -> a batch, without its keys."""
BATCH_KEYS: Final = b"K"
"""id -> basis and keys of a batch, which never change."""
BATCH_STATE: Final = b"S"
"""state, id -> who holds it until when, or when it was done."""
BATCH_RUN: Final = b"R"
"""run, state, id: the same, of one run."""
RUN_LEASE: Final = b"D"
"""run -> who keeps it; there as long as the lease of the keeper's session, and while the run is open or draining."""
PRESENCE: Final = b"L"
"""stage, run -> which process of the stage is ready for it; there as long as the lease of that process's session."""
CUT: Final = b"C"
"""changed whenever a batch is added: those who add follow one another."""
OWNER: Final = b"W"
"""owner: a session that has not been ended or buried."""
ALIVE: Final = b"w"
"""owner: there as long as its lease lives."""
WRITER: Final = b"T"
"""client -> its last transaction."""

KINDS: Final = frozenset(
    b"".join(
        (
            META, SLOT, DIRTY, SUSPECT, STATE, LABEL, CLAIM, LEASE, TOKEN, RECORD, USER, PATH, MAKERS, MEMBER, TALLY,
            CHANGE, PUBLISHING, INPUT, INPUTS, REFERENCES, BASIS, NOTE, ALERT, ALERT_STATE, ALERT_RUN, POLICY, RUN,
            RUN_START, RUN_OPEN, BATCH, BATCH_KEYS, BATCH_STATE, BATCH_RUN, RUN_LEASE, PRESENCE, CUT, OWNER, ALIVE,
            WRITER,
        )
    )
)  # fmt: skip


def ledger(prefix: str) -> bytes:
    """Return the beginning of all keys of one ledger; a NUL ends it, so that "/a" and "/a/b" may be two ledgers."""
    return text(prefix.rstrip("/"))


def text(part: str) -> bytes:
    """One part. Raises InputRejected for a text without UTF-8 form."""
    try:
        data = part.encode()
    except UnicodeEncodeError as exc:
        raise InputRejected(f"a name or text that has no UTF-8 form: {part[:80]!r}", "the ledger") from exc
    if b"\x00" in data or b"\x01" in data:
        data = data.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01")
    return data + b"\x00"


def open_text(part: str) -> bytes:
    """The beginning of all parts that begin with this text."""
    return text(part)[:-1]


def parts(data: bytes, count: int) -> list[str]:
    """The ``count`` texts of which the bytes consist. Raises Corrupt."""
    found = data.split(b"\x00")
    if len(found) != count + 1 or found[-1]:
        raise Corrupt("a key of the ledger", f"{count} parts", repr(data[:120]))
    if b"\x01" in data:
        found = [part.replace(b"\x01\x01", b"\x00").replace(b"\x01\x02", b"\x01") for part in found]
    try:
        return [part.decode() for part in found[:-1]]
    except UnicodeDecodeError as exc:
        raise Corrupt("a key of the ledger", "UTF-8", repr(data[:120])) from exc


def after(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with the prefix. The prefix must not be all 0xff."""
    body = prefix.rstrip(b"\xff")
    return body[:-1] + bytes((body[-1] + 1,))


def behind(key: bytes) -> bytes:
    """The first key after this one."""
    return key + b"\x00"


# --- parts of fixed length, which are not texts ----------------------------------------------------------------------


def token_part(token: int, part: int) -> bytes:
    """12 bytes, in the order of (token, part)."""
    return struct.pack(">QI", token, part)


def read_token_part(data: bytes) -> tuple[int, int]:
    """Read what ``token_part`` wrote. Raises Corrupt."""
    if len(data) != 12:
        raise Corrupt("a key of a claim", "12 bytes", repr(data[:120]))
    token, part = struct.unpack(">QI", data)
    return token, part


def cohort(suspect: int, token: int) -> bytes:
    """12 bytes, the largest cohort first, of those the newest."""
    return struct.pack(">IQ", 0xFFFFFFFF - suspect, 0xFFFFFFFFFFFFFFFF - token)


def read_cohort(part: bytes) -> tuple[int, int]:
    """Read what ``cohort`` was given. Raises Corrupt."""
    if len(part) != 12:
        raise Corrupt("a key of a suspect", "12 bytes", repr(part[:120]))
    suspect, token = struct.unpack(">IQ", part)
    return 0xFFFFFFFF - suspect, 0xFFFFFFFFFFFFFFFF - token


def moment(at_s: float) -> bytes:
    """8 bytes in the order of time."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", at_s + 0.0))  # -0.0 is 0.0
    return struct.pack(">Q", bits ^ (0xFFFFFFFFFFFFFFFF if bits >> 63 else 1 << 63))


def read_moment(data: bytes) -> float:
    """The time of ``moment``."""
    (bits,) = struct.unpack(">Q", data)
    (at_s,) = struct.unpack(">d", struct.pack(">Q", bits ^ (1 << 63 if bits >> 63 else 0xFFFFFFFFFFFFFFFF)))
    return float(at_s)


def inverse(data: bytes) -> bytes:
    """The same number of bytes in the opposite order; twice gives the first."""
    return bytes(255 - byte for byte in data)


def hash_part(hash_: str) -> bytes:
    """A hash at the end of a key: sha256 in 32 bytes, before any other text."""
    if len(hash_) == 64:
        try:
            raw = bytes.fromhex(hash_)
        except ValueError:
            raw = b""
        if raw.hex() == hash_:
            return b"\x00" + raw
    return b"\x01" + text(hash_)


def read_hash_part(data: bytes) -> str:
    """Read what ``hash_part`` wrote. Raises Corrupt."""
    if data[:1] == b"\x00" and len(data) == 33:
        return data[1:].hex()
    return parts(data[1:], 1)[0]
