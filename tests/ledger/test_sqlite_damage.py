"""Damage anywhere in the file of a ledger: told as damage, or harmless, and never a crash."""

import contextlib
import random
import re
from pathlib import Path

import pytest

from devkit.contracts.ledger_kit import alert, done, record
from lookout.domain.errors import LookoutError
from lookout.domain.records import Mark
from lookout.ledger.sqlite import SqliteLedger

DAMAGES = ("bytes", "page", "zeros", "cut", "swapped", "field")


def _damaged(data: bytes, kind: str, rng: random.Random) -> bytes:
    harmed, at = bytearray(data), rng.randrange(len(data))
    page, other = at // 4096 * 4096, rng.randrange(len(data)) // 4096 * 4096
    if kind == "bytes":
        for _ in range(rng.choice([1, 20, 500])):
            harmed[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == "page":
        harmed[page : page + 4096] = rng.randbytes(4096)
    elif kind == "zeros":
        harmed[at : at + 4096] = bytes(len(harmed[at : at + 4096]))
    elif kind == "cut":
        del harmed[at:]
    elif kind == "swapped":
        harmed[page : page + 4096], harmed[other : other + 4096] = data[other : other + 4096], data[page : page + 4096]
    else:
        words = [found.start() for found in re.finditer(rb"success|pending|running|open|record|hash", data)]
        for _ in range(3):
            harmed[rng.choice(words)] = rng.choice(b"#\xff\x00")
    return bytes(harmed)


def _use(path: Path) -> None:
    """Ask the ledger for all that it holds, and write to it."""
    ledger = SqliteLedger(path)
    try:
        for read in (ledger.count_slots, ledger.count_alerts, ledger.count_batches, ledger.size):
            read()
        for listing in (ledger.alerts(), ledger.slots(), ledger.runs(-1)):
            list(listing)
        with ledger.snapshot() as entries:
            list(entries)
        ledger.mark([Mark(stage="s", key="k"), Mark(stage="s", key="new")])
    finally:
        ledger.close()


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_anywhere_is_told_or_harmless_and_never_a_crash(tmp_path, kind):
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    with ledger.session() as owner:
        ledger.mark([Mark(stage="s", key=f"{n:03}") for n in range(300)])
        ended = [
            (claim, done(record(claim.key, alerts=[alert(claim.key)]), alerts=[alert(claim.key)]))
            for claim in ledger.claim("s", owner, 100, 60.0)
        ]
        ledger.commit(ended)
    ledger.close()
    sound, rng = path.read_bytes(), random.Random(kind)
    for _ in range(40):
        for log in path.parent.glob("*-*"):
            log.unlink()
        path.write_bytes(_damaged(sound, kind, rng))
        with contextlib.suppress(LookoutError):
            _use(path)
