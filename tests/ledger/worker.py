"""Work of another process on a ledger, started by the tests: ``python -m tests.ledger.worker FILE COMMAND ...``.

Says ``ready`` on its standard output when what the test waits for has happened.
"""

import signal
import sys
from pathlib import Path

from devkit.contracts.ledger_kit import alert, done, record, ref
from lookout.domain.errors import LookoutError
from lookout.domain.records import Mark
from lookout.ledger.sqlite import SqliteLedger
from lookout.ledger.sqlite import liveness as owners


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def ready(*words):
    say("ready", *words)


def hold(ledger, stage, limit):
    """Claim slots and alerts, begin nothing, and wait to be killed."""
    with ledger.session() as owner:
        claims = ledger.claim(stage, owner, int(limit), 3600.0)
        ledger.begin_sending(owner, [held.id for held in ledger.claim_alerts(owner, 10, 1e12)])
        ready(*[claim.key for claim in claims])
        signal.pause()


def hold_lock(_ledger, folder):
    """Hold the lock of an owner that the ledger does not know yet, and wait to be killed."""
    life = owners.Life(Path(folder))
    ready(life.owner)
    signal.pause()


def drain(ledger, stage, limit):
    """Claim and settle until nothing is left; name what was claimed."""
    ready()
    sys.stdin.readline()
    with ledger.session() as owner:
        while claims := ledger.claim(stage, owner, int(limit), 60.0):
            say(*[claim.key for claim in claims])
            ledger.commit([(claim, done(record(claim.key, stage=stage))) for claim in claims])


def churn(ledger):
    """Commit pairs of slots that must always agree, for ever."""
    ready()
    with ledger.session() as owner:
        for n in range(1, 1_000_000):
            ledger.mark([Mark(stage="s", key="a"), Mark(stage="s", key="b")])
            outcomes = []
            for claim in ledger.claim("s", owner, 2, 3600.0):
                out = ref("s", f"{claim.key}.json", str(n), version=str(n))
                made = record(claim.key, f"{claim.key}{n}", outputs=[out], counts={"n": n}, alerts=[alert(f"{n}")])
                outcomes.append((claim, done(made, marks=[Mark(stage="t", key=f"{n}")], alerts=[alert(f"{n}")])))
            ledger.commit(outcomes)
            if n % 3 == 0:
                with ledger.unpublished():
                    pass
            say(n)


def fill(ledger):
    """Commit large records until there is no room; say how that was told and how many were told to be there."""
    blob = "x" * 20_000
    count = 0
    try:
        with ledger.session() as owner:
            while True:
                ledger.mark([Mark(stage="s", key=f"{count:06}")])
                (claim,) = ledger.claim("s", owner, 1, 3600.0)
                ledger.commit([(claim, done(record(claim.key, facts={"blob": blob})))])
                count += 1
    except LookoutError as exc:
        ready(type(exc).__name__, count)


def share(ledger):
    """Take batches and end them until none is left; name what was taken."""
    ready()
    sys.stdin.readline()
    with ledger.session() as owner:
        while taken := ledger.take_batch(owner, 60.0):
            say(taken.id)
            ledger.end_batch(taken)


def hold_batch(ledger):
    """Take a batch and wait to be killed."""
    with ledger.session() as owner:
        ready(ledger.take_batch(owner, 3600.0).id)
        signal.pause()


def main(path, command, *words):
    ledger = SqliteLedger(Path(path))
    commands = [hold, hold_lock, drain, churn, fill, share, hold_batch]
    {each.__name__: each for each in commands}[command](ledger, *words)
    ledger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
